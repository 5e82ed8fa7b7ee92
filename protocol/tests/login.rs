//! Derivation, login data, second factors, signed times and proofs of work against `vectors/01-login.json`
//! (`spec/01` §4–§6).

mod support;

use std::time::Duration;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::secretbox::Nonce;
use pyrgos_crypto::{pow, totp};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{
    BoxingKeyPair, CipherText, KeyHash, Owner, ProofOfWork, PublicSigningKey, SecretSigningKey, SignedError,
    SignedRequest, SignedTime, SymmetricKey,
};
use pyrgos_protocol::login::second_factor::{
    BackupCodes, FactorAnswer, FactorType, MAX_NAME_LEN, MultiFactorAuthMethod, MultiFactorAuthRequest,
    MultiFactorAuthResponse, TotpKey, backup_code, backup_code_hash, display_backup_code, normalise_backup_code,
};
use pyrgos_protocol::login::{
    BlockWrite, DeriveError, EntryPoint, EntryPoints, LoginData, LoginResponse, MAX_LOGIN_DATA_BYTES, ScryptAlgorithm,
    SecretGenerationAlgorithm, USER_STATIC_DATA_BLOCK, UserStaticData,
};
use pyrgos_protocol::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::names::{Date, Username};
use serde_json::Value as Json;
use support::{Cases, KnownBytes, accepts, array, boolean, bytes, int, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("01-login");
    cases.section("scrypt").iter().for_each(derive);
    cases.section("algorithms").iter().for_each(algorithm);
    cases.section("entry_points").iter().for_each(entry_points);
    let login_data = cases.section("login_data");
    login_data.iter().for_each(|case| login(case, &login_data[0]));
    let factors = cases.section("mfa");
    factors.iter().for_each(|case| second_factor(case, &factors));
    for case in cases.section("totp_codes") {
        let (key, time, code) = (bytes(&case, "key"), int(&case, "unix_seconds") as u64, text(&case, "code"));
        assert_eq!(totp::code(&key, time), code);
        // The code of this step and of the one before is taken, the next one's is not.
        assert!(totp::check(&key, code, time) && totp::check(&key, code, time + 30));
        assert!(!totp::check(&key, code, time + 60) && !totp::check(&key, &totp::code(&key, time + 30), time));
    }
    cases.section("totp_key").iter().for_each(totp_key);
    for case in cases.section("backup_codes") {
        let code = backup_code(array(&case, "random"));
        assert_eq!(code, text(&case, "code"));
        assert_eq!(display_backup_code(&code), text(&case, "display"));
        assert_eq!(backup_code_hash(text(&case, "display")), array(&case, "stored_sha256"));
    }
    for case in cases.section("backup_code_normalise") {
        assert_eq!(*normalise_backup_code(text(&case, "typed")), text(&case, "normalised"));
    }
    for case in cases.section("backup_codes_reply") {
        let reply = BackupCodes::from_bytes(&bytes(&case, "cbor")).unwrap();
        assert_eq!(reply.to_bytes(), bytes(&case, "cbor"));
    }
    let signed_times = cases.section("signed_time");
    // Only the first case says whose the signatures are.
    let signer = SecretSigningKey::from_seed(&array(&signed_times[0], "seed"));
    signed_times.iter().for_each(|case| signed_time(case, &signer));
    cases.section("time_windows").iter().for_each(time_window);
    cases.section("proof_of_work").iter().for_each(proof_of_work);
    for case in cases.section("satisfies_difficulty") {
        // Only the first bytes of the hash are given; the rest must not matter.
        for rest in [0x00, 0xff] {
            let mut hash = [rest; 32];
            let prefix = bytes(&case, "hash_prefix");
            hash[..prefix.len()].copy_from_slice(&prefix);
            let met = pow::satisfies(&hash, int(&case, "difficulty") as u32);
            assert_eq!(met, boolean(&case, "satisfied"), "{case}");
        }
    }
    for case in cases.section("usernames") {
        let name = text(&case, "username");
        match name {
            // An accident of the reference (`spec/06` §1.1).
            "abc\n" => assert!(Username::new(name).is_err()),
            // On the list of old names, which only the main network's authority needs.
            "0_0" => assert!(Username::new(name).is_err() && Username::existing(name).is_ok()),
            _ => assert_eq!(Username::new(name).is_ok(), boolean(&case, "valid"), "{name:?}"),
        }
    }
    cases.finish();
}

