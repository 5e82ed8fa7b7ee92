//! Block access tokens against `02-bats.json`.

mod support;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::sign::SecretKey;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, Multihash, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::SignedRequest;
use pyrgos_protocol::keys::signed::CALL_WINDOW;
use pyrgos_protocol::merkle::bat::auth::{SigningKeys, canonical_request, string_to_sign};
use pyrgos_protocol::merkle::bat::time::UtcTime;
use pyrgos_protocol::merkle::bat::{
    AuthLimits, Bat, BatId, BatWithId, BlockAuth, BlockMirrorCap, ChunkMirrorCap, ReadCheck, Unauthorised, prefix,
};
use pyrgos_protocol::merkle::block::direct::WriteAuthRequest;
use serde_json::Value;
use support::{Cases, array, bytes, int, text};

fn bat(case: &Value, key: &str) -> Bat {
    Bat::from_bytes(array(case, key))
}

fn cid(case: &Value, key: &str) -> Cid {
    text(case, key).parse().expect("a CID")
}

fn bat_id(bytes: &[u8]) -> BatId {
    BatId::from_cid(&Cid::from_bytes(bytes).expect("a CID")).expect("a BAT id")
}

#[test]
fn bats() {
    let mut cases = Cases::of("02-bats");
    assert_eq!(hex::decode(cases.value("magic").as_str().unwrap()).unwrap(), prefix::RAW_MAGIC);

    for case in cases.section("basics") {
        basics(&case);
    }
    for case in cases.section("invalid") {
        invalid(text(&case, "description"));
    }
    for case in cases.section("raw_blocks") {
        raw_block(&case);
    }
    for case in cases.section("cbor_blocks") {
        let block = Bytes::from(bytes(&case, "block"));
        let read = prefix::block_bats(Codec::DagCbor, &block).ok();
        assert_eq!(read, expected_ids(&case), "{case}");
        if let Some(ids) = read.filter(|ids| !ids.is_empty()) {
            let mut map = Cbor::decode(&block).unwrap().as_map().unwrap().clone();
            map.remove(prefix::BATS_KEY);
            prefix::guard_cbor(&ids, &mut map);
            assert_eq!(Cbor::Map(map).encode(), block);
        }
    }
    for case in cases.section("block_auth") {
        block_auth(&case);
    }
    let setup = cases.value("decisions_setup");
    let decisions = cases.section("decisions");
    decide(&setup, &decisions);
    caps(&cases.section("caps"));

    let owner = &cases.value("signed_bat_requests")[0];
    let secret = SecretKey::from_bytes(array(owner, "ed25519_secret_64")).unwrap();
    for case in cases.section("signed_bat_request_cases") {
        let request = SignedRequest { path: text(&case, "path").to_owned(), millis: int(&case, "time_ms") };
        let signed = bytes(&case, "signed_by_owner");
        assert_eq!(request.to_bytes(), bytes(&case, "cbor"));
        assert_eq!(SignedRequest::sign(&request.path, request.millis, &secret), signed);
        let check = |path: &str, now| SignedRequest::check(&signed, path, &secret.public(), now, CALL_WINDOW);
        assert_eq!(check(&request.path, request.millis + 300_000).as_ref(), Ok(&request));
        assert!(check(&request.path, request.millis + 300_001).is_err());
        assert!(check("peergos/v0/bats/other", request.millis).is_err());
    }
    cases.finish();
}

