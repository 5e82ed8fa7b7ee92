//! `03-primitives.json`: the well-known files and the secret link.

use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::links::{LinkPassword, SecretLink, SecretLinkTarget, sealed};
use pyrgos_protocol::login::EntryPoints;
use pyrgos_protocol::social::friends::PendingSocialState;
use pyrgos_protocol::social::{
    CapsInDirectory, FriendAnnotation, FriendsGroups, Groups, ProcessedCaps, SharedWithState, TofuKeyStore,
};

use crate::files::structure;
use crate::support::{array, bytes, int, load, text};

#[test]
fn vectors() {
    let file = load("03-primitives");
    let cases = file["groups"]["homeFiles"]["cases"].as_array().unwrap();
    for case in cases {
        let recorded = bytes(case, "cbor");
        let again = match text(case, "file") {
            "sharedWith.cbor" => {
                let state: SharedWithState = structure(&recorded);
                assert!(state.iter().count() >= 3);
                state.to_bytes()
            }
            "sharedWith.cbor empty" => {
                assert_eq!(SharedWithState::default().to_bytes(), recorded);
                structure::<SharedWithState>(&recorded).to_bytes()
            }
            "<friend>$incoming.cbor" => structure::<ProcessedCaps>(&recorded).to_bytes(),
            "items.cbor" => structure::<CapsInDirectory>(&recorded).to_bytes(),
            ".social-state.cbor" => structure::<PendingSocialState>(&recorded).to_bytes(),
            ".groups.cbor" => structure::<Groups>(&recorded).to_bytes(),
            ".groups-from-friends.cborstream" => structure::<FriendsGroups>(&recorded).to_bytes(),
            ".annotations (one element)" => structure::<FriendAnnotation>(&recorded).to_bytes(),
            ".keystore empty" => {
                assert_eq!(TofuKeyStore::default().to_bytes(), recorded);
                structure::<TofuKeyStore>(&recorded).to_bytes()
            }
            "login data entry points (plaintext)" => structure::<EntryPoints>(&recorded).to_bytes(),
            other => panic!("what is {other}?"),
        };
        assert_eq!(again, recorded);
    }
    println!("03-primitives.json: homeFiles: {} cases", cases.len());

    let links = file["groups"]["secretLink"]["cases"].as_array().unwrap();
    for case in links {
        let link: SecretLink = text(case, "link").parse().unwrap();
        assert_eq!(link.to_text().as_str(), text(case, "link"));
        assert_eq!(i64::from(link.label.number()), int(case, "label"));
        assert_eq!(link.password, LinkPassword::new(text(case, "password")));
        let none = LinkPassword::new("");
        let key = sealed::derive_key(link.label, &link.password, &none).unwrap();
        assert_eq!(key.key.as_bytes(), &array(case, "derivedKey"));
        let target: SecretLinkTarget = structure(&bytes(case, "secretLinkTargetCbor"));
        assert_eq!(target.capability.to_bytes(), bytes(case, "encryptedCapabilityCbor"));
        let cap = target.capability.open(link.label, &link.password, &none).unwrap();
        assert_eq!(cap.to_bytes(), bytes(case, "capability"));
    }
    println!("03-primitives.json: secretLink: {} cases", links.len());
}