fn algorithm_of(case: &Json) -> SecretGenerationAlgorithm {
    SecretGenerationAlgorithm::from_bytes(&bytes(case, "algorithm_cbor")).unwrap()
}

fn derive(case: &Json) {
    let algorithm = algorithm_of(case);
    assert_eq!(algorithm.to_bytes(), bytes(case, "algorithm_cbor"));
    let scrypt = algorithm.scrypt().unwrap();
    let (username, password) = (Username::existing(text(case, "username")).unwrap(), text(case, "password"));
    assert_eq!(
        [i64::from(scrypt.log2_n), scrypt.r.into(), scrypt.p.into(), scrypt.output_len as i64],
        ["log2_N", "r", "p", "output_bytes"].map(|key| int(case, key))
    );
    assert_eq!(password.as_bytes(), bytes(case, "password_utf8"));
    assert_eq!(sha256(password.as_bytes()), array(case, "password_sha256"));
    let salt = format!("{username}{}", scrypt.extra_salt);
    assert_eq!(salt, text(case, "salt_text"));
    assert_eq!(salt.as_bytes(), bytes(case, "salt_utf8"));
    assert_eq!(*scrypt.derive(password, &salt).unwrap(), bytes(case, "scrypt_output"));

    let derived = algorithm.derive_login(&username, password);
    if case.get("login_seed").is_none() {
        // The key of a secret link; a login would end in a root key that everybody knows.
        assert_eq!(derived, Err(DeriveError::OutputLength(32)));
        assert_eq!(scrypt, &ScryptAlgorithm::secret_link());
        return;
    }
    let derived = derived.unwrap();
    assert_eq!(derived.login.secret.as_bytes()[..32], bytes(case, "login_seed"));
    assert_eq!(derived.login.public().to_bytes(), bytes(case, "login_public_signing_key_cbor"));
    assert_eq!(derived.login.secret.to_bytes(), bytes(case, "login_secret_signing_key_cbor"));
    assert_eq!(derived.root.to_bytes(), bytes(case, "root_key_cbor"));
    assert_eq!(algorithm.is_legacy(), case.get("boxing_key_pair_cbor").is_some());
    let Some(boxing) = derived.legacy_boxing else { return assert!(!algorithm.is_legacy()) };
    assert_eq!(boxing.to_bytes(), bytes(case, "boxing_key_pair_cbor"));
    assert_eq!(BoxingKeyPair::from_bytes(&boxing.to_bytes()).unwrap(), boxing);
    assert_eq!(derived.login.public_key_hash().to_string(), text(case, "identity_public_key_hash"));
}

fn algorithm(case: &Json) {
    if let Some(username) = case.get("username") {
        return refused_login(case, username.as_str().unwrap());
    }
    let cbor = bytes(case, "cbor");
    let read = SecretGenerationAlgorithm::from_bytes(&cbor);
    let verdict = case.get("reference").is_none_or(|_| accepts(case));
    assert_eq!(read.is_ok(), verdict, "{case}");
    let Ok(read) = read else { return };
    // Old data lack the extra salt; a writer always writes it.
    if case.get("reference").is_none() {
        assert_eq!(read.to_bytes(), cbor);
    } else {
        let scrypt = read.scrypt().unwrap();
        assert!(scrypt.extra_salt.is_empty());
        assert_eq!(SecretGenerationAlgorithm::from_bytes(&read.to_bytes()).unwrap(), read);
    }
    if read == SecretGenerationAlgorithm::Random {
        assert_eq!(read.scrypt(), Err(DeriveError::NotDerived));
    }
}