fn basics(case: &Value) {
    let bat = bat(case, "secret");
    assert_eq!(*bat.to_text(), text(case, "secret_string"));
    assert!(text(case, "secret_string").parse::<Bat>().unwrap() == bat);
    assert_eq!(bat.to_bytes(), bytes(case, "bat_cbor"));
    assert!(
        Bat::from_bytes(array(case, "secret")) == bat
            && <Bat as FromCbor>::from_bytes(&bytes(case, "bat_cbor")).unwrap() == bat
    );
    assert_ne!(bat, Bat::from_bytes([0; 32]));
    assert!(
        !format!("{bat:?}{:?}{:?}", bat.inline_id(), BatWithId::mirror(bat.clone()))
            .contains(text(case, "secret_string"))
    );

    for (id, bytes_key, text_key) in [
        (bat.content_id(), "id_sha256_of_cbor_bytes", "id_sha256_of_cbor_string"),
        (bat.mirror_id(), "id_sha256_of_secret_bytes", "id_sha256_of_secret_string"),
        (bat.inline_id(), "inline_id_bytes", "inline_id_string"),
    ] {
        assert_eq!(*id.to_cid_bytes(), bytes(case, bytes_key));
        assert_eq!(*id.to_text(), text(case, text_key));
        assert_eq!(id.to_text().parse::<BatId>().unwrap(), id);
        assert!(id.is_of(&bat) && !id.is_of(&Bat::from_bytes([1; 32])));
    }
    assert_eq!(bat.inline_id().to_bytes(), bytes(case, "inline_id_cbor"));
    assert_eq!(BatId::from_bytes(&bytes(case, "inline_id_cbor")).unwrap(), bat.inline_id());

    for (with_id, key) in [
        (BatWithId::by_content(bat.clone()), "bat_with_id_inline_style"),
        (BatWithId::mirror(bat.clone()), "bat_with_id_mirror_style"),
    ] {
        assert_eq!(with_id.to_bytes(), bytes(case, &format!("{key}_cbor")));
        assert_eq!(*with_id.to_text(), text(case, &format!("{key}_string")));
        assert_eq!(with_id.to_text().parse::<BatWithId>().unwrap(), with_id);
    }
    let list = bytes(case, "bat_list_cbor");
    let read: Vec<BatWithId> = Cbor::decode(&list).unwrap().as_list_of().unwrap();
    assert_eq!(Cbor::list(&read).encode(), list);
    assert!(read.contains(&BatWithId::mirror(bat.clone())));
}

fn invalid(description: &str) {
    let bat = Bat::from_bytes([3; 32]);
    let inline = bat.inline_id().to_cbor();
    let with_id = |id: Cbor| BatWithId::from_cbor(&Cbor::map([("b", bat.to_cbor()), ("i", id)]));
    let auth = |id: Cbor| {
        let fields = [("b", id), ("e", Cbor::Int(300)), ("s", Cbor::bytes([0; 32])), ("t", Cbor::Int(1615081733))];
        BlockAuth::from_cbor(&Cbor::map(fields))
    };
    let refused = match description {
        "BAT of 31 bytes" => {
            let text = pyrgos_protocol::encoding::text::multibase58([3; 31]);
            Bat::from_cbor(&Cbor::map([("s", Cbor::bytes([3; 31]))])).is_err() && text.parse::<Bat>().is_err()
        }
        "BatWithId with an identity id" => {
            with_id(inline).is_err() && BatWithId::new(bat.clone(), bat.inline_id()).is_err()
        }
        "BatWithId whose id has the dag-cbor codec" => with_id(Cbor::bytes(Cid::of_cbor(b"x").to_bytes())).is_err(),
        "BlockAuth with an identity id" => auth(inline).is_err(),
        "empty auth text" => BlockAuth::from_text("").is_err(),
        other => panic!("unknown case {other}"),
    };
    assert!(refused, "{description}");
    // What differs from the refused cases in that one point only is accepted.
    assert!(with_id(bat.mirror_id().to_cbor()).is_ok() && auth(bat.mirror_id().to_cbor()).is_ok());
}

/// The ids that a case lists, none for an error.
fn expected_ids(case: &Value) -> Option<Vec<BatId>> {
    let ids = case["bat_ids"].as_array()?;
    Some(ids.iter().map(|id| bat_id(&hex::decode(id.as_str().unwrap()).unwrap())).collect())
}

fn raw_block(case: &Value) {
    let block = Bytes::from(bytes(case, "block"));
    assert_eq!(Cid::of_raw(&block), cid(case, "cid"));
    let ids = prefix::block_bats(Codec::Raw, &block).ok();
    assert_eq!(ids, expected_ids(case), "{case}");
    let payload = prefix::strip_raw(&block).ok().map(|payload| payload.to_vec());
    let expected = (!text(case, "without_prefix").starts_with("ERROR")).then(|| bytes(case, "without_prefix"));
    assert_eq!(payload, expected, "{case}");
    if let (Some(ids), Some(payload)) = (ids, payload)
        && text(case, "description") != "magic and empty list: public block"
    {
        assert_eq!(prefix::guard_raw(&ids, &payload), block);
        assert_eq!(prefix::raw_prefix(&ids).len(), [0, 47, 85][ids.len()]);
    }
}

