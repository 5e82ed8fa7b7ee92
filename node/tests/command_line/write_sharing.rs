//! A folder that two people change, with the real program.

use crate::support::{Machine, Ran, content, json_lines};

#[test]
fn a_folder_is_shared_to_write_and_changed_by_two_at_once() {
    let machine = Machine::start();
    ["alice", "bob", "carol"].iter().for_each(|name| machine.user(name));
    let run = |user: &str, args: &[&str]| -> Ran { machine.run(&[&["--user", user], args].concat()) };
    for friend in ["bob", "carol"] {
        run(friend, &["follow", "alice"]).ok();
        run("alice", &["accept", friend]).ok();
    }
    machine.write("plan", b"plan of alice");
    run("alice", &["mkdir", "team"]).ok();
    run("alice", &["put", "plan", "/alice/team"]).ok();
    run("alice", &["share", "team", "--with", "carol"]).ok();
    let text = run("alice", &["share", "team", "--write", "--with", "bob"]).ok();
    assert_eq!(text, "/alice/team can now be written by bob\n");
    let again = json_lines(&run("alice", &["share", "team", "-w", "--with", "bob", "--json"]).ok());
    assert_eq!((again[0]["access"].as_str(), again[0]["new"].as_bool()), (Some("write"), Some(false)));
    run("alice", &["share", "/alice", "--write", "--with", "bob"]).fails(2, "home folder");
    run("alice", &["share", "nothing", "--write", "--with", "bob"]).fails(4, "/alice/nothing");
    assert_eq!(run("alice", &["shares"]).ok(), "/alice/team  read by carol  written by bob\n");
    assert_eq!(run("bob", &["shared-with-me"]).ok(), "/alice/team/  from alice  to write\n");
    assert_eq!(run("carol", &["shared-with-me"]).ok(), "/alice/team/  from alice\n");
    let received = json_lines(&run("bob", &["shared-with-me", "--json"]).ok());
    assert_eq!(received[0]["access"], "write");
    run("bob", &["share", "/alice/team", "--write", "--with", "alice"]).fails(1, "somebody else");

    // Bob works in it.
    machine.write("note", b"note of bob");
    machine.write("large", &content(1, 6 << 20));
    run("bob", &["put", "note", "large", "/alice/team"]).ok();
    run("bob", &["mkdir", "/alice/team/ideas"]).ok();
    run("bob", &["mv", "/alice/team/note", "/alice/team/ideas/first"]).ok();
    run("bob", &["cp", "/alice/team/ideas/first", "/alice/team/second"]).ok();
    run("bob", &["rm", "/alice/team/plan"]).ok();
    run("bob", &["mv", "/alice/team", "/alice/other"]).fails(1, "/alice/team");
    run("bob", &["rm", "-r", "/alice/team"]).fails(1, "/alice/team");
    run("carol", &["put", "note", "/alice/team"]).fails(1, "/alice/team");
    for user in ["alice", "bob", "carol"] {
        assert_eq!(run(user, &["ls", "/alice/team"]).ok(), "ideas/\nlarge\nsecond\n", "{user}");
        assert_eq!(run(user, &["cat", "/alice/team/ideas/first"]).ok(), "note of bob");
    }
    run("alice", &["get", "/alice/team/large", "back"]).ok();
    assert_eq!(machine.read("back"), content(1, 6 << 20));

    // Both store many files at once.
    for user in ["alice", "bob"] {
        for number in 0..40 {
            machine.write(&format!("from-{user}/sub/{user}-{number}"), format!("{user} {number}").as_bytes());
        }
    }
    let put = |user: &str| run(user, &["put", "-r", &format!("from-{user}"), "/alice/team/ideas"]).ok();
    std::thread::scope(|scope| {
        for user in ["alice", "bob"] {
            scope.spawn(move || put(user));
        }
    });
    for user in ["alice", "bob"] {
        let listed = run("carol", &["ls", &format!("/alice/team/ideas/from-{user}/sub")]).ok();
        assert_eq!(listed.lines().count(), 40);
        let last = format!("/alice/team/ideas/from-{user}/sub/{user}-39");
        assert_eq!(run("carol", &["cat", &last]).ok(), format!("{user} 39"));
    }
    let stored = json_lines(&run("bob", &["put", "note", "/alice/team/second", "--json"]).ok());
    assert_eq!(stored[0]["stored_beside"], serde_json::json!([]));
}
