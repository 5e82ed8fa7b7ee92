//! People on one node in memory, without a socket: for tests that make very many calls, or that watch every single one.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

#[path = "../../../protocol/tests/client_support/runtime.rs"]
pub mod client_runtime;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
pub use client_runtime::{Seeded, now, runtime};
use futures_util::FutureExt;
use pyrgos::config::{Settings as NodeSettings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::service::clock::{ManualClock, SystemEntropy};
use pyrgos::service::{Failure, Service, Source};
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
use pyrgos_protocol::api::core::{GetChain, GetPublicKey, GetUsername, SignUp as SignUpCall, UpdateChain};
use pyrgos_protocol::api::links::{GetLinkCounts, OpenSecretLink};
use pyrgos_protocol::api::login::{GetLogin, SetLogin};
use pyrgos_protocol::api::message::{GetMessages, SendMessage};
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::api::space::{GetQuota, GetUsage};
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetBlockSize, GetServerId, LookUpChunks, PutBlocks, StartTransaction,
};
use pyrgos_protocol::api::{ApiError, Call, Request, Response, Transport, TransportError};
use pyrgos_protocol::client::{
    ClientError, IfExists, InlineRuntime, Password, RemotePath, Session, SessionState, Settings, SignUp, UploadOptions,
};
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, Multihash, ToCbor};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Answer;
use pyrgos_store::MemoryStore;

/// What is done with a request on its way: an answer goes back in the node's place.
type StepIn = Box<dyn FnMut(&Request) -> Option<Result<Response, TransportError>> + Send>;

/// A request and what came back.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: Request,
    pub answer: Result<Response, TransportError>,
}

#[derive(Default)]
struct Tap {
    step_in: Option<StepIn>,
    recorded: Option<Vec<Exchange>>,
    count: usize,
}

/// The way of one session to the node: counts, records, and lets a test step in.
#[derive(Clone)]
pub struct Way {
    service: Arc<Service>,
    tap: Arc<Mutex<Tap>>,
}

impl Way {
    pub fn new(service: &Arc<Service>) -> Self {
        Way { service: service.clone(), tap: Arc::default() }
    }

    /// The node that it leads to.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    fn tap(&self) -> MutexGuard<'_, Tap> {
        self.tap.lock().unwrap()
    }

    /// Before each request, until [`Way::free`].
    pub fn step_in(&self, step_in: impl FnMut(&Request) -> Option<Result<Response, TransportError>> + Send + 'static) {
        self.tap().step_in = Some(Box::new(step_in));
    }

    pub fn free(&self) {
        self.tap().step_in = None;
    }

    /// From the `n`-th request on (counted from zero) nothing arrives any more, as if the program had been killed before
    /// it. With `arrives` that request itself is answered by the node, but the answer is lost.
    pub fn kill_at(&self, n: usize, arrives: bool) {
        let (mut sent, service) = (0, self.service.clone());
        self.step_in(move |request| {
            sent += 1;
            if sent <= n {
                return None;
            }
            if arrives && sent == n + 1 {
                answer(&service, request);
            }
            Some(Err(TransportError::TooLarge(0)))
        });
    }

    /// Records from now on.
    pub fn record(&self) {
        self.tap().recorded = Some(Vec::new());
    }

    /// What was recorded; recording ends.
    pub fn recorded(&self) -> Vec<Exchange> {
        self.tap().recorded.take().expect("a recording")
    }

    /// Requests since the last time this was asked.
    pub fn take_count(&self) -> usize {
        std::mem::take(&mut self.tap().count)
    }
}

impl Transport for Way {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let mut step_in = self.tap().step_in.take();
        let stepped_in = step_in.as_mut().and_then(|step_in| step_in(&request));
        let answer = stepped_in.unwrap_or_else(|| Ok(answer(&self.service, &request)));
        let mut tap = self.tap();
        tap.step_in = step_in;
        tap.count += 1;
        if let Some(recorded) = &mut tap.recorded {
            recorded.push(Exchange { request, answer: answer.clone() });
        }
        answer
    }
}

