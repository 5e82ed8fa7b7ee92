//! A user's day: every command, what it prints, how it fails.

use crate::support::{Machine, content, json_lines};

#[test]
fn a_first_session() {
    let machine = Machine::start();
    machine.user("alice");
    assert!(machine.ok(&["whoami"]).starts_with("alice on http://"));

    let files = [
        ("notes/hello.txt", content(1, 6)),
        ("notes/empty", vec![]),
        ("notes/deep/er/photo.raw", content(2, 12 << 20)),
    ];
    for (name, content) in &files {
        machine.write(name, content);
    }
    machine.ok(&["put", "-r", "notes", "/alice"]);
    assert_eq!(machine.ok(&["ls", "notes"]), "deep/\nempty\nhello.txt\n");
    let long = machine.ok(&["ls", "-l", "/alice/notes/deep/er"]);
    assert!(long.starts_with("-rw") && long.contains(" 12M ") && long.ends_with(" photo.raw\n"), "{long}");
    machine.ok(&["get", "-r", "notes", "again"]);
    for (name, content) in &files {
        assert!(machine.read(&name.replacen("notes", "again", 1)) == *content, "{name}");
    }

    machine.write("new-password", b"a better password, and a longer one\n");
    machine.ok(&["passwd", "--password-file", "password", "--new-password-file", "new-password"]);
    machine.ok(&["logout"]);
    machine.run(&["ls"]).fails(3, "not logged in");
    machine.run(&["login", "alice", "--password-file", "password"]).fails(3, "wrong username or password");
    machine.ok(&["login", "alice", "--password-file", "new-password"]);
    assert_eq!(
        machine.run(&["cat", "notes/hello.txt"]).ok().into_bytes(),
        String::from_utf8_lossy(&files[0].1).into_owned().into_bytes()
    );
    machine.ok(&["logout"]);
}

#[test]
fn files_and_folders_change_as_elsewhere() {
    let machine = Machine::start();
    machine.user("alice");
    machine.ok(&["mkdir", "a", "a/b"]);
    machine.run(&["mkdir", "a"]).fails(5, "exists");
    machine.run(&["mkdir", "x/y"]).fails(4, "no such file");
    machine.ok(&["mkdir", "-p", "a", "x/y/z"]);

    machine.run_with_input(&["put", "-", "a/one"], b"from a pipe").ok();
    assert_eq!(machine.ok(&["cat", "a/one"]), "from a pipe");
    machine.ok(&["mv", "a/one", "a/two"]);
    machine.ok(&["mv", "a/two", "a/b/"]);
    machine.run(&["cat", "a/two"]).fails(4, "/alice/a/two");
    machine.ok(&["cp", "a/b/two", "three"]);
    machine.run(&["cp", "a", "c"]).fails(2, "folder");
    machine.ok(&["cp", "-r", "a", "c"]);
    assert_eq!(machine.ok(&["cat", "c/b/two", "three"]), "from a pipefrom a pipe");

    machine.write("two", b"changed");
    machine.ok(&["put", "-n", "two", "a/b"]);
    assert_eq!(machine.ok(&["cat", "a/b/two"]), "from a pipe");
    machine.ok(&["put", "two", "a/b"]);
    assert_eq!(machine.ok(&["cat", "a/b/two", "c/b/two"]), "changedfrom a pipe");

    let tree = machine.ok(&["tree"]);
    assert_eq!(
        tree,
        "/alice\n├── a/\n│   └── b/\n│       └── two\n├── c/\n│   └── b/\n│       └── two\n├── three\n└── x/\n    └── y/\n        └── z/\n"
    );
    machine.run(&["rm", "a"]).fails(2, "rm -r");
    machine.ok(&["rm", "-r", "a", "x"]);
    machine.run(&["rm", "a"]).fails(4, "no such file");
    machine.ok(&["rm", "-f", "a"]);
    machine.run(&["mv", "c", "c/b"]).fails(1, "into itself");
    assert_eq!(machine.ok(&["ls"]), "c/\nthree\n");
    machine.run(&["get", "c"]).fails(2, "get -r");
    machine.ok(&["get", "three"]);
    assert_eq!(machine.read("three"), b"from a pipe");
}

