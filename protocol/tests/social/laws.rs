//! What must hold of all inputs: decoders are total, streams lose nothing, known keys are not exchanged.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use pyrgos_protocol::cryptree::{AbsoluteCapability, ChunkLabel};
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{KeyHash, Owner, SecretSigningKey, SigningKeyPair, SymmetricKey, Writer};
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::links::{EncryptedCapability, LinkCounts, LinkProperties, SecretLink, SecretLinkTarget};
use pyrgos_protocol::login::EntryPoint;
use pyrgos_protocol::names::chain::inline_key;
use pyrgos_protocol::names::{Chain, ChainLink, Date, MergeError, Username};
use pyrgos_protocol::social::annotation::Annotations;
use pyrgos_protocol::social::chat::{ChatState, LogIndex, MessageEnvelope, PrivateChatState, SignedMessage};
use pyrgos_protocol::social::follow::FollowError;
use pyrgos_protocol::social::friends::{Blocked, PendingSocialState};
use pyrgos_protocol::social::keystore::TofuError;
use pyrgos_protocol::social::profile::identity::IdentityProof;
use pyrgos_protocol::social::stream::{self, Records};
use pyrgos_protocol::social::{
    BlindFollowRequest, CapsInDirectory, FeedState, FollowRequest, FriendsGroups, Groups, ProcessedCaps, Recipient,
    ServerMessage, SharedItem, SharedWithState, SocialPost, TofuKeyStore,
};

use crate::files::{content, name};
use crate::support::{load, properties, system_random, text};

fn decode_all(bytes: &[u8]) {
    fn again<T: FromCbor + ToCbor>(bytes: &[u8]) {
        if let Ok(read) = T::from_bytes(bytes) {
            // What is read is written in a form that is read as the same.
            let written = read.to_bytes();
            assert_eq!(T::from_bytes(&written).map(|again| again.to_bytes()), Ok(written));
        }
    }
    again::<FollowRequest>(bytes);
    again::<BlindFollowRequest>(bytes);
    again::<PendingSocialState>(bytes);
    again::<TofuKeyStore>(bytes);
    again::<Groups>(bytes);
    again::<FriendsGroups>(bytes);
    again::<ProcessedCaps>(bytes);
    again::<SharedWithState>(bytes);
    again::<CapsInDirectory>(bytes);
    again::<ServerMessage>(bytes);
    again::<IdentityProof>(bytes);
    again::<FeedState>(bytes);
    again::<SharedItem>(bytes);
    again::<SocialPost>(bytes);
    again::<ChatState>(bytes);
    again::<PrivateChatState>(bytes);
    again::<SignedMessage>(bytes);
    again::<MessageEnvelope>(bytes);
    again::<EncryptedCapability>(bytes);
    again::<SecretLinkTarget>(bytes);
    again::<LinkProperties>(bytes);
    again::<LinkCounts>(bytes);
    let shared = Bytes::copy_from_slice(bytes);
    let found = Records::read(&shared, 0);
    assert_eq!(found.broken.is_none(), found.end == bytes.len() as u64);
    let _ = Annotations::from_stream(&shared);
    let _ = stream::read_all::<EntryPoint>(&shared);
    for signed in stream::read_all::<SignedMessage>(&shared).unwrap_or_default() {
        let _ = signed.unverified();
    }
    if let Ok(index) = LogIndex::from_bytes(bytes) {
        assert_eq!(index.to_bytes(), bytes);
    }
    let blocked = Blocked::from_text(bytes);
    assert_eq!(Blocked::from_text(blocked.to_text().as_bytes()), blocked);
    let text = String::from_utf8_lossy(bytes);
    let _ = text.parse::<SecretLink>();
    let _ = LinkAddress::parse(&text);
    let _ = IdentityProof::from_post(&text);
}

/// Recorded bytes of every structure.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    fn collect(record: &serde_json::Value, seeds: &mut Vec<Vec<u8>>) {
        match record {
            serde_json::Value::Object(map) => map.values().for_each(|value| collect(value, seeds)),
            serde_json::Value::Array(items) => items.iter().for_each(|value| collect(value, seeds)),
            serde_json::Value::String(text) if text.len() > 20 => {
                seeds.push(hex::decode(text).unwrap_or_else(|_| text.clone().into_bytes()));
            }
            _ => {}
        }
    }
    for file in ["05-sharing", "05-secret-links", "05-public", "05-fingerprint-identity"] {
        collect(&load(file), &mut seeds);
    }
    collect(&load("05-follow-request")["cases"][0], &mut seeds);
    collect(&load("05-follow-request")["cases"][1], &mut seeds);
    collect(&load("05-feed-chat-messages"), &mut seeds);
    collect(&load("05-unfollow-remove")["steps"]["3_remove_follower"]["alice_before"], &mut seeds);
    seeds
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn decoders_are_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&bytes);
    }
}