fn peer(cid: &Cid) -> Multihash {
    cid.hash().clone()
}

/// Reads `YYYYMMDDThhmmssZ` by packing its fields.
fn time(datetime: &str) -> UtcTime {
    let field = |from: usize, to: usize| datetime[from..to].parse::<i64>().unwrap();
    let date = field(6, 8) << 17 | field(4, 6) << 22 | (field(0, 4) - 2000) << 26;
    UtcTime::from_packed(date | field(9, 11) << 12 | field(11, 13) << 6 | field(13, 15)).unwrap()
}

fn block_auth(case: &Value) {
    let bat = bat(case, "bat_secret");
    assert_eq!(*bat.to_text(), text(case, "bat_secret_string"));
    let with_id = BatWithId::new(bat.clone(), bat_id(&bytes(case, "bat_id_bytes"))).unwrap();
    let (block, node) = (cid(case, "block_cid"), cid(case, "source_node_cid"));
    let requester = peer(&node);
    let datetime = text(case, "datetime");
    let time = time(datetime);
    assert_eq!(time.datetime(), datetime);
    assert_eq!(UtcTime::from_unix_secs(time.unix_secs()), time);
    assert_eq!(requester.to_base58(), text(case, "host"));
    assert_eq!(
        pyrgos_protocol::encoding::text::base58(block.to_bytes()),
        text(case, "block_cid_base58_without_prefix")
    );

    let request = canonical_request(&block, &requester, time);
    assert_eq!(request, text(case, "canonical_request"));
    assert_eq!(sha256(request.as_bytes()), array(case, "canonical_request_sha256"));
    assert_eq!(string_to_sign(&request, time), text(case, "string_to_sign"));
    let keys = SigningKeys::derive(&bat, &time.date());
    assert_eq!(keys.date, array(case, "date_key"));
    assert_eq!(keys.region, array(case, "region_key"));
    assert_eq!(keys.service, array(case, "service_key"));
    assert_eq!(keys.signing, array(case, "signing_key"));

    let auth = BlockAuth::create(&block, &requester, time, &with_id);
    assert_eq!(auth.signature(), &array(case, "signature"));
    assert_eq!(auth.expiry_secs(), int(case, "expiry_seconds") as u64);
    let packed = int(case, "packed_time");
    let read = BlockAuth::from_text(text(case, "auth_parameter")).unwrap();
    assert_eq!(read, auth);
    assert_eq!(BlockAuth::from_bytes(&bytes(case, "block_auth_cbor")).unwrap(), auth);
    assert_eq!(UtcTime::from_packed(packed).unwrap(), time);
    if packed >= 0 {
        assert_eq!(auth.to_bytes(), bytes(case, "block_auth_cbor"));
        assert_eq!(auth.to_text(), text(case, "auth_parameter"));
        assert_eq!(time.to_packed(), packed);
        assert_eq!(text(case, "reference_decodes_datetime_as"), datetime);
    } else {
        // The reference's 32 bits overflow here; we write what it meant (`spec/02` §15 point 1).
        assert_eq!(time.to_packed(), packed + (1 << 32));
        assert_ne!(text(case, "reference_decodes_datetime_as"), datetime);
    }
    assert!(auth.is_valid(&block, &requester, &bat, time, &AuthLimits::default()));
}

/// Everything that the decisions differ in.
struct Scene {
    block_bats: Vec<BatId>,
    cid: Cid,
    instance: Option<Bat>,
    auth: Option<BlockAuth>,
}

