//! The CBOR codec against `vectors/01-cbor.json`, against `serde_ipld_dagcbor` where both speak the same language, and
//! against hostile input (`spec/01` §1).

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use pyrgos_protocol::encoding::cbor::{MAX_DEPTH, canonical_order};
use pyrgos_protocol::encoding::{Cid, Codec, DecodeError, Value};
use support::{Cases, accepts, bytes, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("01-cbor");
    for case in cases.section("encode") {
        let canonical = bytes(&case, "cbor");
        let value = Value::decode_canonical(&canonical.clone().into()).unwrap_or_else(|e| panic!("{e}: {case}"));
        assert!(is_shown_as(&value, text(&case, "value")), "{case}");
        assert_eq!(value.encode(), canonical, "{case}");
        assert_eq!(value.encoded_len(), canonical.len());
        let cid = Cid::of_cbor(&canonical);
        assert_eq!(cid.to_string(), text(&case, "cid_dag_cbor"));
        assert_eq!(cid.to_bytes(), bytes(&case, "cid_bytes"));
        assert_eq!(cid.hash().digest(), bytes(&case, "sha256"));
    }
    for case in cases.section("decode") {
        decode(&case);
    }
    cases.finish();
}

fn decode(case: &serde_json::Value) {
    let input = Bytes::from(bytes(case, "input"));
    // What the reference takes by accident is refused here (`spec/01` §1.3).
    let accident = text(case, "required").starts_with("Accident");
    let result = Value::decode_first(&input);
    if !accepts(case) || accident {
        assert!(result.is_err(), "{case}");
        return;
    }
    let (value, used) = result.unwrap_or_else(|error| panic!("{error}: {case}"));
    let reencoded = bytes(case, "reencoded");
    assert_eq!(value.encode(), reencoded, "{case}");
    assert!(is_shown_as(&value, text(case, "value")), "{case}");
    assert_eq!(used == input.len(), Value::decode(&input).is_ok(), "{case}");
    let canonical = case["input_is_canonical"].as_bool().unwrap();
    assert_eq!(Value::decode_canonical(&input).is_ok(), canonical, "{case}");
}

/// Whether a value is the one that the vectors show. Some are shown abbreviated, which their bytes make up for.
fn is_shown_as(value: &Value, shown: &str) -> bool {
    if shown.contains("...") || shown == "link" {
        return true;
    }
    match value {
        Value::Bytes(content) => shown == format!("h'{}'", hex::encode(content)),
        Value::Link(cid) => shown == format!("link({cid})"),
        other => to_json(other) == serde_json::from_str::<serde_json::Value>(shown).ok(),
    }
}

fn to_json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Int(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bool(value) => (*value).into(),
        Value::Null => serde_json::Value::Null,
        Value::List(items) => items.iter().map(to_json).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| Some((key.to_owned(), to_json(value)?)));
            serde_json::Value::Object(entries.collect::<Option<_>>()?)
        }
        Value::Bytes(_) | Value::Link(_) => return None,
    })
}

fn cids() -> impl Strategy<Value = Cid> {
    let hashed = any::<[u8; 32]>().prop_map(|digest| Cid::from_sha256(Codec::DagCbor, digest));
    let inline =
        proptest::collection::vec(any::<u8>(), 0..=36).prop_map(|content| Cid::identity(Codec::Raw, &content).unwrap());
    prop_oneof![hashed, inline]
}

fn values(keys: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-300i64..70_000).prop_map(Value::Int),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|content| Value::Bytes(content.into())),
        any::<String>().prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        cids().prop_map(Value::Link),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::vec((keys, inner), 0..8).prop_map(Value::map),
        ]
    })
}

