//! What was deleted gives its space back, and nothing else does: `pyrgos node collect`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Machine, content, files_below, json_lines};

/// Bytes of the node's store on the disk.
fn disk(machine: &Machine) -> u64 {
    files_below(&machine.path("node")).iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

fn used(machine: &Machine) -> u64 {
    let space = machine.ok(&["--json", "space"]);
    json_lines(&space)[0]["used_bytes"].as_u64().expect("a number")
}

fn collect(machine: &Machine) -> Value {
    let data_dir = machine.path("node");
    let printed = machine.ok(&["--json", "node", "collect", "--data-dir", data_dir.to_str().expect("a path")]);
    json_lines(&printed).remove(0)
}

#[test]
fn what_was_removed_gives_its_space_back() {
    const LARGE: usize = 50 << 20;
    let mut machine = Machine::start();
    machine.user("bob");
    machine.write("his", &content(1, 3 << 20));
    machine.ok(&["put", "-q", "his", "/bob"]);
    machine.user("alice");
    machine.write("kept", &content(2, 3 << 20));
    machine.write("large", &content(3, LARGE));
    machine.ok(&["put", "-q", "kept", "/alice"]);
    let (disk_before, used_before) = (disk(&machine), used(&machine));
    machine.ok(&["put", "-q", "large", "/alice"]);
    let (disk_full, used_full) = (disk(&machine), used(&machine));
    assert!(used_full - used_before > LARGE as u64 && disk_full - disk_before > LARGE as u64);
    // Old versions go; what is there stays.
    let first = collect(&machine);
    assert!(disk(&machine) > disk_before + LARGE as u64, "{first}");

    machine.ok(&["rm", "/alice/large"]);
    assert!(used(&machine) < used_before + (1 << 20), "the account has its space back at once");
    assert!(disk(&machine) > disk_before + LARGE as u64, "the disk has not");
    let second = collect(&machine);
    assert_eq!((&second["unchanged"], &second["unreadable"]), (&1.into(), &0.into()), "bob wrote nothing: {second}");
    assert!(second["bytes"].as_u64() > Some(LARGE as u64), "{second}");
    assert!(second["reclaimed_bytes"].as_u64() > Some(LARGE as u64 * 9 / 10), "{second}");
    assert!(disk(&machine) < disk_before + (10 << 20), "{} and then {}", disk_before, disk(&machine));
    assert!(machine.log().contains("collected garbage"), "the log says so");

    machine.ok(&["get", "-q", "/alice/kept", "back"]);
    assert!(machine.read("back") == machine.read("kept"));
    machine.run(&["get", "-q", "/alice/large", "back"]).fails(4, "no such file");
    // Without a node it works as well, and changes nothing any more.
    machine.kill_node();
    let third = collect(&machine);
    assert_eq!((&third["blocks"], &third["unchanged"]), (&0.into(), &2.into()), "{third}");
    machine.restart_node();
    machine.ok(&["login", "bob", "--password-file", "password"]);
    machine.ok(&["get", "-q", "/bob/his", "back"]);
    assert!(machine.read("back") == machine.read("his"));
}

/// Invariants 2 and 4: whatever the instant at which a node dies that collects while others write, what was acknowledged is
/// there.
#[test]
fn a_node_that_is_killed_while_it_collects_loses_nothing() {
    let mut machine = Machine::start();
    machine.user("alice");
    machine.write("kept", &content(9, 7 << 20));
    machine.ok(&["put", "-q", "kept", "/alice"]);
    let data_dir = machine.path("node");
    let mut acknowledged: Vec<String> = Vec::new();
    let mut deleted = 0;
    for round in 0..6u64 {
        let name = format!("file-{round}");
        machine.write(&name, &content(round, 8 << 20));
        // Garbage of the round before: a whole file, and old versions of folders.
        if round > 0 && acknowledged.len() > 1 {
            let gone = acknowledged.remove(0);
            machine.ok(&["rm", &format!("/alice/{gone}")]);
        }
        let quiet = |machine: &Machine, args: &[&str]| {
            machine.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts")
        };
        let collect_command = ["node", "collect", "--data-dir", data_dir.to_str().expect("a path")];
        let mut put = quiet(&machine, &["put", "-q", &name, "/alice"]);
        let start = Instant::now();
        let wait = Duration::from_millis(60 + 150 * round);
        // One collection after another until the end comes.
        while start.elapsed() < wait {
            let mut collect = quiet(&machine, &collect_command);
            while start.elapsed() < wait && collect.try_wait().expect("wait").is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            deleted += u32::from(collect.try_wait().expect("wait").is_some_and(|status| status.success()));
            if start.elapsed() >= wait {
                machine.kill_node();
                let _ = collect.wait();
            }
        }
        machine.kill_node();
        if put.wait().expect("wait").success() {
            acknowledged.push(name);
        }
        machine.restart_node();
        for name in acknowledged.iter().map(String::as_str).chain(["kept"]) {
            machine.ok(&["get", "-q", &format!("/alice/{name}"), "back"]);
            assert!(machine.read("back") == machine.read(name), "{name} is damaged after crash {round}");
        }
        let collected = collect(&machine);
        assert_eq!(collected["unreadable"], 0, "after crash {round}: {collected}");
    }
    assert!(deleted > 0 && !acknowledged.is_empty(), "nothing was collected or nothing was put: nothing was tested");
}
