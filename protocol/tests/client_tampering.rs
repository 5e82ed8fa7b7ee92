//! A hostile node between the client and its data: each lie is named, and nothing wrong reaches a sink.

mod client_support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use client_support::*;
use pyrgos_protocol::api::{Request, Response, Transport, TransportError};
use pyrgos_protocol::client::{ClientError, ErrorKind, InlineRuntime, Session, Settings, UploadOptions};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::SigningKeyPair;
use pyrgos_protocol::names::{Chain, Date};

const GET: &str = "api/v0/block/get";
const LOOK_UP: &str = "api/v0/champ/get/bulk";
const POINTER: &str = "peergos/v0/mutable/getPointer";

type Lie<'n> = Box<dyn Fn(&Request, Bytes) -> Bytes + Send + Sync + 'n>;

/// Passes calls on, and changes some answers once it is told to.
struct Liar<'n> {
    node: &'n TestNode,
    lies: AtomicBool,
    lie: Lie<'n>,
}

impl Transport for Liar<'_> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut response = self.node.send(request.clone()).await?;
        if self.lies.load(Ordering::Relaxed) {
            response.body = (self.lie)(&request, response.body);
        }
        Ok(response)
    }
}

fn liar<'n>(node: &'n TestNode, lie: impl Fn(&Request, Bytes) -> Bytes + Send + Sync + 'n) -> Liar<'n> {
    Liar { node, lies: AtomicBool::new(true), lie: Box::new(lie) }
}

/// A liar in the way of one kind of call.
fn on<'n>(node: &'n TestNode, path: &'static str, lie: impl Fn(Bytes) -> Bytes + Send + Sync + 'n) -> Liar<'n> {
    liar(node, move |request, body| if request.path == path { lie(body) } else { body })
}

fn flip(body: Bytes) -> Bytes {
    let mut body = body.to_vec();
    if let Some(last) = body.last_mut() {
        *last ^= 1;
    }
    body.into()
}

struct Account {
    node: TestNode,
    whole: Vec<u8>,
}

impl Account {
    fn new() -> Self {
        Account { node: TestNode::default(), whole: content("secret", 7 << 20) }
    }

    fn fill(&self) -> TestSession<'_> {
        let session = sign_up(&self.node, "alice", 1);
        run(session.make_directory(&path("/alice/d"))).unwrap();
        put(&session, "/alice/d/big", &self.whole, &UploadOptions::default()).unwrap();
        put(&session, "/alice/d/small", b"small", &UploadOptions::default()).unwrap();
        session
    }
}

/// Reads everything over a liar; what fails, after a check that no wrong byte was delivered.
fn read<'n>(account: &Account, session: &Session<Liar<'n>, InlineRuntime<Seeded>>) -> ClientError {
    let mut delivered = Vec::new();
    let error = run(session.download(&path("/alice/d/big"), None, &mut delivered, &())).unwrap_err();
    assert!(account.whole.starts_with(&delivered), "wrong content was delivered");
    error
}

macro_rules! named {
    ($error:expr, $pattern:pat) => {{
        let error = $error;
        assert!(matches!(error, $pattern), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Untrustworthy);
        assert!(!error.may_retry());
    }};
}

#[test]
fn blocks() {
    let account = Account::new();
    let session = account.fill();
    let over = |liar| clone_session(&session, liar, 2);

    named!(read(&account, &over(on(&account.node, GET, flip))), ClientError::TamperedBlock { .. });
    let cut = |body: Bytes| body.slice(..body.len() / 2);
    named!(read(&account, &over(on(&account.node, GET, cut))), ClientError::TamperedBlock { .. });
    let withheld = |_| Bytes::new();
    named!(read(&account, &over(on(&account.node, GET, withheld))), ClientError::WithheldBlock { .. });

    // Another genuine block of the same account in place of the right one.
    let last = Mutex::new(Bytes::new());
    let swap = move |body: Bytes| {
        let mut last = last.lock().unwrap();
        let other = std::mem::replace(&mut *last, body.clone());
        if other.is_empty() { body } else { other }
    };
    named!(read(&account, &over(on(&account.node, GET, swap))), ClientError::TamperedBlock { .. });
}