fn decide(setup: &Value, decisions: &[Value]) {
    let block = Bytes::from(bytes(setup, "block"));
    let block_cid = cid(setup, "block_cid");
    let ids = prefix::raw_bats(&block).unwrap();
    let (inline, mirror, instance) = (bat(setup, "inline_bat"), bat(setup, "mirror_bat"), bat(setup, "instance_bat"));
    assert_eq!(ids, [inline.inline_id(), bat_id(&bytes(setup, "mirror_id"))]);
    let node = peer(&cid(setup, "source_node"));
    let now = UtcTime::from_unix_secs(1_700_000_000);
    let at = |ahead: i64| UtcTime::from_unix_secs(now.unix_secs().saturating_add_signed(ahead));
    let create = |bat: &BatWithId, ahead: i64| BlockAuth::create(&block_cid, &node, at(ahead), bat);
    let by_content = |bat: &Bat| BatWithId::by_content(bat.clone());
    let change = |auth: &BlockAuth, key: &str, value: Cbor| {
        let mut map = auth.to_cbor().as_map().unwrap().clone();
        map.insert(key, value);
        BlockAuth::from_cbor(&Cbor::Map(map)).unwrap()
    };
    let unrelated = Bat::from_bytes([9; 32]);

    for case in decisions {
        let note = text(case, "note");
        let inline_auth = create(&by_content(&inline), 0);
        let mut scene = Scene { block_bats: ids.clone(), cid: block_cid.clone(), instance: None, auth: None };
        let mut lenient_only = false;
        match note {
            "block without BATs, no auth" => scene.block_bats.clear(),
            "no auth on a protected block" => {}
            "inline BAT" => scene.auth = Some(inline_auth),
            "inline BAT with a wrong BAT id in the auth (the id is not signed and not compared for inline BATs)" => {
                scene.auth = Some(create(&BatWithId::new(inline.clone(), unrelated.mirror_id()).unwrap(), 0));
            }
            "mirror BAT known to the server" => scene.auth = Some(create(&BatWithId::mirror(mirror.clone()), 0)),
            "mirror BAT but another id in the auth" => scene.auth = Some(create(&by_content(&mirror), 0)),
            "mirror BAT unknown to the server (block names a different id)" => {
                scene.block_bats = vec![inline.inline_id(), unrelated.mirror_id()];
                scene.auth = Some(create(&BatWithId::mirror(unrelated.clone()), 0));
            }
            "unrelated BAT" => scene.auth = Some(create(&by_content(&unrelated), 0)),
            "instance BAT, server configured with it" => {
                scene.instance = Some(instance.clone());
                scene.auth = Some(create(&by_content(&instance), 0));
            }
            "instance BAT, server not configured with it" => scene.auth = Some(create(&by_content(&instance), 0)),
            "made for another node" => {
                let other = Multihash::sha256_of(b"another node");
                scene.auth = Some(BlockAuth::create(&block_cid, &other, now, &by_content(&inline)));
            }
            "made for another block" => {
                let other = Cid::of_raw(b"another block");
                scene.auth = Some(BlockAuth::create(&other, &node, now, &by_content(&inline)));
            }
            "expired one second ago (300 s, made 301 s ago)" => scene.auth = Some(create(&by_content(&inline), -301)),
            "the same expired auth with e raised to 10000: accepted, e is not covered by the signature" => {
                scene.auth = Some(change(&create(&by_content(&inline), -301), "e", Cbor::Int(10_000)));
                lenient_only = true;
            }
            "dated one hour in the future: accepted, there is no lower bound" => {
                scene.auth = Some(create(&by_content(&inline), 3600));
                lenient_only = true;
            }
            "one bit of the signature flipped" => {
                let mut signature = *inline_auth.signature();
                signature[17] ^= 4;
                scene.auth = Some(change(&inline_auth, "s", Cbor::bytes(signature)));
            }
            "datetime changed after signing" => {
                scene.auth = Some(change(&inline_auth, "t", Cbor::Int(at(-1).to_packed())));
            }
            "dag-cbor block, inline BAT" | "other codec with BATs listed: never readable" => {
                let codec = if note.starts_with("dag-cbor") { Codec::DagCbor } else { Codec::Libp2pKey };
                scene.cid = Cid::of_block(codec, b"block");
                scene.auth = Some(BlockAuth::create(&scene.cid, &node, now, &by_content(&inline)));
            }
            other => panic!("unknown case {other}"),
        }
        let check = ReadCheck { cid: &scene.cid, bats: &scene.block_bats, instance: scene.instance.as_ref() };
        let store = |id: &BatId| (*id == mirror.mirror_id()).then(|| mirror.clone());
        let ask = |limits: &AuthLimits| check.by_auth(scene.auth.as_ref(), &node, now, limits, store);
        let allowed = case["allowed"].as_bool().unwrap();
        let reference = AuthLimits { max_expiry_secs: u64::MAX, max_ahead_secs: u64::MAX };
        assert_eq!(ask(&reference).is_ok(), allowed, "{note}");
        // Two things that the reference lets pass are refused by default (`spec/02` §15 point 2).
        assert_eq!(ask(&AuthLimits::default()).is_ok(), allowed && !lenient_only, "{note}");
    }

    // At the edge of the expiry, and a few minutes ahead, a proof is good.
    let check = ReadCheck { cid: &block_cid, bats: &ids, instance: None };
    for ahead in [-300, 0, 300] {
        let auth = create(&by_content(&inline), ahead);
        assert_eq!(check.by_auth(Some(&auth), &node, now, &AuthLimits::default(), |_| None), Ok(()));
    }
    // The token itself, in the clear: whatever its name, by both rules, and without a store.
    let check = ReadCheck { cid: &block_cid, bats: &ids, instance: Some(&instance) };
    for good in [
        by_content(&inline),
        BatWithId::mirror(inline.clone()),
        BatWithId::mirror(mirror.clone()),
        by_content(&mirror),
        by_content(&instance),
    ] {
        assert_eq!(check.by_bat(Some(&good)), Ok(()));
    }
    assert_eq!(check.by_bat(Some(&by_content(&unrelated))), Err(Unauthorised::Proof));
    assert_eq!(check.by_bat(Some(&BatWithId::new(unrelated, mirror.mirror_id()).unwrap())), Err(Unauthorised::Proof));
    assert_eq!(check.by_bat(None), Err(Unauthorised::NoProof));
}

