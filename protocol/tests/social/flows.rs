//! `05-follow-flows.json` and `05-unfollow-remove.json`: the files of both sides before and after each step, and the
//! messages between them.

use std::collections::BTreeSet;

use bytes::Bytes;
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::SecretBoxingKey;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::annotation::Annotations;
use pyrgos_protocol::social::friends::{Blocked, PendingSocialState, following};
use pyrgos_protocol::social::inbox::Effects;
use pyrgos_protocol::social::stream;
use pyrgos_protocol::social::{Answer, FriendAnnotation, Groups, Inbox, ReceivedFollowRequest};
use serde_json::Value;

use crate::files::{capability, check_all, content, entries, name, records, structure};
use crate::support::{Cases, bytes, int, text};

#[test]
fn follow_flows() {
    let mut cases = Cases::of("05-follow-flows");
    let flows = cases.value("flows");
    let mut opened = 0;
    let files = check_all(&flows);
    for (flow, steps) in flows.as_object().unwrap() {
        let Some(steps) = steps.as_object() else { continue };
        for (step, record) in steps {
            if record.get("requests").is_some() {
                opened += requests(record).len();
            }
            if let Some(directories) = record.get("shared_dirs") {
                shared_directories(directories);
            }
            println!("05-follow-flows.json: {flow}: {step}");
        }
    }
    accept_and_reciprocate(&flows["accept_and_reciprocate alice->bob"]);
    deny(&flows["deny carol->dave"]);
    let [accept, reciprocate] = ["accept_only erin", "reciprocate_only frank"].map(|start| {
        let (_, flow) = flows.as_object().unwrap().iter().find(|(flow, _)| flow.starts_with(start)).unwrap();
        flow.clone()
    });
    accept_only(&accept);
    reciprocate_only(&reciprocate);
    simultaneous(&flows["simultaneous initial requests bob<->carol"]);
    annotations(&flows);
    // The flows: four kinds of answers, two requests at once, and the annotations.
    cases.count(files + opened + 6);
    cases.leave("sending and storing", "the client's");
    cases.finish();
}

/// Opens an inbox and compares what is in it.
fn requests(record: &Value) -> Vec<ReceivedFollowRequest> {
    let secret: SecretBoxingKey = structure(&bytes(record, "receiver_boxing_secret"));
    assert_eq!(secret.public().to_bytes(), bytes(record, "receiver_boxing_public"));
    let requests = record["requests"].as_array().unwrap().iter().map(|recorded| {
        let blind = Bytes::from(bytes(recorded, "blind_request"));
        assert_eq!(blind.len() as i64, int(recorded, "blind_request_size"));
        let received = ReceivedFollowRequest::open(blind, &secret).expect("the receiver can open it");
        let request = &received.request;
        assert_eq!(request.to_bytes(), bytes(recorded, "follow_request_cbor"));
        assert_eq!(request.sender().as_str(), text(recorded, "entry_owner_name"));
        assert_eq!(request.entry().is_none(), recorded["entry_cap_is_null"] == true);
        assert_eq!(request.entry.capability, capability(&recorded["entry_cap"]));
        let key = request.key.as_ref().map(|key| hex::encode(key.to_bytes()));
        assert_eq!(key.as_deref(), recorded["key"].as_str());
        received
    });
    requests.collect()
}

fn shared_directories(directories: &Value) {
    for directory in directories.as_array().unwrap() {
        let cap = capability(&directory["cap"]);
        assert!(cap.is_writable());
        assert!(granted(&directory["sharing.r"]).iter().all(|cap| !cap.is_writable()));
        assert!(granted(&directory["sharing.w"]).iter().all(|cap| cap.is_writable()));
    }
}

/// The capabilities in a recorded stream, which must lie where it says.
fn granted(stream: &Value) -> Vec<AbsoluteCapability> {
    let recorded = stream.as_array().cloned().unwrap_or_default();
    let caps: Vec<_> = recorded.iter().map(|record| capability(&record["cap"])).collect();
    records(&Value::Array(recorded), &stream::write_all(&caps).into())
}

fn names(list: &Value) -> BTreeSet<Username> {
    list.as_array().unwrap().iter().map(|text| name(text.as_str().unwrap())).collect()
}

/// The people for whom a user has a sharing directory.
fn directories(state: &Value) -> BTreeSet<Username> {
    let children = state["shared_children"].as_array().unwrap().iter().map(|child| child.as_str().unwrap());
    children.filter(|child| !child.starts_with('.')).map(name).collect()
}

