//! The settings of a node: from flags, environment, a file and defaults, in this order.
//!
//! [`Settings`] is the one list of them. The text of each field is its documentation for `--help`, for the file and for
//! this page; the file has the same names, `data-dir = "…"`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use clap::{Args, ValueEnum};
use pyrgos_protocol::encoding::Cid;
use serde::{Deserialize, Serialize};

use crate::p2p::network::{Network, NetworkError};
use crate::p2p::{self, Address};

/// Space of an account unless the operator says otherwise: 1 GiB.
pub const DEFAULT_QUOTA_BYTES: u64 = 1 << 30;

/// Time between two collections of garbage unless the operator says otherwise: 6 hours.
pub const DEFAULT_COLLECT_EVERY: Duration = Duration::from_secs(6 * 3600);

/// Everything that can be set. What is absent has the default that its text names.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Folder that holds the node's key, blocks and records [default: ~/.local/share/pyrgos]
    #[arg(long, env = "PYRGOS_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,

    /// Address that clients connect to; port 0 takes a free one [default: 127.0.0.1:8000]
    #[arg(long, env = "PYRGOS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Host under which clients reach the node through a proxy, as in their `Host` header; may be given several times
    /// [default: none]
    #[arg(long, env = "PYRGOS_PUBLIC_HOST", value_name = "HOST", value_delimiter = ',')]
    pub public_host: Option<Vec<String>>,

    /// Take GET as well as POST, as nodes that serve a web page to strangers do [default: false]
    #[arg(long, env = "PYRGOS_PUBLIC", num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub public: Option<bool>,

    /// Address at which browsers get published files, on an origin of its own; port 0 takes a free one [default: none]
    #[arg(long, env = "PYRGOS_GATEWAY_LISTEN", value_name = "ADDRESS:PORT")]
    pub gateway_listen: Option<SocketAddr>,

    /// Host under which browsers reach the gateway through a proxy; never one of the node's own public hosts; may be given
    /// several times [default: none]
    #[arg(long, env = "PYRGOS_GATEWAY_HOST", value_name = "HOST", value_delimiter = ',')]
    pub gateway_host: Option<Vec<String>>,

    /// Who may sign up [default: open while only this computer reaches the node, else token]
    #[arg(long, env = "PYRGOS_SIGNUP", value_name = "WHO")]
    pub signup: Option<SignupPolicy>,

    /// Most accounts that may sign up without a token [default: 10000]
    #[arg(long, env = "PYRGOS_MAX_USERS", value_name = "NUMBER")]
    pub max_users: Option<u64>,

    /// New names a day above which sign-ups need a proof of work [default: 1000000]
    #[arg(long, env = "PYRGOS_MAX_DAILY_SIGNUPS", value_name = "NUMBER")]
    pub max_daily_signups: Option<u32>,

    /// Space of a new account, in bytes or with K, M, G, T (powers of 1024) [default: 1G]
    #[arg(long, env = "PYRGOS_QUOTA", value_name = "SIZE")]
    #[serde(default, with = "size_text")]
    pub quota: Option<Size>,

    /// How often space is taken back from what was deleted, as in 30m, 6h or 2d; `off` for only when `pyrgos node collect`
    /// asks [default: 6h]
    #[arg(long, env = "PYRGOS_COLLECT_EVERY", value_name = "TIME")]
    pub collect_every: Option<Every>,

    /// Usernames that may approve requests for space [default: none]
    #[arg(long, env = "PYRGOS_ADMINS", value_name = "NAME", value_delimiter = ',')]
    pub admins: Option<Vec<String>>,

    /// Multiaddress at which other nodes reach this one, as in /ip4/0.0.0.0/tcp/4001 or /ip6/::/udp/4001/quic-v1; port 0
    /// takes a free one; may be given several times. Without this, --bootstrap and --network a node has nothing to do with
    /// others [default: none; with one of the others TCP and QUIC at port 4001]
    #[arg(long, env = "PYRGOS_P2P_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub p2p_listen: Option<Vec<Address>>,

    /// Multiaddress under which other nodes reach this one from outside, as through a forwarded port; may be
    /// given several times [default: none; others find out]
    #[arg(long, env = "PYRGOS_P2P_ANNOUNCE", value_name = "MULTIADDR", value_delimiter = ',')]
    pub p2p_announce: Option<Vec<Address>>,

    /// Node to connect with at the start, as in /dns4/example.org/tcp/4001/p2p/12D3KooW…; may be given several times
    /// [default: those of the network file]
    #[arg(long, env = "PYRGOS_BOOTSTRAP", value_name = "MULTIADDR", value_delimiter = ',')]
    pub bootstrap: Option<Vec<Address>>,

    /// TOML file that says which network to join: `network-id`, `bootstrap` (addresses of nodes), `witnesses` (identifiers
    /// of the nodes that decide about names) [default: none, a network of one]
    #[arg(long, env = "PYRGOS_NETWORK", value_name = "FILE")]
    pub network: Option<PathBuf>,

    /// Do not look for nodes of the local network by multicast DNS; off in any case where only this computer reaches the node
    /// [default: false]
    #[arg(long, env = "PYRGOS_NO_MDNS", num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub no_mdns: Option<bool>,

    /// Identifier of a node that may connect; if there are any, no other may; may be given several times [default: all]
    #[arg(long, env = "PYRGOS_ALLOW_PEER", value_name = "NODE", value_delimiter = ',')]
    pub allow_peer: Option<Vec<String>>,

    /// Identifier of a node that may not connect; may be given several times [default: none]
    #[arg(long, env = "PYRGOS_BLOCK_PEER", value_name = "NODE", value_delimiter = ',')]
    pub block_peer: Option<Vec<String>>,
}

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignupPolicy {
    /// Anybody, up to the greatest number of accounts, and whoever has a token
    Open,
    /// Whoever has a token from `pyrgos token create`
    Token,
    /// Nobody
    Closed,
}

