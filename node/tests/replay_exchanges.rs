//! Replays recorded sessions of existing clients against this node (`spec/04` §18): every request as it was sent, every
//! answer compared, every difference named with its cause.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use pyrgos_protocol::api::core::SignUp;
use pyrgos_protocol::api::message::SendMessage;
use pyrgos_protocol::api::{Call, Request};
use pyrgos_protocol::encoding::{FromCbor, Value as Cbor, text};
use pyrgos_protocol::login::LoginResponse;
use pyrgos_protocol::login::second_factor::{BackupCodes, TotpKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{Answer, Node, load, signed_time};

/// Headers of existing Java clients, which a node has to ignore.
const JAVA: [(&str, &str); 4] = [
    ("Connection", "Upgrade, HTTP2-Settings"),
    ("HTTP2-Settings", "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"),
    ("Upgrade", "h2c"),
    ("User-Agent", "Java-http-client/25.0.3"),
];
const RUST: [(&str, &str); 2] = [("accept", "*/*"), ("accept-encoding", "gzip")];

/// Sum of the sizes of the twelve blocks whose uploads are trimmed in file 2; their downloads tell them.
const TRIMMED_BYTES: i64 = 12_583_932;

/// A recorded body: its bytes, or only their hash and length where the recording was trimmed.
#[derive(Clone, Debug)]
struct Body {
    len: u64,
    sha256: String,
    bytes: Option<Vec<u8>>,
}

impl Body {
    fn read(value: &Value, bodies: &Value) -> Body {
        if value.is_null() {
            return Body { len: 0, sha256: text::hex(Sha256::digest([])), bytes: Some(Vec::new()) };
        }
        let sha256 = value["sha256"].as_str().unwrap().to_owned();
        let hex =
            value["hex"].as_str().or_else(|| bodies[&sha256].as_str()).or_else(|| bodies[&sha256]["hex"].as_str());
        let bytes = hex.map(|hex| text::from_hex(hex).unwrap()).filter(|_| value["trimmed"] != true);
        let len = value["len"].as_u64().unwrap();
        if let Some(bytes) = &bytes {
            assert_eq!(bytes.len() as u64, len);
            assert_eq!(text::hex(Sha256::digest(bytes)), sha256);
        }
        Body { len, sha256, bytes }
    }
}

struct Exchange {
    name: String,
    path: String,
    /// Whether it is about the account `peergos`, which no sign-up made.
    of_peergos: bool,
    recorded: Body,
    recorded_status: u64,
    recorded_headers: Vec<(String, String)>,
}

/// Why an answer may differ from the recording. A difference without a cause fails the test.
fn cause(exchange: &Exchange, answer: &Answer) -> Option<&'static str> {
    let recorded = exchange.recorded.bytes.as_deref().unwrap_or_default();
    let ok = answer.status == 200 && exchange.recorded_status == 200;
    if exchange.of_peergos {
        return Some("about the account that the recording's node has for itself");
    }
    match exchange.path.as_str() {
        "/peergos/v0/core/signup" if ok && recorded == [0, 0, 0, 0, 12] && answer.body == [1] => {
            Some("the recording's node asked for work that this node does not ask for")
        }
        "/peergos/v0/core/getUsernamesGzip/" if ok => {
            let (theirs, ours) = (usernames(recorded), usernames(&answer.body));
            let others: Vec<&str> = theirs.difference(&ours).map(String::as_str).collect();
            (others == ["bob", "peergos", "w2"] && ours.is_subset(&theirs))
                .then_some("the recording's node has an account of its own, and two that file 5 makes")
        }
        "/peergos/v0/admin/version" if ok => Some("another version"),
        "/api/v0/link-host" if ok && recorded == b"localhost:8000" && answer.body.starts_with(b"localhost:") => {
            Some("this node tells its own port")
        }
        "/api/v0/block/get" if ok && exchange.recorded.bytes.is_none() && answer.body.is_empty() => {
            Some("the block's upload is trimmed in the recording, so it could not be sent")
        }
        "/peergos/v0/storage/usage" if ok => {
            let count = |body: &[u8]| Cbor::decode(body).unwrap().as_int().unwrap();
            (count(recorded) - count(&answer.body) == TRIMMED_BYTES)
                .then_some("the blocks whose upload is trimmed in the recording are not counted")
        }
        path if NOT_SERVED.contains(&path) => {
            let unknown =
                answer.status == 404 || answer.status == 400 && answer.message().starts_with("Unknown method");
            unknown.then_some("a call that this node does not have yet")
        }
        _ => None,
    }
}

/// Calls of security keys.
const NOT_SERVED: [&str; 1] = ["/peergos/v0/login/registerWebauthnStart"];

