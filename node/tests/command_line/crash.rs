//! Invariant 2: an acknowledged write survives any crash of any one process.

use std::time::Duration;

use crate::support::{Machine, content};

#[test]
fn what_a_put_acknowledged_outlives_a_killed_node() {
    let mut machine = Machine::start();
    machine.user("alice");
    let mut acknowledged = Vec::new();
    for round in 0..6u64 {
        for n in 0..3 {
            let name = format!("file-{round}-{n}");
            // Small ones live in their node, middle ones in fragments, large ones in several chunks.
            let content = content(round * 10 + n, [900, 300_000, 6 << 20][n as usize]);
            machine.write(&name, &content);
            if n == 2 {
                // Killed in the middle of this one, at another instant each time.
                let mut put = machine
                    .command(&["put", "-q", &name, "/alice"])
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .expect("put");
                std::thread::sleep(Duration::from_millis(40 * round));
                machine.kill_node();
                if put.wait().expect("wait").success() {
                    acknowledged.push((name, content));
                }
            } else {
                machine.ok(&["put", &name, "/alice"]);
                acknowledged.push((name, content));
            }
        }
        machine.restart_node();
        for (name, content) in &acknowledged {
            machine.ok(&["get", name, "back"]);
            assert!(machine.read("back") == *content, "{name} is damaged after crash {round}");
        }
    }
    // What was interrupted can be stored now.
    machine.ok(&["put", "file-0-2", "/alice"]);
    machine.ok(&["get", "file-0-2", "back"]);
    assert!(machine.read("back") == machine.read("file-0-2"));
}

#[test]
fn a_killed_client_leaves_no_broken_file() {
    let machine = Machine::start();
    machine.user("alice");
    machine.write("large", &content(7, 30 << 20));
    let mut interrupted = 0;
    for round in 0..5u64 {
        let mut put = machine.command(&["put", "-q", "large", "/alice"]).spawn().expect("put");
        std::thread::sleep(Duration::from_millis(60 * (round + 1)));
        let _ = put.kill();
        let done = put.wait().expect("wait").success();
        // Either it is there as a whole, or not at all.
        match machine.run(&["get", "large", "back"]) {
            got if got.code == 0 => assert!(machine.read("back") == machine.read("large")),
            missing => {
                assert!(!done);
                interrupted += 1;
                missing.fails(4, "no such file");
            }
        }
        if done {
            break;
        }
    }
    assert!(interrupted > 0, "no upload was interrupted, so nothing was tested");
    machine.ok(&["put", "large", "/alice"]);
    machine.ok(&["get", "large", "back"]);
    assert!(machine.read("back") == machine.read("large"));
}
