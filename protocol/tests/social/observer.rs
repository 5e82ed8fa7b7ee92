//! `05-observer.json`: which of the sizes that an observer sees follow from the formats here. The list of calls is for
//! the client's privacy test.

use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::keys::{SecretBoxingKey, SymmetricKey};
use pyrgos_protocol::social::follow::MAX_BLIND_BYTES;
use pyrgos_protocol::social::{Answer, BlindFollowRequest, FollowRequest};

use crate::files::name;
use crate::support::{Cases, int, load, system_random, text};

#[test]
fn sizes_tell_nothing() {
    let mut cases = Cases::of("05-observer");
    let requests = cases.value("requests");
    let requests = requests.as_array().unwrap();
    let mut rng = system_random();
    let receiver = SecretBoxingKey::generate_hybrid(&mut rng).public();
    let recorded = &load("05-sharing")["steps"]["3_group_share"]["friends_group_dir"]["cap"];
    let directory = crate::files::capability(recorded);
    let mut sizes = std::collections::BTreeSet::new();
    for len in [1, 7, 31, 32] {
        let us = name(&"n".repeat(len));
        let first = FollowRequest::first(us.clone(), &directory, SymmetricKey::generate(&mut rng));
        let answers = [Answer::Deny, Answer::Accept, Answer::AcceptAndReciprocate, Answer::ReciprocateOnly];
        let answers = answers.map(|answer| FollowRequest::answer(answer, &first, us.clone(), &directory));
        for message in answers.iter().chain([&first]) {
            assert!(!message.entry.capability.is_writable());
            let blind = BlindFollowRequest::seal(message, &receiver, &mut rng).unwrap().to_bytes();
            assert!(!blind.windows(len.max(7)).any(|part| part == us.as_str().as_bytes()) || len < 7);
            sizes.insert(blind.len() as i64);
        }
    }
    assert_eq!(sizes.len(), 1);
    let size = *sizes.first().unwrap();
    let mut seen = 0;
    for request in requests {
        let expected = match text(request, "path") {
            "peergos/v0/social/followRequest" => size,
            // A signature in front of the stored bytes.
            "peergos/v0/social/removeFollowRequest" => 64 + size,
            _ => continue,
        };
        assert_eq!(int(request, "request_body_bytes"), expected);
        assert!(expected <= MAX_BLIND_BYTES as i64);
        seen += 1;
    }
    cases.count(seen);
    cases.leave(&format!("{} other calls", requests.len() - seen), "wait for the client's privacy test");
    cases.finish();
    assert!(AbsoluteCapability::null().is_null() && !directory.is_null());
}