/// What the recording's node drew at random for an answer; this node shall draw the same.
fn drawn(path: &str, recorded: &[u8]) -> Option<Vec<u8>> {
    match path {
        "/peergos/v0/login/addTotp" | "/peergos/v0/login/addMount" => {
            let key = TotpKey::from_secret_text(std::str::from_utf8(recorded).unwrap()).unwrap();
            Some([key.credential_id.as_slice(), &key.key].concat())
        }
        "/peergos/v0/login/genBackupCodes" => {
            let set = BackupCodes::from_bytes(recorded).unwrap();
            // Ten characters are the first fifty bits of seven bytes.
            let random = |code: &String| text::from_multibase(&format!("B{}AA", code.to_ascii_uppercase())).unwrap();
            let codes = set.codes.iter().flat_map(|code| random(code)[..7].to_vec());
            Some(codes.chain(set.credential_id.iter().copied()).collect())
        }
        "/peergos/v0/login/getLogin" => match LoginResponse::from_bytes(recorded) {
            Ok(LoginResponse::SecondFactor(request)) => Some(request.challenge.to_vec()),
            _ => None,
        },
        _ => None,
    }
}

fn usernames(gzip: &[u8]) -> BTreeSet<String> {
    let names: Vec<String> = serde_json::from_reader(flate2::read::GzDecoder::new(gzip)).unwrap();
    names.into_iter().collect()
}

/// Blocks of a tree come in any order.
fn same_blocks(a: &[u8], b: &[u8]) -> bool {
    let set = |bytes: &[u8]| -> Option<BTreeSet<Vec<u8>>> {
        let value = Cbor::decode(bytes).ok()?;
        value.as_list().ok()?.iter().map(|block| block.as_bytes().ok().map(|block| block.to_vec())).collect()
    };
    set(a).is_some() && set(a) == set(b)
}

#[derive(Default)]
struct Tally {
    recorded: usize,
    sent: usize,
    equal: usize,
    differences: BTreeMap<&'static str, Vec<String>>,
    left_out: Vec<String>,
    unexplained: Vec<String>,
}

impl Tally {
    fn print(&self, file: &str) {
        println!("{file}: {} cases: {} sent, {} equal", self.recorded, self.sent, self.equal);
        for name in &self.left_out {
            println!("  left out: {name}: its body is trimmed in the recording");
        }
        for (cause, names) in &self.differences {
            println!("  {} differ: {cause}", names.len());
            names.iter().for_each(|name| println!("    {name}"));
        }
    }
}

fn replay(node: &Node, file: &str, transactions: &mut BTreeMap<String, String>) -> Tally {
    let vectors = load(file);
    let mut tally = Tally::default();
    for recorded in vectors["exchanges"].as_array().unwrap() {
        tally.recorded += 1;
        let target = recorded["target"].as_str().unwrap();
        let name =
            format!("{} {} {}", recorded["n"], recorded["step"].as_str().unwrap(), target.split('?').next().unwrap());
        let request_body = Body::read(&recorded["request_body"], &vectors["bodies"]);
        let exchange = Exchange {
            of_peergos: is_of_peergos(target, request_body.bytes.as_deref().unwrap_or_default()),
            path: target.split('?').next().unwrap().to_owned(),
            recorded: Body::read(&recorded["response_body"], &vectors["bodies"]),
            recorded_status: recorded["status"].as_u64().unwrap(),
            recorded_headers: recorded["response_headers"]
                .as_object()
                .map(|headers| {
                    headers.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.as_str().unwrap().to_owned())).collect()
                })
                .unwrap_or_default(),
            name,
        };
        let Some(body) = request_body.bytes else {
            tally.left_out.push(exchange.name);
            continue;
        };
        let target = transactions.iter().fold(target.to_owned(), |target, (old, new)| target.replace(old, new));
        set_clock(node, &target, &body);
        if let Some(random) = drawn(&exchange.path, exchange.recorded.bytes.as_deref().unwrap_or_default()) {
            node.entropy.script(&random);
        }
        let headers: &[(&str, &str)] = if exchange.name.contains(" java-") { &JAVA } else { &RUST };
        let answer = node.send(recorded["method"].as_str().unwrap(), &target, &node.host(), headers, &body);
        tally.sent += 1;
        compare(&exchange, &answer, transactions, &mut tally);
    }
    tally.print(file);
    tally
}

fn is_of_peergos(target: &str, body: &[u8]) -> bool {
    const OWNER: &str = "z59vuwzfFDoyoYBAfaB6qW2y6nzAnDHYeuy2BZCyTvtquogxL2kDThb";
    target.contains(OWNER) || target.contains("username=peergos&") || body == b"\0\0\0\x07peergos"
}