#[test]
fn programs_read_json() {
    let machine = Machine::start();
    machine.user("alice");
    machine.write("photo.png", b"\x89PNG\r\n\x1a\n0000");
    machine.ok(&["put", "photo.png", "/alice"]);
    let listing = json_lines(&machine.ok(&["ls", "--json"]));
    assert_eq!(listing.len(), 1);
    assert_eq!(listing[0]["path"], "/alice/photo.png");
    assert_eq!(listing[0]["size_bytes"], 12);
    assert_eq!(listing[0]["mime_type"], "image/png");
    assert_eq!(listing[0]["kind"], "file");
    assert_eq!(json_lines(&machine.ok(&["stat", "--json", "photo.png"]))[0], listing[0]);
    let space = json_lines(&machine.ok(&["space", "--json"]));
    assert!(space[0]["used_bytes"].as_u64().is_some_and(|used| used > 0), "{space:?}");
    assert_eq!(space[0]["quota_bytes"], 1u64 << 30);

    let failed = machine.run(&["cat", "--json", "nothing"]);
    let error = json_lines(&failed.stderr);
    assert_eq!(failed.code, 4);
    assert_eq!(error[0]["error"]["kind"], "not-found");
    assert_eq!(error[0]["exit_code"], 4);
    assert!(error[0]["error"]["hint"].is_string());
}

#[test]
fn failures_have_their_exit_codes() {
    let mut machine = Machine::start();
    machine.write("short", b"short\n");
    machine.run(&["signup", "alice", "--password-file", "short"]).fails(1, "8 characters");
    machine.run(&["signup", "Alice", "--password-file", "password"]).fails(2, "username");
    machine.ok(&["signup", "alice", "--password-file", "password"]);
    machine.run(&["signup", "alice", "--password-file", "password"]).fails(5, "taken");
    machine.run(&["login", "bob", "--password-file", "password"]).fails(4, "no account");
    machine.run(&["login", "alice", "--password-file", "absent"]).fails(2, "absent");
    machine.run(&["login", "alice"]).fails(2, "--password-file");
    machine.run(&["whoami"]).fails(3, "not logged in");
    machine.run(&["frobnicate"]).fails(2, "unrecognized subcommand");
    machine.ok(&["login", "alice", "--password-file", "password"]);
    machine.run(&["get", "nothing"]).fails(4, "no such file");
    machine.run(&["put", "absent", "/alice"]).fails(9, "absent");
    machine.run(&["ls", "/bob"]).fails(4, "/bob");
    machine.kill_node();
    machine.run(&["ls"]).fails(6, "cannot reach the ");
}

#[test]
fn two_users_of_one_machine_keep_apart() {
    let machine = Machine::start();
    machine.user("alice");
    machine.run_with_input(&["put", "-", "mine"], b"alice").ok();
    machine.user("bob");
    assert_eq!(machine.ok(&["ls"]), "");
    machine.run(&["cat", "/alice/mine"]).fails(4, "/alice/mine");
    assert_eq!(machine.ok(&["--user", "alice", "cat", "mine"]), "alice");
    assert_eq!(machine.ok(&["whoami"]).lines().count(), 2);
    machine.ok(&["logout", "--user", "alice"]);
    machine.run(&["--user", "alice", "ls"]).fails(3, "not logged in");
    machine.ok(&["ls"]);
}

