//! Every call against the bytes of existing clients and nodes: the requests and answers of the recorded sessions, and the
//! structures of `04-structures.json`.

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use pyrgos_protocol::api::{
    ApiError, Call, Request, Response, admin, bats, core, links, login, message, mirror, mutable, social, space,
    storage, trailer,
};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor, text};
use pyrgos_protocol::keys::{SignedRequest, SignedTime};
use pyrgos_protocol::login::second_factor::MultiFactorAuthResponse;
use pyrgos_protocol::merkle::bat::{BatWithId, BlockMirrorCap};
use pyrgos_protocol::merkle::block::{PresignedUrl, WriteAuthRequest};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use serde_json::Value;
use support::load;

/// The recorded sessions.
const SESSIONS: [&str; 7] = [
    "04-exchanges-1-signup-login-ls",
    "04-exchanges-2-files",
    "04-exchanges-3-social-links",
    "04-exchanges-4-account-admin",
    "04-exchanges-5-rust-files-share",
    "04-exchanges-6-server-to-server",
    "04-exchanges-7-mirror-migrate-client",
];

/// Calls that have no definition yet, by the beginning of their path.
const UNDEFINED: [&str; 1] = ["/peergos/v0/login/registerWebauthnStart"];

/// One recorded exchange.
struct Exchange<'a> {
    recorded: &'a Value,
    bodies: &'a Value,
}

impl<'a> Exchange<'a> {
    fn name(&self) -> String {
        format!("{} {} {}", self.recorded["n"], self.recorded["step"], self.path())
    }

    fn target(&self) -> &'a str {
        self.recorded["target"].as_str().unwrap()
    }

    fn path(&self) -> &'a str {
        self.target().split('?').next().unwrap()
    }

    /// None where the recording is trimmed.
    fn body(&self, key: &str) -> Option<Bytes> {
        let body = &self.recorded[key];
        if body.is_null() {
            return Some(Bytes::new());
        }
        let stored = &self.bodies[body["sha256"].as_str().unwrap()];
        let hex = [&body["hex"], stored, &stored["hex"]].into_iter().find_map(Value::as_str)?;
        Some(text::from_hex(hex).unwrap().into())
    }

    fn request(&self) -> Option<Request> {
        let query = self.target().split_once('?').map(|(_, query)| query);
        Some(Request::parse(self.path(), query, self.body("request_body")?).unwrap())
    }

    fn response(&self) -> Option<Response> {
        let header = self.recorded["response_headers"]["Trailer"].as_str();
        let status = u16::try_from(self.recorded["status"].as_u64().unwrap()).unwrap();
        Some(Response { status, trailer: header.map(trailer::decode), body: self.body("response_body")? })
    }
}

