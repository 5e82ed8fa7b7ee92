//! How the operator's commands reach a running node: a Unix socket in the data directory, which only its owner can enter.
//!
//! The database belongs to one process at a time, so a command like `pyrgos token create` cannot open it while the node
//! runs. It writes one line of JSON here and reads one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pyrgos_protocol::api::core::{GetChain, GetUsernames};
use pyrgos_protocol::encoding::{Cid, text};
use pyrgos_protocol::keys::PublicSigningKey;
use pyrgos_protocol::names::{Chain, Username};
use pyrgos_protocol::social::ServerMessage;
use pyrgos_protocol::social::message::MessageKind;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::daemon::collector;
use crate::identity::server_id;
use crate::mirror::{MirrorStatus, Mirrors};
use crate::names::driver::{Driver, NamesStatus};
use crate::p2p::{ConnectedPeer, Host};
use crate::service::collect::Collected;
use crate::service::mirrored::Mirrored;
use crate::service::{Failure, Service};

/// Longest order, in bytes: a message of 4096 characters, each written as an escape.
const MAX_ORDER: u64 = 64 << 10;

/// Longest reply, in bytes.
const MAX_REPLY: u64 = 8 << 20;

/// Most messages in a reply; the newest are shown.
const MAX_MESSAGES: usize = 200;

/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a command may ask.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A token that lets one person sign up.
    CreateToken,
    /// Collect garbage, and answer when that is done.
    Collect,
    /// The nodes that this one is connected with.
    Peers,
    /// How far the network's names are.
    NamesStatus,
    /// Names that begin with a text.
    Names {
        /// The text.
        prefix: String,
    },
    /// What is known of a name.
    Name {
        /// The name.
        name: String,
    },
    /// Begin to mirror an account, or change how.
    AddMirror {
        /// Its mirror token, a secret.
        token: String,
        /// How much space the copy may take, in bytes.
        limit_bytes: u64,
        /// The node to copy from, if not the home.
        from: Option<String>,
    },
    /// End mirroring an account, and delete its copy.
    RemoveMirror {
        /// Its name.
        name: String,
    },
    /// How the copies stand.
    Mirrors,
    /// A proof of who owns a name, or that nobody does.
    ProveName {
        /// The name.
        name: String,
    },
    /// A change of the network's witnesses: a new one, or one that others have begun.
    ChangeWitnesses {
        /// What others have signed, in hexadecimal digits.
        change: Option<String>,
        /// Nodes that become witnesses, of a new change.
        add: Vec<String>,
        /// Witnesses that are none any more, of a new change.
        remove: Vec<String>,
        /// Whether this node signs it.
        is_signed: bool,
    },
    /// The users who have messages.
    Conversations,
    /// The newest messages of one user.
    Messages {
        /// Whose.
        username: String,
    },
    /// A message to a user.
    Write {
        /// To whom.
        username: String,
        /// What.
        text: String,
        /// The message that it answers.
        reply_to: Option<i64>,
    },
    /// What an account uses and may use here.
    Space {
        /// The account, which may live elsewhere.
        username: String,
        /// What it may use from now on, in bytes, if that shall change.
        bytes: Option<u64>,
    },
    /// The token with which another node mirrors all of this one.
    InstanceBat {
        /// Make a new one, so that the old one opens nothing any more.
        is_new: bool,
    },
}

impl Order {
    /// How long the answer may take; none for as long as it takes.
    fn timeout(&self) -> Option<Duration> {
        (*self != Order::Collect).then_some(TIMEOUT)
    }
}

/// A message as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Message {
    /// Its number among the user's messages.
    pub id: i64,
    /// When it was sent, milliseconds since 1970 UTC.
    pub sent_millis: i64,
    /// Whether the user wrote it, and not the operator.
    pub from_user: bool,
    /// The text.
    pub text: String,
    /// Whether the user put it away.
    pub dismissed: bool,
    /// The message that it answers.
    pub reply_to: Option<i64>,
}

impl From<&ServerMessage> for Message {
    fn from(message: &ServerMessage) -> Self {
        Message {
            id: message.id,
            sent_millis: message.sent_millis,
            from_user: message.kind == MessageKind::FromUser,
            text: message.body().to_owned(),
            dismissed: message.is_dismissed,
            reply_to: message.reply_to,
        }
    }
}

