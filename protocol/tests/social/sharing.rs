//! `05-sharing.json`: what each step writes into the files of the sharer and of the receivers.

use std::collections::BTreeSet;

use bytes::Bytes;
use pyrgos_protocol::cryptree::{AbsoluteCapability, FileName};
use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::login::EntryPoint;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::shared_with::expand;
use pyrgos_protocol::social::stream::Records;
use pyrgos_protocol::social::{
    Access, CapsInDirectory, FriendsGroups, GroupKind, Groups, ProcessedCaps, Recipient, SharedWithState, places,
};
use serde_json::Value;

use crate::files::{capability, check_all, content, name, records, structure};
use crate::support::{Cases, text};

fn file(text: &str) -> FileName {
    text.parse().unwrap()
}

fn to(names: &[&str]) -> BTreeSet<Recipient> {
    names.iter().map(|text| text.parse().unwrap()).collect()
}

/// What a file records.
fn recorded(file: &Value) -> Bytes {
    content(file).expect("the file is there")
}

/// The state that a file records, byte for byte but for the order of its lists, which means nothing.
fn same(state: &SharedWithState, file: &Value) {
    let recorded: SharedWithState = structure(&recorded(file));
    let as_sets = |state: &SharedWithState| -> Vec<_> {
        let children = state.iter().map(|(name, shares)| {
            let [readers, writers] =
                [&shares.readers, &shares.writers].map(|list| list.iter().cloned().collect::<BTreeSet<_>>());
            (name.clone(), readers, writers, shares.links.clone())
        });
        children.collect()
    };
    assert_eq!(as_sets(state), as_sets(&recorded));
}

#[test]
fn vectors() {
    let mut cases = Cases::of("05-sharing");
    let steps = cases.value("steps");
    let files = check_all(&steps);
    caps(&steps);
    let mut sharer = Sharer::default();
    let mut receiver = Receiver::default();
    share_to_read(&steps, &mut sharer, &mut receiver);
    share_with_group(&steps, &mut sharer, &mut receiver);
    share_to_write(&steps, &mut sharer, &mut receiver);
    revoke(&steps, &mut sharer, &mut receiver);
    move_and_rename(&steps, &mut sharer);
    cases.count(files + 12);
    cases.leave("views by path, and three errors", "the client's");
    cases.finish();
}

/// Every capability and every list of records at any place.
fn caps(record: &Value) {
    match record {
        Value::Object(map) if map.contains_key("cbor") && map.contains_key("read_base_key") => {
            capability(record);
        }
        Value::Object(map) => map.values().for_each(caps),
        Value::Array(items) => items.iter().for_each(caps),
        _ => {}
    }
}

#[derive(Default)]
struct Sharer {
    docs: SharedWithState,
    shared: SharedWithState,
}

#[derive(Default)]
struct Receiver {
    progress: ProcessedCaps,
    docs: CapsInDirectory,
    /// The bytes of the friend's streams.
    read: Bytes,
    write: Bytes,
}

impl Receiver {
    /// Reads what is new in a stream that has now this content.
    fn discover(&mut self, access: Access, stream: Bytes) -> Vec<AbsoluteCapability> {
        let from = self.progress.stream(access).bytes;
        let found = Records::read(&stream.slice(from as usize..), from);
        assert_eq!(found.end, stream.len() as u64);
        let progress = self.progress.stream_mut(access);
        progress.advance(from, &found, found.records.len() as u64).unwrap();
        assert!(progress.advance(from, &found, 1).is_err() || found.records.is_empty());
        match access {
            Access::Read => self.read = stream,
            Access::Write => self.write = stream,
        }
        found.records.into_iter().map(|record| record.capability).collect()
    }

    fn is_recorded(&self, incoming: &Value) {
        assert_eq!(hex::encode(self.progress.to_bytes()), hex::encode(recorded(incoming)));
    }

    fn docs_are_recorded(&self, items: &Value) {
        assert_eq!(hex::encode(self.docs.to_bytes()), hex::encode(recorded(items)));
    }
}

fn alice() -> Username {
    name("alice05")
}