/// Reads the recorded request as a node and writes it as a client, reads the recorded answer as a client and writes it as
/// a node; both come out as they went in.
fn check<C: Call + PartialEq>(exchange: &Exchange<'_>) -> usize {
    let name = exchange.name();
    let Some(request) = exchange.request() else { return 0 };
    let call = C::parse(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ours = call.request();
    assert_eq!(ours.path, request.path, "{name}");
    assert_eq!(ours.body, request.body, "{name}");
    for (key, value) in &request.query {
        // Hexadecimal may be of either case, and existing clients send parameters that nobody reads.
        let sent = ours.query.iter().find(|(ours, _)| ours == key);
        assert_eq!(sent.map(|(_, value)| value), Some(value), "{name}: {key}");
    }
    let (path, query) = ours
        .target()
        .split_once('?')
        .map_or((ours.target(), None), |(path, query)| (path.to_owned(), Some(query.to_owned())));
    let again = Request::parse(&path, query.as_deref(), ours.body.clone()).unwrap();
    assert!(C::parse(&again).is_ok_and(|again| again == call), "{name}");

    let Some(response) = exchange.response() else { return 1 };
    match (response.status, call.read(response.clone())) {
        (200, Ok(output)) => {
            let written = C::write(&output);
            if C::PATH == core::GetUsernames::PATH {
                // Compressors differ; what they compress does not.
                assert!(call.read_body(written).is_ok(), "{name}");
            } else {
                assert_eq!(written, response.body, "{name}");
            }
        }
        (200, Err(error)) => panic!("{name}: {error}"),
        (status, answer) => {
            let error = answer.err().unwrap_or_else(|| panic!("{name}: a failure was read as an answer"));
            assert_eq!(error.status(), status, "{name}");
            assert!(response.trailer.unwrap_or_default().contains(&error.message()), "{name}");
        }
    }
    1
}

type Checker = fn(&Exchange<'_>) -> usize;

fn checkers() -> BTreeMap<&'static str, Checker> {
    fn of<C: Call + PartialEq>() -> (&'static str, Checker) {
        (C::PATH, check::<C>)
    }
    BTreeMap::from([
        of::<storage::GetServerId>(),
        of::<storage::GetServerIds>(),
        of::<storage::GetStorageProperties>(),
        of::<storage::StartTransaction>(),
        of::<storage::CloseTransaction>(),
        of::<storage::PutBlocks>(),
        of::<storage::GetBlock>(),
        of::<storage::GetBlockSize>(),
        of::<storage::LookUpChunks>(),
        of::<storage::LookUpChunk>(),
        of::<mutable::GetPointer>(),
        of::<mutable::SetPointer>(),
        of::<mutable::SetPointers>(),
        of::<core::GetPublicKey>(),
        of::<core::GetChain>(),
        of::<core::GetUsername>(),
        of::<core::GetUsernames>(),
        of::<core::SignUp>(),
        of::<core::UpdateChain>(),
        of::<core::MigrateUser>(),
        of::<mirror::StartMirror>(),
        of::<mirror::StartPaidMirror>(),
        of::<mirror::GetUserSnapshots>(),
        of::<login::GetLogin>(),
        of::<login::SetLogin>(),
        of::<login::ListSecondFactors>(),
        of::<login::AddTotp>(),
        of::<login::AddMount>(),
        of::<login::EnableTotp>(),
        of::<login::EnableMount>(),
        of::<login::GenerateBackupCodes>(),
        of::<login::DeleteSecondFactor>(),
        of::<bats::GetUserBats>(),
        of::<bats::AddBat>(),
        of::<space::GetQuota>(),
        of::<space::GetUsage>(),
        of::<space::RequestSpace>(),
        of::<space::GetPaymentProperties>(),
        of::<admin::GetVersion>(),
        of::<admin::GetAllowedSignups>(),
        of::<admin::GetPendingSpaceRequests>(),
        of::<admin::ApproveSpaceRequest>(),
        of::<admin::JoinWaitlist>(),
        of::<social::SendFollowRequest>(),
        of::<social::GetFollowRequests>(),
        of::<social::RemoveFollowRequest>(),
        of::<links::OpenSecretLink>(),
        of::<links::GetLinkHost>(),
        of::<message::GetMessages>(),
        of::<message::SendMessage>(),
    ])
}

#[test]
fn recorded_sessions_are_read_and_written_alike() {
    let checkers = checkers();
    for session in SESSIONS {
        let vectors = load(session);
        let exchanges = vectors["exchanges"].as_array().unwrap();
        let (mut checked, mut trimmed, mut undefined) = (0, 0, BTreeMap::<&str, usize>::new());
        for recorded in exchanges {
            let exchange = Exchange { recorded, bodies: &vectors["bodies"] };
            let checker = checkers.get(exchange.path().trim_start_matches('/'));
            match (checker, UNDEFINED.iter().find(|path| exchange.path().starts_with(**path))) {
                (Some(checker), _) => match checker(&exchange) {
                    0 => trimmed += 1,
                    one => checked += one,
                },
                (None, Some(path)) => *undefined.entry(path).or_default() += 1,
                (None, None) => panic!("{}: no such call", exchange.name()),
            }
        }
        println!("{session}.json: {checked} cases; {trimmed} have a trimmed request");
        undefined.iter().for_each(|(path, count)| println!("  {count} not defined yet: {path}"));
        assert_eq!(checked + trimmed + undefined.values().sum::<usize>(), exchanges.len());
    }
}

/// Reads and writes CBOR and gets the same bytes.
fn same<T: ToCbor + FromCbor>(bytes: &[u8]) -> T {
    let value = T::from_bytes(bytes).unwrap();
    assert_eq!(value.to_bytes(), bytes);
    value
}

fn same_list<T: ToCbor + FromCbor>(bytes: &[u8]) -> Vec<T> {
    let list: Vec<T> = Cbor::decode(bytes).unwrap().as_list_of().unwrap();
    assert_eq!(Cbor::list(&list).encode(), bytes);
    list
}

/// Reads and writes an answer and gets the same bytes.
fn answer<C: Call>(call: &C, bytes: &[u8]) -> C::Output {
    let output = call.read_body(Bytes::copy_from_slice(bytes)).unwrap();
    assert_eq!(C::write(&output), bytes);
    output
}

/// Reads and writes a request's body and gets the same bytes.
fn body<C: Call>(bytes: &[u8]) -> C {
    let request = Request::new(C::PATH).body(Bytes::copy_from_slice(bytes));
    let call = C::parse(&request).unwrap();
    assert_eq!(call.request().body, bytes);
    call
}

fn account() -> login::AccountAuth {
    login::AccountAuth { username: "carol".to_owned(), auth: Bytes::new() }
}

fn eq<T: PartialEq + Debug>(value: T, expected: T) {
    assert_eq!(value, expected);
}

#[test]
fn structures_are_read_and_written_alike() {
    let vectors = load("04-structures");
    let sessions: BTreeMap<String, Value> = SESSIONS.iter().map(|name| (format!("{name}.json"), load(name))).collect();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let (structure, description) = (case["structure"].as_str().unwrap(), case["description"].as_str().unwrap());
        let decoded = &case["decoded"];
        let bytes = match case["hex"].as_str() {
            Some(hex) => text::from_hex(hex).unwrap(),
            None => from_session(case, &sessions).unwrap_or_else(|| panic!("{structure}: no bytes")),
        };
        assert_eq!(bytes.len() as u64, case["len"].as_u64().unwrap(), "{structure}: {description}");
        match structure {
            "BlockStoreProperties" => eq(answer(&storage::GetStorageProperties, &bytes), Default::default()),
            "BlockWriteGroup" => drop(same::<pyrgos_protocol::merkle::block::BlockWriteGroup>(&bytes)),
            "ChampCaps" => eq(
                same_list::<pyrgos_protocol::merkle::bat::ChunkMirrorCap>(&bytes).len(),
                decoded.as_array().unwrap().len(),
            ),
            "ChampReply" => {
                let blocks = Cbor::decode(&bytes).unwrap();
                eq(blocks.as_list().unwrap().len(), decoded.as_array().unwrap().len());
                assert_eq!(blocks.encode(), bytes);
            }
            "BatWithId" => drop(same::<BatWithId>(&bytes)),
            "BatWithId list" => {
                let call = bats::GetUserBats { username: "alice".to_owned(), auth: Bytes::new() };
                eq(answer(&call, &bytes).len(), decoded.as_array().unwrap().len());
            }
            "WriteAuthRequest" => drop(same::<WriteAuthRequest>(&bytes)),
            "PresignedUrl list" => eq(same_list::<PresignedUrl>(&bytes).len(), decoded.as_array().unwrap().len()),
            "BlockMirrorCap list" => eq(same_list::<BlockMirrorCap>(&bytes).len(), decoded.as_array().unwrap().len()),
            "PointerUpdate" => {
                let update: PointerUpdate = same(&bytes[64..]);
                eq(update.sequence(), decoded[2].as_i64());
            }
            "MultiWriterCommit" => drop(same::<pyrgos_protocol::merkle::pointer::MultiWriterCommit>(&bytes)),
            "signup refused" => {
                let difficulty = u32::try_from(decoded[1][1].as_u64().unwrap()).unwrap();
                let update = core::UpdateChain {
                    username: "alice".parse().unwrap(),
                    update: Default::default(),
                    proof: pyrgos_protocol::keys::ProofOfWork::first_try(),
                    token: String::new(),
                };
                eq(answer(&update, &bytes), core::Decision::WorkNeeded(difficulty));
            }
            "signup" => eq(body::<core::SignUp>(&bytes).username.as_str(), decoded[0][1].as_str().unwrap()),
            "updateChain" => eq(body::<core::UpdateChain>(&bytes).username.as_str(), decoded[0][1].as_str().unwrap()),
            "mirror" => eq(body::<mirror::StartMirror>(&bytes).username.as_str(), decoded[0][1].as_str().unwrap()),
            "startPaidMirror" => {
                let call = body::<mirror::StartPaidMirror>(&bytes);
                eq(call.username.as_str(), decoded[0][1].as_str().unwrap());
                eq(answer(&call, &[0, 0, 0, 1, 0]), 256);
            }
            "migrateUser" => eq(body::<core::MigrateUser>(&bytes).username.as_str(), decoded[0][1].as_str().unwrap()),
            "UserSnapshot" => {
                let snapshot: pyrgos_protocol::migration::UserSnapshot = same(&bytes);
                eq(snapshot.username.as_str(), decoded["n"].as_str().unwrap());
                eq(snapshot.pointers.len() * 2, decoded["p"].as_array().unwrap().len());
            }
            "getChain" => eq(body::<core::GetChain>(&bytes).username.as_str(), decoded[0][1].as_str().unwrap()),
            "claim chain" => {
                let call = core::GetChain { username: "dave".parse().unwrap() };
                eq(answer(&call, &bytes).0.len(), decoded.as_array().unwrap().len());
            }
            "getPublicKey" => {
                let call = core::GetPublicKey { username: "alice".parse().unwrap() };
                let owner = answer(&call, &bytes).map(|owner| owner.to_string());
                eq(owner.as_deref(), decoded[1][1]["link"].as_str());
            }
            "getUsername" if description == "request body" => {
                eq(
                    body::<core::GetUsername>(&bytes).owner.to_string().as_str(),
                    decoded[0][1]["link"].as_str().unwrap(),
                );
            }
            "getUsername" => {
                let owner = pyrgos_protocol::keys::Owner::new(pyrgos_protocol::keys::KeyHash::null());
                eq(answer(&core::GetUsername { owner }, &bytes).as_str(), decoded[0][1].as_str().unwrap());
            }
            "usernames" => {
                let names = core::GetUsernames { prefix: String::new() }.read_body(bytes.into()).unwrap();
                let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                eq(serde_json::to_value(names).unwrap(), decoded.clone());
            }
            "LoginResponse" => drop(same::<pyrgos_protocol::login::LoginResponse>(&bytes)),
            "MultiFactorAuthResponse" => drop(same::<MultiFactorAuthResponse>(&bytes)),
            "LoginData" => assert!(same::<pyrgos_protocol::login::LoginData>(&bytes).identity_update.is_some()),
            "MultiFactorAuthMethod list" => {
                let methods = answer(&login::ListSecondFactors(account()), &bytes);
                eq(methods[0].created_epoch_day, decoded[0]["c"].as_i64().unwrap());
            }
            "BackupCodes" => eq(answer(&login::GenerateBackupCodes(account()), &bytes).codes.len(), 10),
            "TotpKey" => eq(answer(&login::AddTotp(account()), &bytes).key.len(), 32),
            "SignedRequest" => eq(same::<SignedRequest>(&bytes[64..]).millis, decoded["t"].as_i64().unwrap()),
            "SignedTime" => eq(
                SignedTime { millis: same::<Cbor>(&bytes[64..]).as_int().unwrap() }.millis,
                decoded.as_i64().unwrap(),
            ),
            "quota" | "usage" => {
                let owner = pyrgos_protocol::keys::Owner::new(pyrgos_protocol::keys::KeyHash::null());
                eq(answer(&space::GetQuota { owner, auth: Bytes::new() }, &bytes), decoded.as_u64().unwrap());
            }
            "PaymentProperties" => {
                eq(same::<space::PaymentProperties>(&bytes).free_bytes, decoded["freeQuota"].as_u64().unwrap())
            }
            "SpaceRequest" => eq(same::<space::SpaceRequest>(&bytes[64..]).bytes, decoded["s"].as_u64().unwrap()),
            "VersionInfo" => eq(answer(&admin::GetVersion, &bytes).version.as_str(), decoded["v"].as_str().unwrap()),
            "AllowedSignups" => eq(answer(&admin::GetAllowedSignups, &bytes).free, decoded["f"].as_bool().unwrap()),
            "LabelledSignedSpaceRequest list" => {
                eq(
                    same_list::<admin::LabelledSpaceRequest>(&bytes)[0].username.as_str(),
                    decoded[0]["u"].as_str().unwrap(),
                );
            }
            "LabelledSignedSpaceRequest" => {
                eq(same::<admin::LabelledSpaceRequest>(&bytes[64..]).username.as_str(), decoded["u"].as_str().unwrap());
            }
            "EncryptedCapability" => drop(same::<pyrgos_protocol::links::EncryptedCapability>(&bytes)),
            "ServerMessage" => {
                let message: pyrgos_protocol::social::ServerMessage = same(&bytes[64..]);
                eq(message.body(), decoded["b"].as_str().unwrap());
            }
            "BlindFollowRequest" => drop(same::<pyrgos_protocol::social::BlindFollowRequest>(&bytes)),
            "follow requests" => {
                let owner = pyrgos_protocol::keys::Owner::new(pyrgos_protocol::keys::KeyHash::null());
                let call = social::GetFollowRequests { owner, auth: Bytes::new() };
                eq(answer(&call, &bytes).len(), decoded[0][1].as_array().unwrap().len());
            }
            other => panic!("unknown structure {other}"),
        }
    }
    println!("04-structures.json: {} cases", cases.len());
}