/// A change of the witnesses as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ShownChange {
    /// The change with its signatures, in hexadecimal digits.
    pub change: String,
    /// The witnesses of the next blocks.
    pub witnesses: Vec<String>,
    /// Nodes that become witnesses.
    pub add: Vec<String>,
    /// Witnesses that are none any more.
    pub remove: Vec<String>,
    /// Present witnesses that signed it.
    pub signed: Vec<String>,
    /// How many have to.
    pub quorum: usize,
    /// Whether enough have, so that it is with the network.
    pub is_handed_in: bool,
}

/// A name as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NameRecord {
    /// The name.
    pub name: String,
    /// The hash of the key that owns it.
    pub owner: String,
    /// The identifier of the node that holds its data.
    pub home: String,
    /// When the claim should be renewed at the latest.
    pub expiry: String,
    /// How many keys have owned it, the present one included.
    pub owners: usize,
}

impl NameRecord {
    fn of(name: &Username, chain: &Chain) -> Option<Self> {
        let last = chain.last()?;
        Some(NameRecord {
            name: name.to_string(),
            owner: last.owner.to_string(),
            home: chain.home()?.hash().to_base58(),
            expiry: last.claim.expiry.to_string(),
            owners: chain.0.len(),
        })
    }
}

/// What the node answers.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The token.
    Token(String),
    /// What the collection did.
    Collected(Collected),
    /// Other nodes.
    Peers(Vec<ConnectedPeer>),
    /// The network's names.
    NamesStatus(NamesStatus),
    /// One name.
    Name(NameRecord),
    /// A proof in its bytes, in hexadecimal digits.
    Proof(String),
    /// A change of the witnesses.
    Change(ShownChange),
    /// Copies of accounts.
    Mirrors(Vec<MirrorStatus>),
    /// Usernames.
    Users(Vec<String>),
    /// Messages, oldest first.
    Messages(Vec<Message>),
    /// What an account uses and may use here, in bytes.
    Space {
        /// Uses.
        used_bytes: u64,
        /// May use.
        limit_bytes: u64,
    },
    /// It is done.
    Done,
    /// Why not.
    Failed(String),
}

/// Where the socket of a data directory is.
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Takes the socket's place. Only the process that holds the store may do so, which makes a socket that is there already
/// one that a crash left.
///
/// # Errors
/// The file system refuses, for example a path that is too long for a socket.
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// What carries orders out in a running node.
#[derive(Clone)]
pub struct Node {
    /// Its decisions.
    pub service: Arc<Service>,
    /// Its connections to others, if it has to do with others.
    pub host: Option<Host>,
    /// Its part in the decisions about names, if others decide with it.
    pub names: Option<Driver>,
    /// The accounts that it mirrors, if it has to do with others.
    pub mirrors: Option<Arc<Mirrors>>,
    /// A collection that runs ends early when this is set.
    pub ending: Arc<AtomicBool>,
}

