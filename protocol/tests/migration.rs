//! What travels when an account moves, against `vectors/06-snapshot.json` (`spec/06` §8.2).

mod support;

use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::migration::UserSnapshot;
use support::{Cases, bytes, text};

#[test]
fn snapshots() {
    let mut cases = Cases::of("06-snapshot");
    for case in cases.section("cases") {
        let recorded = bytes(&case, "snapshot_cbor");
        let snapshot = UserSnapshot::from_bytes(&recorded).unwrap();
        assert_eq!(snapshot.to_bytes(), recorded);
        assert_eq!(snapshot.username.as_str(), text(&case, "username"));
        assert_eq!(snapshot.owner.to_string(), text(&case, "owner"));
        let Some(writer) = case.get("writer") else {
            assert!(snapshot.pointers.is_empty() && snapshot.bats.is_empty() && snapshot.login.is_none());
            continue;
        };
        let pointer_of = |writer: &str| {
            let pointer = snapshot.pointers.iter().find(|pointer| pointer.writer.to_string() == writer);
            pointer.map(|pointer| pointer.signed.to_vec())
        };
        assert_eq!(pointer_of(writer.as_str().unwrap()), Some(bytes(&case, "pointer_writer_signed")));
        assert_eq!(pointer_of(text(&case, "owner")), Some(bytes(&case, "pointer_identity_signed")));
        assert_eq!(snapshot.follow_requests[0].to_bytes(), bytes(&case, "follow_request_cbor"));
        assert_eq!(snapshot.bats[0].to_bytes(), bytes(&case, "mirror_bat_cbor"));
        assert_eq!(snapshot.login.unwrap().to_bytes(), bytes(&case, "login_data_cbor"));
        let labels: Vec<i64> = snapshot.link_counts.iter().map(|of| of.label).collect();
        assert!(labels.len() == 2 && labels.contains(&123_456_789) && labels.contains(&-5), "{labels:?}");
    }
    cases.finish();
}

#[test]
fn a_writer_without_its_pointer_is_refused() {
    let case = Cases::of("06-snapshot").section("cases").remove(0);
    let recorded = bytes(&case, "snapshot_cbor");
    // The list of pointers, of four, says that it has three; what follows is then no map of a snapshot.
    let at = recorded.windows(3).position(|three| three == [0x61, b'p', 0x84]).unwrap();
    let mut broken = recorded.clone();
    broken[at + 2] = 0x83;
    assert!(UserSnapshot::from_bytes(&broken).is_err());
    for length in 0..recorded.len() {
        assert!(UserSnapshot::from_bytes(&recorded[..length]).is_err());
    }
}
