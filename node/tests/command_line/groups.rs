//! Sharing with all friends and all followers at once.

use crate::support::{Machine, json_lines};

#[test]
fn a_share_with_a_group_reaches_those_who_join_later() {
    let machine = Machine::start();
    ["alice", "bob", "carol"].iter().for_each(|name| machine.user(name));
    let run = |user: &str, args: &[&str]| machine.run(&[&["--user", user], args].concat());
    assert_eq!(run("alice", &["groups"]).ok(), "@friends  nobody\n@followers  nobody\n");
    run("bob", &["follow", "alice"]).ok();
    run("alice", &["accept", "bob", "-f"]).ok();
    machine.write("hello", b"hello");
    machine.write("news", b"news");
    run("alice", &["put", "hello", "news", "/alice"]).ok();

    let text = run("alice", &["share", "hello", "--with", "@friends", "--with", "bob", "--with", "@friends"]).ok();
    assert_eq!(text, "/alice/hello can now be read by @friends\n/alice/hello can now be read by bob\n");
    run("alice", &["share", "news", "--with", "@followers"]).ok();
    run("alice", &["share", "news", "--with", "@everybody"]).fails(2, "@friends");
    run("alice", &["share", "news", "--with", "@friends", "--with", "carol"]).fails(1, "carol");
    assert_eq!(
        run("alice", &["shares"]).ok(),
        "/alice/hello  read by @friends, bob\n/alice/news  read by @followers\n"
    );
    assert_eq!(run("bob", &["shared-with-me"]).ok(), "/alice/hello  from alice\n/alice/news  from alice\n");

    run("carol", &["follow", "alice"]).ok();
    run("alice", &["accept", "carol"]).ok();
    assert_eq!(run("carol", &["shared-with-me"]).ok(), "/alice/news  from alice\n");
    assert_eq!(run("carol", &["cat", "/alice/news"]).ok(), "news");
    run("carol", &["cat", "/alice/hello"]).fails(4, "/alice/hello");
    let groups = json_lines(&run("alice", &["groups", "--json"]).ok());
    assert_eq!(groups[0]["group"], "@friends");
    assert_eq!(groups[0]["members"], serde_json::json!(["bob"]));
    assert_eq!(groups[1]["members"], serde_json::json!(["bob", "carol"]));
}