/// A way on which no answer comes before everything is asked that can be asked without it: it counts the round trips that
/// a client waits for.
#[derive(Clone)]
pub struct InRounds {
    way: Way,
    round: Arc<Mutex<Round>>,
}

#[derive(Default)]
struct Round {
    number: usize,
    waiting: Vec<Waker>,
}

impl InRounds {
    pub fn new(service: &Arc<Service>) -> Self {
        InRounds { way: Way::new(service), round: Arc::default() }
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap()
    }

    /// Runs a future, and counts its round trips.
    pub fn count<O>(&self, future: impl Future<Output = O>) -> (O, usize) {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let start = self.round().number;
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return (output, self.round().number - start);
            }
            // Who only lets others go first waits for no answer.
            if !woken.0.swap(false, Ordering::Relaxed) {
                let waiting = {
                    let mut round = self.round();
                    round.number += 1;
                    std::mem::take(&mut round.waiting)
                };
                assert!(!waiting.is_empty(), "the client waits for nothing");
                waiting.into_iter().for_each(Waker::wake);
                woken.0.store(false, Ordering::Relaxed);
            }
        }
    }
}

impl Transport for InRounds {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let sent = self.round().number;
        std::future::poll_fn(|context| {
            let mut round = self.round();
            if round.number > sent {
                return Poll::Ready(());
            }
            round.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.way.send(request).await
    }
}

fn answer(service: &Service, request: &Request) -> Response {
    fn serve<C: Call>(
        request: &Request,
        run: impl FnOnce(C) -> Result<C::Output, Failure>,
    ) -> Result<Response, ApiError> {
        assert!(request.body.len() <= C::MAX_BODY, "a body that the node would refuse: {}", request.path);
        let call = C::parse(request)?;
        Ok(Response::ok(C::write(&run(call).map_err(Failure::into_api)?)))
    }
    macro_rules! serve {
        ($($call:ident => $run:expr;)*) => {
            match request.path.as_str() {
                $($call::PATH => serve::<$call>(request, |call| $run(service, call)),)*
                other => panic!("the client called {other}"),
            }
        };
    }
    let served = serve! {
        GetServerId => |service: &Service, _| Ok(service.ids()[0].clone());
        StartTransaction => Service::start_transaction;
        CloseTransaction => Service::close_transaction;
        PutBlocks => Service::put_blocks;
        GetBlock => Service::get_block;
        GetBlockSize => Service::block_size;
        LookUpChunks => Service::look_up_chunks;
        GetPointer => Service::get_pointer;
        SetPointer => Service::set_pointer;
        SetPointers => Service::set_pointers;
        GetChain => Service::chain;
        GetPublicKey => Service::public_key;
        GetUsername => Service::username;
        SignUpCall => Service::sign_up;
        UpdateChain => Service::update_chain;
        GetLogin => |service: &Service, call| service.get_login(call, Source::Inside);
        SetLogin => Service::set_login;
        GetUserBats => Service::get_user_bats;
        AddBat => Service::add_bat;
        SendFollowRequest => |service: &Service, call| service.send_follow_request(call, Source::Inside);
        GetFollowRequests => Service::get_follow_requests;
        RemoveFollowRequest => Service::remove_follow_request;
        OpenSecretLink => Service::open_link;
        GetLinkCounts => Service::link_counts;
        GetMessages => Service::get_messages;
        SendMessage => Service::send_message;
        GetQuota => Service::get_quota;
        GetUsage => Service::get_usage;
    };
    served.unwrap_or_else(Response::from)
}

/// Runs a future over a [`Way`].
pub fn run<O>(future: impl Future<Output = O>) -> O {
    future.now_or_never().expect("nothing waits in memory")
}

pub fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

pub fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

pub type TestSession = Session<Way, InlineRuntime<Seeded>>;

/// A node over a store.
pub fn node(store: Arc<MemoryStore>) -> Arc<Service> {
    let settings = NodeSettings { data_dir: Some("/nonexistent".into()), ..NodeSettings::default() };
    let mut config = settings.resolve().unwrap();
    config.signup = SignupPolicy::Open;
    // Time stands still here, and all sign up in one instant: no proofs of work.
    config.max_daily_signups = u32::MAX;
    let key = [&[8, 1, 18, 32][..], &[7; 32]].concat();
    let id = Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &key).unwrap());
    let clock = Arc::new(ManualClock::new(now().seconds() * 1000 + 500));
    Arc::new(daemon::service(store, &config, vec![id], clock, Arc::new(SystemEntropy)))
}