fn caps(cases: &[Value]) {
    let mut chunks = Vec::new();
    for case in cases {
        match text(case, "description") {
            "chunk cap with BAT" | "chunk cap without BAT" => {
                let cbor = bytes(case, "cbor");
                let cap = ChunkMirrorCap::from_bytes(&cbor).unwrap();
                assert_eq!(cap.to_bytes(), cbor);
                assert_eq!(cap.bat.is_some(), text(case, "description") == "chunk cap with BAT");
                assert_eq!(pyrgos_protocol::encoding::text::multibase58(&cbor), text(case, "string"));
                chunks.push(cap);
            }
            "caps parameter of champ/get/bulk for both" => {
                assert_eq!(*ChunkMirrorCap::list_to_text(&chunks), text(case, "caps"));
                assert_eq!(ChunkMirrorCap::list_from_text(text(case, "caps")).unwrap(), chunks);
            }
            "block cap for auth-reads" | "block cap without BAT" => {
                let cap = BlockMirrorCap::from_bytes(&bytes(case, "cbor")).unwrap();
                assert_eq!(cap.to_bytes(), bytes(case, "cbor"));
                assert_eq!(cap.bat.is_some(), text(case, "description") == "block cap for auth-reads");
            }
            "write auth request (auth-writes): one signature, its block size and its BAT ids" => {
                let request = WriteAuthRequest::from_bytes(&bytes(case, "cbor")).unwrap();
                assert_eq!(request.to_bytes(), bytes(case, "cbor"));
                assert_eq!(request.blocks.len(), 1);
                assert_eq!(request.blocks[0].signature, bytes(case, "signature"));
                assert_eq!(request.blocks[0].bats.len(), 2);
            }
            other => panic!("unknown case {other}"),
        }
    }
    let one = chunks[1].clone();
    assert!(ChunkMirrorCap::list_from_text(&ChunkMirrorCap::list_to_text(&vec![one.clone(); 20])).is_ok());
    assert!(ChunkMirrorCap::list_from_text(&ChunkMirrorCap::list_to_text(&vec![one; 21])).is_err());
}
