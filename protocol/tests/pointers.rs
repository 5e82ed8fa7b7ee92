//! Pointers against `02-pointers.json`.

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::Writer;
use pyrgos_protocol::merkle::pointer::memory::{self, Freshness};
use pyrgos_protocol::merkle::pointer::{
    self, CasFailure, MultiWriterCommit, PointerMemory, PointerRefused, PointerUpdate, Rollback, SignedPointerUpdate,
};
use serde_json::Value;
use support::{Cases, array, boolean, bytes, text};

fn cid(text: &str) -> Cid {
    text.parse().expect("a CID")
}

/// A CID or null, as text or as hexadecimal bytes.
fn maybe_cid(case: &Value, key: &str) -> Option<Cid> {
    let text = case[key].as_str()?;
    Some(if text.starts_with('z') { cid(text) } else { Cid::from_bytes(&bytes(case, key)).unwrap() })
}

/// A server with nothing but the pure decisions and two maps.
struct Server {
    blocks: HashMap<Cid, Bytes>,
    pointers: HashMap<Writer, Bytes>,
}

impl Server {
    fn decide(&self, update: &SignedPointerUpdate) -> Result<(), PointerRefused> {
        let key = update.writer.signing_key().unwrap();
        let stored = self.pointers.get(&update.writer).map(|stored| stored.as_ref());
        let opened = pointer::admit(stored, &key, &update.signed)?;
        let block = opened.updated().and_then(|target| self.blocks.get(target));
        pointer::admit_target(&opened, &update.writer, block)
    }

    fn set(&mut self, update: SignedPointerUpdate) -> Result<(), PointerRefused> {
        self.decide(&update)?;
        self.pointers.insert(update.writer, update.signed);
        Ok(())
    }

    fn set_all(&mut self, commit: &MultiWriterCommit) -> Result<(), PointerRefused> {
        commit.updates.iter().try_for_each(|update| self.decide(update))?;
        commit.check_writers()?;
        self.pointers.extend(commit.updates.iter().map(|update| (update.writer.clone(), update.signed.clone())));
        Ok(())
    }

    fn check_state(&self, writer: &Writer, expected: &Value) {
        let stored = self.pointers.get(writer);
        assert_eq!(stored.is_some(), boolean(expected, "present"));
        if let Some(stored) = stored {
            let update = PointerUpdate::open(&writer.signing_key().unwrap(), stored).unwrap();
            assert_eq!(update.updated().cloned(), maybe_cid(expected, "target"));
            assert_eq!(update.sequence(), expected["sequence"].as_i64());
        }
    }
}

/// Compares a decision with the reference's: true, false or an error whose text counts only where it is part of the
/// protocol.
fn check_outcome(decision: &Result<(), PointerRefused>, outcome: &Value, single: bool) {
    let Some(error) = outcome.as_str() else {
        let quiet = decision.as_ref().is_err_and(PointerRefused::is_quiet);
        assert_eq!(decision.is_ok(), outcome.as_bool().unwrap(), "{decision:?}");
        assert!(decision.is_ok() || (quiet && single), "{decision:?}");
        return;
    };
    let refused = decision.as_ref().expect_err(error);
    assert!(!refused.is_quiet() || !single, "{refused}");
    let exact = error.strip_prefix("ERROR PointerCAS:").map(|rest| format!("PointerCAS:{rest}"));
    match (refused, exact) {
        (PointerRefused::Cas(failure), exact) => {
            assert_eq!(Some(failure.to_string()), exact);
            assert_eq!(failure.to_string().parse::<CasFailure>().as_ref(), Ok(failure.as_ref()));
        }
        (PointerRefused::Sequence { .. }, None) => assert!(error.contains("Invalid sequence number update"), "{error}"),
        (PointerRefused::TooBig { len }, None) => assert!(error.contains(&format!("too big! {len}")), "{error}"),
        (PointerRefused::TargetAbsent(cid), None) => assert!(error.contains(&cid.to_string()), "{error}"),
        (PointerRefused::Controller { .. }, None) => assert!(error.contains("controller mismatch"), "{error}"),
        (other, _) => panic!("{other} instead of {error}"),
    }
}

