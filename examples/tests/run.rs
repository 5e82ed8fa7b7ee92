//! Each example runs as its page says.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use pyrgos::config::{Settings, SignupPolicy};
use pyrgos::daemon::Daemon;

#[test]
fn embed_a_node() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed_a_node")).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("Hello from inside\nThe node holds "), "{text}");
}

fn output_of(program: &str) -> String {
    let output = Command::new(program).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn share_a_folder() {
    let text = output_of(env!("CARGO_BIN_EXE_share_a_folder"));
    let lines: Vec<&str> = text.lines().collect();
    let said = ["bob asks to follow alice", "bob sees /alice/recipes", "Flour, water, salt", "Lentils"];
    assert_eq!(lines[..4], said, "{text}");
    assert_eq!(lines.len(), 5, "{text}");
}

#[test]
fn open_a_secret_link() {
    let text = output_of(env!("CARGO_BIN_EXE_open_a_secret_link"));
    let lines: Vec<&str> = text.lines().collect();
    let said = ["alice shows /alice/holidays", "Naxos in May", "June is better", "opened 1 times"];
    assert_eq!(lines[..4], said, "{text}");
    assert_eq!(lines[4..], ["the link does not exist, or was withdrawn"], "{text}");
}

#[test]
fn local_network() {
    let text = output_of(env!("CARGO_BIN_EXE_local_network"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert_eq!(lines[0], "alice signed up at the node that follows", "{text}");
    assert_eq!(lines[6..], ["bob signed up with one witness gone", "alice is taken"], "{text}");
}

#[test]
fn mirror_a_friend() {
    let text = output_of(env!("CARGO_BIN_EXE_mirror_a_friend"));
    let said = ["the mirror has what the home has", "the home is gone: Dear diary", "the mirror is the home: true"];
    assert_eq!(text.lines().collect::<Vec<_>>(), said);
}

#[test]
fn sign_up_and_store() {
    let folder = std::env::temp_dir().join(format!("pyrgos-example-{}", std::process::id()));
    let settings = Settings {
        data_dir: Some(folder.clone()),
        listen: Some(([127, 0, 0, 1], 0).into()),
        signup: Some(SignupPolicy::Open),
        ..Settings::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let node = runtime.block_on(Daemon::start(&settings.resolve().expect("settings"))).expect("a node");
    let mut example = Command::new(env!("CARGO_BIN_EXE_sign_up_and_store"))
        .args([&format!("http://{}", node.address()), "alice"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    example.stdin.take().expect("a pipe").write_all(b"correct horse battery staple\n").expect("it reads");
    let lines: Vec<String> =
        BufReader::new(example.stdout.take().expect("a pipe")).lines().map_while(Result::ok).collect();
    assert!(example.wait().expect("it ends").success());
    assert_eq!(lines, ["first.txt has 10 bytes", "Dear diary"]);
    runtime.block_on(node.stop());
    let _ = std::fs::remove_dir_all(folder);
}
