//! The process that holds the session.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::Machine;

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn forgets_after_idle_time() {
    let machine = Machine::start();
    machine.ok(&["signup", "alice", "--password-file", "password"]);
    machine.ok(&["login", "alice", "--password-file", "password", "--idle-secs", "2"]);
    machine.ok(&["ls"]);
    until("the end of the agent", || !machine.path("run/pyrgos/agent.sock").exists());
    machine.run(&["ls"]).fails(3, "not logged in");
}

#[test]
fn only_its_owner_can_reach_it() {
    let machine = Machine::start();
    machine.user("alice");
    let mode = |name: &str| std::fs::metadata(machine.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode("run/pyrgos"), 0o700);
    assert_eq!(mode("run/pyrgos/agent.sock") & 0o077, 0);
    // A folder that others may enter is refused: one of them could have put a socket of their own there.
    std::fs::set_permissions(machine.path("run/pyrgos"), std::fs::Permissions::from_mode(0o777)).expect("chmod");
    machine.run(&["ls"]).fails(1, "not a folder that only you can enter");
    std::fs::set_permissions(machine.path("run/pyrgos"), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    machine.ok(&["ls"]);
}

#[test]
fn survives_garbage_and_a_killed_predecessor() {
    use std::io::Write;
    let machine = Machine::start();
    machine.user("alice");
    let socket = machine.path("run/pyrgos/agent.sock");
    for garbage in [&b""[..], b"\0", b"\xff\xff\xff\xffxxxx", b"\0\0\0\x02\xf6\xf6", b"\0\0\0\x01\x9f"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("connect");
        let _ = stream.write_all(garbage);
    }
    machine.ok(&["ls"]);
    // Killed without a chance to remove its socket: the next login finds the place free.
    let killed = std::process::Command::new("pkill")
        .args(["-KILL", "-f", &format!("agent --folder {}", machine.path("run/pyrgos").display())])
        .status()
        .expect("pkill");
    assert!(killed.success());
    until("the agent's end", || machine.run(&["ls"]).code == 3);
    assert!(socket.exists());
    machine.ok(&["login", "alice", "--password-file", "password"]);
    machine.ok(&["ls"]);
}
