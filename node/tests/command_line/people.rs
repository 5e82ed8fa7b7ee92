//! Blocking, comparing keys, and profiles.

use crate::support::{Machine, Ran, json_lines};

/// Users of one machine who are all friends of the first one.
pub(crate) struct People {
    pub(crate) machine: Machine,
}

impl People {
    pub(crate) fn friends_of(first: &str, others: &[&str]) -> Self {
        let people = People { machine: Machine::start() };
        people.machine.user(first);
        for other in others {
            people.machine.user(other);
            people.run(other, &["follow", first]).ok();
            people.run(first, &["accept", other, "--follow-back"]).ok();
        }
        people
    }

    pub(crate) fn run(&self, user: &str, args: &[&str]) -> Ran {
        self.machine.run(&[&["--user", user], args].concat())
    }
}

#[test]
fn who_is_blocked_shows_nothing_and_asks_in_vain() {
    let people = People::friends_of("bob", &["alice"]);
    let (bob, alice) = (|args: &[&str]| people.run("bob", args), |args: &[&str]| people.run("alice", args));
    people.machine.write("hello", b"hello");
    alice(&["put", "hello", "/alice"]).ok();
    alice(&["share", "hello", "--with", "bob"]).ok();
    assert_eq!(bob(&["shared-with-me"]).ok(), "/alice/hello  from alice\n");
    assert_eq!(bob(&["blocked"]).ok(), "");
    bob(&["unblock", "alice"]).fails(4, "alice is not blocked");
    bob(&["block", "bob"]).fails(2, "themselves");

    assert_eq!(bob(&["block", "alice"]).ok(), "alice is blocked\n");
    assert_eq!(bob(&["block", "alice"]).ok(), "alice was blocked already\n");
    assert_eq!(bob(&["blocked"]).ok(), "alice\n");
    assert_eq!(bob(&["shared-with-me"]).ok(), "");
    assert_eq!(bob(&["friends"]).ok(), "alice (follower)\n");
    assert_eq!(bob(&["unblock", "alice"]).ok(), "alice is no longer blocked\n");
    assert_eq!(bob(&["blocked"]).ok(), "");
    assert_eq!(bob(&["shared-with-me"]).ok(), "/alice/hello  from alice\n");
    assert_eq!(bob(&["cat", "/alice/hello"]).ok(), "hello");

    // Somebody whom bob has nothing to do with.
    people.machine.user("carol");
    bob(&["block", "carol"]).ok();
    people.run("carol", &["follow", "bob"]).ok();
    assert_eq!(bob(&["requests"]).ok(), "");
    bob(&["unblock", "carol"]).ok();
    assert_eq!(bob(&["requests"]).ok(), "carol\n");
    // To follow somebody back is to block them no longer.
    bob(&["block", "carol"]).ok();
    bob(&["accept", "carol", "--follow-back"]).ok();
    assert_eq!(bob(&["blocked"]).ok(), "");
    assert_eq!(people.run("carol", &["friends"]).ok(), "bob (friend)\n");
}

/// What a camera reads from a QR code that a terminal shows light on dark.
fn scan(shown: &str) -> String {
    let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
    let (width, height) = (lines[0].len(), lines.len() * 2);
    let pixel = |x: usize, y: usize| {
        let is_light = match (lines[y / 2].get(x).copied().unwrap_or(' '), y % 2) {
            ('█', _) | ('▀', 0) | ('▄', 1) => true,
            (' ' | '▀' | '▄', _) => false,
            other => panic!("{other:?} is no part of a code"),
        };
        if is_light { 255 } else { 0 }
    };
    const SCALE: usize = 4;
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, |x, y| pixel(x / SCALE, y / SCALE));
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().expect("a readable code").1
}

