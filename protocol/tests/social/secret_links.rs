//! `05-secret-links.json`: from the text of a link to the capability, and what lies on the way.

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::CipherError;
use pyrgos_protocol::links::address::{LinkAddress, LinkTarget};
use pyrgos_protocol::links::sealed::{self, LinkRefusal, champ_key};
use pyrgos_protocol::links::secret::SecretLinkError;
use pyrgos_protocol::links::{
    EncryptedCapability, LinkCounts, LinkLabel, LinkPassword, LinkProperties, SecretLink, SecretLinkTarget,
};
use pyrgos_protocol::merkle::bat::BatId;
use pyrgos_protocol::merkle::champ::{Champ, MemoryBlocks, Node};
use pyrgos_protocol::social::SharedWithState;
use serde_json::Value;

use crate::files::{capability, check_all, content, structure};
use crate::support::{Cases, KnownBytes, array, boolean, bytes, int, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("05-secret-links");
    let data = cases.value("data");
    let files = check_all(&data);
    let links = data["cases"].as_array().unwrap();
    for link in links {
        case(link);
    }
    tree(&data);
    records(&data);
    update(&data);
    let parsed = data["link_string_parsing"].as_array().unwrap();
    parsed.iter().for_each(parse);
    legacy(&data["legacy_capability_links"]);
    generation(&data);
    counts(&data["link_counts"]);
    let negative = negative(&mut cases, &data);
    let replayed = files + links.len() + parsed.len() + negative + 6;
    cases.count(replayed);
    cases.leave("open_first_link", "opening is the client's");
    cases.leave("link_counts", "no server answers the two calls");
    cases.finish();
}

fn passwords(case: &Value) -> (LinkPassword, LinkPassword) {
    (LinkPassword::new(text(case, "link_password")), LinkPassword::new(text(case, "user_password")))
}

fn case(case: &Value) {
    let link: SecretLink = text(case, "link").parse().unwrap();
    assert_eq!(link.to_text().as_str(), text(case, "link"));
    assert_eq!(i64::from(link.label.number()), int(case, "label"));
    let (password, user) = passwords(case);
    assert_eq!(link.password, password);
    let whole = [password.as_str(), user.as_str()].concat();
    assert_eq!(sha256(whole.as_bytes()), array(case, "scrypt_password_sha256"));
    assert_eq!(link.label.to_string(), text(case, "scrypt_salt"));
    let params = pyrgos_crypto::password::Params::SECRET_LINK;
    let recorded = &case["scrypt"];
    assert_eq!((1i64 << params.log2_n, i64::from(params.r)), (int(recorded, "N"), int(recorded, "r")));
    assert_eq!((i64::from(params.p), params.output_len as i64), (int(recorded, "p"), int(recorded, "dkLen")));
    let key = sealed::derive_key(link.label, &password, &user).unwrap();
    assert_eq!(key.key.as_bytes(), &array(case, "derived_key"));

    let cap = capability(&case["capability"]);
    let answer: EncryptedCapability = structure(&bytes(case, "server_response"));
    assert_eq!(answer.has_user_password, boolean(case, "has_user_password"));
    assert_eq!(answer.sealed.nonce().as_bytes(), &array(case, "nonce"));
    assert_eq!(&answer.sealed.sealed()[..], bytes(case, "ciphertext"));
    assert_eq!(answer.sealed.sealed().len(), if cap.is_writable() { 264 } else { 225 });
    assert_eq!(answer.open(link.label, &password, &user).unwrap(), cap);
    let mut nonce = KnownBytes(bytes(case, "nonce"));
    assert_eq!(EncryptedCapability::seal(&cap, link.label, &password, &user, &mut nonce).unwrap(), answer);

    let target: SecretLinkTarget = structure(&bytes(&case["target_block"], "block"));
    assert_eq!(target.to_block().0.to_string(), text(&case["target_block"], "cid"));
    assert_eq!(target.capability, answer);
    let properties: LinkProperties = structure(&bytes(case, "link_properties_cbor"));
    assert_eq!(properties.link(link.owner.clone()), link);
    assert_eq!((properties.user_password, properties.is_writable), (user, cap.is_writable()));
    assert_eq!((properties.expiry_secs, properties.max_retrievals), (target.expiry_secs, target.max_retrievals));
    assert_eq!(properties.target, Some(target.to_block().0));

    assert_eq!(u64::from(link.label.number()).to_le_bytes().as_slice(), bytes(case, "champ_key_preimage"));
    assert_eq!(champ_key(link.label), array(case, "champ_key_hash"));
    // A link that reads has the target's own capability, one that writes that of the link node.
    let after = &case["target_after"];
    if cap.is_writable() {
        assert_eq!(cap, capability(&after["link_cap"]));
    } else {
        assert_eq!(cap, capability(&after["cap"]).read_only());
    }
}