/// The same item for the oracle.
fn to_oracle(value: &Value) -> Oracle {
    match value {
        Value::Int(number) => Oracle::Int(*number),
        Value::Bytes(content) => Oracle::Bytes(Binary(content.to_vec())),
        Value::Text(text) => Oracle::Text(text.clone()),
        Value::Bool(value) => Oracle::Bool(*value),
        Value::Null => Oracle::Null(()),
        Value::Link(cid) => Oracle::Link(cid::Cid::try_from(cid.to_bytes()).unwrap()),
        Value::List(items) => Oracle::List(items.iter().map(to_oracle).collect()),
        Value::Map(map) => Oracle::Map(map.iter().map(|(key, value)| (key.to_owned(), to_oracle(value))).collect()),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Binary(Vec<u8>);

impl serde::Serialize for Binary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// What `serde_ipld_dagcbor` writes: the common data model.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
enum Oracle {
    Null(()),
    Bool(bool),
    Int(i64),
    Link(cid::Cid),
    Bytes(Binary),
    Text(String),
    List(Vec<Oracle>),
    Map(std::collections::BTreeMap<String, Oracle>),
}

proptest! {
    #![proptest_config(support::properties())]

    #[test]
    fn what_is_written_is_read(value in values(".{0,6}")) {
        let written = Bytes::from(value.encode());
        prop_assert_eq!(written.len(), value.encoded_len());
        prop_assert_eq!(Value::decode_canonical(&written).unwrap(), value.clone());
        // Padded plaintext: the first item, whatever follows.
        let padded = Bytes::from([&written[..], &[0; 9]].concat());
        prop_assert_eq!(Value::decode_first(&padded).unwrap(), (value, written.len()));
    }

    #[test]
    fn ascii_keys_make_it_dag_cbor(value in values("[ -~]{0,6}")) {
        let expected = serde_ipld_dagcbor::to_vec(&to_oracle(&value)).unwrap();
        prop_assert_eq!(value.encode(), expected);
    }

    #[test]
    fn any_input_is_read_or_refused(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let input = Bytes::from(input);
        if let Ok((value, used)) = Value::decode_first(&input) {
            let written = value.encode();
            prop_assert!(written.len() <= used || input.windows(2).any(|pair| pair == [0xd8, 0x2a]));
            // Whatever form it came in, its canonical one is stable.
            let again = Value::decode_canonical(&written.clone().into()).unwrap();
            prop_assert_eq!(&again, &value);
            if Value::decode_canonical(&input).is_ok() {
                prop_assert_eq!(&written[..], &input[..]);
            }
        }
    }

    #[test]
    fn changed_input_never_panics(
        value in values(".{0,6}"),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut written = value.encode();
        for (at, byte) in changes {
            let at = at.index(written.len());
            written[at] = byte;
        }
        let _ = Value::decode(&written);
    }

    #[test]
    fn keys_have_one_order(a in ".{0,4}", b in ".{0,4}", c in ".{0,4}") {
        prop_assert_eq!(canonical_order(&a, &b), canonical_order(&b, &a).reverse());
        prop_assert_eq!(canonical_order(&a, &b).is_eq(), a == b);
        if canonical_order(&a, &b).is_le() && canonical_order(&b, &c).is_le() {
            prop_assert!(canonical_order(&a, &c).is_le());
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize, head: &[u8], leaf: &[u8]| [head.repeat(levels), leaf.to_vec()].concat();
    for head in [&[0x81][..], &[0xa1, 0x60]] {
        assert!(Value::decode(&nested(MAX_DEPTH, head, &[0])).is_ok());
        assert_eq!(Value::decode(&nested(MAX_DEPTH + 1, head, &[0])), Err(DecodeError::Depth));
        assert_eq!(Value::decode(&nested(1_000_000, head, &[])), Err(DecodeError::Depth));
    }
}

#[test]
fn lengths_are_believed_only_as_far_as_the_input_reaches() {
    for major in [0x40u8, 0x60, 0x80, 0xa0] {
        for length in [1u64, 1 << 31, 1 << 32, 1 << 62, u64::MAX] {
            let mut input = vec![major | 27];
            input.extend_from_slice(&length.to_be_bytes());
            assert_eq!(Value::decode(&input), Err(DecodeError::TooLong(length)), "{major:#x}");
        }
    }
    // A count that the input could just hold, many times over: refused without being believed each time.
    let input = [0x9a, 0x00, 0x0f, 0xff, 0xff].repeat(MAX_DEPTH);
    assert!(Value::decode(&input).is_err());
}

#[test]
fn many_small_items_take_no_memory_beyond_the_input() {
    use pyrgos_protocol::encoding::cbor::{BYTES_PER_ITEM, MIN_ITEMS};
    let list = |count: u32| [&[0x9a][..], &count.to_be_bytes(), &vec![0; count as usize]].concat();
    assert!(Value::decode(&list(MIN_ITEMS as u32 - 1)).is_ok());
    assert_eq!(Value::decode(&list(MIN_ITEMS as u32)), Err(DecodeError::TooManyItems));
    assert_eq!(Value::decode(&list(4 << 20)), Err(DecodeError::TooManyItems));
    // Items of a useful length are not limited by their number.
    let texts = Value::List(vec![Value::text("x".repeat(BYTES_PER_ITEM)); 2 * MIN_ITEMS]);
    assert_eq!(Value::decode(&texts.encode()).as_ref(), Ok(&texts));
}

#[test]
fn an_entry_is_found_without_decoding_the_rest() {
    let zeros = |count: u32| Bytes::from([&[0x9a][..], &count.to_be_bytes(), &vec![0; count as usize]].concat());
    // What is read over does not count, what is read does.
    let many = Value::List(vec![Value::Int(0); 1000]);
    let block = |bats: &Value| Bytes::from(Value::map([("bats", bats.clone()), ("other", many.clone())]).encode());
    let few = Value::List(vec![Value::Int(1)]);
    assert_eq!(Value::decode_entry(&block(&few), "bats", 2), Ok(Some(few.clone())));
    assert_eq!(Value::decode_entry(&block(&few), "none", 0), Ok(None));
    assert_eq!(Value::decode_entry(&block(&many), "bats", 10), Err(DecodeError::TooManyItems));
    assert_eq!(Value::decode_entry(&zeros(1 << 20), "bats", 0), Ok(None));
    // Twice under one key, cut, followed by something, too deep, no map at all.
    let twice = Bytes::from_static(b"\xa2\x61a\x00\x61a\x01");
    assert_eq!(Value::decode_entry(&twice, "a", 10), Err(DecodeError::DuplicateKey));
    let whole = block(&few);
    for len in 0..whole.len() {
        assert!(Value::decode_entry(&whole.slice(..len), "bats", 10).is_err(), "{len}");
    }
    assert_eq!(Value::decode_entry(&[&whole[..], &[0]].concat().into(), "bats", 10), Err(DecodeError::Trailing(1)));
    let deep = Bytes::from([&b"\xa1\x61a"[..], &[0x81; 1 << 20]].concat());
    assert_eq!(Value::decode_entry(&deep, "b", 10), Err(DecodeError::Depth));
}
