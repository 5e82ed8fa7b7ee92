//! Users of a node in this process: sessions whose requests a test can see, change and hold back.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pyrgos_protocol::api::{Request, Response, Transport, TransportError};
use pyrgos_protocol::client::{Contact, Followed, InlineRuntime, Password, Session, Settings, SignUp, UploadOptions};
use pyrgos_protocol::encoding::{Cid, Codec, Multihash};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Answer;

use crate::client_runtime::{Seeded, now, runtime};
use crate::support::{Node, path, run};

/// What happens to a request on its way.
pub type Way<'n> = Box<dyn FnMut(&Request) -> Option<Result<Response, TransportError>> + Send + 'n>;

/// Sends over a socket and waits for the answer, so that its futures are ready at their first poll. A test can step in.
#[derive(Clone)]
pub struct Wire<'n> {
    pub node: &'n Node,
    way: Arc<Mutex<Option<Way<'n>>>>,
}

impl<'n> Wire<'n> {
    pub fn new(node: &'n Node) -> Self {
        Wire { node, way: Arc::default() }
    }

    /// Before each request, until [`Wire::free`]: an answer goes back in the node's place.
    pub fn step_in(&self, way: impl FnMut(&Request) -> Option<Result<Response, TransportError>> + Send + 'n) {
        *self.way.lock().unwrap() = Some(Box::new(way));
    }

    pub fn free(&self) {
        *self.way.lock().unwrap() = None;
    }

    /// Before the first request to a path, something else happens.
    pub fn before(&self, path: &'static str, then: impl FnOnce() + Send + 'n) {
        let mut then = Some(then);
        self.step_in(move |request| {
            if request.path == path
                && let Some(then) = then.take()
            {
                then();
            }
            None
        });
    }

    /// The connection fails at every request to a path.
    pub fn cut(&self, path: &'static str) {
        self.step_in(move |request| {
            (request.path == path).then(|| Err(TransportError::Connect("cut by the test".to_owned())))
        });
    }
}

impl Transport for Wire<'_> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let stepped_in = self.way.lock().unwrap().as_mut().and_then(|way| way(&request));
        match stepped_in {
            Some(answer) => answer,
            None => Ok(self.node.request(request).into_response()),
        }
    }
}

pub type TestSession<'n> = Session<Wire<'n>, InlineRuntime<Seeded>>;

pub fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

pub fn start() -> Node {
    let key = [&[8, 1, 18, 32][..], &[7; 32]].concat();
    let id = Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &key).unwrap());
    let node = Node::start(vec![id], |_| {});
    node.clock.set(now().seconds() * 1000 + 500);
    node
}

pub fn sign_up<'n>(node: &'n Node, user: &str, seed: u64) -> TestSession<'n> {
    let password = Password::new("a good long password".to_owned());
    let account = SignUp { username: name(user), password, token: String::new() };
    run(Session::sign_up(Wire::new(node), runtime(seed), Settings::default(), account)).unwrap()
}

/// Another device of the same user.
pub fn second<'n>(session: &TestSession<'n>, seed: u64) -> TestSession<'n> {
    let wire = Wire::new(session.transport().node);
    run(Session::resume(wire, runtime(seed), Settings::default(), session.state())).unwrap()
}

pub fn put(session: &TestSession<'_>, at: &str, content: &[u8]) {
    let mut source = Bytes::copy_from_slice(content);
    run(session.upload(&path(at), &mut source, &UploadOptions::default(), &())).unwrap();
}

pub fn read(session: &TestSession<'_>, at: &str) -> Vec<u8> {
    run(session.read(&path(at))).unwrap()
}

pub fn befriend(asker: &TestSession<'_>, answerer: &TestSession<'_>) {
    assert_eq!(run(asker.follow(answerer.username())).unwrap(), Followed::Asked);
    run(answerer.answer(asker.username(), Answer::AcceptAndReciprocate)).unwrap();
    assert!(contact(asker, answerer.username().as_str()).is_friend());
}

pub fn contact(session: &TestSession<'_>, user: &str) -> Contact {
    let contacts = run(session.contacts()).unwrap();
    contacts.into_iter().find(|contact| contact.username.as_str() == user).unwrap_or_else(|| panic!("{user}"))
}
