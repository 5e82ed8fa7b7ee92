//! How existing nodes and clients have an account or a whole node mirrored, over HTTP (`spec/04` §6.7, §6.8).

mod support;

use std::collections::BTreeSet;

use pyrgos::config::Config;
use pyrgos::identity::server_id;
use pyrgos::service::Source;
use pyrgos::service::names::{LocalNames, Names, alone};
use pyrgos_crypto::totp;
use pyrgos_protocol::api::core::GetChain;
use pyrgos_protocol::api::login::{AddTotp, EnableTotp, FactorCode};
use pyrgos_protocol::api::mirror::{GetMirrorSnapshot, GetUserSnapshots, MAX_SNAPSHOTS, StartMirror, StartPaidMirror};
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::api::{ApiError, Call, Request};
use pyrgos_protocol::encoding::{Codec, text};
use pyrgos_protocol::keys::ProofOfWork;
use pyrgos_protocol::merkle::bat::{Bat, BatWithId, prefix};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorProof;
use pyrgos_protocol::names::{Chain, Date, Username};
use serde_json::Value;
use support::account::{Account, signer};
use support::{Node, load, signed_time};

/// The recorded exchange of a number, and the bytes of its request.
fn recorded(session: &Value, number: u64) -> (Value, Vec<u8>) {
    let exchange = session["exchanges"].as_array().unwrap().iter().find(|exchange| exchange["n"] == number).unwrap();
    (exchange.clone(), bytes(session, &exchange["request_body"]))
}

fn bytes(session: &Value, body: &Value) -> Vec<u8> {
    let kept = &session["bodies"][body["sha256"].as_str().unwrap()];
    let hex = body["hex"].as_str().or_else(|| kept.as_str()).or_else(|| kept["hex"].as_str());
    text::from_hex(hex.expect("the recording has the body")).unwrap()
}

/// Lets a node know whose name it is, as it does where others decide about names.
fn tell_name(node: &Node, username: &Username, chain: &Chain) {
    let names = LocalNames::new(node.store.clone(), node.clock.clone(), u32::MAX);
    names.claim(username, chain, &ProofOfWork::first_try(), &mut alone).unwrap();
}