#[test]
fn the_help_names_every_command_and_the_shells_complete_them() {
    let machine = Machine::start();
    let help = machine.ok(&["--help"]);
    for command in [
        "node",
        "token",
        "operator",
        "messages",
        "signup",
        "login",
        "logout",
        "whoami",
        "passwd",
        "ls",
        "tree",
        "stat",
        "mkdir",
        "put",
        "get",
        "cat",
        "rm",
        "mv",
        "cp",
        "space",
        "follow",
        "requests",
        "accept",
        "deny",
        "unfollow",
        "friends",
        "followers",
        "verify",
        "share",
        "unshare",
        "shares",
        "shared-with-me",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help:\n{help}");
    }
    assert!(help.contains("Exit codes"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(machine.ok(&["completions", shell]).contains("pyrgos"), "{shell}");
    }
}

#[test]
fn a_token_opens_a_node_that_asks_for_one() {
    let machine = Machine::start();
    // A second node of the same machine, which takes nobody without a token.
    let closed = ["--data-dir", "closed"];
    let token = machine.ok(&[&["token", "create"], &closed[..]].concat());
    machine.write("token", token.as_bytes());
    machine.write("wrong-token", "0".repeat(64).as_bytes());
    let mut node = machine
        .command(&[&["node", "--listen", "127.0.0.1:0", "--signup", "token"], &closed[..]].concat())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the node starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(node.stdout.take().expect("a pipe")));
    let address = lines
        .find_map(|line| line.ok()?.split_once("http://").map(|(_, rest)| format!("http://{}", rest.trim())))
        .expect("the node says where it listens");
    let sign_up = |name: &str, more: &[&str]| {
        machine.run(&[&["--server", &address, "signup", name, "--password-file", "password"], more].concat())
    };
    sign_up("carol", &[]).fails(1, "token");
    sign_up("carol", &["--token-file", "wrong-token"]).fails(1, "token");
    sign_up("carol", &["--token-file", "token"]).ok();
    sign_up("dave", &["--token-file", "token"]).fails(1, "token");
    node.kill().expect("kill");
    node.wait().expect("wait");
}

#[test]
fn the_operator_writes_to_users_whether_or_not_the_node_runs() {
    let mut machine = Machine::start();
    machine.user("carol");
    let data_dir = machine.path("node").display().to_string();
    let operator = |machine: &Machine, args: &[&str]| {
        machine.run(&[&["--json", "operator"], args, &["--data-dir", data_dir.as_str()]].concat())
    };
    assert_eq!(operator(&machine, &["messages"]).ok(), "");
    operator(&machine, &["write", "carol", "a message\nof two lines"]).ok();
    operator(&machine, &["write", "nobody", "hello"]).fails(1, "unknown user");
    operator(&machine, &["write", "carol", &"x".repeat(4097)]).fails(1, "4096");
    machine.kill_node();
    operator(&machine, &["write", "carol", "another", "--reply-to", "1"]).ok();
    let messages = json_lines(&operator(&machine, &["messages", "carol"]).ok());
    machine.restart_node();
    assert_eq!(json_lines(&operator(&machine, &["messages", "carol"]).ok()), messages);
    let field = |name: &str| messages.iter().map(|message| message[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("text"), ["a message\nof two lines", "another"]);
    assert_eq!(field("from_user"), [false, false]);
    assert_eq!(field("reply_to"), [serde_json::Value::Null, 1.into()]);
    // The user reads, answers, and puts away what needs no answer.
    let shown = machine.ok(&["messages"]);
    assert!(shown.contains("operator  a message\n      of two lines\n"), "{shown}");
    let seen = json_lines(&machine.ok(&["messages", "list", "--json"]));
    assert_eq!(seen, messages);
    machine.ok(&["messages", "write", "--reply-to", "2", "thanks"]);
    assert_eq!(machine.ok(&["messages"]), "", "the user had the last word");
    machine.run(&["messages", "dismiss", "7"]).fails(4, "no message 7");
    operator(&machine, &["write", "carol", "third", "--reply-to", "3"]).ok();
    assert_eq!(json_lines(&machine.ok(&["messages", "--json"])).len(), 4);
    machine.ok(&["messages", "dismiss", "4"]);
    assert_eq!(machine.ok(&["messages"]), "");
    machine.ok(&["messages", "write", "a question"]);
    let all = json_lines(&operator(&machine, &["messages", "carol"]).ok());
    assert_eq!(all[2]["text"], "thanks");
    assert_eq!(all[2]["from_user"], true);
    assert_eq!(all[4]["text"], "a question");
    let users = json_lines(&operator(&machine, &["messages"]).ok());
    assert_eq!(users, [serde_json::json!({ "username": "carol" })]);
}