/// Answers orders until `stop` says true.
pub async fn serve(listener: UnixListener, node: Node, mut stop: watch::Receiver<bool>) {
    let mut orders = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            // Those that have ended are forgotten.
            Some(_) = orders.join_next() => continue,
            _ = crate::http::server::stopped(&mut stop) => break,
        };
        match stream {
            // Whoever can open the socket can do anything with the node, so nobody counts them.
            Ok(stream) => {
                let node = node.clone();
                orders.spawn(async move {
                    if let Err(error) = answer(stream, node).await {
                        tracing::debug!(%error, "an order broke off");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an order");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    while orders.join_next().await.is_some() {}
}

async fn answer(stream: UnixStream, node: Node) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(MAX_ORDER));
    tokio::time::timeout(TIMEOUT, read.read_line(&mut line)).await??;
    let reply = match serde_json::from_str::<Order>(&line) {
        Ok(Order::Peers) => match node.host {
            Some(host) => Reply::Peers(host.peers().await),
            None => Reply::Peers(Vec::new()),
        },
        Ok(Order::NamesStatus) if node.names.is_some() => {
            node.names.map_or(Reply::Done, |driver| Reply::NamesStatus(driver.status()))
        }
        Ok(Order::ProveName { name }) => {
            let work = tokio::task::spawn_blocking(move || prove(node.names.as_ref(), &name));
            work.await.unwrap_or_else(|_| Reply::Failed("the node failed".to_owned()))
        }
        Ok(order @ Order::ChangeWitnesses { .. }) => {
            let work = tokio::task::spawn_blocking(move || change_witnesses(node.names.as_ref(), order));
            work.await.unwrap_or_else(|_| Reply::Failed("the node failed".to_owned()))
        }
        Ok(order @ (Order::AddMirror { .. } | Order::RemoveMirror { .. } | Order::Mirrors)) => {
            let work = tokio::task::spawn_blocking(move || mirror(&node.service, node.mirrors.as_ref(), order));
            let reply = work.await.unwrap_or(Err(Failure::Damaged("panic")));
            reply.unwrap_or_else(|failure| Reply::Failed(failure.into_api().message()))
        }
        Ok(order) => {
            let work = tokio::task::spawn_blocking(move || carry_out(&node.service, order, &node.ending));
            work.await.unwrap_or_else(|_| Reply::Failed("the node failed".to_owned()))
        }
        Err(_) => Reply::Failed("the node does not know this order; it may be of another version".to_owned()),
    };
    let mut line = serde_json::to_string(&reply)?;
    line.push('\n');
    tokio::time::timeout(TIMEOUT, write.write_all(line.as_bytes())).await?
}

/// Does what an order says. A command does it itself where no node runs. A collection ends early when `ending` is set.
pub fn carry_out(service: &Service, order: Order, ending: &AtomicBool) -> Reply {
    let reply = match order {
        Order::CreateToken => service.create_token().map(Reply::Token),
        Order::Collect => collector::collect(service, ending).map(Reply::Collected),
        // A node that does not run is connected with nobody.
        Order::Peers => Ok(Reply::Peers(Vec::new())),
        Order::AddMirror { .. } | Order::RemoveMirror { .. } | Order::Mirrors => {
            return Reply::Failed("it is not running".to_owned());
        }
        Order::ProveName { .. } | Order::ChangeWitnesses { .. } => return Reply::Failed(ALONE.to_owned()),
        Order::NamesStatus => return Reply::Failed(ALONE.to_owned()),
        Order::Names { prefix } => service
            .usernames(GetUsernames { prefix })
            .map(|names| Reply::Users(names.iter().map(ToString::to_string).collect())),
        Order::Name { name } => return show_name(service, &name),
        Order::Conversations => service.conversations().map(Reply::Users),
        Order::Messages { username } => service.messages(&username).map(|messages| {
            let older = messages.len().saturating_sub(MAX_MESSAGES);
            Reply::Messages(messages[older..].iter().map(Message::from).collect())
        }),
        Order::Write { username, text, reply_to } => {
            service.message_user(&username, text, reply_to).map(|_| Reply::Done)
        }
        Order::Space { username, bytes } => space(service, &username, bytes),
        Order::InstanceBat { is_new } => {
            service.make_instance_bat(is_new).map(|bat| Reply::Token(bat.to_text().as_str().to_owned()))
        }
    };
    reply.unwrap_or_else(|failure| Reply::Failed(failure.into_api().message()))
}

/// What a node says that has no witnesses to show for.
const ALONE: &str = "it is not running, or decides about names alone";

fn prove(names: Option<&Driver>, name: &str) -> Reply {
    let Some(driver) = names else { return Reply::Failed(ALONE.to_owned()) };
    let Ok(username) = Username::existing(name) else { return Reply::Failed("this can be nobody's name".to_owned()) };
    match driver.prove(&username) {
        Ok(Some(proof)) => Reply::Proof(text::hex(proof)),
        Ok(None) => Reply::Failed("nothing is decided yet, or too much at the moment; try again".to_owned()),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn change_witnesses(names: Option<&Driver>, order: Order) -> Reply {
    let Some(driver) = names else { return Reply::Failed(ALONE.to_owned()) };
    let Order::ChangeWitnesses { change, add, remove, is_signed } = order else { return Reply::Done };
    let changed = || -> Result<ShownChange, String> {
        let bytes =
            change.map(|hex| text::from_hex(&hex)).transpose().map_err(|_| "no hexadecimal digits".to_owned())?;
        let nodes = |nodes: &[String]| -> Result<Vec<Cid>, String> {
            let read = |node: &String| Cid::from_server_id(node).map_err(|_| format!("{node} is no identifier"));
            nodes.iter().map(read).collect()
        };
        let before = driver.status();
        let changed = driver.change_witnesses(bytes.as_deref(), &nodes(&add)?, &nodes(&remove)?, is_signed);
        let (change, is_handed_in) = changed.map_err(|error| error.to_string())?;
        let name = |key: &PublicSigningKey| server_id(key).hash().to_base58();
        let witnesses: Vec<String> = change.set().keys().iter().map(name).collect();
        let without = |all: &[String], known: &[String]| {
            all.iter().filter(|node| !known.contains(node)).cloned().collect::<Vec<_>>()
        };
        Ok(ShownChange {
            change: text::hex(change.to_bytes()),
            add: without(&witnesses, &before.witnesses),
            remove: without(&before.witnesses, &witnesses),
            witnesses,
            signed: change.signers().map(name).collect(),
            quorum: crate::p2p::network::quorum(before.witnesses.len()),
            is_handed_in,
        })
    };
    changed().map_or_else(Reply::Failed, Reply::Change)
}

/// Orders about copies of accounts.
fn mirror(service: &Service, mirrors: Option<&Arc<Mirrors>>, order: Order) -> Result<Reply, Failure> {
    let refused = |text: &str| Failure::refused(text.to_owned());
    let mirrors = mirrors.ok_or_else(|| refused("it has nothing to do with other nodes"))?;
    match order {
        Order::AddMirror { token, limit_bytes, from } => {
            let token = zeroize::Zeroizing::new(token);
            let token = token.parse().map_err(|_| refused("this is no mirror token"))?;
            let from = from.map(|node| Cid::from_server_id(&node)).transpose();
            let from = from.map_err(|_| refused("the node to copy from has no valid identifier"))?;
            service.keep_mirror(&Mirrored { token, limit_bytes, from, is_asked: false })?;
            Ok(Reply::Done)
        }
        Order::RemoveMirror { name } => match service.drop_mirror(&existing(&name)?)? {
            true => Ok(Reply::Done),
            false => Err(refused(&format!("{name} is not mirrored here"))),
        },
        _ => mirrors.status().map(Reply::Mirrors),
    }
}

/// Changes what an account may use here, if told to, and shows it.
fn space(service: &Service, name: &str, bytes: Option<u64>) -> Result<Reply, Failure> {
    let username = existing(name)?;
    if let Some(bytes) = bytes {
        service.give_space(&username, bytes)?;
    }
    let owner = service.owner_of(&username)?;
    let owner = owner.ok_or_else(|| Failure::refused(format!("nobody has the name {username}")))?;
    let (used_bytes, limit_bytes) = service.mirror_space(&owner)?;
    Ok(Reply::Space { used_bytes, limit_bytes })
}

fn existing(name: &str) -> Result<Username, Failure> {
    Username::existing(name).map_err(|_| Failure::refused("this can be nobody's name"))
}

fn show_name(service: &Service, name: &str) -> Reply {
    let Ok(username) = Username::existing(name) else { return Reply::Failed("this can be nobody's name".to_owned()) };
    match service.chain(GetChain { username: username.clone() }) {
        Ok(chain) => NameRecord::of(&username, &chain)
            .map_or_else(|| Reply::Failed(format!("nobody has the name {username}")), Reply::Name),
        Err(failure) => Reply::Failed(failure.into_api().message()),
    }
}

/// Sends an order to the node that runs in a data directory; none if no node runs there.
///
/// # Errors
/// The node is there, but does not answer.
pub fn order(data_dir: &Path, order: &Order) -> io::Result<Option<Reply>> {
    let mut stream = match BlockingStream::connect(socket(data_dir)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(order.timeout())?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(order)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut reply = String::new();
    BufReader::new(stream.take(MAX_REPLY)).read_line(&mut reply)?;
    Ok(Some(serde_json::from_str(&reply)?))
}