/// A client of an existing kind has an account mirrored whose home is another node: the recorded requests and answers.
#[test]
fn recorded_mirroring_gets_the_recorded_answers() {
    let session = load("04-exchanges-7-mirror-migrate-client");
    let id = session["servers"]["C"].as_str().unwrap().parse().unwrap();
    let node = Node::start(vec![id], |_: &mut Config| {});
    let frank = Username::existing("frank1").unwrap();
    let (chain, _) = recorded(&session, 2);
    let chain =
        GetChain { username: frank.clone() }.read_body(bytes(&session, &chain["response_body"]).into()).unwrap();
    tell_name(&node, &frank, &chain);

    let replay = |number: u64| {
        let (exchange, body) = recorded(&session, number);
        let target = exchange["target"].as_str().unwrap();
        let time = match target.ends_with("core/mirror") {
            true => signed_time(&StartMirror::parse(&Request::new(StartMirror::PATH).body(body.clone())).unwrap().auth),
            false => StartPaidMirror::parse(&Request::new(StartPaidMirror::PATH).body(body.clone()))
                .ok()
                .and_then(|call| signed_time(&call.auth)),
        };
        time.into_iter().for_each(|time| node.clock.set(time));
        let answer = node.send("POST", target, &node.host(), &[], &body);
        assert_eq!(u64::from(answer.status), exchange["status"].as_u64().unwrap(), "{number}: {}", answer.message());
        assert_eq!(answer.header("trailer"), exchange["response_headers"]["Trailer"].as_str(), "{number}");
        let expected = &exchange["response_body"];
        assert_eq!(answer.body, if expected.is_null() { Vec::new() } else { bytes(&session, expected) }, "{number}");
    };
    replay(1);
    assert!(node.service().mirrored().unwrap().is_empty());
    // Login data are kept of accounts that have space here only.
    let (login, body) = recorded(&session, 8);
    let refused = node.send("POST", login["target"].as_str().unwrap(), &node.host(), &[], &body);
    assert_eq!(refused.message(), "Please use your home server");

    node.service().give_space(&frank, 1 << 20).unwrap();
    let (_, body) = recorded(&session, 66);
    let call = StartMirror::parse(&Request::new(StartMirror::PATH).body(body)).unwrap();
    node.clock.set(signed_time(&call.auth).unwrap());
    assert!(node.call(&call).unwrap_err().message().contains("too small"));
    node.service().give_space(&frank, 1 << 30).unwrap();
    replay(66);
    replay(8);
    replay(67);
    let mirrored = node.service().mirrored().unwrap();
    assert_eq!((mirrored.len(), mirrored[0].limit_bytes, mirrored[0].is_asked), (1, 1 << 30, true));
    assert_eq!((&mirrored[0].token.username, &mirrored[0].token.bat), (&frank, &call.bat));
    assert!(node.service().login_data(&frank).unwrap().is_some());

    // An old time, another token's name, somebody else's signature, and a name that nobody has.
    let wrong_id = BatWithId::new(Bat::from_bytes([1; 32]), call.bat.id().clone()).unwrap();
    let (george, now) = (Account::create("george", &node), support::now(&node));
    for (call, text) in [
        (StartMirror { bat: wrong_id, ..call.clone() }, "Invalid BAT id for BAT"),
        (StartMirror { auth: george.signed_time(&node), ..call.clone() }, "Invalid signature"),
        (StartMirror { username: Username::existing("nobody").unwrap(), ..call.clone() }, "unknown user"),
        (
            StartMirror { username: george.username.clone(), auth: george.signed_time(&node), ..call.clone() },
            "lives on this node",
        ),
    ] {
        let error = node.call(&call).unwrap_err();
        assert!(error.message().contains(text), "{error} instead of {text}");
    }
    node.clock.set(now + 601_000);
    assert!(node.call(&call).unwrap_err().message().contains("Stale"));
    node.clock.set(now);

    // Whoever has a time that the owner signed for something else neither changes what is on the list, nor gets a token of
    // his own among the account's, which would open all that is kept of it.
    let other = BatWithId::mirror(Bat::from_bytes([9; 32]));
    let thief = server_id(&signer("thief").secret.public());
    let open = |bat: &BatWithId| {
        let proof = MirrorProof::new(frank.clone(), bat.bat(), &thief, support::now(&node));
        node.service().mirror_snapshot(GetMirrorSnapshot(proof), Source::Peer(thief.clone()))
    };
    assert!(node.call(&StartMirror { bat: other.clone(), ..call.clone() }).unwrap());
    assert_eq!(node.service().mirrored().unwrap(), mirrored);
    assert!(open(&other).is_err() && open(&call.bat).is_err(), "nobody has shown that they are the account's");
    let by_operator = pyrgos::service::mirrored::Mirrored::new(mirrored[0].token.clone(), 1 << 31);
    node.service().keep_mirror(&by_operator).unwrap();
    assert!(node.call(&StartMirror { bat: other.clone(), ..call.clone() }).unwrap());
    assert_eq!(node.service().mirrored().unwrap(), [by_operator]);
    assert!(open(&other).is_err() && open(&call.bat).is_ok());

    assert!(node.service().drop_mirror(&frank).unwrap());
    assert!(!node.service().drop_mirror(&frank).unwrap());
    assert!(node.service().mirrored().unwrap().is_empty());
    assert!(node.service().login_data(&frank).unwrap().is_none());
}

