//! Varints, CIDs, key hashes and base texts against `vectors/01-multiformats.json` (`spec/01` §2).

mod support;

use multibase::Base;
use proptest::prelude::*;
use pyrgos_protocol::encoding::text::{MAX_BASE58, base32_upper, base58, from_base58, from_multibase};
use pyrgos_protocol::encoding::{Cid, FromCbor, Multihash, ToCbor, Value, varint};
use pyrgos_protocol::keys::KeyHash;
use support::{Cases, accepts, bytes, int, properties, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("01-multiformats");
    varints(&mut cases);
    cids(&mut cases);
    cid_texts(&mut cases);
    cid_bytes(&mut cases);
    key_hashes(&mut cases);
    bases(&mut cases);
    cases.skip_section("multiaddr", "clients and this codec never handle multiaddresses; libp2p's own type does");
    cases.finish();
}

fn varints(cases: &mut Cases) {
    for case in cases.section("varint_encode") {
        let value = int(&case, "value") as u64;
        let mut written = Vec::new();
        varint::write(&mut written, value);
        assert_eq!(written, bytes(&case, "bytes"));
        assert_eq!(varint::encoded_len(value), written.len());
        assert_eq!(varint::read(&written), Ok((value, &[][..])));
    }
    for case in cases.section("varint_decode") {
        let input = bytes(&case, "bytes");
        match varint::read(&input) {
            // The vectors show the 64 bits as a signed number.
            Ok((value, rest)) => {
                assert!(accepts(&case) && rest.is_empty(), "{case}");
                assert_eq!(value as i64, int(&case, "result"));
            }
            Err(_) => assert!(!accepts(&case), "{case}"),
        }
    }
}

fn cids(cases: &mut Cases) {
    for case in cases.section("cids") {
        let cid = Cid::from_bytes(&bytes(&case, "cid_bytes")).unwrap();
        assert_eq!(cid.is_version_0(), int(&case, "version") == 0);
        assert_eq!(cid.codec().code() as i64, int(&case, "codec"));
        assert_eq!(cid.hash().code() as i64, int(&case, "multihash_code"));
        assert_eq!(cid.hash().digest(), bytes(&case, "digest"));
        assert_eq!(cid.to_bytes(), bytes(&case, "cid_bytes"));
        assert_eq!(cid.encoded_len(), cid.to_bytes().len());
        assert_eq!(cid.hash().to_bytes(), bytes(&case, "multihash_bytes"));
        assert_eq!(Multihash::from_bytes(&bytes(&case, "multihash_bytes")).as_ref(), Ok(cid.hash()));
        assert_eq!(cid.to_string(), text(&case, "string"));
        assert_eq!(cid.hash().to_base58(), text(&case, "bare_multihash_base58"));
        assert_eq!(base58(cid.to_bytes()), text(&case, "cid_bytes_base58_without_multibase"));
        for (base, encoded) in case["multibase"].as_object().unwrap() {
            let encoded = encoded.as_str().unwrap();
            assert_eq!(from_multibase(encoded).unwrap(), cid.to_bytes(), "{base}");
            assert_eq!(encoded.parse::<Cid>().unwrap(), cid, "{base}");
        }
        assert_eq!(Value::Link(cid.clone()).encode(), bytes(&case, "link_cbor"));
        assert_eq!(Value::decode(&bytes(&case, "link_cbor")).unwrap(), Value::Link(cid));
    }
}

fn cid_texts(cases: &mut Cases) {
    for case in cases.section("cid_decode_string") {
        match text(&case, "string").parse::<Cid>() {
            Ok(cid) => {
                assert!(accepts(&case), "{case}");
                assert_eq!(cid.to_string(), text(&case, "canonical_string"));
                assert_eq!(cid.to_bytes(), bytes(&case, "cid_bytes"));
            }
            Err(_) => assert!(!accepts(&case), "{case}"),
        }
    }
    for case in cases.section("peer_id_decode") {
        assert!(accepts(&case));
        let cid = Cid::from_server_id(text(&case, "string")).unwrap();
        assert_eq!(cid.is_version_0(), int(&case, "version") == 0);
        assert_eq!(cid.codec().code() as i64, int(&case, "codec"));
        assert_eq!(cid.to_bytes(), bytes(&case, "cid_bytes"));
        assert_eq!(cid.to_string(), text(&case, "canonical_string"));
    }
}