#[test]
fn decoders_survive_changes_of_what_was_recorded() {
    let seeds = seeds();
    assert!(seeds.len() > 300);
    let mut rng = system_random();
    for seed in &seeds {
        decode_all(seed);
        for _ in 0..20 {
            let mut changed = seed.clone();
            let [at, bit, cut] = pyrgos_crypto::random::random_bytes::<3>(&mut rng).map(usize::from);
            let position = (at * 256 + cut) % changed.len();
            changed[position] ^= 1 << (bit % 8);
            if bit > 200 {
                changed.truncate(position);
            }
            decode_all(&changed);
        }
    }
}

fn some_capability(writable: bool) -> AbsoluteCapability {
    let mut rng = system_random();
    let key = SigningKeyPair::new(SecretSigningKey::generate(&mut rng)).public_key_hash();
    let label = ChunkLabel::generate(&mut rng);
    AbsoluteCapability {
        owner: Owner::new(key.clone()),
        writer: Writer::new(key),
        map_key: label.map_key,
        bat: label.bat,
        base_key: SymmetricKey::generate(&mut rng),
        base_write_key: writable.then(|| SymmetricKey::generate(&mut rng)),
    }
}

#[test]
fn a_stream_passes_over_what_is_no_capability_and_stops_at_what_is_no_cbor() {
    let caps = [some_capability(false), some_capability(true)];
    let [first, second] = [caps[0].to_bytes(), caps[1].to_bytes()];
    let stream = [&first[..], &Cbor::Int(7).encode(), &second, &[0xff], &first].concat();
    let found = Records::read(&stream.clone().into(), 100);
    assert_eq!(
        found.records.iter().map(|record| &record.capability).collect::<Vec<_>>(),
        caps.iter().collect::<Vec<_>>()
    );
    assert_eq!(found.records[1].bytes, 100 + 210..100 + 210 + 248);
    assert_eq!((found.end, found.broken.is_some()), (100 + 458, true));
    // From where it stopped on it goes no further.
    let rest = Records::read(&Bytes::from(stream).slice(458..), found.end);
    assert_eq!((rest.end, rest.records.len()), (found.end, 0));
}

#[test]
fn a_write_capability_is_not_given_up_for_one_that_reads() {
    let (bob, carol) = (name("bob"), name("carol"));
    let file = || "file".parse().unwrap();
    let [read, other] = [(); 2].map(|()| some_capability(false));
    let [write, other_write] = [(); 2].map(|()| some_capability(true));
    let untried = |_: &AbsoluteCapability| -> bool { panic!("nothing to try") };
    let mut caps = CapsInDirectory::default();
    assert!(caps.add(file(), read.clone(), &bob, untried));
    // The same from another adds the sharer, another one takes its place.
    assert!(caps.add(file(), read.clone(), &carol, untried));
    assert_eq!(caps.get("file").unwrap().sharers, [bob.clone(), carol.clone()]);
    assert!(caps.add(file(), other.clone(), &bob, untried));
    assert_eq!(caps.get("file").unwrap().sharers, std::slice::from_ref(&bob));
    assert!(caps.add(file(), write.clone(), &carol, untried));
    assert_eq!(caps.in_question("file", &read), Some(&write));
    assert!(!caps.add(file(), read.clone(), &bob, |stored| *stored == write));
    assert_eq!(caps.get("file").unwrap().capability, write);
    assert_eq!(caps.in_question("file", &other_write), None);
    assert!(caps.add(file(), other_write.clone(), &bob, untried));
    // One that does not open any more is.
    assert!(caps.add(file(), read.clone(), &carol, |stored| *stored != other_write));
    assert_eq!((&caps.get("file").unwrap().capability, caps.iter().count()), (&read, 1));
}

#[test]
fn requests_that_are_too_long_are_not_sent() {
    let mut rng = system_random();
    let receiver = pyrgos_protocol::keys::SecretBoxingKey::generate_curve25519(&mut rng);
    let us = Username::existing(&"n".repeat(64)).unwrap();
    let first = FollowRequest::first(us, &some_capability(true), SymmetricKey::generate(&mut rng));
    let blind = BlindFollowRequest::seal(&first, &receiver.public(), &mut rng).unwrap();
    assert_eq!(blind.open(&receiver), Ok(first.clone()));
    let mut long = first;
    // Only a forged key hash can be this long.
    let huge = Cid::identity(Codec::DagCbor, &[0; 300]).unwrap();
    long.entry.capability.writer = Writer::new(KeyHash::new(huge).unwrap());
    let sealed = BlindFollowRequest::seal(&long, &receiver.public(), &mut rng);
    assert!(matches!(sealed, Err(FollowError::TooLong(len)) if len > 512));
}

#[test]
fn recipients_are_people_or_groups() {
    for (text, is_group) in [("bob", false), (".abc", true), (".77c9", true)] {
        let recipient: Recipient = text.parse().unwrap();
        assert_eq!((recipient.to_string().as_str(), matches!(recipient, Recipient::Group(_))), (text, is_group));
    }
    for text in ["", ".", "..", "a/b", "./x", "a b"] {
        assert!(text.parse::<Recipient>().is_err(), "{text:?}");
    }
}

struct Person {
    name: Username,
    keys: SigningKeyPair,
}

impl Person {
    fn new(text: &str) -> Self {
        Person { name: name(text), keys: SigningKeyPair::new(SecretSigningKey::generate(&mut system_random())) }
    }

