//! Blocks against `02-blocks.json`.

mod support;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::encoding::{Cid, CidError, Codec, FromCbor, ToCbor, Value as Cbor, cid, text as texts};
use pyrgos_protocol::keys::Writer;
use pyrgos_protocol::merkle::bat::{caps::MAX_CAPS, prefix::MAX_RAW_PREFIX};
use pyrgos_protocol::merkle::block::{
    self, BlockError, BlockStoreProperties, BlockWriteGroup, PresignedUrl, SignedBlock,
};
use serde_json::Value;
use support::{Cases, array, boolean, bytes, int, text};

#[test]
fn blocks() {
    let mut cases = Cases::of("02-blocks");
    let limits = cases.value("limits");
    let limit = |key: &str| int(&limits, key) as usize;
    assert_eq!(block::MAX_BLOCK, limit("max_block_bytes"));
    assert_eq!(MAX_RAW_PREFIX, limit("max_raw_prefix_bytes"));
    assert_eq!(block::MAX_BLOCKS_PER_AUTH, limit("max_blocks_per_auth_call"));
    assert_eq!(MAX_CAPS, limit("max_caps_per_champ_call"));
    assert_eq!(block::SMALL_BLOCK, limit("small_block_bytes"));
    assert_eq!(cid::MAX_WRITTEN_IDENTITY_DIGEST, limit("max_identity_hash_bytes"));
    assert_eq!(cid::MAX_IDENTITY_DIGEST, limit("legacy_max_identity_hash_bytes"));

    let keys = cases.value("writer");
    let writer = SecretKey::from_bytes(array(&keys, "ed25519_secret_64")).unwrap();
    assert_eq!(SecretKey::from_seed(&array(&keys, "seed")).as_bytes(), writer.as_bytes());
    assert_eq!(writer.public().as_bytes(), &array(&keys, "ed25519_public"));
    let hash = Writer::of_signing_key(&writer.public());
    assert_eq!(hash.cid().identity_content(), Some(bytes(&keys, "public_signing_key_cbor").as_slice()));
    assert_eq!(hash.cid().to_bytes(), bytes(&keys, "public_key_hash_cid_bytes"));
    assert_eq!(hash.to_string(), text(&keys, "public_key_hash_string"));
    assert_eq!(hash.to_bytes(), bytes(&keys, "public_key_hash_cbor"));

    let mut signed = Vec::new();
    for case in cases.section("blocks") {
        signed.push(one_block(&case, &writer));
    }
    for case in cases.section("identity_cids") {
        let content = bytes(&case, "content");
        assert_eq!(content.len(), int(&case, "content_length") as usize);
        let cid = Cid::identity(Codec::DagCbor, &content).unwrap();
        assert_eq!(cid.to_bytes(), bytes(&case, "cid_bytes"));
        assert_eq!(cid.to_string(), text(&case, "cid_string"));
        assert_eq!(block::verify(&cid, &Bytes::from(content)), Ok(()));
        assert_eq!(block::verify(&cid, &Bytes::from_static(&[0xa0])), Err(BlockError::Hash(cid)));
    }
    for case in cases.section("block_write_groups") {
        let cbor = bytes(&case, "cbor");
        let read = BlockWriteGroup::from_bytes(&cbor);
        match text(&case, "description") {
            "two blocks" => {
                let group = BlockWriteGroup { blocks: vec![signed[0].clone(), signed[2].clone()] };
                assert_eq!(group.to_bytes(), cbor);
                assert_eq!(read, Ok(group));
            }
            "no blocks" => assert_eq!(read.unwrap().to_bytes(), cbor),
            "different counts" => assert!(read.is_err()),
            other => panic!("unknown case {other}"),
        }
    }
    for case in cases.section("block_store_properties") {
        properties(&case);
    }
    for case in cases.section("client_verification") {
        let requested: Cid = text(&case, "requested").parse().unwrap();
        assert_eq!(text(&case, "outcome"), "refused");
        if case.get("block").is_none() {
            assert_eq!(
                block::verify(&requested, &Bytes::from_static(b"other bytes")),
                Err(BlockError::Hash(requested))
            );
            continue;
        }
        let block = Bytes::from(bytes(&case, "block"));
        let canonical = Cbor::decode(&block).unwrap().encode();
        assert_eq!(canonical, bytes(&case, "canonical_reencoding"));
        assert_eq!(Cid::of_cbor(&block), requested);
        assert!(matches!(block::verify(&requested, &block), Err(BlockError::NotCanonical(_))));
        assert!(matches!(block::check_writable(Codec::DagCbor, &block), Err(BlockError::NotCanonical(_))));
        let canonical = Bytes::from(canonical);
        assert_eq!(block::verify(&Cid::of_cbor(&canonical), &canonical), Ok(()));
    }
    cases.finish();
}