/// A stretch of time between two runs of something; none for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Every(pub Option<Duration>);

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no time; write a number with s, m, h or d, or `off`");
        if text == "off" {
            return Ok(Every(None));
        }
        let (at, unit) = text.char_indices().next_back().ok_or_else(malformed)?;
        let unit_secs = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(malformed()),
        };
        let number: u32 = text[..at].parse().map_err(|_| malformed())?;
        match number {
            0 => Err(format!("`{text}` would be all the time; write `off` for never")),
            number => Ok(Every(Some(Duration::from_secs(u64::from(number) * unit_secs)))),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Every> for String {
    fn from(Every(every): Every) -> String {
        every.map_or_else(|| "off".to_owned(), |every| format!("{}s", every.as_secs()))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no size; write a number of bytes, or a number with K, M, G or T");
        let (digits, shift) = match text.char_indices().next_back() {
            Some((at, unit)) if unit.is_ascii_alphabetic() => {
                let shift = match unit.to_ascii_uppercase() {
                    'K' => 10,
                    'M' => 20,
                    'G' => 30,
                    'T' => 40,
                    _ => return Err(malformed()),
                };
                (&text[..at], shift)
            }
            _ => (text, 0),
        };
        let number: u64 = digits.parse().map_err(|_| malformed())?;
        // Sizes travel as signed 64 bit integers.
        let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Size).ok_or_else(malformed)
    }
}

/// In the file a size is a number or a text.
mod size_text {
    use super::Size;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(size: &Option<Size>, serializer: S) -> Result<S::Ok, S::Error> {
        match size {
            Some(Size(bytes)) => serializer.serialize_some(bytes),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Bytes(u64),
            Text(String),
        }
        match Option::<Either>::deserialize(deserializer)? {
            None => Ok(None),
            Some(Either::Bytes(bytes)) => bytes.to_string().parse().map(Some).map_err(D::Error::custom),
            Some(Either::Text(text)) => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file system refused.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is no TOML, or has a setting that does not exist.
    #[error("the settings file {} is malformed: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// Published pages would share a host with the node.
    #[error("{host} is the node's own host; published files need another one, such as a subdomain")]
    SharedHost {
        /// The host.
        host: String,
    },
    /// The network file.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A node that may or may not connect.
    #[error("`{0}` is no identifier of a node, which looks like 12D3KooW…")]
    Node(String),
    /// No home directory, and no data directory was given.
    #[error("no home directory; say where the data shall be with --data-dir")]
    NoHome,
}

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] or [`ConfigError::Malformed`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }

    /// These settings, and those of `other` where these say nothing.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            data_dir: self.data_dir.or(other.data_dir),
            listen: self.listen.or(other.listen),
            public_host: self.public_host.or(other.public_host),
            public: self.public.or(other.public),
            gateway_listen: self.gateway_listen.or(other.gateway_listen),
            gateway_host: self.gateway_host.or(other.gateway_host),
            signup: self.signup.or(other.signup),
            max_users: self.max_users.or(other.max_users),
            max_daily_signups: self.max_daily_signups.or(other.max_daily_signups),
            quota: self.quota.or(other.quota),
            collect_every: self.collect_every.or(other.collect_every),
            admins: self.admins.or(other.admins),
            p2p_listen: self.p2p_listen.or(other.p2p_listen),
            p2p_announce: self.p2p_announce.or(other.p2p_announce),
            bootstrap: self.bootstrap.or(other.bootstrap),
            network: self.network.or(other.network),
            no_mdns: self.no_mdns.or(other.no_mdns),
            allow_peer: self.allow_peer.or(other.allow_peer),
            block_peer: self.block_peer.or(other.block_peer),
        }
    }

    /// The settings with their defaults.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] if no data directory can be found, [`ConfigError::SharedHost`], [`ConfigError::Network`],
    /// [`ConfigError::Node`].
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let data_dir = match self.data_dir {
            Some(data_dir) => data_dir,
            None => default_data_dir().ok_or(ConfigError::NoHome)?,
        };
        let listen = self.listen.unwrap_or(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 8000));
        let public_hosts = self.public_host.unwrap_or_default();
        let gateway_hosts = self.gateway_host.unwrap_or_default();
        if let Some(host) =
            gateway_hosts.iter().find(|host| public_hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
        {
            return Err(ConfigError::SharedHost { host: host.clone() });
        }
        // A public host means that a proxy on this computer lets others in.
        let is_private = listen.ip().is_loopback() && public_hosts.is_empty();
        let signup = if is_private { SignupPolicy::Open } else { SignupPolicy::Token };
        let network = self.network.as_deref().map(Network::from_file).transpose()?;
        let joins = self.p2p_listen.is_some() || self.bootstrap.is_some() || network.is_some();
        let bootstrap = self.bootstrap.or_else(|| network.as_ref().map(|network| network.bootstrap.clone()));
        let allowed = nodes(self.allow_peer)?;
        let blocked = nodes(self.block_peer)?;
        let peers = joins.then(|| p2p::Options {
            listen: self.p2p_listen.unwrap_or_else(p2p::Options::usual_listen),
            announce: self.p2p_announce.unwrap_or_default(),
            bootstrap: bootstrap.unwrap_or_default(),
            allowed,
            blocked,
            looks_around: !self.no_mdns.unwrap_or(false),
            book: Some(data_dir.join("peers")),
        });
        Ok(Config {
            data_dir,
            listen,
            public_hosts,
            public: self.public.unwrap_or(false),
            gateway_listen: self.gateway_listen,
            gateway_hosts,
            signup: self.signup.unwrap_or(signup),
            max_users: self.max_users.unwrap_or(10_000),
            max_daily_signups: self.max_daily_signups.unwrap_or(1_000_000),
            quota_bytes: self.quota.map_or(DEFAULT_QUOTA_BYTES, |Size(bytes)| bytes),
            collect_every: self.collect_every.map_or(Some(DEFAULT_COLLECT_EVERY), |Every(every)| every),
            admins: self.admins.unwrap_or_default(),
            peers,
            network,
            allow_gaps: false,
        })
    }
}

/// Identifiers of nodes.
fn nodes(texts: Option<Vec<String>>) -> Result<Vec<Cid>, ConfigError> {
    let node = |text: String| Cid::from_server_id(&text).map_err(|_| ConfigError::Node(text));
    texts.unwrap_or_default().into_iter().map(node).collect()
}

/// `$XDG_DATA_HOME/pyrgos`, else `~/.local/share/pyrgos`. A relative `XDG_DATA_HOME` is ignored, as its standard says.
fn default_data_dir() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?;
    Some(base.join("pyrgos"))
}

