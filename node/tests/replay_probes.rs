//! Sends the single requests of `04-probes.json` to this node: each answer is equal to the existing node's, or differs for
//! a reason that is named here.

mod support;

use std::collections::BTreeMap;

use pyrgos::config::SignupPolicy;
use pyrgos_protocol::api::core::SignUp;
use pyrgos_protocol::api::{Call, Request, trailer};
use pyrgos_protocol::encoding::text;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{Answer, Node, load, signed_time};

/// When the probes of the first node were sent, in milliseconds since 1970.
const TIME: i64 = 1_795_447_763_309;

/// Texts that existing clients look for (`spec/04` §2.6). Where the recording has one, this node must have it.
const KNOWN: [&str; 12] = [
    "PointerCAS:",
    "Storage quota reached",
    "Rate Limit",
    "hash not present",
    "No public-key for user",
    "Unauthorised",
    "Incorrect username or password",
    "already exists",
    "exceeded",
    "Champ root not present",
    "Invalid signup token",
    "not currently accepting new sign ups",
];

/// Probes whose answers differ on purpose, by description, with the status that this node gives and why.
const ON_PURPOSE: [(&str, u16, &str); 30] = [
    ("signup: the same body again", 200, "a sign-up that is repeated succeeds again"),
    ("reuse the token", 200, "a sign-up that is repeated succeeds again"),
    ("signup: proof with the high order bits zero only", 200, "no work is asked for"),
    ("signup: first claim signed by a foreign key (accepted by the reference!)", 400, "a first claim is verified"),
    ("signup: claim for another username (accepted by the reference!)", 400, "a first claim is verified"),
    ("signup: oplog pointer to a WriterData of another controller", 400, "the log is checked before work is asked for"),
    ("getUsernamesGzip", 200, "other accounts"),
    ("public: GET getUsernamesGzip", 200, "other accounts"),
    ("getUsernamesGzip with prefix", 200, "the prefix is honoured"),
    (
        "block/put/bulk: transaction id never started",
        400,
        "a raw block of 3 bytes, which existing nodes cannot read back",
    ),
    ("block/get: owner unknown to the PKI", 200, "a block is read in its owner's space only"),
    ("block/stat without owner (as clients send it)", 200, "a block is found without its owner, as clients expect"),
    ("usage local=true", 200, "a block that no pointer reaches yet is counted"),
    ("getLogin: unknown user", 400, "an unknown user is told like a wrong password"),
    ("admin/version", 200, "another version"),
    ("repeated parameter, last wins", 400, "a repeated parameter is refused"),
    ("getLogin of a user of another server (external login off)", 400, "the user is not known here"),
    ("link/counts (owner = username)", 200, "existing nodes cannot read the owner"),
    ("link/counts as the clients build it (? for &)", 200, "existing nodes cannot read the owner"),
    ("link/counts with owner = key", 200, "existing nodes cannot read the owner"),
    ("static /secret/x/y", 200, "a text instead of the web client"),
    ("public file carol1", 400, "the account is not among the vectors' sign-ups"),
    ("public file carol1 open", 400, "the account is not among the vectors' sign-ups"),
    ("link-host", 200, "this node tells its own port"),
    ("link-host by GET", 200, "this node tells its public host"),
    ("followRequest", 400, "the body is no follow request"),
    ("getFollowRequests", 200, "what is no follow request was not stored"),
    ("getFollowRequests: 295 s in the future", 200, "what is no follow request was not stored"),
    ("HEAD on api of a public server", 405, "public nodes take GET and POST only"),
    ("OPTIONS on api of a public server", 405, "public nodes take GET and POST only"),
];

/// Parts of paths that this node does not serve yet or never will.
const NOT_SERVED: [(&str, &str); 7] = [
    ("/peergos/v0/core/start", "no payment"),
    ("/api/v0/blockstore/auth", "no direct storage"),
    ("/api/v0/ipns/", "peers come later"),
    ("/api/v0/block/put", "the older form of a put is not served"),
    ("/peergos/v0/sync/", "an interface of a desktop program"),
    ("/peergos/v0/mount/", "an interface of a desktop program"),
    ("/peergos/v0/reflector/", "an interface of a desktop program"),
];

#[derive(Default)]
struct Tally {
    equal: usize,
    differences: BTreeMap<String, Vec<String>>,
    unexplained: Vec<String>,
}

fn body(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => Some(Vec::new()),
        body if body["trimmed"] == true => None,
        body => Some(text::from_hex(body["hex"].as_str()?).unwrap()),
    }
}

/// Failures without the class name that existing nodes write in front of some.
fn message(encoded: &str) -> String {
    let decoded = trailer::decode(encoded);
    decoded.strip_prefix("java.lang.IllegalStateException: ").unwrap_or(&decoded).to_owned()
}