fn one_block(case: &Value, writer: &SecretKey) -> SignedBlock {
    let block = Bytes::from(bytes(case, "block"));
    let codec = if boolean(case, "raw") { Codec::Raw } else { Codec::DagCbor };
    let cid = Cid::of_block(codec, &block);
    assert_eq!(sha256(&block), array(case, "sha256"));
    assert_eq!(cid.to_bytes(), bytes(case, "cid_bytes"));
    assert_eq!(cid.to_string(), text(case, "cid_string"));
    assert_eq!(text(case, "cid_string").parse::<Cid>(), Ok(cid.clone()));
    assert_eq!(texts::base58(cid.to_bytes()), text(case, "cid_base58_without_prefix"));
    assert_eq!(block::block_key(&cid), text(case, "file_or_s3_key"));
    assert_eq!(block::cid_of_key(text(case, "file_or_s3_key")), Ok(cid.clone()));
    assert_eq!(block::cid_of_key(&text(case, "file_or_s3_key").to_lowercase()), Err(CidError::Text));

    let signed = SignedBlock::sign(writer, block.clone());
    assert_eq!(signed.signature, bytes(case, "signature_by_writer_1"));
    assert_eq!(signed.signature.len(), int(case, "signature_length") as usize);
    assert_eq!(block::check_signature(&writer.public(), &block, &signed.signature).map(|_| ()), Ok(()));
    let other = SecretKey::from_seed(&[1; 32]);
    assert_eq!(block::check_signature(&other.public(), &block, &signed.signature), Err(BlockError::Signature));
    assert_eq!(block::check_signature(&writer.public(), b"other", &signed.signature), Err(BlockError::Signature));
    assert_eq!(block::check_signature(&writer.public(), &block, &[]), Err(BlockError::Signature));
    assert_eq!(block::verify(&cid, &block), Ok(()));
    // Four bytes are a cbor block, but no raw block that the reference could read back.
    match (codec, block.len()) {
        (Codec::Raw, len @ 0..8) => assert_eq!(block::check_writable(codec, &block), Err(BlockError::TooShort { len })),
        _ => assert_eq!(block::check_writable(codec, &block), Ok(())),
    }
    signed
}

fn properties(case: &Value) {
    let cbor = bytes(case, "cbor");
    if case.get("headers").is_some() {
        let headers = case["headers"].as_object().unwrap().iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let url = PresignedUrl { url: text(case, "base").to_owned(), headers };
        assert_eq!(url.to_bytes(), cbor);
        assert_eq!(PresignedUrl::from_bytes(&cbor), Ok(url));
        return;
    }
    let properties = BlockStoreProperties {
        direct_writes: boolean(case, "direct_writes"),
        public_reads: boolean(case, "public_reads"),
        authorised_reads: boolean(case, "authed_reads"),
        public_url: case["public_base"].as_str().map(str::to_owned),
        authorised_url: case["authed_base"].as_str().map(str::to_owned),
    };
    assert_eq!(properties.to_bytes(), cbor);
    assert_eq!(BlockStoreProperties::from_bytes(&cbor), Ok(properties));
}

#[test]
fn limits_of_a_block() {
    let largest = Bytes::from(vec![7; block::MAX_BLOCK]);
    let larger = Bytes::from(vec![7; block::MAX_BLOCK + 1]);
    assert_eq!(block::check_writable(Codec::Raw, &largest), Ok(()));
    let too_big = Err(BlockError::TooBig { len: larger.len() });
    assert_eq!(block::check_writable(Codec::Raw, &larger), too_big);
    assert_eq!(block::verify(&Cid::of_raw(&larger), &larger), too_big);
    assert_eq!(block::check_writable(Codec::Raw, &Bytes::new()), Err(BlockError::Empty));
    assert_eq!(block::check_writable(Codec::DagPb, &largest), Err(BlockError::Codec));
    let bad_bats = Bytes::from(Cbor::map([("bats", Cbor::Int(1))]).encode());
    assert!(matches!(block::check_writable(Codec::DagCbor, &bad_bats), Err(BlockError::Bats(_))));
}
