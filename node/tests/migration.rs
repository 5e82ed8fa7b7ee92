//! Moving an account away: what its present home does when another node asks for it (`spec/06` §8.3).

#[path = "people/mod.rs"]
mod people;

use std::sync::{Arc, Mutex};

use people::{TestSession, name, path, run, sign_up};
use pyrgos::identity::server_id;
use pyrgos::service::{Service, Source};
use pyrgos_protocol::api::core::{GetChain, MigrateUser, UpdateChain};
use pyrgos_protocol::api::storage::GetServerId;
use pyrgos_protocol::api::{Call, Response};
use pyrgos_protocol::client::ClientError;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_store::MemoryStore;

fn node(seed: u8) -> Cid {
    server_id(&SecretSigningKey::from_seed(&[seed; 32]).public())
}

fn scene() -> (Arc<Service>, TestSession) {
    let service = people::node(Arc::new(MemoryStore::default()));
    let session = sign_up(&service, "alice", 1);
    run(session.make_directory(&path("/alice/docs"))).unwrap();
    (service, session)
}

/// What a client says who moves to `target`; nothing of it arrives.
fn claim_for(session: &TestSession, target: &Cid) -> MigrateUser {
    let (seen, target) = (Arc::new(Mutex::new(None)), target.clone());
    let keep = seen.clone();
    session.transport().step_in(move |request| match request.path.as_str() {
        GetServerId::PATH => Some(Ok(Response::ok(GetServerId::write(&target)))),
        MigrateUser::PATH => {
            *keep.lock().unwrap() = Some(MigrateUser::parse(request).unwrap());
            Some(Ok(Response { status: 400, trailer: Some("not yet".to_owned()), body: Default::default() }))
        }
        _ => None,
    });
    assert!(matches!(run(session.migrate()), Err(ClientError::Refused { .. })));
    session.transport().free();
    let call = seen.lock().unwrap().take();
    call.expect("the client asks")
}

fn check(snapshot: &UserSnapshot, service: &Service) {
    assert_eq!(snapshot.username, name("alice"));
    assert_eq!(snapshot.bats.len(), 1);
    assert!(snapshot.login.is_some());
    // Identity and home directory.
    assert_eq!(snapshot.pointers.len(), 2);
    assert_eq!(service.chain(GetChain { username: name("alice") }).unwrap().owner(), Some(&snapshot.owner));
}

#[test]
fn only_the_node_that_the_owner_names_gets_the_account() {
    let (service, session) = scene();
    let (home, target) = (service.ids().last().unwrap().clone(), node(7));
    let call = claim_for(&session, &target);
    assert_eq!((&call.current_home, call.commit), (&home, true));
    let look = MigrateUser { commit: false, ..call.clone() };

    let refused = |call: &MigrateUser, source: Source| {
        let refused = service.migrate_user(call.clone(), source);
        assert!(refused.is_err(), "{:?}", refused.ok());
    };
    for call in [&look, &call] {
        refused(call, Source::Inside);
        refused(call, Source::Address([127, 0, 0, 1].into()));
        refused(call, Source::Peer(node(8)));
        refused(&MigrateUser { current_home: node(8), ..call.clone() }, Source::Peer(target.clone()));
        // The chain that everybody knows.
        let public = service.chain(GetChain { username: name("alice") }).unwrap();
        let public = MigrateUser { chain: public, ..call.clone() };
        for source in [Source::Peer(home.clone()), Source::Peer(target.clone())] {
            refused(&public, source);
        }
    }
    // A claim of somebody else, made for the same target.
    let mallory = sign_up(&service, "mallory", 2);
    let foreign = MigrateUser { username: name("alice"), ..claim_for(&mallory, &target) };
    refused(&foreign, Source::Peer(target.clone()));

    check(&service.migrate_user(look, Source::Peer(target.clone())).unwrap(), &service);
    // Nothing has changed by looking.
    run(session.make_directory(&path("/alice/more"))).unwrap();
    check(&service.migrate_user(call.clone(), Source::Peer(target.clone())).unwrap(), &service);
    assert_eq!(service.chain(GetChain { username: name("alice") }).unwrap().home(), Some(&target));
    // The connection broke: the rest is fetched again.
    check(&service.migrate_user(call, Source::Peer(target)).unwrap(), &service);
}

#[test]
fn nothing_is_written_at_a_node_that_is_the_home_no_more() {
    let (service, session) = scene();
    let target = node(7);
    let call = claim_for(&session, &target);
    service.migrate_user(call.clone(), Source::Peer(target.clone())).unwrap();
    let refused = run(session.make_directory(&path("/alice/late")));
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");

    // An older claim, put before the node once more, brings nothing back.
    let present = service.chain(GetChain { username: name("alice") }).unwrap();
    assert_eq!(present, call.chain);
    let (other, other_session) = scene();
    let old = other.chain(GetChain { username: name("alice") }).unwrap();
    drop(other_session);
    let update = UpdateChain {
        username: name("alice"),
        update: old,
        proof: pyrgos_protocol::keys::ProofOfWork::first_try(),
        token: String::new(),
    };
    assert!(service.update_chain(update).is_err());
    assert_eq!(service.chain(GetChain { username: name("alice") }).unwrap().home(), Some(&target));
}
