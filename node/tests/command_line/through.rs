//! The same commands at a node that is not the account's home.

use std::process::Command;

use crate::support::THROUGH;

/// What they do not concern: the node itself, its store, liars in its place, and what stays on the machine.
const LEFT_OUT: [&str; 6] = ["collect::", "crash::", "tampering::", "secrets::", "agent::", "through::"];

/// All of them once more, each with two nodes: the account lives on one, and commands talk to the other.
#[test]
fn every_command_works_the_same_through_another_node() {
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(LEFT_OUT.iter().flat_map(|part| ["--skip", part]));
    let ran = again.env(THROUGH, "1").output().expect("the tests start");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    println!("{passed} tests passed through another node");
    assert!(passed > 20, "{text}");
}