/// A body that the structure's file only names.
fn from_session(case: &Value, sessions: &BTreeMap<String, Value>) -> Option<Vec<u8>> {
    let (file, n) = case["from"].as_str().unwrap().split_once(" #").unwrap();
    let session = sessions.get(file)?;
    let recorded =
        session["exchanges"].as_array().unwrap().iter().find(|exchange| exchange["n"].as_u64() == n.parse().ok())?;
    let exchange = Exchange { recorded, bodies: &session["bodies"] };
    let bodies = ["request_body", "response_body"].into_iter().filter_map(|key| exchange.body(key));
    bodies.into_iter().find(|body| body.len() as u64 == case["len"].as_u64().unwrap()).map(|body| body.to_vec())
}

/// Whatever a node answers, a client gets a value or an error, and whatever a client asks, a node does.
#[test]
fn hostile_bytes_are_errors() {
    let hostile: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\x01",
        b"{",
        b"{\"ID\":1}",
        b"{\"IDS\":[]}",
        b"{\"Hash\":\"z\"}",
        b"\xff\xff\xff\xff",
        b"\x9f",
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
        b"\x01\xff\xff\xff\xffx",
        b"\xa1\x61\x70\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for bytes in hostile {
        let bytes = Bytes::from_static(bytes);
        assert!(storage::GetServerId.read_body(bytes.clone()).is_err());
        assert!(storage::GetServerIds.read_body(bytes.clone()).is_err());
        assert!(core::GetUsernames { prefix: String::new() }.read_body(bytes.clone()).is_err());
        for path in [core::SignUp::PATH, core::UpdateChain::PATH, mutable::SetPointers::PATH, login::SetLogin::PATH] {
            let request = Request::new(path).with("owner", "z59vuwzfFDouRmmWWzo5ai3WXbyK9Jxoax1CWnmNCba72173wrGF2Fv");
            let request = request.with("username", "a").with("auth", "00").body(bytes.clone());
            let refused = [
                core::SignUp::parse(&request).err(),
                core::UpdateChain::parse(&request).err(),
                mutable::SetPointers::parse(&request).err(),
                login::SetLogin::parse(&request).err(),
            ];
            assert!(
                refused.iter().all(|error| error.as_ref().is_some_and(|error: &ApiError| !error.message().is_empty()))
            );
        }
    }
}

