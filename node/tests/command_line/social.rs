//! Two people on one node: following, sharing, reading what is shared.

use crate::support::{Machine, content, json_lines};

/// Two users of one machine, each command with a name.
pub(crate) struct Two {
    pub(crate) machine: Machine,
}

impl Two {
    pub(crate) fn start() -> Self {
        let machine = Machine::start();
        machine.user("alice");
        machine.user("bob");
        Two { machine }
    }

    pub(crate) fn alice(&self, args: &[&str]) -> crate::support::Ran {
        self.machine.run(&[&["--user", "alice"], args].concat())
    }

    pub(crate) fn bob(&self, args: &[&str]) -> crate::support::Ran {
        self.machine.run(&[&["--user", "bob"], args].concat())
    }

    /// Bob follows alice, and alice follows bob.
    pub(crate) fn friends() -> Self {
        let two = Two::start();
        two.bob(&["follow", "alice"]).ok();
        two.alice(&["accept", "alice"]).fails(4, "alice");
        two.alice(&["accept", "bob", "--follow-back"]).ok();
        two
    }
}

#[test]
fn two_people_become_friends() {
    let two = Two::start();
    assert_eq!(two.alice(&["friends"]).ok(), "");
    assert!(two.bob(&["follow", "alice"]).ok().contains("asked alice"));
    assert_eq!(two.bob(&["friends"]).ok(), "alice (asked)\n");
    assert_eq!(two.bob(&["followers"]).ok(), "");
    assert_eq!(two.alice(&["requests"]).ok(), "bob\n");
    two.alice(&["accept", "bob", "--follow-back"]).ok();
    assert_eq!(two.alice(&["requests"]).ok(), "");
    assert_eq!(two.alice(&["friends"]).ok(), "bob (friend)\n");
    assert_eq!(two.bob(&["friends"]).ok(), "alice (friend)\n");
    let friend = json_lines(&two.bob(&["friends", "--json"]).ok());
    assert_eq!(friend[0]["relation"], "friend");
    assert_eq!(friend[0]["verified"], false);
    two.bob(&["follow", "alice"]).fails(5, "followed already");
    two.bob(&["follow", "bob"]).fails(2, "itself");
    two.bob(&["follow", "carol"]).fails(4, "carol");
    two.bob(&["accept", "alice"]).fails(4, "no follow request");

    let digits = two.alice(&["verify", "bob"]).ok();
    assert_eq!(digits, two.bob(&["verify", "alice"]).ok());
    assert_eq!(digits.chars().filter(char::is_ascii_digit).count(), 60);
    two.alice(&["verify", "bob", "--same"]).ok();
    assert_eq!(two.alice(&["friends"]).ok(), "bob (friend, verified)\n");
}

#[test]
fn a_request_can_be_accepted_without_following_back_or_denied() {
    let two = Two::start();
    two.bob(&["follow", "alice"]).ok();
    two.alice(&["accept", "bob"]).ok();
    assert_eq!(two.alice(&["friends"]).ok(), "bob (follower)\n");
    assert_eq!(two.bob(&["friends"]).ok(), "alice (followed)\n");
    two.machine.write("mine", b"bob's");
    two.bob(&["put", "mine", "/bob"]).ok();
    two.bob(&["share", "mine", "--with", "alice"]).fails(1, "does not follow");

    // Alice asks now in her turn, and bob denies.
    two.machine.user("carol");
    let carol = |args: &[&str]| two.machine.run(&[&["--user", "carol"], args].concat());
    carol(&["follow", "bob"]).ok();
    carol(&["follow", "bob"]).ok();
    assert_eq!(two.bob(&["requests"]).ok(), "carol\n");
    two.bob(&["deny", "carol"]).ok();
    assert_eq!(two.bob(&["requests"]).ok(), "");
    assert_eq!(carol(&["friends"]).ok(), "");
    assert_eq!(two.bob(&["friends"]).ok(), "alice (followed)\n");
    // Nothing of the attempt is left.
    assert_eq!(carol(&["ls", "-a", "shared"]).ok(), "");
    carol(&["follow", "bob"]).ok();
    two.bob(&["accept", "carol", "-f"]).ok();
    assert_eq!(carol(&["friends"]).ok(), "bob (friend)\n");
}

