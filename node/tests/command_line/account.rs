//! The account as a whole: how much it holds, its mirror token, its end.

use crate::people::People;
use crate::support::{Machine, content, json_lines};

#[test]
fn du_adds_up_what_folders_hold() {
    let machine = Machine::start();
    machine.user("alice");
    for (name, seed, len) in [("a/one", 1, 1000), ("a/deep/two", 2, 200), ("a/deep/er/three", 3, 30), ("four", 4, 4)] {
        machine.write(&format!("tree/{name}"), &content(seed, len));
    }
    machine.write("tree/.hidden", b"12345");
    machine.ok(&["put", "-r", "tree", "/alice"]);
    machine.ok(&["mkdir", "tree/empty"]);
    let lines = machine.ok(&["du", "-b", "tree"]);
    let mut lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.last(), Some(&"1239    /alice/tree"));
    let place = |path: &str| lines.iter().position(|line| line.ends_with(path)).expect(path);
    assert!(place("/er") < place("/deep") && place("/deep") < place("/a"));
    lines.sort_unstable();
    let sorted = [
        "0       /alice/tree/empty",
        "1230    /alice/tree/a",
        "1239    /alice/tree",
        "230     /alice/tree/a/deep",
        "30      /alice/tree/a/deep/er",
    ];
    assert_eq!(lines, sorted);
    assert_eq!(machine.ok(&["du", "-s", "tree"]), "1.2K    /alice/tree\n");
    assert_eq!(machine.ok(&["du", "-b", "-d", "1", "tree/a"]), "230     /alice/tree/a/deep\n1230    /alice/tree/a\n");
    assert_eq!(machine.ok(&["du", "-b", "tree/four"]), "4       /alice/tree/four\n");
    let json = json_lines(&machine.ok(&["du", "-s", "--json", "tree"]));
    assert_eq!((&json[0]["size_bytes"], &json[0]["files"]), (&1239.into(), &5.into()));
    machine.run(&["du", "nowhere"]).fails(4, "/alice/nowhere");

    let token = machine.ok(&["mirror-token"]);
    assert!(token.starts_with('z') && token.len() > 60, "{token}");
    assert_eq!(machine.ok(&["mirror-token"]), token);
    machine.ok(&["logout"]);
    machine.ok(&["login", "alice", "--password-file", "password"]);
    assert_eq!(machine.ok(&["mirror-token"]), token);
}

#[test]
fn a_deleted_account_is_gone_and_its_name_stays_taken() {
    let people = People::friends_of("alice", &["bob"]);
    let (machine, alice) = (&people.machine, |args: &[&str]| people.run("alice", args));
    machine.write("hello", b"hello");
    machine.write("wrong", b"not the password");
    alice(&["put", "hello", "/alice"]).ok();
    alice(&["share", "hello", "--with", "bob"]).ok();
    assert_eq!(people.run("bob", &["cat", "/alice/hello"]).ok(), "hello");

    alice(&["delete-account", "--password-file", "password"]).fails(2, "--confirm alice");
    alice(&["delete-account", "--password-file", "password", "--confirm", "bob"]).fails(2, "nothing was deleted");
    alice(&["delete-account", "--password-file", "wrong", "--confirm", "alice"]).fails(3, "wrong username or password");
    alice(&["delete-account", "--confirm", "alice"]).fails(2, "--password-file");
    assert_eq!(alice(&["cat", "hello"]).ok(), "hello");

    alice(&["delete-account", "--password-file", "password", "--confirm", "alice"]).ok();
    alice(&["ls"]).fails(3, "not logged in");
    machine.run(&["login", "alice", "--password-file", "password"]).fails(4, "deleted");
    machine.run(&["signup", "alice", "--password-file", "password"]).fails(5, "taken");
    // Others go on, and see nothing of it any more.
    people.run("bob", &["cat", "/alice/hello"]).fails(4, "/alice/hello");
    assert_eq!(people.run("bob", &["shared-with-me"]).ok(), "");
    people.run("bob", &["ls"]).ok();
    machine.user("carol");
    people.run("carol", &["follow", "alice"]).fails(4, "alice");
}
