//! Reading the recorded files of an account, each as what its name says it is.

use bytes::Bytes;
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::login::EntryPoint;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::names::chain::inline_key;
use pyrgos_protocol::social::annotation::Annotations;
use pyrgos_protocol::social::friends::{Blocked, PendingSocialState};
use pyrgos_protocol::social::stream::{self, Records};
use pyrgos_protocol::social::{
    CapsInDirectory, FriendsGroups, Groups, ProcessedCaps, SharedWithState, TofuKeyStore, places,
};
use serde_json::Value;

use crate::support::{boolean, bytes, int, text};

pub(crate) fn name(text: &str) -> Username {
    text.parse().expect("a username")
}

/// Reads a structure and insists that it is written as it was recorded.
pub(crate) fn structure<T: FromCbor + ToCbor>(recorded: &[u8]) -> T {
    let read = T::from_bytes(recorded).unwrap_or_else(|error| panic!("{error}: {}", hex::encode(recorded)));
    assert_eq!(hex::encode(read.to_bytes()), hex::encode(recorded));
    read
}

pub(crate) fn capability(record: &Value) -> AbsoluteCapability {
    let cap: AbsoluteCapability = structure(&bytes(record, "cbor"));
    assert_eq!(cap.owner.to_string(), text(record, "owner"));
    assert_eq!(cap.writer.to_string(), text(record, "writer"));
    assert_eq!(hex::encode(cap.map_key.as_bytes()), text(record, "map_key"));
    assert_eq!(hex::encode(cap.base_key.key.as_bytes()), text(record, "read_base_key"));
    let bat = cap.bat.as_ref().map(|bat| hex::encode(bat.as_bytes()));
    assert_eq!(bat.as_deref(), record["bat_secret"].as_str());
    let write = cap.base_write_key.as_ref().map(|key| hex::encode(key.key.as_bytes()));
    assert_eq!(write.as_deref(), record["write_base_key"].as_str());
    cap
}

/// The content of a recorded file; none if there is no such file.
pub(crate) fn content(file: &Value) -> Option<Bytes> {
    if !boolean(file, "present") {
        return None;
    }
    let content = bytes(file, "content");
    assert_eq!(content.len() as i64, int(file, "size"));
    Some(content.into())
}

pub(crate) fn entries(file: &Value) -> Vec<EntryPoint> {
    content(file).map_or(Vec::new(), |content| stream::read_all(&content).expect("a stream of entry points"))
}

/// Reads the file at every place of the record where one stands. Returns how many there were.
pub(crate) fn check_all(record: &Value) -> usize {
    match record {
        Value::Object(map) if map.contains_key("path") && map.contains_key("content") => {
            check(record);
            1
        }
        Value::Object(map) => map.values().map(check_all).sum(),
        Value::Array(items) => items.iter().map(check_all).sum(),
        _ => 0,
    }
}

fn check(file: &Value) {
    let path = text(file, "path");
    let content = content(file).expect("the file is there");
    let again = match path.rsplit('/').next().unwrap() {
        places::SOCIAL_STATE => structure::<PendingSocialState>(&content).to_bytes(),
        places::GROUPS => structure::<Groups>(&content).to_bytes(),
        places::GROUPS_FROM_FRIENDS => structure::<FriendsGroups>(&content).to_bytes(),
        places::SHARED_WITH => structure::<SharedWithState>(&content).to_bytes(),
        places::ITEMS => structure::<CapsInDirectory>(&content).to_bytes(),
        places::BLOCKED => Blocked::from_text(&content).to_text().into_bytes(),
        places::ANNOTATIONS => Annotations::from_stream(&content).unwrap().to_stream(),
        places::FROM_FRIENDS => stream::write_all(&stream::read_all::<EntryPoint>(&content).unwrap()),
        places::SHARING_READ => sharing(&content, false),
        places::SHARING_WRITE => sharing(&content, true),
        ".keystore" => {
            let store: TofuKeyStore = structure(&content);
            for known in store.names() {
                store.chain(known).unwrap().verify(known, inline_key).expect("the stored chain is valid");
                let owner: &Owner = store.owner(known).unwrap();
                assert_eq!(store.name_of(owner), Some(known));
            }
            store.to_bytes()
        }
        incoming if incoming.ends_with("$incoming.cbor") => structure::<ProcessedCaps>(&content).to_bytes(),
        other => panic!("what is {other}?"),
    };
    assert_eq!(hex::encode(again), hex::encode(&content), "{path}");
}

fn sharing(content: &Bytes, is_writable: bool) -> Vec<u8> {
    let found = Records::read(content, 0);
    assert_eq!((found.end, &found.broken), (content.len() as u64, &None));
    assert!(found.records.iter().all(|record| record.capability.is_writable() == is_writable));
    assert!(
        found.records.iter().all(|record| record.bytes.end - record.bytes.start == if is_writable { 248 } else { 209 })
    );
    stream::write_all(found.records.iter().map(|record| &record.capability))
}

/// Compares the recorded records of a stream.
pub(crate) fn records(recorded: &Value, content: &Bytes) -> Vec<AbsoluteCapability> {
    let found = Records::read(content, 0).records;
    let recorded = recorded.as_array().expect("records");
    assert_eq!(found.len(), recorded.len());
    for (found, recorded) in found.iter().zip(recorded) {
        assert_eq!(found.bytes.start as i64, int(recorded, "offset"));
        assert_eq!((found.bytes.end - found.bytes.start) as i64, int(recorded, "length"));
        assert_eq!(found.capability, capability(&recorded["cap"]));
    }
    found.into_iter().map(|record| record.capability).collect()
}