#[test]
fn pointers() {
    let mut cases = Cases::of("02-pointers");
    let keys = cases.value("keys");
    let secret = |label: &str| {
        let key = keys.as_array().unwrap().iter().find(|key| text(key, "label") == label).unwrap();
        SecretKey::from_bytes(array(key, "ed25519_secret_64")).unwrap()
    };
    let writer = |label: &str| Writer::of_signing_key(&secret(label).public());
    let mut server = Server { blocks: HashMap::new(), pointers: HashMap::new() };
    for (_, block) in cases.value("writer_data_blocks_on_server").as_object().unwrap() {
        let content = Bytes::from(bytes(block, "block"));
        assert_eq!(Cid::of_cbor(&content), cid(text(block, "cid")));
        server.blocks.insert(cid(text(block, "cid")), content);
    }
    assert!(!server.blocks.contains_key(&cid(cases.value("absent_cid").as_str().unwrap())));

    for case in cases.section("encoding") {
        let update =
            PointerUpdate::new(maybe_cid(&case, "original"), maybe_cid(&case, "updated"), case["sequence"].as_i64());
        let cbor = bytes(&case, "cbor");
        assert_eq!(PointerUpdate::from_bytes(&cbor), update);
        let Ok(update) = update else {
            assert!(text(&case, "reference_parses_and_reserializes_to").starts_with("ERROR"), "{case}");
            continue;
        };
        assert_eq!(update.to_bytes(), cbor);
        assert_eq!(cbor, bytes(&case, "reference_parses_and_reserializes_to"));
        let signed = update.sign(&secret("writer-1"));
        assert_eq!(signed, bytes(&case, "signed_by_writer_1"));
        assert_eq!(signed.len(), case["signed_length"].as_u64().unwrap() as usize);
        assert_eq!(PointerUpdate::open(&secret("writer-1").public(), &signed), Ok(update.clone()));
        assert_eq!(PointerUpdate::open(&secret("owner").public(), &signed), Err(PointerRefused::Signature));
        let fits = update.sequence().is_none_or(|sequence| sequence <= pointer::MAX_SEQUENCE);
        assert_eq!(signed.len() <= pointer::MAX_SIGNED, fits);
    }
    for case in cases.section("decoding") {
        let cbor = bytes(&case, "cbor");
        // As it is read: signed, and then opened.
        let signed = secret("writer-1").sign_attached(&cbor);
        let read = PointerUpdate::open(&secret("writer-1").public(), &signed).ok();
        let target = |cid: Option<&Cid>| cid.map_or("EMPTY".to_owned(), Cid::to_string);
        let shown = read.map(|read| {
            format!("{}({}, {})", read.sequence().unwrap_or(0), target(read.original()), target(read.updated()))
        });
        let expected = text(&case, "result");
        assert_eq!(shown.as_deref(), (!expected.starts_with("ERROR")).then_some(expected), "{case}");
    }
    for case in cases.section("server_single_updates_in_order") {
        let body = Bytes::from(bytes(&case, "body"));
        let update = Cbor::decode_first(&Bytes::from(bytes(&case, "update_cbor"))).unwrap().0;
        let update = PointerUpdate::from_cbor(&update).unwrap();
        let signed = update.sign(&secret(text(&case, "signed_with")));
        let damaged = ["tampered body", "truncated body"].contains(&text(&case, "note"));
        assert_eq!(signed == body, !damaged, "{case}");
        let writer = writer(text(&case, "writer"));
        let decision = server.set(SignedPointerUpdate { writer: writer.clone(), signed: body });
        check_outcome(&decision, &case["outcome"], true);
        server.check_state(&writer, &case["state_after"]);
    }
    for case in cases.section("server_multi_updates_in_order") {
        let commit = MultiWriterCommit::from_bytes(&bytes(&case, "body")).unwrap();
        assert_eq!(commit.to_bytes(), bytes(&case, "body"));
        check_outcome(&server.set_all(&commit), &case["outcome"], false);
        server.check_state(&writer("writer-1"), &case["state_after_writer_1"]);
        server.check_state(&writer("writer-2"), &case["state_after_writer_2"]);
    }
    for case in cases.section("cas_failure_messages") {
        let failure = CasFailure {
            existing: maybe_cid(&case, "existing"),
            sequence: case["sequence"].as_i64(),
            claimed: maybe_cid(&case, "claimed"),
        };
        assert_eq!(failure.to_string(), text(&case, "message"));
        // The header's form encoding escapes nothing else in such a text.
        let header = text(&case, "trailer_header_value").replace("%3A", ":").replace("%2C", ",");
        assert_eq!(header.parse(), Ok(failure));
    }
    for case in cases.section("client_pointer_cache_rule") {
        cache_rule(&case, &secret("writer-1"));
    }
    cases.finish();
}