/// The tree of links after each new one and after a deletion.
fn tree(data: &Value) {
    let mirror: BatId =
        data["mirror_bat"]["id"].as_str().map(|id| BatId::from_cid(&id.parse().unwrap())).unwrap().unwrap();
    let mut blocks = MemoryBlocks::default();
    let champ = |blocks: &MemoryBlocks| Champ::new(blocks.clone(), sealed::HASHING).with_root_bat(mirror.clone());
    assert!(data["secret_links_root_before"].is_null());
    let (mut root, block) = champ(&blocks).empty();
    blocks.extend([(root.clone(), block)]);
    for case in data["cases"].as_array().unwrap() {
        let label = LinkLabel::new(int(case, "label") as u32).unwrap();
        let target: Cid = text(&case["target_block"], "cid").parse().unwrap();
        let change = SecretLinkTarget::put(label, None, target.clone());
        let changed = champ(&blocks).apply(&root, std::slice::from_ref(&change)).now_or_never().unwrap().unwrap();
        assert_eq!(changed.root.to_string(), text(&case["champ_root_after"], "cid"));
        let (_, block) = changed.blocks.last().unwrap();
        assert_eq!(hex::encode(block), text(&case["champ_root_after"], "block"));
        root = changed.root;
        blocks.extend(changed.blocks);
        // The label is taken now.
        assert!(champ(&blocks).apply(&root, &[change]).now_or_never().unwrap().is_err());
        let found = champ(&blocks).get(&root, &champ_key(label)).now_or_never().unwrap().unwrap();
        assert_eq!(found, Some(Cbor::Link(target.clone())));
        // An update names the present target, a removal nothing.
        let update = SecretLinkTarget::put(label, Some(target.clone()), root.clone());
        let updated = champ(&blocks).apply(&root, &[update]).now_or_never().unwrap().unwrap();
        assert_ne!(updated.root, root);
        let removed = champ(&blocks).apply(&root, &[SecretLinkTarget::remove(label)]).now_or_never().unwrap().unwrap();
        let (_, node) = removed.blocks.last().map_or_else(|| champ(&blocks).empty(), Clone::clone);
        assert!(
            Node::from_cbor(&Cbor::decode(&node).unwrap())
                .unwrap()
                .entries()
                .all(|(_, e)| e.key[..] != champ_key(label))
        );
    }
    // After the deletion: the first and the third link are there, among others that were made later.
    let last = Bytes::from(bytes(&data["after_delete"]["champ_root"], "block"));
    assert_eq!(Cid::of_cbor(&last).to_string(), text(&data["after_delete"]["champ_root"], "cid"));
    let node = Node::from_cbor(&Cbor::decode(&last).unwrap()).unwrap();
    assert_eq!(node.to_bytes(), last);
    let state: SharedWithState = structure(&content(&data["after_delete"]["sharedWith_file"]).unwrap());
    let mut expected: Vec<_> = state
        .iter()
        .flat_map(|(_, shares)| &shares.links)
        .map(|link| (champ_key(link.label).to_vec(), Cbor::Link(link.target.clone().unwrap())))
        .collect();
    let mut found: Vec<_> = node.entries().map(|(_, entry)| (entry.key.to_vec(), entry.value.clone())).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, expected);
}

/// The owner's records after each new link.
fn records(data: &Value) {
    let mut state = SharedWithState::default();
    for case in data["cases"].as_array().unwrap() {
        let name = text(case, "target_path").rsplit('/').next().unwrap().parse().unwrap();
        state.put_link(&name, structure(&bytes(case, "link_properties_cbor")));
        assert_eq!(hex::encode(state.to_bytes()), text(&case["sharedWith_file"], "content"));
    }
    let rotation = &data["link_after_key_rotation"];
    let [before, after] =
        ["sharedWith_before", "sharedWith_after"].map(|key| structure::<SharedWithState>(&bytes(rotation, key)));
    let link: SecretLink = text(rotation, "same_link_string").parse().unwrap();
    let of = |state: &SharedWithState| {
        let links = &state.get("rot.txt").unwrap().links;
        assert_eq!(links.len(), 1);
        links[0].clone()
    };
    // Same text, another target.
    assert_eq!(of(&before).link(link.owner.clone()), link);
    assert_eq!(of(&after).link(link.owner.clone()), link);
    assert_ne!(of(&before).target, of(&after).target);
    assert_ne!(capability(&rotation["old_cap"]), capability(&rotation["new_cap"]));
    let mut removed = after.clone();
    assert_eq!(removed.remove_link(&"rot.txt".parse().unwrap(), link.label), Some(of(&after)));
    assert_eq!(removed.remove_link(&"rot.txt".parse().unwrap(), link.label), None);
}