/// Another node of the operator pages through all accounts with the node's own token, which opens all blocks too.
#[test]
fn a_whole_node_is_shown_to_whoever_has_its_token_page_by_page() {
    let node = Node::start(Node::usual().service().ids().to_vec(), |config| config.max_daily_signups = u32::MAX);
    // Who lives elsewhere and has room for a copy here is not among them.
    let elsewhere = Account::new("elsewhere");
    let home = server_id(&signer("another node").secret.public());
    let chain =
        Chain::first(&elsewhere.username, &elsewhere.identity, home, Date::from_unix_millis(support::now(&node)));
    tell_name(&node, &elsewhere.username, &chain.unwrap());
    node.service().give_space(&elsewhere.username, 1 << 30).unwrap();
    let names: Vec<String> = (0..23).map(|n| format!("user{n}")).chain(["a".to_owned(), "zebra".to_owned()]).collect();
    let accounts: Vec<Account> = names.iter().map(|name| Account::create(name, &node)).collect();
    let ask = |after: &str, bat: &BatWithId| {
        let call = GetUserSnapshots { after: after.to_owned(), instance: bat.clone(), counts_after_secs: i64::MIN };
        node.call(&call)
    };
    let closed = |error: ApiError| assert_eq!(error.message(), "Unauthorized!");
    let unauthorised = |error: ApiError| assert_eq!(error.message(), ApiError::Unauthorised.message());
    closed(ask("", &BatWithId::by_content(Bat::from_bytes([3; 32]))).unwrap_err());
    let token = node.service().make_instance_bat(false).unwrap();
    assert_eq!(node.service().make_instance_bat(false).unwrap(), token);
    closed(ask("", &BatWithId::by_content(Bat::from_bytes([3; 32]))).unwrap_err());

    let (mut all, mut after): (Vec<UserSnapshot>, String) = Default::default();
    loop {
        let page = ask(&after, &token).unwrap();
        let Some(last) = page.last() else { break };
        after = last.username.to_string();
        let is_last = page.len() < MAX_SNAPSHOTS;
        all.extend(page);
        assert_eq!(is_last, all.len() == names.len());
    }
    let shown: Vec<&str> = all.iter().map(|snapshot| snapshot.username.as_str()).collect();
    let sorted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(shown, sorted.into_iter().collect::<Vec<_>>());
    assert!(all.iter().all(|snapshot| snapshot.login.is_some() && !snapshot.pointers.is_empty()));
    assert!(ask("zebra", &token).unwrap().is_empty());

    // A second factor keeps login data where it is asked for.
    let asks = &accounts[0];
    let key = node.call(&AddTotp(asks.auth::<AddTotp>(&node))).unwrap();
    let code = totp::code(&key.key, u64::try_from(support::now(&node) / 1000).unwrap());
    let credential_id = key.credential_id.clone().into();
    assert!(
        node.call(&EnableTotp(FactorCode { account: asks.auth::<EnableTotp>(&node), credential_id, code })).unwrap()
    );
    let snapshot = ask("", &token).unwrap().into_iter().find(|snapshot| snapshot.owner == asks.owner()).unwrap();
    assert!(snapshot.login.is_none());

    // A block that is guarded by its owner's token.
    let block = prefix::guard_raw(&[accounts[1].bat.id().clone()], b"a guarded block of a file");
    let cid = node.call(&accounts[1].put(Codec::Raw, &[&block])).unwrap().remove(0);
    let get = |bat: Option<BatWithId>| node.call(&GetBlock { owner: accounts[1].owner(), cid: cid.clone(), bat });
    unauthorised(get(None).unwrap_err());
    unauthorised(get(Some(BatWithId::by_content(Bat::from_bytes([4; 32])))).unwrap_err());
    assert_eq!(get(Some(token.clone())).unwrap().unwrap(), block);

    // Taken back, it opens nothing.
    let newer = node.service().make_instance_bat(true).unwrap();
    assert_ne!(newer, token);
    closed(ask("", &token).unwrap_err());
    unauthorised(get(Some(token)).unwrap_err());
    assert_eq!(get(Some(newer.clone())).unwrap().unwrap(), block);
}

/// What an existing node answered that had a token and one account.
#[test]
fn recorded_snapshots_are_read_and_asked_for_alike() {
    let probes = load("04-probes");
    let node = Node::usual();
    node.entropy.script(&(0..32).collect::<Vec<u8>>());
    let token = node.service().make_instance_bat(false).unwrap();
    let of_node = |probe: &&Value| {
        probe["server"] == "C with an instance BAT" && probe["target"].as_str().unwrap().ends_with("getUserSnapshots")
    };
    let probes: Vec<&Value> = probes["cases"].as_array().unwrap().iter().filter(of_node).collect();
    assert_eq!(probes.len(), 3);
    for probe in probes {
        let [asked, answered] = ["request_body", "response_body"]
            .map(|key| text::from_hex(probe[key]["hex"].as_str().unwrap_or_default()).unwrap());
        let call = GetUserSnapshots::parse(&Request::new(GetUserSnapshots::PATH).body(asked.clone())).unwrap();
        assert_eq!(call.request().body, asked);
        let answer = node.send("POST", probe["target"].as_str().unwrap(), &node.host(), &[], &asked);
        assert_eq!(u64::from(answer.status), probe["status"].as_u64().unwrap());
        assert_eq!(answer.header("trailer"), probe["response_headers"]["Trailer"].as_str());
        if probe["status"] == 200 {
            assert_eq!(call.instance, token);
            let snapshots = call.read_body(answered.clone().into()).unwrap();
            assert_eq!(GetUserSnapshots::write(&snapshots), answered);
            // This node has no account.
            assert!(snapshots.iter().all(|snapshot| snapshot.username.as_str() == "erin1"));
            assert_eq!(answer.body, [0x80]);
        }
    }
}