/// A new account.
pub fn sign_up(service: &Arc<Service>, user: &str, seed: u64) -> TestSession {
    let password = Password::new("a good long password".to_owned());
    let account = SignUp { username: name(user), password, token: String::new() };
    run(Session::sign_up(Way::new(service), runtime(seed), Settings::default(), account)).unwrap()
}

/// A session of an account whose secrets are at hand, without the slow derivation.
pub fn resume(service: &Arc<Service>, state: SessionState, seed: u64) -> TestSession {
    run(Session::resume(Way::new(service), runtime(seed), Settings::default(), state)).unwrap()
}

/// The same over a way that counts round trips.
pub fn resume_in_rounds(
    service: &Arc<Service>,
    state: SessionState,
    seed: u64,
) -> Session<InRounds, InlineRuntime<Seeded>> {
    let way = InRounds::new(service);
    way.count(Session::resume(way.clone(), runtime(seed), Settings::default(), state)).0.unwrap()
}

/// Makes two accounts friends.
pub fn befriend(asker: &TestSession, answerer: &TestSession) {
    run(asker.follow(answerer.username())).unwrap();
    run(answerer.answer(asker.username(), Answer::AcceptAndReciprocate)).unwrap();
    run(asker.contacts()).unwrap();
}

/// Stores a file.
pub fn put(session: &TestSession, at: &RemotePath, content: &[u8], if_exists: IfExists) -> Result<bool, ClientError> {
    let options = UploadOptions { if_exists, ..UploadOptions::default() };
    run(session.upload(at, &mut Bytes::copy_from_slice(content), &options, &()))
}

/// The names of those in [`Friends`].
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// Three accounts of which each is a friend of the others, prepared once: every start goes its own way from there.
pub struct Friends {
    store: MemoryStore,
    states: Vec<Vec<u8>>,
}

impl Friends {
    pub fn prepared() -> &'static Friends {
        static PREPARED: OnceLock<Friends> = OnceLock::new();
        PREPARED.get_or_init(|| {
            let store = Arc::new(MemoryStore::default());
            let service = node(store.clone());
            let sessions: Vec<TestSession> =
                USERS.iter().zip(1 << 40..).map(|(user, seed)| sign_up(&service, user, seed)).collect();
            for (asker, answerer) in [(0, 1), (1, 2), (2, 0)] {
                befriend(&sessions[asker], &sessions[answerer]);
            }
            Friends {
                store: MemoryStore::clone(&store),
                states: sessions.iter().map(|session| session.state().to_bytes()).collect(),
            }
        })
    }

    /// A node with the three, and a session of each.
    pub fn start(&self, seed: u64) -> (Arc<Service>, Vec<TestSession>) {
        let service = node(Arc::new(self.store.clone()));
        let sessions = (0..USERS.len()).map(|user| self.session(&service, user, seed.wrapping_mul(8) + user as u64));
        let sessions = sessions.collect();
        (service, sessions)
    }

    /// A session that has seen nothing since the preparation.
    pub fn session(&self, service: &Arc<Service>, user: usize, seed: u64) -> TestSession {
        resume(service, SessionState::from_bytes(&self.states[user]).unwrap(), seed)
    }
}