/// The settings of one node, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// [`Settings::data_dir`].
    pub data_dir: PathBuf,
    /// [`Settings::listen`].
    pub listen: SocketAddr,
    /// [`Settings::public_host`].
    pub public_hosts: Vec<String>,
    /// [`Settings::public`].
    pub public: bool,
    /// [`Settings::gateway_listen`].
    pub gateway_listen: Option<SocketAddr>,
    /// [`Settings::gateway_host`].
    pub gateway_hosts: Vec<String>,
    /// [`Settings::signup`].
    pub signup: SignupPolicy,
    /// [`Settings::max_users`].
    pub max_users: u64,
    /// [`Settings::max_daily_signups`].
    pub max_daily_signups: u32,
    /// [`Settings::quota`], in bytes.
    pub quota_bytes: u64,
    /// [`Settings::collect_every`]; none for never.
    pub collect_every: Option<Duration>,
    /// [`Settings::admins`].
    pub admins: Vec<String>,
    /// [`Settings::p2p_listen`] and its like; none for a node that has nothing to do with others.
    pub peers: Option<p2p::Options>,
    /// What [`Settings::network`] says.
    pub network: Option<Network>,
    /// [`Policy::allow_gaps`](crate::service::Policy::allow_gaps): off, and no setting.
    pub allow_gaps: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_names_of_the_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pyrgos.toml");
        fs::write(&path, "data-dir = \"/d\"\nlisten = \"[::1]:0\"\nsignup = \"open\"\nquota = \"5M\"\n").unwrap();
        let file = Settings::from_file(&path).unwrap();
        let flags = Settings { signup: Some(SignupPolicy::Closed), ..Settings::default() };
        let config = flags.or(file).resolve().unwrap();
        assert_eq!(config.data_dir, Path::new("/d"));
        assert_eq!(config.listen, "[::1]:0".parse().unwrap());
        assert_eq!(config.signup, SignupPolicy::Closed);
        assert_eq!(config.quota_bytes, 5 << 20);
        assert_eq!(config.max_users, 10_000);
        fs::write(&path, "no-such-setting = 1\n").unwrap();
        assert!(matches!(Settings::from_file(&path), Err(ConfigError::Malformed { .. })));
        assert!(matches!(Settings::from_file(Path::new("/nowhere/x")), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_node_keeps_to_itself_unless_told_otherwise() {
        let resolve = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            Settings { data_dir: Some("/d".into()), ..settings }.resolve()
        };
        assert_eq!(resolve("").unwrap().peers, None);
        const NODE: &str = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWLdJAwPtyQ5RFnr9wGXsQzpf3P2SeqFbYkqbfVehLu4Ns";
        let listen = resolve("p2p-listen = [\"/ip4/127.0.0.1/tcp/0\"]").unwrap().peers.unwrap();
        assert_eq!((listen.listen.len(), listen.bootstrap.len()), (1, 0));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.toml");
        fs::write(&path, format!("network-id = \"x\"\nbootstrap = [\"{NODE}\"]\n")).unwrap();
        let joined = resolve(&format!("network = {path:?}")).unwrap();
        assert_eq!(joined.network.unwrap().id.as_str(), "x");
        let peers = joined.peers.unwrap();
        assert_eq!((peers.listen.len(), peers.bootstrap[0].to_string().as_str()), (2, NODE));
        assert!(matches!(resolve("network = \"/nowhere/x\""), Err(ConfigError::Network(_))));
        assert!(
            peers.looks_around
                && !resolve(&format!("network = {path:?}\nno-mdns = true")).unwrap().peers.unwrap().looks_around
        );
        assert!(matches!(resolve("allow-peer = [\"x\"]"), Err(ConfigError::Node(_))));
        assert!(toml::from_str::<Settings>("bootstrap = [\"example.org\"]").is_err());
    }

    #[test]
    fn strangers_need_a_token_unless_said_otherwise() {
        let signup = |listen: &str, host: Option<&str>| {
            let settings = Settings {
                data_dir: Some("/d".into()),
                listen: Some(listen.parse().unwrap()),
                public_host: host.map(|host| vec![host.to_owned()]),
                ..Settings::default()
            };
            settings.resolve().unwrap().signup
        };
        assert_eq!(signup("127.0.0.1:8000", None), SignupPolicy::Open);
        assert_eq!(signup("[::1]:8000", None), SignupPolicy::Open);
        assert_eq!(signup("127.0.0.1:8000", Some("example.org")), SignupPolicy::Token);
        assert_eq!(signup("0.0.0.0:8000", None), SignupPolicy::Token);
    }

    #[test]
    fn times_have_units() {
        let every = |text: &str| text.parse::<Every>().ok().map(|Every(every)| every.map(|every| every.as_secs()));
        assert_eq!(every("off"), Some(None));
        assert_eq!(every("90s"), Some(Some(90)));
        assert_eq!(every("30m"), Some(Some(1800)));
        assert_eq!(every("12h"), Some(Some(43_200)));
        assert_eq!(every("2d"), Some(Some(172_800)));
        for malformed in ["", "h", "6", "0h", "-1h", "1.5h", "1 h", "4294967296s", "1é", "OFF"] {
            assert_eq!(every(malformed), None, "{malformed}");
        }
        let file: Settings = toml::from_str("collect-every = \"off\"").unwrap();
        assert_eq!(file.collect_every, Some(Every(None)));
        assert_eq!(toml::from_str(&toml::to_string(&file).unwrap()), Ok(file));
    }

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| text.parse::<Size>().ok();
        assert_eq!(size("0"), Some(Size(0)));
        assert_eq!(size("2k"), Some(Size(2048)));
        assert_eq!(size("3T"), Some(Size(3 << 40)));
        for malformed in ["", "K", "1.5G", "-1", "1X", "9999999999999T", "1 G", "9223372036854775808", "1é"] {
            assert_eq!(size(malformed), None, "{malformed}");
        }
    }
}