fn cid_bytes(cases: &mut Cases) {
    for case in cases.section("cid_decode_bytes") {
        let description = text(&case, "description");
        // Two cases are described instead of written out.
        let long = |len: usize, prefix: &str| [hex::decode(prefix).unwrap(), vec![0xab; len]].concat();
        let (input, shown) = match description {
            "identity 4112 bytes (legacy limit)" => (long(4112, "0155009020"), false),
            "identity 4113 bytes" => (long(4113, "0155009120"), false),
            _ => (bytes(&case, "bytes"), true),
        };
        // An accident of the reference that `spec/01` §2.3 says to refuse.
        let accident = description == "trailing byte ignored";
        match Cid::from_bytes(&input) {
            Ok(cid) => {
                assert!(accepts(&case) && !accident, "{case}");
                assert_eq!(cid.is_version_0(), int(&case, "version") == 0);
                assert_eq!(cid.codec().code() as i64, int(&case, "codec"));
                assert_eq!(cid.hash().code() as i64, int(&case, "multihash_code"));
                assert_eq!(cid.to_bytes(), input);
                if shown {
                    assert_eq!(cid.to_string(), text(&case, "string"));
                }
            }
            Err(_) => assert!(!accepts(&case) || accident, "{case}"),
        }
    }
}

fn key_hashes(cases: &mut Cases) {
    for case in cases.section("public_key_hash_types") {
        let cid = Cid::from_bytes(&bytes(&case, "cid_bytes")).unwrap();
        let link = Value::Link(cid.clone());
        match KeyHash::from_cbor(&link) {
            Ok(hash) => {
                assert!(accepts(&case), "{case}");
                assert_eq!(hash.to_string(), text(&case, "result"));
                assert_eq!(hash.to_cbor(), link);
            }
            Err(_) => assert!(!accepts(&case), "{case}"),
        }
    }
}

fn bases(cases: &mut Cases) {
    for case in cases.section("base58_base36") {
        let content = bytes(&case, "bytes");
        assert_eq!(base58(&content), text(&case, "base58btc"));
        assert_eq!(from_base58(text(&case, "base58btc")).unwrap(), content);
        assert_eq!(from_multibase(&format!("k{}", text(&case, "base36"))).unwrap(), content);
    }
    for case in cases.section("base32") {
        let content = text(&case, "text").as_bytes();
        assert_eq!(base32_upper(content), text(&case, "base32_upper_padded").trim_end_matches('='));
        assert_eq!(from_multibase(&format!("b{}", text(&case, "base32_lower_nopad"))).unwrap(), content);
    }
}

proptest! {
    #![proptest_config(properties())]

    /// Another program's base58 is the same, with any number of zeros in front.
    #[test]
    fn base58_is_that_of_the_library(zeros in 0..4usize, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let content = [vec![0; zeros], rest].concat();
        let encoded = base58(&content);
        prop_assert_eq!(&encoded, &Base::Base58Btc.encode(&content));
        prop_assert_eq!(from_base58(&encoded), Ok(content.clone()));
        prop_assert_eq!(from_multibase(&format!("z{encoded}")), Ok(content));
    }

    #[test]
    fn base58_reads_what_the_library_reads(text in "[1-9A-HJ-NP-Za-km-z]{0,40}|[ -~é]{0,6}") {
        prop_assert_eq!(from_base58(&text).ok(), Base::Base58Btc.decode(&text).ok());
    }
}

#[test]
fn base58_of_no_digits_and_of_too_many_is_refused() {
    for text in ["0", "O", "I", "l", "1 1", "z\u{e9}", "2\n", "+"] {
        assert!(from_base58(text).is_err(), "{text:?}");
    }
    assert_eq!(from_base58(""), Ok(Vec::new()));
    assert_eq!(from_base58(&"1".repeat(MAX_BASE58)), Ok(vec![0; MAX_BASE58]));
    assert!(from_base58(&"1".repeat(MAX_BASE58 + 1)).is_err());
}