fn share_to_read(steps: &Value, sharer: &mut Sharer, receiver: &mut Receiver) {
    let step = &steps["1_after_read_share"];
    let report = capability(&steps["0_file_before_sharing"]["cap"]);
    assert_eq!(report, capability(&step["file_unchanged"]["cap"]));
    let bob = recorded(&step["alice_shared_bob_sharing.r"]);
    let granted = records(&step["bob_records"], &bob);
    assert_eq!(granted.last(), Some(&report.read_only()));
    let carol = records(&step["carol_records"], &recorded(&step["alice_shared_carol_sharing.r"]));
    assert_eq!(carol.last(), Some(&report.read_only()));
    // Appending to a stream is appending its bytes.
    let appended = [&bob[..418], &report.read_only().to_bytes()].concat();
    assert_eq!(appended, bob);
    sharer.docs.grant(&file("report.txt"), Access::Read, to(&["bob05", "carol05"]));
    same(&sharer.docs, &step["sharedWith_file"]);
    assert_eq!(sharer.docs.get("report.txt").unwrap().recipients(Access::Read).len(), 2);

    let step = &steps["2_bob_discovers"];
    assert_eq!(receiver.discover(Access::Read, bob), granted);
    receiver.is_recorded(&step["incoming"]);
    let never = |_: &AbsoluteCapability| -> bool { panic!("nothing to try") };
    assert!(receiver.docs.add(file("report.txt"), granted[2].clone(), &alice(), never));
    receiver.docs_are_recorded(&step["world_items"]);

    // The first two records are the directories of the groups.
    let group_names: Groups = structure(&recorded(&steps["3_group_share"]["groups_file"]));
    let mut world = CapsInDirectory::default();
    let mut groups = FriendsGroups::default();
    for (kind, cap) in [GroupKind::Followers, GroupKind::Friends].into_iter().zip(&granted) {
        let uid = group_names.uid(kind).unwrap();
        world.add(file(uid.as_str()), cap.clone(), &alice(), never);
        groups.insert(uid, EntryPoint { capability: cap.clone(), owner_name: alice() });
        assert_eq!(places::group_path(&alice(), uid), format!("/alice05/shared/{uid}"));
    }
    assert_eq!(hex::encode(world.to_bytes()), hex::encode(recorded(&step["world_shared_items"])));
    assert_eq!(hex::encode(groups.to_bytes()), hex::encode(recorded(&step["groups_from_friends"])));
    let of_alice = alice();
    let found: Vec<_> = groups.of(&of_alice).map(|(uid, _)| uid).collect();
    assert_eq!(found.iter().collect::<BTreeSet<_>>(), group_names.iter().map(|(uid, _)| uid).collect());
    // Whole names count.
    assert_eq!(groups.of(&name("alice0")).count() + groups.of(&name("alice055")).count(), 0);
    groups.remove(&of_alice);
    assert!(groups.is_empty());
}

fn share_with_group(steps: &Value, sharer: &mut Sharer, receiver: &mut Receiver) {
    let step = &steps["3_group_share"];
    let groups: Groups = structure(&recorded(&step["groups_file"]));
    let friends = groups.uid(GroupKind::Friends).unwrap();
    let followers = groups.uid(GroupKind::Followers).unwrap();
    assert_eq!((friends.as_str(), followers.as_str()), (text(step, "friends_uid"), text(step, "followers_uid")));
    let stream = recorded(&step["group_sharing.r"]);
    let granted = records(&step["group_records"], &stream);
    assert_eq!(granted[0], capability(&step["bob_view"]["cap"]));
    sharer.docs.grant(&file("group.txt"), Access::Read, [friends.clone().into()]);
    same(&sharer.docs, &step["sharedWith_file"]);
    for uid in [friends, followers] {
        sharer.shared.grant(&file(uid.as_str()), Access::Read, to(&["bob05", "carol05"]));
    }
    same(&sharer.shared, &step["outbound_shared_sharedWith"]);
    assert_eq!(places::sharing_directory(&friends.clone().into()), format!("shared/{friends}"));
    assert_eq!(
        format!("/alice05/{}/{}", places::outbound(&alice(), &[file("shared")]), places::SHARED_WITH),
        text(&step["outbound_shared_sharedWith"], "path")
    );
    assert_eq!(
        format!("/bob05/{}/{}", places::world(&alice(), &[file("docs")]), places::ITEMS),
        text(&step["bob_world_items"], "path")
    );
    assert_eq!(format!("/bob05/{}", places::incoming(&alice())), text(&step["bob_incoming"], "path"));

    let found = Records::read(&stream, 0);
    let group = receiver.progress.group_mut(friends);
    group.read.advance(0, &found, 1).unwrap();
    receiver.progress.group_mut(followers);
    receiver.is_recorded(&step["bob_incoming"]);
    receiver.docs.add(file("group.txt"), granted[0].clone(), &alice(), |_| panic!("nothing to try"));
    receiver.docs_are_recorded(&step["bob_world_items"]);
    assert_eq!(recorded(&step["bob_groups_from_friends"]), recorded(&steps["2_bob_discovers"]["groups_from_friends"]));
}