#[test]
fn signed_requests_are_not_printed() {
    let auth = pyrgos_protocol::api::login::AccountAuth { username: "alice".to_owned(), auth: b"signed"[..].into() };
    assert_eq!(format!("{auth:?}"), "AccountAuth { username: \"alice\", .. }");

    let owner: pyrgos_protocol::keys::Owner =
        "z59vuwzfFDouRmmWWzo5ai3WXbyK9Jxoax1CWnmNCba72173wrGF2Fv".parse().unwrap();
    let instance = "zdvgqGsMfVfU6MCNi6HxgDCuZKuieiRvFmXjri6H8Sdf5B39t".parse().unwrap();
    let signed = || Bytes::from_static(b"SECRET");
    let payment = space::PaymentProperties {
        client_secret: Some("SECRET".to_owned()),
        url: Some("https://pay/SECRET".to_owned()),
        ..Default::default()
    };
    let wish = space::SpaceRequest {
        username: "alice".to_owned(),
        bytes: 1,
        annual: false,
        millis: 2,
        payment: Some(signed()),
    };
    let printed = [
        format!("{:?}", space::GetQuota { owner: owner.clone(), auth: signed() }),
        format!("{:?}", space::GetUsage { owner: owner.clone(), local: true, auth: signed() }),
        format!("{:?}", space::RequestSpace { owner: owner.clone(), request: signed() }),
        format!("{:?}", space::GetPaymentProperties { owner: owner.clone(), new_client_secret: true, auth: signed() }),
        format!("{payment:?} {wish:?}"),
        format!("{:?}", admin::LabelledSpaceRequest { username: "alice".to_owned(), request: signed() }),
        format!("{:?}", admin::GetPendingSpaceRequests { admin: owner.clone(), instance, auth: signed() }),
        format!("{:?}", social::RemoveFollowRequest { owner, signed: signed() }),
    ];
    for text in printed {
        assert!(text.contains("..") && !text.contains("SECRET"), "{text}");
    }
}

