//! The store fails at every single step of the changes that must be whole; afterwards the account is as before or as it
//! was meant to be, and the same request repeated brings it there.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use pyrgos::config::{Config, Settings, SignupPolicy};
use pyrgos::daemon;
use pyrgos::service::clock::{ManualClock, SystemEntropy};
use pyrgos::service::names::{LocalNames, Names, With};
use pyrgos::service::{Failure, Service, Source};
use pyrgos_protocol::api::core::{Decision, GetPublicKey};
use pyrgos_protocol::api::login::SetLogin;
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor};
use pyrgos_protocol::keys::{Owner, ProofOfWork, SecretSigningKey};
use pyrgos_protocol::login::{BlockWrite, IdentityUpdate};
use pyrgos_protocol::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::sign_up::Operation;
use pyrgos_protocol::names::{Chain, Username};
use pyrgos_store::layers::{Fault, Faulty};
use pyrgos_store::{Blocks, MemoryStore};
use support::account::{Account, signer};
use support::{Node, now};

/// More steps than any of the changes has.
const STEPS: u64 = 60;

struct Broken {
    store: Arc<Faulty<MemoryStore>>,
    service: Service,
}

impl Broken {
    fn new(node: &Node) -> Broken {
        let settings = Settings { data_dir: Some("/nonexistent".into()), ..Settings::default() };
        let config = Config { signup: SignupPolicy::Open, ..settings.resolve().unwrap() };
        let store = Arc::new(Faulty::new(MemoryStore::default()));
        let clock = Arc::new(ManualClock::new(now(node)));
        let service = daemon::service(store.clone(), &config, vec![node.id.clone()], clock, Arc::new(SystemEntropy));
        Broken { store, service }
    }

    fn logs_in(&self, node: &Node, account: &Account, reader: &SecretSigningKey) -> bool {
        self.service.get_login(account.get_login(node, reader), Source::Inside).is_ok()
    }

    fn pointer(&self, account: &Account) -> Option<Bytes> {
        self.service.get_pointer(GetPointer { owner: account.owner(), writer: account.writer() }).unwrap()
    }
}

/// Runs a change with a failure at each of its steps, until it has no further step.
fn at_every_step(fault: Fault, mut attempt: impl FnMut(u64, Fault) -> bool) {
    let finished = (0..STEPS).find(|step| attempt(*step, fault));
    let steps = finished.expect("the change has fewer steps");
    assert!(steps > 3, "only {steps} steps failed");
    println!("{steps} steps failed");
}

const FAULTS: [Fault; 3] = [Fault::Refuse, Fault::DiskFull, Fault::LoseAnswer];

#[test]
fn a_sign_up_is_there_or_not() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let call = alice.sign_up(&node);
    for fault in FAULTS {
        at_every_step(fault, |step, fault| {
            let broken = Broken::new(&node);
            broken.store.fail_after(step, fault);
            let outcome = broken.service.sign_up(call.clone());
            broken.store.heal();
            let owner = broken.service.public_key(GetPublicKey { username: alice.username.clone() }).unwrap();
            let is_there = owner.is_some();
            assert_eq!(broken.logs_in(&node, &alice, &alice.login), is_there);
            assert_eq!(broken.pointer(&alice).is_some(), is_there);
            assert!(is_there || outcome.is_err(), "acknowledged and lost");
            assert_eq!(broken.service.sign_up(call.clone()).unwrap(), Decision::Accepted);
            assert!(broken.logs_in(&node, &alice, &alice.login));
            outcome.is_ok()
        });
    }
}

/// Names that others decide about: before the decision garbage is collected, and after it.
struct Slow {
    names: LocalNames,
    service: OnceLock<Weak<Service>>,
    deleted: AtomicU64,
}

impl Slow {
    fn collect(&self) {
        let service = self.service.get().unwrap().upgrade().unwrap();
        let collected = service.collect(&AtomicBool::new(false)).unwrap();
        assert_eq!(collected.unreadable, 0);
        self.deleted.fetch_add(collected.blocks, Ordering::Relaxed);
    }
}

impl Names for Slow {
    fn chain(&self, username: &Username) -> Result<Chain, Failure> {
        self.names.chain(username)
    }

    fn username(&self, owner: &Owner) -> Result<Option<Username>, Failure> {
        self.names.username(owner)
    }

    fn usernames(&self, prefix: &str, limit: usize) -> Result<Vec<Username>, Failure> {
        self.names.usernames(prefix, limit)
    }

    fn examine(&self, username: &Username, update: &Chain, proof: &ProofOfWork) -> Result<Decision, Failure> {
        self.names.examine(username, update, proof)
    }

    fn claim(
        &self,
        username: &Username,
        update: &Chain,
        proof: &ProofOfWork,
        with: With<'_>,
    ) -> Result<Decision, Failure> {
        self.collect();
        self.names.claim(username, update, proof, with)
    }
}