fn share_to_write(steps: &Value, sharer: &mut Sharer, receiver: &mut Receiver) {
    let step = &steps["5_after_write_share"];
    let before = &steps["4_before_write_share"];
    let [old, new] = [before, step].map(|state| capability(&state["sub"]["cap"]));
    assert_ne!(old.writer, new.writer);
    assert_eq!(capability(&step["sub"]["link_cap"]).writer, old.writer);
    let stream = recorded(&step["sharing.w"]);
    assert_eq!(records(&step["records"], &stream), std::slice::from_ref(&new));
    sharer.docs.grant(&file("sub"), Access::Write, to(&["bob05"]));
    same(&sharer.docs, &step["sharedWith_file"]);
    let granted = receiver.discover(Access::Write, stream);
    receiver.is_recorded(&step["bob_incoming"]);
    receiver.docs.add(file("sub"), granted[0].clone(), &alice(), |_| panic!("nothing to try"));
    receiver.docs_are_recorded(&step["bob_world_items"]);

    let step = &steps["6_second_writer_no_rotation"];
    assert_eq!(capability(&step["sub"]["cap"]), new);
    assert_eq!(capability(&step["carol_sharing.w_records"][0]["cap"]), new);
    sharer.docs.grant(&file("sub"), Access::Write, to(&["carol05"]));
}

fn revoke(steps: &Value, sharer: &mut Sharer, receiver: &mut Receiver) {
    let step = &steps["7_revoke_read"];
    sharer.docs.revoke(&file("report.txt"), Access::Read, &to(&["carol05"]));
    same(&sharer.docs, &step["sharedWith_file"]);
    let new = capability(&step["new"]["cap"]).read_only();
    assert_ne!(new, capability(&step["old_cap"]));
    // Only bob got the new capability; carol's stream is as it was.
    assert_eq!(capability(&step["bob_records"][3]["cap"]), new);
    assert_eq!(step["carol_records"], steps["1_after_read_share"]["carol_records"]);
    let stream = Bytes::from([&receiver.read[..], &new.to_bytes()].concat());
    assert_eq!(records(&step["bob_records"], &stream).last(), Some(&new));
    assert_eq!(receiver.discover(Access::Read, stream), std::slice::from_ref(&new));
    receiver.is_recorded(&step["bob_incoming"]);
    receiver.docs.add(file("report.txt"), new, &alice(), |_| panic!("nothing to try"));
    receiver.docs_are_recorded(&step["bob_world_items"]);

    let step = &steps["8_revoke_write"];
    sharer.docs.revoke(&file("sub"), Access::Write, &to(&["carol05"]));
    same(&sharer.docs, &step["sharedWith_file"]);
    let new = capability(&step["new"]["cap"]);
    assert_ne!(new.writer, capability(&step["old_cap"]).writer);
    let stream = Bytes::from([&receiver.write[..], &new.to_bytes()].concat());
    assert_eq!(records(&step["bob_sharing.w_records"], &stream).last(), Some(&new));
    assert_eq!(receiver.discover(Access::Write, stream), [new]);
}

fn move_and_rename(steps: &Value, sharer: &mut Sharer) {
    sharer.docs.rename(&file("report.txt"), file("renamed.txt"));
    same(&sharer.docs, &steps["9_rename"]["sharedWith_file"]);

    let step = &steps["10_move_keep_access"];
    let shares = sharer.docs.take(&file("renamed.txt")).expect("it is shared");
    same(&sharer.docs, &step["sharedWith_docs"]);
    let mut target = SharedWithState::default();
    target.put(file("renamed.txt"), shares);
    let readers = target.get("renamed.txt").unwrap().recipients(Access::Read);
    assert_eq!(format!("{readers:?}"), text(step, "shared_with_query_new_path"));
    assert_eq!(capability(&step["alice_new"]["cap"]), capability(&steps["9_rename"]["alice_new"]["cap"]));

    let step = &steps["11_move_drop_access"];
    assert_ne!(capability(&step["before"]["cap"]), capability(&step["after"]["cap"]));
    assert_eq!(sharer.docs.take(&file("mv.txt")), None);
    same(&sharer.docs, &step["sharedWith_docs"]);

    let step = &steps["12_group_unshare"];
    let groups: Groups = structure(&recorded(&steps["3_group_share"]["groups_file"]));
    let friends: BTreeSet<Username> = [name("bob05"), name("carol05")].into();
    let removed = BTreeSet::from([groups.uid(GroupKind::Friends).unwrap().clone().into()]);
    let removed = expand(&removed, &groups, &friends, &friends);
    assert!(removed.is_superset(&to(&["bob05", "carol05"])));
    sharer.docs.grant(&file("group.txt"), Access::Read, to(&["bob05"]));
    sharer.docs.revoke(&file("group.txt"), Access::Read, &removed);
    same(&sharer.docs, &step["sharedWith_file"]);
    let all = BTreeSet::from([groups.uid(GroupKind::Followers).unwrap().clone().into()]);
    let all = expand(&all, &groups, &BTreeSet::new(), &friends);
    assert_eq!(all.len(), 4);
}