fn refused_login(case: &Json, username: &str) {
    let (username, password) = (Username::new(username).unwrap(), text(case, "password"));
    if case.get("reference").is_some() {
        assert!(!accepts(case));
        let algorithm = SecretGenerationAlgorithm::Scrypt(ScryptAlgorithm::login(String::new()));
        assert_eq!(algorithm.derive_login(&username, password), Err(DeriveError::PasswordIsUsername));
        return;
    }
    // The reference goes on and derives a root key that is known or unusual.
    let algorithm = algorithm_of(case);
    assert_eq!(algorithm.to_bytes(), bytes(case, "algorithm_cbor"));
    let output_len = algorithm.scrypt().unwrap().output_len;
    assert_eq!(algorithm.derive_login(&username, password), Err(DeriveError::OutputLength(output_len)));
}

#[test]
fn algorithms_out_of_bounds_are_refused_before_they_cost_anything() {
    let username = Username::new("alice").unwrap();
    let login = || ScryptAlgorithm::login(String::new());
    for scrypt in [
        ScryptAlgorithm { log2_n: 63, ..login() },
        ScryptAlgorithm { r: u32::MAX, ..login() },
        ScryptAlgorithm { p: u32::MAX, ..login() },
        ScryptAlgorithm { r: 0, ..login() },
        ScryptAlgorithm { p: 0, ..login() },
    ] {
        let algorithm = SecretGenerationAlgorithm::Scrypt(scrypt);
        assert!(matches!(algorithm.derive_login(&username, "password"), Err(DeriveError::Crypto(_))));
    }
    for number in [-1, 1 << 32, i64::MAX] {
        for key in ["c", "m", "o", "p"] {
            let Value::Map(mut map) = SecretGenerationAlgorithm::Scrypt(login()).to_cbor() else { panic!("a map") };
            map.insert(key, Value::Int(number));
            assert!(SecretGenerationAlgorithm::from_cbor(&Value::Map(map)).is_err(), "{key} = {number}");
        }
    }
}

#[test]
fn a_new_password_gets_a_new_salt_and_todays_length() {
    let rng = &mut support::system_random();
    let old = ScryptAlgorithm { log2_n: 18, output_len: 96, ..ScryptAlgorithm::login("old".to_owned()) };
    let new = SecretGenerationAlgorithm::Scrypt(old).with_new_salt(rng).unwrap();
    let scrypt = new.scrypt().unwrap();
    assert_eq!((scrypt.log2_n, scrypt.output_len, scrypt.extra_salt.len()), (18, 64, 64));
    let generated = SecretGenerationAlgorithm::generate(rng);
    assert_ne!(generated.scrypt().unwrap().extra_salt, scrypt.extra_salt);
}

fn entry_points(case: &Json) {
    let (description, cbor) = (text(case, "description"), bytes(case, "cbor"));
    if description == "EntryPoint with a writable capability" {
        let entry = EntryPoint::from_bytes(&cbor).unwrap();
        assert_eq!(entry.to_bytes(), cbor);
        assert_eq!(entry.capability.to_bytes(), bytes(case, "capability_cbor"));
        assert!(entry.capability.is_writable());
        let [identity, writer] = ["identity_seed", "writer_seed"]
            .map(|key| KeyHash::of_signing_key(&SecretSigningKey::from_seed(&array(case, key)).public()));
        assert_eq!(entry.capability.owner.key_hash(), &identity);
        assert_eq!(entry.capability.writer.key_hash(), &writer);
        return;
    }
    if description.starts_with("UserStaticData: ") {
        return user_static_data(case);
    }
    if description.starts_with("UserStaticData opened with a wrong root key") {
        let logins = support::load("01-login");
        let alice = logins["scrypt"].as_array().unwrap().iter().find(|case| text(case, "username") == "alice");
        let root = SymmetricKey::from_bytes(&bytes(alice.unwrap(), "root_key_cbor")).unwrap();
        assert_eq!(UserStaticData::from_bytes(&cbor).unwrap().decrypt(&root).is_ok(), accepts(case));
        return;
    }
    let verdict = case.get("reference").is_none_or(|_| accepts(case));
    match EntryPoints::from_bytes(&cbor) {
        Ok(read) => {
            assert!(verdict, "{case}");
            assert_eq!(read.to_bytes(), cbor);
            if let Some(length) = case.get("length") {
                assert_eq!(length.as_u64().unwrap(), cbor.len() as u64);
                assert!(read.boxing.is_some() && read.identity.is_some());
                assert_eq!((read.version, read.entries.len()), (2, 1));
                let owner = &read.entries[0].capability.owner;
                assert!(read.is_of(owner) && !read.is_of(&Owner::new(KeyHash::null())));
            }
        }
        Err(error) => assert!(!verdict, "{error}: {case}"),
    }
}