fn compare(probe: &Value, answer: &Answer, tally: &mut Tally) {
    let description = probe["description"].as_str().unwrap();
    let name = format!("{description} ({})", probe["target"].as_str().unwrap().split('?').next().unwrap());
    let status = u16::try_from(probe["status"].as_u64().unwrap()).unwrap();
    let recorded = message(probe["response_headers"]["Trailer"].as_str().unwrap_or_default());
    let same_body = match &probe["response_body"] {
        Value::Null => answer.body.is_empty(),
        body => body["sha256"] == text::hex(Sha256::digest(&answer.body)),
    };
    let is_id = description == "transaction/start" && answer.body.len() == 36;
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{name}");
    if answer.status == 400 {
        assert!(!answer.message().is_empty(), "{name}: a failure without a text");
    }
    let mut explain = |cause: &str| tally.differences.entry(cause.to_owned()).or_default().push(name.clone());
    let on_purpose = ON_PURPOSE.iter().find(|(known, ..)| *known == description);
    let path = probe["target"].as_str().unwrap();
    let is_put = path.starts_with("/api/v0/block/put/bulk");
    let not_served = NOT_SERVED.iter().find(|(prefix, _)| path.starts_with(prefix) && !is_put);
    if status == answer.status && recorded == answer.message() && (same_body || is_id) {
        tally.equal += 1;
    } else if let Some((_, _, why)) = on_purpose.filter(|(_, status, _)| *status == answer.status) {
        explain(why);
    } else if let Some((_, why)) =
        not_served.filter(|_| answer.status == 404 || answer.message().starts_with("Unknown"))
    {
        explain(why);
    } else if status == 0 && answer.status == 400 {
        explain("the existing node closes the connection, this one answers 400 with a text");
    } else if status == 400 && answer.status == 400 && KNOWN.iter().all(|text| !recorded.contains(text)) {
        explain("refused in other words, which no client compares");
    } else if status == 200 && answer.status == 404 && !path.starts_with("/api/") && !path.starts_with("/peergos/") {
        explain("no web page is served");
    } else {
        let (got, text) = (answer.status, answer.message());
        let hex = text::hex(&answer.body[..answer.body.len().min(80)]);
        tally.unexplained.push(format!("{name}: recorded {status} {recorded:?}, got {got} {text:?} {hex}"));
    }
}

/// Sends the probes of one recorded node to a node of ours that stands for it.
fn probe(node: &Node, recorded_port: &str, probes: &[&Value], tally: &mut Tally) {
    let port = node.address.port().to_string();
    for probe in probes {
        let description = probe["description"].as_str().unwrap();
        let Some(request_body) = body(&probe["request_body"]) else {
            let cause = "the request's body is trimmed in the vectors, so it cannot be sent".to_owned();
            tally.differences.entry(cause).or_default().push(description.to_owned());
            continue;
        };
        let host = probe["host"].as_str().unwrap().replace(recorded_port, &port);
        let headers: Vec<(&str, &str)> = probe["request_headers"]
            .as_object()
            .map(|headers| headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect())
            .unwrap_or_default();
        let target = probe["target"].as_str().unwrap();
        let answer = node.send(probe["method"].as_str().unwrap(), target, &host, &headers, &request_body);
        compare(probe, &answer, tally);
    }
}

#[test]
fn single_requests_get_the_recorded_answers() {
    let vectors = load("04-probes");
    let cases = vectors["cases"].as_array().unwrap();
    let of = |server: &str| -> Vec<&Value> {
        cases.iter().filter(|case| case["server"].as_str().unwrap().starts_with(server)).collect()
    };
    let mut tally = Tally::default();

    let exchanges = load("04-keys");
    let id = exchanges["server"]["node_id"].as_str().unwrap().parse().unwrap();
    let node = Node::start(vec![id], |config| config.max_daily_signups = u32::MAX);
    node.clock.set(TIME);
    probe(&node, "8804", &of("A: "), &mut tally);

    let public = of("C: ");
    let signup = public.iter().find(|case| case["description"] == "signup with the token").unwrap();
    let request =
        Request::parse("peergos/v0/core/signup", None, body(&signup["request_body"]).unwrap().into()).unwrap();
    let signup = SignUp::parse(&request).unwrap();
    let node = Node::start(vec![signup.claim.home().unwrap().clone()], |config| {
        config.public = true;
        config.public_hosts = vec!["example.test".to_owned()];
        config.signup = SignupPolicy::Token;
        config.max_daily_signups = u32::MAX;
    });
    let quota = public.iter().find(|case| case["description"] == "quota by GET").unwrap();
    let (_, auth) = quota["target"].as_str().unwrap().split_once("auth=").unwrap();
    node.clock.set(signed_time(&text::from_hex(auth).unwrap()).unwrap());
    node.entropy.script(&text::from_hex(&signup.token).unwrap());
    assert_eq!(node.service().create_token().unwrap(), signup.token);
    probe(&node, "8854", &public, &mut tally);

    let mirror: Vec<&Value> = of("C with");
    tally.differences.insert(
        "the recorded node holds an account that other vectors make".to_owned(),
        mirror.iter().map(|case| case["description"].as_str().unwrap().to_owned()).collect(),
    );

    let differing: usize = tally.differences.values().map(Vec::len).sum();
    println!("04-probes.json: {} cases: {} equal, {differing} differ", cases.len(), tally.equal);
    for (cause, names) in &tally.differences {
        println!("  {} differ: {cause}", names.len());
        names.iter().for_each(|name| println!("    {name}"));
    }
    assert!(tally.unexplained.is_empty(), "without a known cause:\n{}", tally.unexplained.join("\n"));
    assert_eq!(tally.equal + differing, cases.len());
}