/// The recording's time, as far as the request tells: the time that it was signed at.
fn set_clock(node: &Node, target: &str, body: &[u8]) {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let request = Request::parse(path, query, body.to_vec().into()).unwrap();
    let parameters = request.parameters();
    let in_query = ["auth", "req"].into_iter().find_map(|key| signed_time(&parameters.hex_optional(key).unwrap()?));
    let in_log = || (request.path == SignUp::PATH).then(|| SignUp::parse(&request).unwrap().log.mirror_bat).flatten();
    let in_message = || (request.path == SendMessage::PATH).then(|| signed_time(&request.body)).flatten();
    if let Some(time) = in_query.or_else(|| signed_time(&in_log()?.auth)).or_else(in_message) {
        node.clock.set(time);
    }
}

fn compare(exchange: &Exchange, answer: &Answer, transactions: &mut BTreeMap<String, String>, tally: &mut Tally) {
    if exchange.path == "/api/v0/transaction/start" {
        let id = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(answer.body.len(), 36);
        transactions.insert(id(exchange.recorded.bytes.as_ref().unwrap()), id(&answer.body));
        tally.equal += 1;
        return;
    }
    let same_body = exchange.recorded.len == answer.body.len() as u64
        && exchange.recorded.sha256 == text::hex(Sha256::digest(&answer.body));
    let same_body = same_body
        || exchange.path.starts_with("/api/v0/champ/get")
            && same_blocks(exchange.recorded.bytes.as_deref().unwrap_or_default(), &answer.body);
    let recorded_header =
        |name: &str| exchange.recorded_headers.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
    let compared = match exchange.path.as_str() {
        // The answer may depend on what the node holds, so caches should not keep it (`spec/04` §4.8).
        path if path.starts_with("/api/v0/champ/get") => &["trailer"][..],
        _ => &["trailer", "etag", "cache-control", "content-encoding", "content-type"][..],
    };
    let same_headers = compared.iter().all(|name| recorded_header(name) == answer.header(name));
    let same_status = exchange.recorded_status == u64::from(answer.status);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", exchange.name);
    if same_body && same_headers && same_status {
        tally.equal += 1;
    } else if let Some(cause) = cause(exchange, answer) {
        tally.differences.entry(cause).or_default().push(exchange.name.clone());
    } else {
        tally.unexplained.push(format!(
            "{}: recorded {} {:?} {} bytes, got {} {:?} {} bytes {}",
            exchange.name,
            exchange.recorded_status,
            exchange.recorded_headers,
            exchange.recorded.len,
            answer.status,
            answer.headers,
            answer.body.len(),
            answer.message(),
        ));
    }
}

#[test]
fn recorded_sessions_get_the_recorded_answers() {
    let files = [
        ("04-exchanges-1-signup-login-ls", 141),
        ("04-exchanges-2-files", 69),
        ("04-exchanges-3-social-links", 286),
        ("04-exchanges-4-account-admin", 190),
        ("04-exchanges-5-rust-files-share", 438),
    ];
    let id = load(files[0].0)["server"]["node_id"].as_str().unwrap().parse().unwrap();
    let node = Node::start(vec![id], |config| {
        config.admins = vec!["w2".to_owned()];
        // File 5 is older than the files before it, and a clock that jumps looks like a rush.
        config.max_daily_signups = u32::MAX;
        config.gateway_listen = Some("127.0.0.1:0".parse().unwrap());
        // Blocks whose upload is trimmed cannot be sent, and commits that reach them shall go on.
        config.allow_gaps = true;
    });
    let mut transactions = BTreeMap::new();
    for (file, recorded) in files {
        let tally = replay(&node, file, &mut transactions);
        if file == "04-exchanges-3-social-links" {
            check_published(&node);
        }
        assert_eq!(tally.recorded, recorded);
        assert!(tally.unexplained.is_empty(), "without a known cause:\n{}", tally.unexplained.join("\n"));
        assert_eq!(tally.recorded, tally.sent + tally.left_out.len());
        let differing: usize = tally.differences.values().map(Vec::len).sum();
        assert_eq!(tally.sent, tally.equal + differing);
    }
}

/// A file that the recorded client published comes out of the gateway in the clear.
fn check_published(node: &Node) {
    let gateway = node.gateway();
    let host = format!("localhost:{}", gateway.port());
    let get = |target: &str| support::send(gateway, "GET", target, &host, &[], b"");
    let answer = get("/public/carol/hello.txt");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(String::from_utf8(answer.body).unwrap(), "hello from the http api recording\n");
    assert_eq!(get("/public/dave/hello.txt").status, 404);
}