fn user_static_data(case: &Json) {
    let root = SymmetricKey::from_bytes(&bytes(case, "root_key_cbor")).unwrap();
    let (plain, cbor) = (bytes(case, "plaintext_cbor"), bytes(case, "cbor"));
    let entry_points = EntryPoints::from_bytes(&plain).unwrap();
    let nonce: [u8; Nonce::SIZE] = array(case, "nonce");
    let sealed = UserStaticData::encrypt(&entry_points, &root, &mut KnownBytes(nonce.to_vec()));
    assert_eq!(sealed.to_bytes(), cbor);
    assert_eq!(UserStaticData::from_bytes(&cbor).unwrap().decrypt(&root).unwrap(), entry_points);
    let padded = CipherText::from_bytes(&cbor).unwrap().plaintext(&root).unwrap();
    assert_eq!(padded.len() as i64, int(case, "padded_length"));
    assert_eq!(padded.len() % USER_STATIC_DATA_BLOCK, 0);
}

fn login(case: &Json, sign_up: &Json) {
    let (cbor, auth) = (bytes(case, "cbor"), bytes(case, "auth"));
    let data = LoginData::from_request(&cbor).unwrap();
    assert_eq!(data.to_bytes(), cbor);
    // Only the first case says whose the signatures are.
    let identity = PublicSigningKey::from_bytes(
        Value::decode(&bytes(sign_up, "identity_public_signing_key_cbor")).unwrap().as_list().unwrap()[1]
            .as_array("key")
            .unwrap(),
    );
    let verdict = case.get("reference").is_none_or(|_| accepts(case));
    assert_eq!(data.verify(&auth, &identity).is_ok(), verdict, "{case}");
    assert_eq!(data.identity_update.is_some(), case.get("block_write_cbor").is_some());
    let Some(update) = &data.identity_update else { return };

    let writer_data = bytes(case, "writer_data_cbor");
    assert_eq!(update.block.block, writer_data);
    assert!(!update.block.is_raw && update.block.is_signed_by(&identity));
    assert_eq!(sha256(&writer_data), array(case, "writer_data_sha256"));
    assert_eq!(update.block.signed_hash[64..], bytes(case, "writer_data_sha256"));
    assert_eq!(update.block.to_bytes(), bytes(case, "block_write_cbor"));
    assert_eq!(BlockWrite::from_bytes(&bytes(case, "block_write_cbor")).unwrap(), update.block);
    let pointer = PointerUpdate::open(&identity, &update.pointer.signed).unwrap();
    assert_eq!(pointer.to_bytes(), bytes(case, "pointer_update_cbor"));
    assert_eq!(pointer.updated(), Some(&update.block.cid()));
    assert_eq!(update.pointer.to_bytes(), bytes(case, "pointer_write_cbor"));
    assert_eq!(SignedPointerUpdate::from_bytes(&bytes(case, "pointer_write_cbor")).unwrap(), update.pointer);
}