fn update(data: &Value) {
    let step = &data["update_second_link"];
    let properties: LinkProperties = structure(&bytes(step, "link_properties_cbor"));
    let target: SecretLinkTarget = structure(&bytes(&step["target_block"], "block"));
    let (cid, block) = target.to_block();
    assert_eq!(
        (cid.to_string().as_str(), hex::encode(block).as_str()),
        (text(&step["target_block"], "cid"), text(&step["target_block"], "block"))
    );
    assert_eq!(properties.target, Some(cid));
    let second = &data["cases"][1];
    assert_eq!(i64::from(properties.label.number()), int(second, "label"));
    assert_eq!(properties.password, passwords(second).0);
    let cap = target.capability.open(properties.label, &properties.password, &properties.user_password).unwrap();
    assert_eq!(cap, capability(&second["capability"]));
    let mut state: SharedWithState = structure(&content(&second["sharedWith_file"]).unwrap());
    let third = structure::<LinkProperties>(&bytes(&data["cases"][2], "link_properties_cbor"));
    state.put_link(&"dir".parse().unwrap(), third);
    state.put_link(&"file.txt".parse().unwrap(), properties.clone());
    let recorded: SharedWithState = structure(&content(&step["sharedWith_file"]).unwrap());
    let mut links = [&state, &recorded].map(|state| state.get("file.txt").unwrap().links.clone());
    links.iter_mut().for_each(|links| links.sort_by_key(|link| link.label));
    assert_eq!(links[0], links[1]);
}

fn parse(case: &Value) {
    let link: SecretLink = text(case, "link").parse().unwrap();
    assert_eq!(link.owner.to_string(), text(case, "owner"));
    assert_eq!(i64::from(link.label.number()), int(case, "label"));
    assert_eq!(link.password.as_str(), text(case, "link_password"));
    assert_eq!(link.to_text().as_str(), text(case, "canonical"));
    for host in ["example.org", "localhost:8000"] {
        let url = link.to_url(host);
        let address = LinkAddress::parse(&url).unwrap();
        assert_eq!(address.target, LinkTarget::Secret(link.clone()));
        let scheme = if host == "example.org" { "https" } else { "http" };
        assert_eq!(address.server, Some(format!("{scheme}://{host}")));
        let opened = LinkAddress::parse(&format!("{}?open=true&path=%2Fa%20b", url.as_str())).unwrap();
        assert_eq!((opened.opens_at_once, opened.path.as_deref()), (true, Some("/a b")));
        assert_eq!(opened.target, address.target);
    }
}

fn legacy(case: &Value) {
    for (link, cap) in
        [("read_link", "read_cap"), ("write_link", "write_cap"), ("read_link_without_bat", "read_cap_without_bat")]
    {
        let expected = capability(&case[cap]);
        let link = text(case, link);
        assert_eq!(AbsoluteCapability::from_link(link).unwrap(), expected);
        assert_eq!(expected.to_link().as_str(), link);
        let target = LinkTarget::Capability(Box::new(expected));
        let json = format!("{{\"secretLink\":true,\"path\":\"/alice05/x\",\"open\":true,\"link\":\"{link}\"}}");
        let encoded: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for (address, opens) in [
            (link.to_owned(), false),
            (link[1..].to_owned(), false),
            (format!("{link}?open=true"), true),
            (format!("https://example.org/{link}"), false),
            (format!("https://example.org/#{json}"), true),
            (format!("/#{encoded}"), true),
        ] {
            let read = LinkAddress::parse(&address).unwrap();
            assert_eq!((&read.target, read.opens_at_once), (&target, opens), "{address}");
            assert_eq!(read.path.is_some(), address.contains('{') || address.contains("%7b"));
        }
    }
    for text in ["a/b/c", "#a/b/c", "", "#", "#{", "#{}", "#{\"link\":3}", "https://", "secret/a#"] {
        assert!(LinkAddress::parse(text).is_err(), "{text}");
    }
    assert!(text(case, "three_parts_error").contains("Invalid public link"));
}