#[test]
fn keys_are_compared_by_numbers_or_by_a_code() {
    let people = People::friends_of("alice", &["bob", "carol"]);
    let codes: Vec<String> = [("alice", "bob"), ("bob", "alice"), ("carol", "alice")]
        .iter()
        .map(|(user, other)| {
            let shown = people.run(user, &["verify", other, "--qr"]).ok();
            let code: Vec<&str> = shown.lines().filter(|line| !line.contains(|c: char| c.is_ascii_digit())).collect();
            scan(&code.join("\n"))
        })
        .collect();
    let json = json_lines(&people.run("alice", &["verify", "bob", "--json"]).ok());
    assert_eq!(json[0]["code"], codes[0].as_str());
    assert!(codes.iter().all(|code| code.len() > 128 && code.bytes().all(|c| c.is_ascii_hexdigit())), "{codes:?}");

    let alice = |args: &[&str]| people.run("alice", args);
    // Carol's code, one's own, and nonsense.
    alice(&["verify", "bob", "--scanned", &codes[2]]).fails(7, "do not belong together");
    alice(&["verify", "bob", "--scanned", &codes[0]]).fails(7, "do not belong together");
    alice(&["verify", "bob", "--scanned", "12345"]).fails(2, "not the text of a code");
    assert_eq!(alice(&["friends"]).ok(), "bob (friend)\ncarol (friend)\n");
    alice(&["verify", "bob", "--scanned", &codes[1]]).ok();
    assert_eq!(alice(&["friends"]).ok(), "bob (friend, verified)\ncarol (friend)\n");
}

#[test]
fn fields_of_a_profile_are_seen_by_those_with_whom_they_are_shared() {
    let people = People::friends_of("alice", &["bob", "carol"]);
    let alice = |args: &[&str]| people.run("alice", args);
    assert_eq!(alice(&["profile", "show"]).ok(), "");
    alice(&["profile", "share", "bio", "--with", "bob"]).fails(4, "profile/bio");
    alice(&["profile", "set", "bio", "mathematician"]).ok();
    alice(&["profile", "set", "phone", "555-0100"]).ok();
    people.machine.write("face.png", b"\x89PNG no text \xff");
    alice(&["profile", "set", "photo", "--file", "face.png"]).ok();
    alice(&["profile", "set", "status", "--file", "face.png"]).fails(2, "is a text");
    alice(&["profile", "set", "shoesize", "42"]).fails(2, "highres");
    alice(&["profile", "set", "bio"]).fails(2, "TEXT");
    let own = alice(&["profile", "show"]).ok();
    assert!(own.contains("bio        mathematician\n") && own.contains("phone      555-0100\n"), "{own}");
    assert!(own.contains("picture of 14 bytes at /alice/.profile/photo"), "{own}");
    // It is hidden in the home folder.
    assert!(!alice(&["ls"]).ok().contains("profile"));

    assert_eq!(people.run("bob", &["profile", "show", "alice"]).ok(), "");
    alice(&["profile", "share", "bio", "--with", "@friends"]).ok();
    alice(&["profile", "share", "photo", "--with", "bob"]).ok();
    let seen = json_lines(&people.run("bob", &["profile", "show", "alice", "--json"]).ok());
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0]["field"], &seen[0]["size_bytes"]), (&"photo".into(), &14.into()));
    assert_eq!((&seen[1]["field"], &seen[1]["text"]), (&"bio".into(), &"mathematician".into()));
    people.run("bob", &["get", "/alice/.profile/photo", "got.png"]).ok();
    assert_eq!(people.machine.read("got.png"), people.machine.read("face.png"));
    assert_eq!(people.run("carol", &["profile", "show", "alice"]).ok(), "bio        mathematician\n");
    // A change reaches those who see the field, a removal ends it.
    alice(&["profile", "set", "bio", "countess"]).ok();
    assert_eq!(people.run("carol", &["profile", "show", "alice"]).ok(), "bio        countess\n");
    alice(&["profile", "unset", "bio"]).ok();
    alice(&["profile", "unset", "bio"]).fails(4, "bio is not set");
    assert_eq!(people.run("carol", &["profile", "show", "alice"]).ok(), "");

    // What is public needs no friend.
    alice(&["profile", "publish", "status"]).fails(4, "pyrgos profile set");
    alice(&["profile", "set", "status", "at sea"]).ok();
    assert_eq!(alice(&["profile", "publish", "status"]).ok(), "status is public now\n");
    assert_eq!(alice(&["profile", "publish", "status"]).ok(), "status was public already\n");
    let public = alice(&["publish"]).ok();
    assert!(public.contains("/alice/.profile/status") && !public.contains("phone"), "{public}");
    alice(&["unpublish", ".profile/status"]).ok();
    assert!(!alice(&["publish"]).ok().contains("status"));
    assert!(alice(&["profile", "show"]).ok().contains("status     at sea\n"));
}