/// The calls of names as an existing client library writes them.
#[test]
fn calls_about_names_are_read_and_written_alike() {
    fn alike<C: Call + PartialEq>(request: &[u8], response: &[u8], path: &str) -> C::Output {
        assert!(path.ends_with(C::PATH));
        let call = body::<C>(request);
        answer(&call, response)
    }
    let mut cases = support::Cases::of("06-core-http");
    for case in cases.section("calls") {
        let (name, path) = (support::text(&case, "call"), support::text(&case, "path"));
        let (request, response) = (support::bytes(&case, "request_body"), support::bytes(&case, "response_body"));
        let shown = support::text(&case, "decoded");
        match name {
            "getChain" | "getChain (unknown name)" | "getChain via peer" => {
                let links = shown.matches("UserPublicKeyLink").count();
                eq(alike::<core::GetChain>(&request, &response, path).0.len(), links);
            }
            "getUsername" => eq(alike::<core::GetUsername>(&request, &response, path).as_str(), shown),
            "getPublicKey" | "getPublicKey (unknown)" => {
                let owner = alike::<core::GetPublicKey>(&request, &response, path);
                let text = owner.map_or("Optional.empty".to_owned(), |owner| format!("Optional[{owner}]"));
                eq(text.as_str(), shown);
            }
            "updateChain accepted" => {
                eq(alike::<core::UpdateChain>(&request, &response, path), core::Decision::Accepted);
            }
            "updateChain refused, difficulty 11" => {
                eq(alike::<core::UpdateChain>(&request, &response, path), core::Decision::WorkNeeded(11));
            }
            "signup accepted" => eq(alike::<core::SignUp>(&request, &response, path), core::Decision::Accepted),
            "mirror" => {
                let call = body::<mirror::StartMirror>(&request);
                let key = support::bytes(&cases.value("signed_times")[0], "signer_public_key");
                let key: pyrgos_protocol::keys::PublicSigningKey =
                    FromCbor::from_bytes(&[&[0x82, 1, 0x58, 32], key.as_slice()].concat()).unwrap();
                let window = std::time::Duration::ZERO;
                eq(SignedTime::check(&call.auth, &key, 1_790_000_000_123, window).unwrap().millis, 1_790_000_000_123);
                assert!(call.bat.id().is_of(call.bat.bat()));
                eq(alike::<mirror::StartMirror>(&request, &response, path), true);
            }
            "startPaidMirror refused, difficulty 12" => {
                eq(alike::<mirror::StartPaidMirror>(&request, &response, path), 12);
            }
            "getUserSnapshots" | "getUserSnapshots, minimal time" => {
                let snapshots = alike::<mirror::GetUserSnapshots>(&request, &response, path);
                let shows = |snapshot: &pyrgos_protocol::migration::UserSnapshot| {
                    format!("{}({})", snapshot.username, snapshot.pointers.len())
                };
                eq(format!("[{}]", snapshots.iter().map(shows).collect::<Vec<_>>().join(", ")).as_str(), shown);
            }
            "migrateUser with bat, commit" | "migrateUser without bat, no commit, via peer" => {
                eq(alike::<core::MigrateUser>(&request, &response, path).username.as_str(), "alice");
                eq(body::<core::MigrateUser>(&request).commit, name.contains(", commit"));
            }
            "getUsernamesGzip" => {
                let names = core::GetUsernames { prefix: "al".to_owned() }.read_body(response.into()).unwrap();
                eq(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["alice", "bob"].to_vec());
            }
            "startPaidSignup ok" | "completePaidSignup" | "completePaidMirror" => {
                // What is answered in place of an account is read wherever it comes.
                let start = response.len() - 46;
                drop(same::<space::PaymentProperties>(&response[start..]));
                cases.skip(name, "this node sells nothing");
            }
            other => panic!("unknown call {other}"),
        }
    }
    cases.finish();
}