#[test]
fn a_collection_during_a_sign_up_takes_nothing_of_it() {
    let node = Node::usual();
    let settings = Settings { data_dir: Some("/nonexistent".into()), ..Settings::default() };
    let config = Config { signup: SignupPolicy::Open, ..settings.resolve().unwrap() };
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(ManualClock::new(now(&node)));
    let names = LocalNames::new(store.clone(), clock.clone(), config.max_daily_signups);
    let slow = Arc::new(Slow { names, service: OnceLock::new(), deleted: AtomicU64::new(0) });
    let ids = vec![node.id.clone()];
    let service = daemon::service_with_names(store.clone(), &config, ids, slow.clone(), clock, Arc::new(SystemEntropy));
    let service = Arc::new(service);
    slow.service.set(Arc::downgrade(&service)).unwrap();

    let alice = Account::new("alice");
    assert_eq!(service.sign_up(alice.sign_up(&node)).unwrap(), Decision::Accepted);
    assert_eq!(slow.deleted.load(Ordering::Relaxed), 0);
    slow.collect();
    let signed = service.get_pointer(GetPointer { owner: alice.owner(), writer: alice.writer() }).unwrap().unwrap();
    let update = PointerUpdate::open(&alice.writer().signing_key().unwrap(), &signed).unwrap();
    let target = GetBlock { owner: alice.owner(), cid: update.updated().unwrap().clone(), bat: None };
    assert!(service.get_block(target).unwrap().is_some());

    // What a sign-up leaves behind that was given up is garbage, and what another one brings again meanwhile is not.
    let bob = Account::new("bob");
    let call = bob.sign_up(&node);
    let blocks = call.log.operations.iter().filter_map(|operation| match operation {
        Operation::Block(write) => Some((write.cid(), write.block.clone())),
        Operation::Pointer(_) => None,
    });
    store.put(&bob.owner(), &blocks.collect::<Vec<_>>()).unwrap();
    slow.deleted.store(0, Ordering::Relaxed);
    assert_eq!(service.sign_up(call).unwrap(), Decision::Accepted);
    slow.collect();
    assert_eq!(slow.deleted.load(Ordering::Relaxed), 0);
}

#[test]
fn one_password_works_whatever_fails() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let new = signer("alice new login").secret;
    let data = WriterData {
        inbound: Some(alice.identity.public_key_hash.clone()),
        ..WriterData::new(alice.identity.public_key_hash.clone())
    };
    let data = Bytes::from(data.to_bytes());
    let update = alice.pointer.next(Some(Cid::of_cbor(&data))).unwrap().sign(&alice.identity.secret);
    let mut login = alice.login_data(&new);
    login.identity_update = Some(IdentityUpdate {
        block: BlockWrite::sign(data.clone(), false, &alice.identity),
        pointer: SignedPointerUpdate { writer: alice.writer(), signed: update.clone() },
    });
    let auth = Bytes::from(login.authorise(&alice.identity.secret).to_vec());
    let change = || SetLogin { username: "alice".to_owned(), data: login.clone(), auth: auth.clone(), local: false };
    for fault in FAULTS {
        at_every_step(fault, |step, fault| {
            let broken = Broken::new(&node);
            broken.service.sign_up(alice.sign_up(&node)).unwrap();
            broken.store.fail_after(step, fault);
            let outcome = broken.service.set_login(change());
            broken.store.heal();
            let changed = broken.logs_in(&node, &alice, &new);
            assert_eq!(broken.logs_in(&node, &alice, &alice.login), !changed);
            assert_eq!(broken.pointer(&alice).as_ref() == Some(&update), changed);
            assert!(!matches!(outcome, Ok(true) if !changed), "acknowledged and lost");
            assert!(broken.service.set_login(change()).unwrap());
            assert!(broken.logs_in(&node, &alice, &new));
            outcome.is_ok()
        });
    }
}

#[test]
fn a_commit_reaches_only_blocks_that_are_there() {
    let node = Node::usual();
    let alice = Account::new("alice");
    let tree = [0x81, 0x01];
    let data =
        WriterData { tree: Some(Cid::of_cbor(&tree)), ..WriterData::new(alice.identity.public_key_hash.clone()) }
            .to_bytes();
    let put = alice.put(Codec::DagCbor, &[&tree, &data]);
    let set = alice.set_pointer(Some(Cid::of_cbor(&data)));
    for fault in FAULTS {
        at_every_step(fault, |step, fault| {
            let broken = Broken::new(&node);
            broken.service.sign_up(alice.sign_up(&node)).unwrap();
            broken.store.fail_after(step, fault);
            let outcome: Result<bool, Failure> =
                broken.service.put_blocks(put.clone()).and_then(|_| broken.service.set_pointer(set.clone()));
            broken.store.heal();
            let moved = broken.pointer(&alice).as_ref() == Some(&set.update);
            assert!(!matches!(outcome, Ok(true) if !moved), "acknowledged and lost");
            for block in [&tree[..], &data] {
                let get = GetBlock { owner: alice.owner(), cid: Cid::of_cbor(block), bat: None };
                let stored = broken.service.get_block(get).unwrap();
                assert!(!moved || stored.as_deref() == Some(block));
            }
            outcome.is_ok()
        });
    }
}