#[test]
fn half_an_identity_update_is_none() {
    let logins = support::load("01-login");
    let cbor = bytes(&logins["login_data"][1], "cbor");
    for lonely in ["b", "p"] {
        let Value::Map(mut map) = Value::decode(&cbor).unwrap() else { panic!("a map") };
        map.remove(lonely);
        assert!(LoginData::from_cbor(&Value::Map(map)).unwrap().identity_update.is_none());
    }
    assert!(LoginData::from_request(&vec![0xa0; MAX_LOGIN_DATA_BYTES + 1]).is_err());
}

fn second_factor(case: &Json, all: &[Json]) {
    let (description, cbor) = (text(case, "description"), bytes(case, "cbor"));
    let methods = || all[..3].iter().map(|case| MultiFactorAuthMethod::from_bytes(&bytes(case, "cbor")).unwrap());
    if description == "MultiFactorAuthMethod with a name of 33 characters" {
        // The vector gives the verdict only.
        assert!(!accepts(case));
        let method = |length| MultiFactorAuthMethod { name: "x".repeat(length), ..methods().next().unwrap() };
        assert!(MultiFactorAuthMethod::from_bytes(&method(MAX_NAME_LEN + 1).to_bytes()).is_err());
        assert!(MultiFactorAuthMethod::from_bytes(&method(MAX_NAME_LEN).to_bytes()).is_ok());
    } else if description.starts_with("MultiFactorAuthMethod of unknown type") {
        assert_eq!(MultiFactorAuthMethod::from_bytes(&cbor).is_ok(), accepts(case));
    } else if description.starts_with("MultiFactorAuthMethod") {
        let created: Date = text(case, "created").parse().unwrap();
        assert_eq!(created.epoch_day(), int(case, "created_epoch_day"));
        let method = MultiFactorAuthMethod {
            created_epoch_day: created.epoch_day(),
            enabled: boolean(case, "enabled"),
            credential_id: bytes(case, "credential_id").into(),
            name: text(case, "name").to_owned(),
            factor: FactorType::from_number(int(case, "type")).unwrap(),
        };
        assert_eq!(method.to_bytes(), cbor);
        assert_eq!(MultiFactorAuthMethod::from_bytes(&cbor).unwrap(), method);
    } else if description.starts_with("MultiFactorAuthRequest") {
        let request =
            MultiFactorAuthRequest { challenge: bytes(case, "challenge").into(), methods: methods().collect() };
        assert_eq!(request.to_bytes(), cbor);
        assert_eq!(MultiFactorAuthRequest::from_bytes(&cbor).unwrap(), request);
    } else if description.starts_with("LoginResponse") {
        let response = LoginResponse::from_bytes(&cbor).unwrap();
        assert_eq!(response.to_bytes(), cbor);
        match response {
            LoginResponse::LoggedIn(data) => assert_eq!(data.to_bytes(), bytes(case, "user_static_data_cbor")),
            LoginResponse::SecondFactor(request) => assert_eq!(request.methods, methods().collect::<Vec<_>>()),
        }
    } else {
        let response = MultiFactorAuthResponse::from_bytes(&cbor).unwrap();
        assert_eq!(response.to_bytes(), cbor);
        let shown = format!("{response:?}");
        match response.answer {
            FactorAnswer::Code(code) => {
                assert_eq!(code, text(case, "code"));
                assert!(!shown.contains(&code));
            }
            FactorAnswer::Webauthn(answer) => {
                assert!(description.contains("WebAuthn"));
                assert_eq!(answer.signature, Bytes::from_static(b"signature"));
            }
        }
    }
}

fn totp_key(case: &Json) {
    let key = TotpKey { credential_id: bytes(case, "credential_id"), key: bytes(case, "key").into() };
    assert_eq!(*key.to_secret_text(), text(case, "text"));
    assert_eq!(TotpKey::from_secret_text(text(case, "text")).unwrap() == key, boolean(case, "reparsed_equal"));
    let secret = text(case, "text").split_once(':').unwrap().1;
    let uri = key.provisioning_uri(&Username::new("alice").unwrap());
    assert_eq!(*uri, format!("otpauth://totp/peergos:alice@peergos?secret={secret}&issuer=peergos"));
    for malformed in ["", "AA", "A1:AA", ":é"] {
        assert!(TotpKey::from_secret_text(malformed).is_err(), "{malformed}");
    }
}