fn pending(state: &Value) -> BTreeSet<Username> {
    let file = content(&state[".social-state.cbor"]);
    file.map_or(BTreeSet::new(), |file| structure::<PendingSocialState>(&file).outgoing)
}

/// The only request of an inbox.
fn only(record: &Value) -> ReceivedFollowRequest {
    let mut requests = requests(record);
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

/// What the sharing directory for somebody grants to read, beginning with the directories of the groups.
fn grants_groups(state: &Value, friend: &str, effects: &Effects) {
    let groups: Groups = structure(&content(&state["shared/.groups.cbor"]).expect("groups"));
    let directory = |name: &str| {
        let all = state["shared_dirs"].as_array().unwrap();
        all.iter().find(|directory| text(directory, "dir").ends_with(&format!("/{name}"))).unwrap().clone()
    };
    let expected: Vec<_> = effects
        .share_groups
        .iter()
        .map(|kind| {
            let uid = groups.uid(*kind).expect("both groups exist");
            assert_eq!(groups.kind(uid), Some(*kind));
            capability(&directory(uid.as_str())["cap"]).read_only()
        })
        .collect();
    let granted = granted(&directory(friend)["sharing.r"]);
    assert_eq!(granted, expected, "{friend}");
}

fn accept_and_reciprocate(flow: &Value) {
    let (alice, bob) = (name("alice05"), name("bob05"));
    let before = &flow["1_alice_after_initial_request"];
    assert_eq!(pending(before), BTreeSet::from([bob.clone()]));

    let inbox = Inbox::sort(requests(&flow["2_pending_at_bob"]), &bob, &BTreeSet::new(), &BTreeSet::new());
    assert_eq!((inbox.answers.len(), inbox.first.len(), inbox.ignored.len()), (0, 1, 0));
    let shown: BTreeSet<Username> = inbox.first.iter().map(|first| first.request.sender().clone()).collect();
    assert_eq!(shown, names(&flow["3_bob_before_reply_state"]["pending_incoming"]));
    let first = &inbox.first[0].request;
    let reply = only(&flow["4_reply_pending_at_alice"]).request;
    assert_eq!(reply.as_answer(), Answer::AcceptAndReciprocate);
    let remade = pyrgos_protocol::social::FollowRequest::answer(
        Answer::AcceptAndReciprocate,
        first,
        bob.clone(),
        &reply.entry.capability,
    );
    assert_eq!(remade, reply);
    // The reference takes the key that was asked for; nothing here relies on it.
    assert_eq!(Some(&reply.entry.capability.base_key), first.key.as_ref());

    let effects = Effects::of_answering(first, Answer::AcceptAndReciprocate);
    assert!(effects.make_directory && !effects.delete_directory && !effects.forget_pending);
    assert_eq!(effects.send, Some(Answer::AcceptAndReciprocate));
    let bob_after = &flow["5_bob_after_reply"];
    assert_eq!(directories(bob_after), BTreeSet::from([alice.clone()]));
    assert_eq!(entries(&bob_after[".from-friends.cborstream"]), [effects.add_entry.clone().unwrap()]);
    grants_groups(bob_after, "alice05", &effects);

    let received = requests(&flow["4_reply_pending_at_alice"]);
    let inbox = Inbox::sort(received, &alice, &pending(before), &directories(before));
    assert_eq!((inbox.answers.len(), inbox.first.len(), inbox.ignored.len()), (1, 0, 0));
    let effects = Effects::of_received(&inbox.answers[0].request);
    assert!(!effects.delete_directory && effects.forget_pending && effects.send.is_none());
    let after = &flow["6_alice_after_processing"];
    assert_eq!(pending(after), BTreeSet::new());
    let friends = entries(&after[".from-friends.cborstream"]);
    assert_eq!(friends, [effects.add_entry.clone().unwrap()]);
    let followed: BTreeSet<_> =
        following(friends, &Blocked::default()).into_iter().map(|entry| entry.owner_name).collect();
    assert_eq!(followed, names(&flow["6_alice_social_state"]["following"]));
    grants_groups(after, "bob05", &effects);
}

fn deny(flow: &Value) {
    let (carol, dave) = (name("carol05"), name("dave05"));
    let first = only(&flow["2_pending_at_dave"]).request;
    let effects = Effects::of_answering(&first, Answer::Deny);
    assert_eq!(effects, Effects { send: Some(Answer::Deny), ..Effects::default() });
    assert!(directories(&flow["4_dave_after"]).is_empty());

    let before = &flow["1_carol_after_initial_request"];
    assert_eq!(directories(before), BTreeSet::from([dave.clone()]));
    let received = requests(&flow["3_reply_pending_at_carol"]);
    let inbox = Inbox::sort(received, &carol, &pending(before), &directories(before));
    assert_eq!(inbox.answers[0].request.as_answer(), Answer::Deny);
    let effects = Effects::of_received(&inbox.answers[0].request);
    assert_eq!(effects, Effects { delete_directory: true, forget_pending: true, ..Effects::default() });
    let after = &flow["5_carol_after"];
    assert!(pending(after).is_empty() && directories(after).is_empty());
}

fn accept_only(flow: &Value) {
    let reply = only(&flow["1_reply_pending_at_erin"]).request;
    assert_eq!(reply.as_answer(), Answer::Accept);
    let first = pyrgos_protocol::social::FollowRequest { key: None, ..reply.clone() };
    let answering = Effects::of_answering(&first, Answer::Accept);
    assert!(answering.make_directory && answering.add_entry.is_none());
    grants_groups(&flow["2_dave_after"], "erin05", &answering);
    assert_eq!(directories(&flow["2_dave_after"]), BTreeSet::from([name("erin05")]));

    let effects = Effects::of_received(&reply);
    assert!(effects.delete_directory && effects.forget_pending && effects.share_groups.is_empty());
    let after = &flow["3_erin_after"];
    assert!(pending(after).is_empty() && !directories(after).contains(&name("dave05")));
    assert_eq!(entries(&after[".from-friends.cborstream"]), [effects.add_entry.unwrap()]);
}

fn reciprocate_only(flow: &Value) {
    let reply = only(&flow["1_reply_pending_at_frank"]).request;
    assert_eq!(reply.as_answer(), Answer::ReciprocateOnly);
    let effects = Effects::of_received(&reply);
    assert!(!effects.delete_directory && effects.add_entry.is_none());
    let after = &flow["3_frank_after"];
    grants_groups(after, "dave05", &effects);
    // Where this crate is better: the reference leaves the name in the pending set.
    assert!(effects.forget_pending);
    assert_eq!(pending(after), BTreeSet::from([name("dave05")]));
}

fn simultaneous(flow: &Value) {
    for (us, them, inbox) in [("bob05", "carol05", "1_pending_at_bob"), ("carol05", "bob05", "1_pending_at_carol")] {
        let them = BTreeSet::from([name(them)]);
        let inbox = Inbox::sort(requests(&flow[inbox]), &name(us), &them, &them);
        assert_eq!((inbox.answers.len(), inbox.first.len()), (1, 0));
        assert_eq!(inbox.answers[0].request.as_answer(), Answer::AcceptAndReciprocate);
        // Without having asked it is a first request, and from somebody who follows us already it is nothing.
        let received = inbox.answers;
        let none = BTreeSet::new();
        assert_eq!(Inbox::sort(received.clone(), &name(us), &none, &none).first, received);
        assert_eq!(Inbox::sort(received.clone(), &name(us), &none, &them).ignored, received);
        assert_eq!(
            Inbox::sort(received.clone(), &received[0].request.sender().clone(), &them, &none).ignored,
            received
        );
    }
}

fn annotations(flows: &Value) {
    let file = content(&flows["annotations"]["annotations_file"]).unwrap();
    let mut notes = Annotations::from_stream(&file).unwrap();
    let all: Vec<FriendAnnotation> = notes.iter().cloned().collect();
    assert_eq!(all.len(), 2);
    let alice = notes.get(&name("alice05")).unwrap().clone();
    let users = flows["users"].as_array().unwrap();
    let identity = users.iter().find(|user| text(user, "username") == "alice05").unwrap();
    assert_eq!(alice.keys[0].to_string(), text(identity, "identity_key_hash"));
    assert!(alice.holds_for(&alice.keys[0], &alice.keys[1]));
    assert!(!alice.holds_for(&alice.keys[1], &alice.keys[0]));
    let carol = notes.get(&name("carol05")).unwrap();
    assert!(!carol.is_verified && carol.keys.is_empty() && !carol.holds_for(&alice.keys[0], &alice.keys[1]));
    // The last one of a name counts, and writing sorts.
    let mut appended = file.to_vec();
    let unverified = FriendAnnotation { is_verified: false, keys: Vec::new(), ..alice.clone() };
    appended.extend(unverified.to_bytes());
    assert_eq!(Annotations::from_stream(&appended.into()).unwrap().get(&alice.username), Some(&unverified));
    let (identity, boxing) = (alice.keys[0].clone(), alice.keys[1].clone());
    notes.set(FriendAnnotation::verified(alice.username.clone(), identity, boxing));
    assert_eq!(notes.to_stream(), &file[..]);
}

#[test]
fn unfollow_and_remove() {
    let mut cases = Cases::of("05-unfollow-remove");
    let steps = cases.value("steps");
    let files = check_all(&steps);

    let blocked = content(&steps["1_unfollow"]["file"]).unwrap();
    let alice = name("alice05");
    assert_eq!(Blocked::line(&alice).as_bytes(), &blocked[..]);
    let mut blocked = Blocked::from_text(&blocked);
    assert_eq!(blocked.iter().cloned().collect::<BTreeSet<_>>(), names(&steps["1_unfollow"]["state"]["blocked"]));
    let friends = entries(&steps["1_unfollow"]["from_friends"]);
    let followed = |blocked: &Blocked| -> BTreeSet<Username> {
        following(friends.clone(), blocked).into_iter().map(|entry| entry.owner_name).collect()
    };
    assert_eq!(followed(&blocked), names(&steps["1_unfollow"]["state"]["following"]));
    assert!(blocked.remove(&alice));
    assert_eq!(blocked.to_text().as_bytes(), &content(&steps["2_unblock"]["file"]).unwrap()[..]);
    assert_eq!(followed(&blocked), names(&steps["2_unblock"]["state"]["following"]));
    // The reference reports the empty name as blocked.
    assert_eq!(steps["2_unblock"]["state"]["blocked"], serde_json::json!([""]));
    assert_eq!(Blocked::from_text(b"\n\nalice05\n\xff\n..\n").iter().collect::<Vec<_>>(), [&alice]);

    let [before, after] = ["alice_before", "alice_after"].map(|when| &steps["3_remove_follower"][when]);
    shared_directories(&before["shared_dirs"]);
    shared_directories(&after["shared_dirs"]);
    let removed: Vec<Username> = directories(before).difference(&directories(after)).cloned().collect();
    assert_eq!(removed, [name("carol05")]);
    rotated_groups(before, after);
    cases.count(files + 3);
    cases.leave("the rotations of step 3", "the client's");
    cases.finish();
}

/// Removing a follower rotates the groups' directories: same names, new keys, granted anew to those who stay.
fn rotated_groups(before: &Value, after: &Value) {
    let groups: Groups = structure(&content(&after["shared/.groups.cbor"]).unwrap());
    let find = |state: &Value, uid: &str| {
        let all = state["shared_dirs"].as_array().unwrap();
        let found = all.iter().find(|directory| text(directory, "dir").ends_with(uid)).unwrap();
        capability(&found["cap"]).read_only()
    };
    let bob = after["shared_dirs"].as_array().unwrap();
    let bob = bob.iter().find(|directory| text(directory, "dir").ends_with("/bob05")).unwrap();
    let granted = granted(&bob["sharing.r"]);
    for (uid, _) in groups.iter() {
        let (old, new) = (find(before, uid.as_str()), find(after, uid.as_str()));
        assert_ne!(old, new);
        assert!(granted.contains(&old));
        assert!(granted.contains(&new));
    }
}

#[test]
fn the_last_entry_of_a_writer_counts() {
    let flows = crate::support::load("05-unfollow-remove");
    let friends = entries(&flows["steps"]["1_unfollow"]["from_friends"]);
    let [mut changed, other] = [friends[0].clone(), friends[1].clone()];
    changed.capability.map_key = other.capability.map_key;
    let all = vec![friends[0].clone(), other.clone(), changed.clone()];
    let written = Bytes::from(stream::write_all(&all));
    let read: Vec<pyrgos_protocol::login::EntryPoint> = stream::read_all(&written).unwrap();
    assert_eq!(read, all);
    assert_eq!(following(read, &Blocked::default()), [changed, other]);
    let bad = written.slice(..written.len() - 1);
    assert!(stream::read_all::<pyrgos_protocol::login::EntryPoint>(&bad).is_err());
    assert!(PendingSocialState::from_bytes(&written).is_err());
}
