//! Invariant 1: no password, key, name or content on any disk, in any log, in any argument.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyrgos::agent::AgentFolder;
use pyrgos::agent::client::Agent;
use pyrgos::agent::message::Selector;
use pyrgos_protocol::encoding::{Value, text};

use crate::support::{Machine, PASSWORD, files_below};

const FILE_NAME: &str = "divorce-papers-of-1987.txt";
const FOLDER_NAME: &str = "medical-history-folder";
const CONTENT: &str = "The treasure lies below the third olive tree.";
const NEW_PASSWORD: &str = "the new one is longer and better";

#[test]
fn no_secret_touches_a_disk_a_log_or_an_argument() {
    let machine = Machine::start();
    let watcher = ArgumentWatcher::start();
    let given = tempfile::tempdir().expect("a folder outside the machine");
    let give = |name: &str, content: &str| {
        let path = given.path().join(name);
        fs::write(&path, content).expect("write");
        path.to_str().expect("UTF-8").to_owned()
    };
    fs::remove_file(machine.work("password")).expect("the password of the other tests");
    let password = give("first", PASSWORD);
    let new_password = give("second", NEW_PASSWORD);
    let file = give("content", CONTENT);

    let mut printed = String::new();
    let mut run = |args: &[&str]| {
        let ran = machine.run(args);
        assert_eq!(ran.code, 0, "{}: {}", ran.what, ran.stderr);
        printed += &ran.stderr;
    };
    run(&["signup", "alice", "--password-file", &password]);
    run(&["login", "alice", "--password-file", &password]);
    run(&["mkdir", FOLDER_NAME]);
    run(&["put", &file, &format!("/alice/{FOLDER_NAME}/{FILE_NAME}")]);
    run(&["ls", "-l", FOLDER_NAME]);
    run(&["cat", &format!("{FOLDER_NAME}/{FILE_NAME}")]);
    run(&["cp", &format!("{FOLDER_NAME}/{FILE_NAME}"), FILE_NAME]);
    run(&["mv", FILE_NAME, &format!("{FOLDER_NAME}/second-{FILE_NAME}")]);
    run(&["passwd", "--password-file", &password, "--new-password-file", &new_password]);

    // The keys of the account, as only the agent has them.
    let agent = Agent::new(AgentFolder::at(machine.path("run/pyrgos")));
    let (_, state) = agent.fetch(Selector::default()).expect("the agent answers").expect("a session");
    let mut keys = BTreeSet::new();
    secret_keys(&Value::decode_shared(&state).expect("a session is CBOR"), &mut keys);
    assert!(keys.len() >= 4, "identity, boxing, read and write keys: found {}", keys.len());
    run(&["logout"]);

    let mut needles = Vec::new();
    for secret in [PASSWORD, NEW_PASSWORD, FILE_NAME, FOLDER_NAME, CONTENT] {
        needles.extend(forms(secret.as_bytes()));
    }
    for key in &keys {
        needles.extend(forms(key));
    }
    // The search itself works: what was given is found where it was given.
    assert_eq!(found_in(&fs::read(&password).expect("read"), &needles), 1);

    let arguments = watcher.stop();
    assert!(arguments.contains("signup") && arguments.contains("--password-file"), "the watcher saw {arguments}");
    // File and folder names are arguments that the user typed; passwords, contents and keys never are.
    let typed: Vec<_> = needles.iter().filter(|needle| !is_name(needle)).cloned().collect();
    assert_eq!(found_in(arguments.as_bytes(), &typed), 0, "an argument or environment holds a secret");
    assert_eq!(found_in(printed.as_bytes(), &needles), 0, "a remark holds a secret: {printed}");
    assert!(machine.log().len() > 1000, "the node logs at trace");

    let mut searched = 0;
    for path in files_below(&machine.path("")) {
        let bytes = fs::read(&path).expect("read");
        searched += bytes.len();
        assert_eq!(found_in(&bytes, &needles), 0, "{} holds a secret", path.display());
    }
    assert!(searched > 10_000, "the node's data were searched: {searched} bytes");
}

fn is_name(needle: &[u8]) -> bool {
    let names = [FILE_NAME, FOLDER_NAME];
    names.iter().any(|name| forms(name.as_bytes()).iter().any(|form| form == needle))
}

/// Byte strings of 32 bytes and more inside key structures. Hashes of public keys are links, so they are not met.
fn secret_keys(value: &Value, keys: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::Bytes(bytes) if bytes.len() == 32 => drop(keys.insert(bytes.to_vec())),
        // Ed25519: the seed is secret, the public half is not. ML-KEM: the first part is secret.
        Value::Bytes(bytes) if bytes.len() == 64 || bytes.len() == 3168 => drop(keys.insert(bytes[..32].to_vec())),
        Value::List(items) => match items.as_slice() {
            // A boxing pair: public, then secret.
            [Value::List(public), secret @ Value::List(_)] if public.len() == 2 => secret_keys(secret, keys),
            items => items.iter().for_each(|item| secret_keys(item, keys)),
        },
        Value::Map(map) => {
            for (key, value) in map.iter() {
                // Labels and access tokens are known to the node; seen pointers are public.
                if !matches!(key, "m" | "a" | "p") || value.as_map().is_ok() && key != "a" && key != "m" {
                    secret_keys(value, keys);
                }
            }
        }
        _ => {}
    }
}

/// The ways in which bytes appear in files and texts.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    use multibase::Base;
    let mut forms = vec![
        secret.to_vec(),
        text::hex(secret).into_bytes(),
        text::base58(secret).into_bytes(),
        Base::Base64.encode(secret).into_bytes(),
    ];
    // As Debug prints bytes.
    forms.push(secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes());
    forms
}

fn found_in(bytes: &[u8], needles: &[Vec<u8>]) -> usize {
    needles.iter().filter(|needle| bytes.windows(needle.len()).any(|window| window == needle.as_slice())).count()
}

/// Notes arguments and environments of all `pyrgos` processes while it runs.
struct ArgumentWatcher {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<String>,
}

impl ArgumentWatcher {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let read = |name| fs::read(process.path().join(name)).unwrap_or_default();
                    let arguments = read("cmdline");
                    if arguments.windows(6).any(|window| window == b"pyrgos") {
                        seen.insert(String::from_utf8_lossy(&arguments).into_owned());
                        seen.insert(String::from_utf8_lossy(&read("environ")).into_owned());
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            seen.into_iter().collect()
        });
        ArgumentWatcher { stop, thread }
    }

    fn stop(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watcher")
    }
}