fn cache_rule(case: &Value, secret: &SecretKey) {
    let (key, writer) = (secret.public(), Writer::of_signing_key(&secret.public()));
    let received = Bytes::from(bytes(case, "received"));
    let mut memory = PointerMemory::default();
    let cached = case["cached"].as_str().map(|_| Bytes::from(bytes(case, "cached")));
    if let Some(cached) = &cached {
        let update = memory.observe(&writer, &key, cached).unwrap().unwrap();
        let known = Some((cached.as_ref(), update.sequence()));
        let sequence = PointerUpdate::open(&key, &received).unwrap().sequence();
        let fresh = memory::compare(known, &received, sequence);
        match text(case, "description") {
            "same bytes: nothing to do" => assert_eq!(fresh, Ok(Freshness::Same)),
            "higher sequence: stored" => assert_eq!(fresh, Ok(Freshness::Newer)),
            // The reference stores it; refused here (`spec/02` §15 point 3).
            "equal sequence, other content: stored (not refused)" => assert_eq!(fresh, Err(Rollback::Forked(sequence))),
            "lower sequence: refused" | "no sequence after one: refused" => {
                assert!(matches!(fresh, Err(Rollback::Older { .. })));
            }
            other => panic!("unknown case {other}"),
        }
    }
    let observed = memory.observe(&writer, &key, &received);
    let forked = text(case, "description").starts_with("equal sequence, other content");
    match case["outcome_replace"].as_bool() {
        Some(replace) if !forked => {
            let newest = memory.newest(&writer);
            assert_eq!(observed.unwrap().as_ref(), newest);
            assert_eq!(cached.as_ref() != Some(&received), replace);
            assert_eq!(memory.entries().collect::<Vec<_>>(), [(&writer, &received)]);
        }
        _ => {
            observed.unwrap_err();
            assert_eq!(memory.entries().collect::<Vec<_>>(), [(&writer, &cached.unwrap())]);
        }
    }
    assert_eq!(memory.observe(&writer, &key, &Bytes::new()), Err(Rollback::Withheld));
    assert_eq!(PointerMemory::default().observe(&writer, &key, &Bytes::new()), Ok(None));
}

#[test]
fn two_moves_of_one_writer_from_the_same_state_are_refused_together() {
    let secret = SecretKey::from_seed(&[5; 32]);
    let writer = Writer::of_signing_key(&secret.public());
    let updates = [b"a", b"b"].map(|content| SignedPointerUpdate {
        writer: writer.clone(),
        signed: PointerUpdate::first(Cid::of_cbor(content)).sign(&secret),
    });
    let commit = MultiWriterCommit { updates: updates.to_vec() };
    assert_eq!(commit.check_writers(), Err(PointerRefused::Repeated(writer)));
    assert_eq!(MultiWriterCommit { updates: updates[..1].to_vec() }.check_writers(), Ok(()));
}

#[test]
fn malformed_cas_texts_are_errors() {
    for text in [
        "",
        "PointerCAS:",
        "PointerCAS:EMPTY,,",
        "PointerCAS:EMPTY,x,EMPTY",
        "PointerCAS:EMPTY,,EMPTY,",
        "EMPTY,,EMPTY",
    ] {
        assert!(text.parse::<CasFailure>().is_err(), "{text}");
    }
}
