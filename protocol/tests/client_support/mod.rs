//! What the client's tests share: an honest node in memory, time and randomness from a seed.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod node;
pub mod runtime;

pub use node::TestNode;
#[allow(unused_imports, reason = "each test uses a part")]
pub use runtime::{Seeded, now, runtime};

use futures_util::FutureExt;
use pyrgos_protocol::client::{
    ClientError, InlineRuntime, Password, RemotePath, Session, Settings, SignUp, UploadOptions,
};
use pyrgos_protocol::names::Username;

/// Runs a future over transports and runtimes that never wait.
pub fn run<O>(future: impl Future<Output = O>) -> O {
    future.now_or_never().expect("nothing waits in memory")
}

pub fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

pub fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

pub fn username(text: &str) -> Username {
    Username::new(text).unwrap()
}

pub type TestSession<'n> = Session<&'n TestNode, InlineRuntime<Seeded>>;

/// A new account on a node.
pub fn sign_up<'n>(node: &'n TestNode, name: &str, seed: u64) -> TestSession<'n> {
    let account = SignUp { username: username(name), password: password("a good long password"), token: String::new() };
    run(Session::sign_up(node, runtime(seed), Settings::default(), account)).unwrap()
}

/// Another session of the same account, without the slow derivation.
pub fn clone_session<'n, T: pyrgos_protocol::api::Transport>(
    session: &TestSession<'n>,
    transport: T,
    seed: u64,
) -> Session<T, InlineRuntime<Seeded>> {
    run(Session::resume(transport, runtime(seed), Settings::default(), session.state())).unwrap()
}

/// Stores a file from memory.
pub fn put<T: pyrgos_protocol::api::Transport>(
    session: &Session<T, InlineRuntime<Seeded>>,
    at: &str,
    content: &[u8],
    options: &UploadOptions,
) -> Result<bool, ClientError> {
    let mut source = bytes::Bytes::copy_from_slice(content);
    run(session.upload(&path(at), &mut source, options, &()))
}

/// Content that a seed gives: `content(seed, n)` of `spec/03` §13.
pub fn content(seed: &str, len: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(len + 32);
    for counter in 0u64.. {
        if content.len() >= len {
            break;
        }
        let mut input = seed.as_bytes().to_vec();
        input.extend_from_slice(&counter.to_be_bytes());
        content.extend_from_slice(&pyrgos_crypto::hash::sha256(&input));
    }
    content.truncate(len);
    content
}