#[test]
fn to_answer_somebody_whom_one_follows_ends_no_share() {
    for (answer, at_alice, at_bob) in [
        (&["accept", "alice"], "bob (friend)\n", "alice (friend)\n"),
        (&["deny", "alice"], "bob (follower)\n", "alice (followed)\n"),
    ] {
        let two = Two::start();
        two.machine.write("hello", b"hello");
        two.alice(&["put", "hello", "/alice"]).ok();
        two.bob(&["follow", "alice"]).ok();
        two.alice(&["accept", "bob"]).ok();
        two.alice(&["share", "hello", "--with", "bob"]).ok();
        assert_eq!(two.bob(&["cat", "/alice/hello"]).ok(), "hello");
        // Only now does alice want to follow bob.
        two.alice(&["follow", "bob"]).ok();
        assert_eq!(two.bob(&["requests"]).ok(), "alice\n");
        two.bob(answer).ok();
        assert_eq!(two.alice(&["friends"]).ok(), at_alice);
        assert_eq!(two.bob(&["friends"]).ok(), at_bob);
        assert_eq!(two.bob(&["cat", "/alice/hello"]).ok(), "hello");
        assert_eq!(two.bob(&["shared-with-me"]).ok(), "/alice/hello  from alice\n");
    }
}

#[test]
fn two_who_ask_each_other_are_friends() {
    let two = Two::start();
    two.machine.write("hello", b"hello");
    two.alice(&["put", "hello", "/alice"]).ok();
    let ask = |from: &str, to: &str| two.machine.command(&["--user", from, "follow", to]).output().expect("runs");
    // At the same time, so that either request may be stored first.
    std::thread::scope(|scope| {
        let alice = scope.spawn(|| ask("alice", "bob"));
        let bob = scope.spawn(|| ask("bob", "alice"));
        for asked in [alice.join().expect("no panic"), bob.join().expect("no panic")] {
            // Who comes late may find the other's request, and that both agree already.
            assert!(matches!(asked.status.code(), Some(0 | 5)), "{asked:?}");
        }
    });
    assert_eq!(two.alice(&["friends"]).ok(), "bob (friend)\n");
    assert_eq!(two.bob(&["friends"]).ok(), "alice (friend)\n");
    two.alice(&["share", "hello", "--with", "bob"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/hello"]).ok(), "hello");
}

#[test]
fn a_shared_folder_is_read_and_new_files_in_it_too() {
    let two = Two::friends();
    let files = [("notes/hello.txt", content(1, 6)), ("notes/deep/er/photo.raw", content(2, 6 << 20))];
    for (name, content) in &files {
        two.machine.write(name, content);
    }
    two.machine.write("secret", b"not for bob");
    two.alice(&["mkdir", "work"]).ok();
    two.alice(&["put", "-r", "notes", "/alice/work"]).ok();
    two.alice(&["put", "secret", "/alice/work"]).ok();
    two.alice(&["put", "secret", "/alice"]).ok();
    assert_eq!(two.bob(&["shared-with-me"]).ok(), "");
    two.bob(&["ls", "/alice/work/notes"]).fails(4, "/alice/work/notes");

    let shared = two.alice(&["share", "work/notes", "--with", "bob"]).ok();
    assert_eq!(shared, "/alice/work/notes can now be read by bob\n");
    assert!(two.alice(&["share", "work/notes", "--with", "bob"]).ok().contains("already"));
    assert_eq!(two.alice(&["shares"]).ok(), "/alice/work/notes  read by bob\n");
    assert_eq!(two.alice(&["shares", "work"]).ok(), "/alice/work/notes  read by bob\n");
    two.alice(&["share", "work/notes", "--with", "carol"]).fails(1, "does not follow");

    assert_eq!(two.bob(&["shared-with-me"]).ok(), "/alice/work/notes/  from alice\n");
    let received = json_lines(&two.bob(&["shared-with-me", "--json"]).ok());
    assert_eq!(received[0]["path"], "/alice/work/notes");
    assert_eq!(received[0]["access"], "read");
    assert_eq!(two.bob(&["ls", "/alice/work/notes"]).ok(), "deep/\nhello.txt\n");
    assert_eq!(two.bob(&["ls", "/alice"]).ok(), "work/\n");
    assert_eq!(two.bob(&["ls", "/alice/work"]).ok(), "notes/\n");
    assert!(two.bob(&["tree", "/alice/work"]).ok().contains("photo.raw"));
    assert!(two.bob(&["stat", "/alice/work/notes/hello.txt"]).ok().contains("Access: read\n"));
    two.bob(&["get", "-r", "/alice/work/notes", "again"]).ok();
    for (name, content) in &files {
        assert!(two.machine.read(&name.replacen("notes", "again", 1)) == *content, "{name}");
    }
    two.bob(&["get", "-r", "/alice", "all"]).ok();
    assert!(two.machine.read("all/work/notes/hello.txt") == files[0].1);
    for hidden in ["/alice/secret", "/alice/work/secret", "/alice/shared/bob/x"] {
        two.bob(&["cat", hidden]).fails(4, hidden);
    }
    // Bob reads and cannot write.
    two.bob(&["put", "secret", "/alice/work/notes/planted"]).fails(1, "may read this but not change it");
    two.bob(&["rm", "/alice/work/notes/hello.txt"]).fails(1, "may read this but not change it");
    two.bob(&["cp", "/alice/work/notes/hello.txt", "copy"]).ok();
    two.bob(&["cat", "copy"]).ok();

    // Later changes appear, without any further step.
    two.machine.write("later", b"later");
    two.alice(&["put", "later", "/alice/work/notes/deep"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/work/notes/deep/later"]).ok(), "later");
    two.alice(&["share", "secret", "--with", "bob"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/secret"]).ok(), "not for bob");
    assert_eq!(two.bob(&["ls", "/alice"]).ok(), "secret\nwork/\n");
}

#[test]
fn shares_survive_renames_and_moves_and_end_with_the_file() {
    let two = Two::friends();
    two.machine.write("plan", b"the plan");
    two.alice(&["mkdir", "a", "b", "a/in"]).ok();
    two.alice(&["put", "plan", "/alice/a"]).ok();
    two.alice(&["put", "plan", "/alice/a/in"]).ok();
    two.alice(&["share", "a/plan", "--with", "bob"]).ok();
    two.alice(&["share", "a/in/plan", "--with", "bob"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/a/plan"]).ok(), "the plan");
    two.alice(&["mv", "a/plan", "a/scheme"]).ok();
    assert_eq!(two.alice(&["shares", "a/scheme"]).ok(), "/alice/a/scheme  read by bob\n");
    for name in ["plan", "scheme"] {
        assert_eq!(two.bob(&["cat", &format!("/alice/a/{name}")]).ok(), "the plan");
    }
    two.alice(&["mv", "a", "b/"]).ok();
    let shares = "/alice/b/a/in/plan  read by bob\n/alice/b/a/scheme  read by bob\n";
    assert_eq!(two.alice(&["shares"]).ok(), shares);
    assert_eq!(two.bob(&["cat", "/alice/a/in/plan"]).ok(), "the plan");
    two.alice(&["rm", "b/a/scheme"]).ok();
    assert_eq!(two.alice(&["shares"]).ok(), "/alice/b/a/in/plan  read by bob\n");
    two.bob(&["cat", "/alice/a/plan"]).fails(4, "/alice/a/plan");
    two.alice(&["rm", "-r", "b"]).ok();
    assert_eq!(two.alice(&["shares"]).ok(), "");
    assert_eq!(two.bob(&["shared-with-me"]).ok(), "");
}

#[test]
fn whom_one_unfollows_shows_nothing_any_more() {
    let two = Two::friends();
    two.machine.write("hello", b"hello");
    two.alice(&["put", "hello", "/alice"]).ok();
    two.alice(&["share", "hello", "--with", "bob"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/hello"]).ok(), "hello");
    two.bob(&["unfollow", "alice"]).ok();
    two.bob(&["unfollow", "alice"]).fails(4, "not followed");
    assert_eq!(two.bob(&["friends"]).ok(), "alice (follower)\n");
    assert_eq!(two.bob(&["shared-with-me"]).ok(), "");
    assert!(two.bob(&["follow", "alice"]).ok().contains("again"));
    assert_eq!(two.bob(&["friends"]).ok(), "alice (friend)\n");
    assert_eq!(two.bob(&["cat", "/alice/hello"]).ok(), "hello");
}
