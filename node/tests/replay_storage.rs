//! Replays the recorded session of `02-http.json`: storage, pointers and access tokens, in order, against this node.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use pyrgos_protocol::api::{Request, trailer};
use pyrgos_protocol::encoding::{Cid, ToCbor, Value as Cbor, text};
use pyrgos_protocol::keys::{Owner, SecretSigningKey, SigningPrivateKeyAndPublicHash, Writer};
use pyrgos_protocol::merkle::block::{BlockWriteGroup, SignedBlock};
use pyrgos_protocol::names::{Chain, Date, Username};
use pyrgos_store::{Batch, RecordKey, Records};
use serde_json::Value;
use support::{Node, load, signed_time};

/// Answers that differ, by the number of the exchange, with the status that this node gives and why.
const ON_PURPOSE: [(usize, u16, &str); 8] = [
    (4, 400, "refused in other words"),
    (5, 400, "the existing node closes the connection"),
    (8, 400, "the existing node closes the connection"),
    (10, 400, "refused in other words"),
    (29, 400, "the existing node closes the connection"),
    (35, 400, "refused in other words"),
    (39, 200, "a token that hashes to a name in the block opens it, known or not"),
    (44, 400, "the existing node closes the connection"),
];

/// What is told of another text than the recorded one, which clients compare only at its beginning.
const OTHER_FIGURES: [usize; 2] = [13, 43];

/// The recording leaves out bodies of a mebibyte; any content of the size does.
fn made_up(n: usize, owner: &SigningPrivateKeyAndPublicHash) -> Option<Vec<u8>> {
    let sizes: &[usize] = match n {
        11 => &[1_048_677],
        12 => &[1_048_676],
        13 => &[1_000_000, 1_000_000],
        _ => return None,
    };
    let block = |(at, len): (usize, &usize)| SignedBlock::sign(&owner.secret, vec![at as u8; *len].into());
    Some(BlockWriteGroup { blocks: sizes.iter().enumerate().map(block).collect() }.to_bytes())
}

fn signer(vectors: &Value, label: &str) -> SigningPrivateKeyAndPublicHash {
    let keys = vectors["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["label"] == label).unwrap();
    let seed: [u8; 32] = text::from_hex(key["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    let secret = SecretSigningKey::from_seed(&seed);
    let hash = pyrgos_protocol::keys::KeyHash::of_signing_key(&secret.public());
    SigningPrivateKeyAndPublicHash { public_key_hash: hash, secret }
}

fn blocks(body: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let value = Cbor::decode(body).ok()?;
    value.as_list().ok()?.iter().map(|block| block.as_bytes().ok().map(|block| block.to_vec())).collect()
}

#[test]
fn the_recorded_session_gets_the_recorded_answers() {
    let vectors = load("02-http");
    let identity = signer(&vectors, "owner");
    let owner = Owner::new(identity.public_key_hash.clone());
    let id: Cid = vectors["server_id"].as_str().unwrap().parse().unwrap();
    let node = Node::start(vec![id.clone()], |config| config.quota_bytes = 3_000_000);
    // The recorded account has a name, an identity and a quota, and nothing else.
    let alice = Username::new("alice").unwrap();
    let chain = Chain::first(&alice, &identity, id, Date::from_unix_millis(0)).unwrap();
    let account = Batch::new()
        .put(RecordKey::name("alice"), chain.to_bytes())
        .put(RecordKey::identity(&owner), "alice".as_bytes())
        .put(RecordKey::quota("alice"), Cbor::Int(3_000_000).encode())
        .put(RecordKey::writer(&owner, &Writer::from(&owner)), "".as_bytes());
    assert!(node.store.commit(account).unwrap().is_committed());

    let exchanges = vectors["exchanges"].as_array().unwrap();
    let times: Vec<i64> = exchanges.iter().filter_map(auth_time).collect();
    // The stale request is the oldest, the others are of the same second.
    node.clock.set(times.iter().copied().max().unwrap());
    let mut transactions: BTreeMap<String, String> = BTreeMap::new();
    let (mut equal, mut differences, mut unexplained) = (0, Vec::new(), Vec::new());
    for (n, exchange) in exchanges.iter().enumerate() {
        let note = exchange["note"].as_str().unwrap();
        let recorded = exchange["request_body"].as_str().unwrap();
        let body = made_up(n, &identity).unwrap_or_else(|| text::from_hex(recorded).unwrap());
        let path = exchange["path"].as_str().unwrap();
        let target = transactions.iter().fold(path.to_owned(), |target, (old, new)| target.replace(old, new));
        let answer = node.send(exchange["method"].as_str().unwrap(), &target, &node.host(), &[], &body);
        let body = text::from_hex(exchange["response_body"].as_str().unwrap()).unwrap();
        if note.starts_with("start a transaction") {
            let id = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
            transactions.insert(id(&body), id(&answer.body));
            assert_eq!(answer.body.len(), 36);
            equal += 1;
            continue;
        }
        let status = exchange["status"].as_i64().unwrap();
        let text = exchange["headers"]["Trailer"].as_str().map(trailer::decode).unwrap_or_default();
        let same_text = text == answer.message()
            || OTHER_FIGURES.contains(&n) && text.split_at(25).0 == answer.message().get(..25).unwrap_or_default();
        let same_body = body == answer.body
            || n == 12 && answer.body.len() == body.len()
            || path.starts_with("/api/v0/champ/") && blocks(&body).is_some() && blocks(&body) == blocks(&answer.body);
        if i64::from(answer.status) == status && same_text && same_body {
            equal += 1;
        } else if let Some((_, _, why)) = ON_PURPOSE.iter().find(|(at, status, _)| *at == n && *status == answer.status)
        {
            assert!(answer.status == 200 || !answer.message().is_empty());
            differences.push(format!("{n} {note}: {why}"));
        } else {
            let (got, message) = (answer.status, answer.message());
            unexplained.push(format!(
                "{n} {note}: recorded {status} {text:?}, got {got} {message:?} {}",
                text::hex(&answer.body)
            ));
        }
    }
    println!("02-http.json: {} cases: {equal} equal, {} differ", exchanges.len(), differences.len());
    differences.iter().for_each(|difference| println!("  {difference}"));
    assert!(unexplained.is_empty(), "without a known cause:\n{}", unexplained.join("\n"));
    assert_eq!(exchanges.len(), 59);
}

fn auth_time(exchange: &Value) -> Option<i64> {
    let (path, query) = exchange["path"].as_str()?.split_once('?')?;
    let request = Request::parse(path, Some(query), Vec::new().into()).ok()?;
    signed_time(&request.parameters().hex_optional("auth").ok()??)
}
