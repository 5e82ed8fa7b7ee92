//! Taking access back with the real binary.

use std::time::Duration;

use crate::social::Two;
use crate::support::json_lines;

#[test]
fn what_is_unshared_is_read_no_more() {
    let two = Two::friends();
    two.machine.user("carol");
    let carol = |args: &[&str]| two.machine.run(&[&["--user", "carol"], args].concat());
    carol(&["follow", "alice"]).ok();
    two.alice(&["accept", "carol", "-f"]).ok();
    two.machine.write("notes/a", b"a");
    two.machine.write("notes/in/b", b"b");
    two.alice(&["put", "-r", "notes", "/alice"]).ok();
    two.alice(&["share", "notes", "--with", "bob", "--with", "carol"]).ok();
    two.alice(&["share", "notes/in", "--with", "bob"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/notes/a"]).ok(), "a");

    let (unshared, notes) = two.alice(&["unshare", "notes", "--with", "bob"]).with_notes();
    assert_eq!(unshared, "/alice/notes no longer shared with bob\n");
    assert!(notes.contains("new keys were sent to bob, carol"), "{notes}");
    let again = json_lines(&two.alice(&["unshare", "notes", "--with", "bob", "--json"]).ok());
    assert_eq!(again[0]["taken"], false);
    two.bob(&["cat", "/alice/notes/a"]).fails(4, "/alice/notes/a");
    assert_eq!(two.bob(&["cat", "/alice/notes/in/b"]).ok(), "b");
    assert_eq!(carol(&["cat", "/alice/notes/a"]).ok(), "a");
    assert_eq!(two.alice(&["shares"]).ok(), "/alice/notes  read by carol\n/alice/notes/in  read by bob\n");

    // What is shared with a group is taken from the group, and a person who is in it is told of.
    two.alice(&["share", "notes/a", "--with", "@friends"]).ok();
    assert_eq!(two.bob(&["cat", "/alice/notes/a"]).ok(), "a");
    let (unshared, notes) = two.alice(&["unshare", "notes/a", "--with", "bob"]).with_notes();
    assert!(unshared.contains("was not shared with bob"), "{unshared}");
    let still = "bob can still read it: /alice/notes/a is shared with them, as one of @friends";
    assert!(notes.contains(still), "{notes}");
    two.alice(&["unshare", "notes/a", "--with", "@friends"]).ok();
    two.bob(&["cat", "/alice/notes/a"]).fails(4, "/alice/notes/a");
    assert_eq!(carol(&["cat", "/alice/notes/a"]).ok(), "a");

    two.alice(&["unshare", "notes", "--with", "@all"]).fails(2, "@friends");
    two.alice(&["unshare", "nothing", "--with", "bob"]).fails(4, "nothing");
    two.bob(&["unshare", "/alice/notes", "--with", "carol"]).fails(1, "somebody else");

    two.alice(&["followers", "rm", "bob"]).ok();
    assert_eq!(two.alice(&["followers"]).ok(), "carol (friend)\n");
    two.bob(&["cat", "/alice/notes/in/b"]).fails(4, "/alice/notes/in/b");
    assert_eq!(two.bob(&["shared-with-me"]).ok(), "");
    two.alice(&["followers", "rm", "bob"]).fails(4, "does not follow you");
    assert_eq!(two.alice(&["shares"]).ok(), "/alice/notes  read by carol\n");
}

/// Killed at any instant, the command has done all or nothing, and completes when it is given again.
#[test]
fn a_killed_unshare_leaves_what_was_or_what_is_to_be() {
    let two = Two::friends();
    for n in 0..60 {
        two.machine.write(&format!("notes/{}/file-{n}", n % 6), format!("content {n}").as_bytes());
    }
    two.alice(&["put", "-r", "notes", "/alice"]).ok();
    let (mut before, mut after) = (0, 0);
    for round in 0..12 {
        two.alice(&["share", "notes", "--with", "bob"]).ok();
        assert_eq!(two.bob(&["cat", "/alice/notes/1/file-7"]).ok(), "content 7");
        let mut command = two.machine.command(&["--user", "alice", "unshare", "notes", "--with", "bob"]);
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(25 * round));
        let _ = child.kill();
        child.wait().unwrap();
        let is_listed = two.alice(&["shares"]).ok().contains("bob");
        let is_readable = two.bob(&["cat", "/alice/notes/1/file-7"]).succeeded();
        assert_eq!(is_listed, is_readable, "round {round}");
        *(if is_listed { &mut before } else { &mut after }) += 1;
        assert_eq!(two.alice(&["cat", "notes/5/file-59"]).ok(), "content 59");
        two.alice(&["unshare", "notes", "--with", "bob"]).ok();
        two.bob(&["cat", "/alice/notes/1/file-7"]).fails(4, "file-7");
        assert_eq!(two.alice(&["shares"]).ok(), "");
    }
    println!("killed before the commit {before} times, after it {after} times");
    assert!(before > 0, "never killed in time");
}