    fn with_new_keys(&self) -> Self {
        Person::new(self.name.as_str())
    }

    fn owner(&self) -> Owner {
        Owner::new(self.keys.public_key_hash())
    }

    fn chain(&self, expiry: Date) -> Chain {
        Chain(vec![ChainLink::sign(&self.name, expiry, home(), &self.keys.signer())])
    }

    fn hand_over(&self, next: &Person, expiry: Date) -> Chain {
        Chain::key_change(&self.name, &self.keys.signer(), &next.keys.signer(), home(), expiry)
    }
}

fn home() -> Cid {
    Cid::from_sha256(Codec::Raw, [7; 32])
}

fn day(day: u8) -> Date {
    Date::new(2030, 1, day).unwrap()
}

#[test]
fn a_known_key_is_never_exchanged_without_its_consent() {
    let bob = Person::new("bob");
    let today = day(10);
    let mut store = TofuKeyStore::default();
    assert_eq!(store.owner(&bob.name), None);
    assert_eq!(store.update(&bob.name, &bob.chain(day(20)), today, inline_key), Ok(true));
    assert_eq!(store.owner(&bob.name), Some(&bob.owner()));
    assert_eq!(store.name_of(&bob.owner()), Some(&bob.name));
    let known = store.clone();
    // The same claim again is nothing new, a renewal is taken, an older claim is not.
    assert_eq!(store.update(&bob.name, &bob.chain(day(20)), today, inline_key), Ok(false));
    assert_eq!(store.update(&bob.name, &bob.chain(day(25)), today, inline_key), Ok(true));
    let older = store.update(&bob.name, &bob.chain(day(21)), today, inline_key);
    assert_eq!(older, Err(TofuError::Changed { name: bob.name.clone(), cause: MergeError::Expiry }));

    // Another key, whether the known claim is still valid or has expired long ago.
    let mallory = bob.with_new_keys();
    for today in [day(10), day(30)] {
        for forged in [mallory.chain(day(28)), mallory.hand_over(&Person::new("bob"), day(28))] {
            let refused = store.update(&bob.name, &forged, today, inline_key);
            assert!(matches!(refused, Err(TofuError::Changed { .. })), "{refused:?}");
        }
        assert_eq!(store.owner(&bob.name), Some(&bob.owner()));
    }
    // A chain for another name, a broken one, an empty one.
    let carol = Person::new("carol");
    let mut broken = bob.chain(day(28));
    broken.0[0].claim.expiry = day(29);
    for invalid in [carol.chain(day(28)), broken, Chain::default()] {
        let refused = store.update(&bob.name, &invalid, today, inline_key);
        assert!(matches!(refused, Err(TofuError::Invalid { .. })), "{refused:?}");
    }

    // With the consent of the old key the new one is taken, and the old one does not come back.
    let new = bob.with_new_keys();
    assert_eq!(store.update(&bob.name, &bob.hand_over(&new, day(28)), today, inline_key), Ok(true));
    assert_eq!(store.owner(&bob.name), Some(&new.owner()));
    assert_eq!((store.name_of(&bob.owner()), store.name_of(&new.owner())), (None, Some(&bob.name)));
    assert!(store.update(&bob.name, &bob.chain(day(29)), today, inline_key).is_err());
    assert_eq!(TofuKeyStore::from_bytes(&store.to_bytes()), Ok(store));
    assert_ne!(known.owner(&bob.name), None);

    // Of two copies that saw a name for the first time, the one that takes over the other keeps its own key.
    let (mut first, mut second) = (known.clone(), known.clone());
    let (dora, twin) = (Person::new("dora"), Person::new("dora"));
    first.update(&dora.name, &dora.chain(day(28)), today, inline_key).unwrap();
    second.update(&dora.name, &twin.chain(day(28)), today, inline_key).unwrap();
    second.update(&carol.name, &carol.chain(day(28)), today, inline_key).unwrap();
    first.add_new(&second);
    assert_eq!(first.owner(&dora.name), Some(&dora.owner()));
    assert_eq!(first.owner(&carol.name), Some(&carol.owner()));
    assert_eq!(first.names().count(), 3);
}

#[test]
fn recorded_keystores_answer_for_their_names() {
    let flows = load("05-follow-flows");
    let state = &flows["flows"]["accept_and_reciprocate alice->bob"]["6_alice_after_processing"];
    let store = TofuKeyStore::from_bytes(&content(&state[".keystore"]).unwrap()).unwrap();
    let mut names = BTreeSet::new();
    for user in flows["flows"]["users"].as_array().unwrap() {
        let user_name = name(text(user, "username"));
        if let Some(owner) = store.owner(&user_name) {
            assert_eq!(owner.to_string(), text(user, "identity_key_hash"));
            // A server that answers with somebody else's chain is not believed.
            let bob = Person::new(user_name.as_str());
            let mut store = store.clone();
            assert!(store.update(&user_name, &bob.chain(Date::MAX), day(1), inline_key).is_err());
            names.insert(user_name);
        }
    }
    assert!(!names.is_empty());
}