fn signed_time(case: &Json, key: &SecretSigningKey) {
    let millis = int(case, "millis");
    let (signed, window) = (bytes(case, "signed"), Duration::ZERO);
    if let Some(path) = case.get("path") {
        let path = path.as_str().unwrap();
        assert_eq!(SignedRequest::sign(path, millis, key), signed);
        assert_eq!(signed[64..], bytes(case, "cbor"));
        let request = SignedRequest::check(&signed, path, &key.public(), millis, window).unwrap();
        assert_eq!(request.to_bytes(), bytes(case, "cbor"));
        let refused = SignedRequest::check(&signed, "peergos/v0/login/addTotp", &key.public(), millis, window);
        assert_eq!(refused, Err(SignedError::Path));
    } else {
        assert_eq!(SignedTime::sign(millis, key), signed);
        assert_eq!(signed[64..], bytes(case, "cbor"));
        assert_eq!(SignedTime::check(&signed, &key.public(), millis, window), Ok(SignedTime { millis }));
    }
}

fn time_window(case: &Json) {
    let key = SecretSigningKey::from_seed(&[7; 32]);
    let (now, day) = (1_787_400_000_000, Duration::from_secs(86_400));
    let Some(offset) = case.get("offset_seconds") else {
        assert!(!accepts(case));
        let signed = match text(case, "description") {
            "time as CBOR text instead of integer" => key.sign_attached(&Value::text(now.to_string()).encode()),
            "a signed request given where a signed time is expected" => SignedRequest::sign("path", now, &key),
            "signed by another key" => SignedTime::sign(now, &SecretSigningKey::from_seed(&[8; 32])),
            other => panic!("unknown case {other}"),
        };
        assert!(SignedTime::check(&signed, &key.public(), now, day).is_err(), "{case}");
        return;
    };
    let signed_at = now + offset.as_i64().unwrap() * 1000;
    let window = Duration::from_secs(int(case, "window_seconds") as u64);
    let time = SignedTime::check(&SignedTime::sign(signed_at, &key), &key.public(), now, window);
    assert_eq!(time.is_ok(), accepts(case), "{case}");
    let request = SignedRequest::sign("path", signed_at, &key);
    assert_eq!(SignedRequest::check(&request, "path", &key.public(), now, window).is_ok(), accepts(case));
}

#[test]
fn windows_end_to_the_millisecond_and_extreme_times_do_not_overflow() {
    let key = SecretSigningKey::from_seed(&[7; 32]);
    let window = Duration::from_millis(10);
    let check = |at, now| SignedTime::check(&SignedTime::sign(at, &key), &key.public(), now, window);
    for (at, now, good) in [(0, 10, true), (0, 11, false), (10, 0, true), (11, 0, false), (i64::MIN, i64::MAX, false)] {
        assert_eq!(check(at, now).is_ok(), good, "{at} at {now}");
    }
}

fn proof_of_work(case: &Json) {
    let (data, difficulty) = (bytes(case, "data"), int(case, "difficulty") as u32);
    let proof = ProofOfWork::solve(&data, difficulty).unwrap();
    assert_eq!(proof.prefix, bytes(case, "first_prefix_found"));
    assert_eq!(proof.to_bytes(), bytes(case, "cbor"));
    assert_eq!(ProofOfWork::from_request(&bytes(case, "cbor")).unwrap(), proof);
    assert_eq!(sha256(&[&proof.prefix, data.as_slice()].concat()), array(case, "sha256"));
    assert_eq!(proof.proves(&data, difficulty), boolean(case, "leading_zero_bits_by_the_reference_rule"));
}