fn fed(case: &Value) -> KnownBytes {
    KnownBytes(case["random_bytes_fed"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect())
}

fn generation(data: &Value) {
    let case = &data["password_generation"];
    let mut rng = fed(case);
    assert_eq!(LinkPassword::generate(&mut rng).as_str(), text(case, "password"));
    assert!(rng.0.is_empty());
    let case = &data["label_generation"];
    let owner = text(&data["owner"], "identity_key_hash").parse().unwrap();
    let mut rng = fed(case);
    let link = SecretLink::generate(owner, &mut rng);
    assert_eq!(i64::from(link.label.number()), int(case, "label"));
    assert_eq!(link.password.as_str(), text(case, "link_password"));
    // The label 0, at which the reference fails, is drawn again.
    assert_eq!(LinkLabel::generate(&mut KnownBytes(vec![0, 0, 0, 0, 7, 0, 0, 0])), LinkLabel::new(7).unwrap());
}

fn counts(case: &Value) {
    let counts: LinkCounts = structure(&bytes(case, "cbor"));
    let recorded = case["counts"].as_array().unwrap();
    assert_eq!(counts.0.len(), recorded.len());
    for (count, recorded) in counts.0.iter().zip(recorded) {
        assert_eq!(i64::from(count.label.number()), int(recorded, "label"));
        assert_eq!((count.count, count.last_secs), (int(recorded, "count"), int(recorded, "modified_epoch_seconds")));
    }
    assert!(LinkCounts::from_bytes(&hex::decode("a16164820102").unwrap()).is_err());
}

fn negative(cases: &mut Cases, data: &Value) -> usize {
    let negative = cases.value("negative");
    let [plain, guarded] = [0, 1].map(|at| &data["cases"][at]);
    let open = |case: &Value, password: &str, user: &str| {
        let answer = EncryptedCapability::from_bytes(&bytes(case, "server_response")).unwrap();
        let label = LinkLabel::new(int(case, "label") as u32).unwrap();
        answer.open(label, &LinkPassword::new(password), &LinkPassword::new(user))
    };
    let mut replayed = 0;
    for case in negative.as_array().unwrap() {
        match text(case, "description") {
            "wrong link password" => {
                assert!(matches!(open(plain, "DltYZ4y1MSuY", ""), Err(CipherError::Crypto(_))));
            }
            "missing user password" => {
                let password = text(guarded, "link_password");
                assert!(matches!(open(guarded, password, ""), Err(CipherError::Crypto(_))));
            }
            "wrong user password" => {
                let password = text(guarded, "link_password");
                assert!(matches!(open(guarded, password, "hunter3"), Err(CipherError::Crypto(_))));
            }
            "expired link" => {
                let mut target = SecretLinkTarget::from_bytes(&bytes(&guarded["target_block"], "block")).unwrap();
                target.expiry_secs = Some(1000);
                assert_eq!((target.check(1000, 0), target.check(1001, 0)), (Ok(()), Err(LinkRefusal::Expired)));
                assert!(text(case, "reference_error").contains(&LinkRefusal::Expired.to_string()));
            }
            "max retrievals 2: four consecutive openings" => {
                let mut target = SecretLinkTarget::from_bytes(&bytes(&plain["target_block"], "block")).unwrap();
                assert_eq!(target.check(i64::MAX, u64::MAX), Ok(()));
                target.max_retrievals = Some(2);
                for (count, result) in case["reference_results"].as_array().unwrap().iter().enumerate() {
                    let checked = target.check(0, count as u64);
                    assert_eq!(checked.is_ok(), result.as_str().unwrap().starts_with("HTTP 200"));
                    if let Err(refused) = checked {
                        assert!(result.as_str().unwrap().contains(&refused.to_string()));
                    }
                }
            }
            "malformed link string" => {
                let error = text(case, "link").parse::<SecretLink>().unwrap_err();
                match text(case, "reference_error").starts_with("IllegalStateException: Invalid") {
                    true => assert_eq!(error, SecretLinkError::Form),
                    false => assert_eq!(error, SecretLinkError::Label),
                }
            }
            waits @ ("unknown label" | "deleted link") => {
                cases.leave(waits, "the server's answer to an absent key");
                continue;
            }
            other => panic!("unknown case {other}"),
        }
        replayed += 1;
    }
    replayed
}