#[test]
fn listings() {
    let account = Account::new();
    let session = account.fill();
    let over = |liar| clone_session(&session, liar, 2);

    // A cut list is no list; a list cut between items proves nothing, and neither do single blocks that are withheld.
    let cut = |body: Bytes| body.slice(..body.len() - 1);
    named!(read(&account, &over(on(&account.node, LOOK_UP, cut))), ClientError::CutAnswer { .. });
    named!(read(&account, &over(on(&account.node, LOOK_UP, |_| Bytes::new()))), ClientError::CutAnswer { .. });
    let nothing = liar(&account.node, |request, body| match request.path.as_str() {
        LOOK_UP => Value::List(Vec::new()).encode().into(),
        // The state of the writer itself is still given.
        GET if body.len() > 400 || body.starts_with(&[0x83]) => Bytes::new(),
        _ => body,
    });
    named!(read(&account, &over(nothing)), ClientError::WithheldBlock { .. });

    // The tree as it was before the file came: genuine blocks of the account, but not of the state that was signed.
    let before = Mutex::new(None);
    let old = liar(&account.node, move |request, body| match request.path.as_str() {
        LOOK_UP => {
            let mut before = before.lock().unwrap();
            let first: &mut Bytes = before.get_or_insert_with(|| body.clone());
            let mut blocks: Vec<Value> = Value::decode(first).unwrap().as_list().unwrap().to_vec();
            blocks.iter_mut().for_each(|block| *block = Value::bytes(flip(block.as_bytes().unwrap().clone())));
            Value::List(blocks).encode().into()
        }
        GET if body.len() > 400 || body.starts_with(&[0x83]) => Bytes::new(),
        _ => body,
    });
    named!(read(&account, &over(old)), ClientError::ForgedListing { .. });

    // Lies in the bulk answer alone do no harm: what is missing is fetched by itself.
    let session = over(on(&account.node, LOOK_UP, |_| Value::List(Vec::new()).encode().into()));
    let result = run(session.list(&path("/alice/d")));
    assert!(matches!(result, Ok(ref entries) if entries.len() == 2), "{result:?}");
}

#[test]
fn pointers() {
    let account = Account::new();
    let session = account.fill();
    let over = |liar| clone_session(&session, liar, 2);
    named!(read(&account, &over(on(&account.node, POINTER, flip))), ClientError::ForgedPointer { .. });
    named!(read(&account, &over(on(&account.node, POINTER, |_| Bytes::new()))), ClientError::WithheldPointer { .. });

    // A node that lost its newest data, or pretends so.
    let old = account.node.pointers();
    put(&session, "/alice/d/new", b"new", &UploadOptions::default()).unwrap();
    let state = session.state();
    let new = account.node.pointers();
    account.node.restore_pointers(old.clone());
    named!(run(session.list(&path("/alice/d"))).unwrap_err(), ClientError::OldPointer { .. });
    // Another process that goes on with the session remembers as well, even over its own bytes.
    let state = FromCbor::from_bytes(&state.to_bytes()).unwrap();
    let later = run(Session::resume(&account.node, runtime(5), Settings::default(), state)).unwrap();
    named!(run(later.list(&path("/alice/d"))).unwrap_err(), ClientError::OldPointer { .. });
    // And nothing is written on top of the old state.
    let result = put(&session, "/alice/d/newer", b"newer", &UploadOptions::default());
    named!(result.unwrap_err(), ClientError::OldPointer { .. });
    assert_eq!(account.node.pointers(), old);

    // Two histories with the same sequence: a second device writes on the restored state.
    let fresh = {
        let (name, secret) = (username("alice"), password("a good long password"));
        run(Session::log_in(&account.node, runtime(6), Settings::default(), &name, &secret, &())).unwrap()
    };
    put(&fresh, "/alice/d/other", b"other", &UploadOptions::default()).unwrap();
    assert_ne!(account.node.pointers(), new);
    named!(run(session.list(&path("/alice/d"))).unwrap_err(), ClientError::ForkedPointer { .. });

    // The state of another writer.
    account.node.restore_pointers(new);
    let identity = account.node.pointers();
    let pointers: Vec<Bytes> = identity.values().cloned().collect();
    let swapped = liar(&account.node, move |request, body| match request.path.as_str() {
        POINTER => pointers.iter().find(|other| **other != body).cloned().unwrap_or(body),
        _ => body,
    });
    named!(read(&account, &over(swapped)), ClientError::ForgedPointer { .. });
}

#[test]
fn names_and_logins() {
    let account = Account::new();
    let session = account.fill();
    let (name, secret) = (username("alice"), password("a good long password"));
    let log_in = |liar: Liar<'_>| match run(Session::log_in(liar, runtime(3), Settings::default(), &name, &secret, &()))
    {
        Ok(_) => panic!("logged in over a lie"),
        Err(error) => error,
    };
    const CHAIN: &str = "peergos/v0/core/getChain";
    // A chain that somebody else made for the name is as valid as any first claim; then the login data tell.
    let genuine = account.node.chain(&name);
    let mallory = SigningKeyPair::generate(&mut pyrgos_protocol::client::Runtime::rng(&runtime(9)));
    let today = Date::from_unix_millis(now().seconds() * 1000);
    let other = Chain::first(&username("mallory"), &mallory.signer(), account.node.id(), today).unwrap();
    named!(log_in(on(&account.node, CHAIN, move |_| other.to_bytes().into())), ClientError::ForgedClaim);
    let mut broken = genuine.clone();
    broken.0[0].claim.signed = flip(broken.0[0].claim.signed.clone());
    named!(log_in(on(&account.node, CHAIN, move |_| broken.to_bytes().into())), ClientError::ForgedClaim);
    named!(log_in(on(&account.node, CHAIN, |body| body.slice(..10))), ClientError::CutAnswer { .. });

    // Another name on the chain, whose pointer does not exist: nobody is logged in.
    let taken = Chain::first(&name, &mallory.signer(), account.node.id(), today).unwrap();
    let error = log_in(on(&account.node, CHAIN, move |_| taken.to_bytes().into()));
    assert!(matches!(error, ClientError::DeletedUser), "{error:?}");
    drop(session);
}
