//! `kill -9` at any instant: what was acknowledged is there afterwards.
//!
//! The test starts itself as a child that writes, and says on its standard output what the store acknowledged. The
//! parent kills it, opens the store and looks. The random delays come from a seed that is printed; `PYRGOS_CRASH_SEED`
//! repeats them, `PYRGOS_CRASH_ROUNDS` asks for more.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_store::rocks::{Options, RocksStore};
use pyrgos_store::{Batch, Blocks, RecordKey, Records, conformance};

/// Where the child finds the store; its presence makes this process the child.
const FOLDER: &str = "PYRGOS_CRASH_FOLDER";
const WRITERS: u64 = 3;
/// Generations whose blocks stay; older ones are deleted.
const KEPT: u64 = 6;

fn open(path: &Path) -> RocksStore {
    // Small segments and buffers, so that files are made, flushed, merged and removed within a round.
    let mut options = Options::default();
    options.segment_bytes = 2 << 20;
    options.write_buffer_bytes = 1 << 20;
    RocksStore::open(path, options).unwrap()
}

fn owner(writer: u64) -> Owner {
    conformance::owner(writer)
}

/// What a writer stores in a generation: small blocks and large ones.
fn blocks(writer: u64, generation: u64) -> Vec<(Cid, Bytes)> {
    let sizes = [40, 3000, 70_000, 20_000, 150_000 + generation as usize * 1000 % 300_000, 65_536];
    let seed = |n: usize| (writer << 40) | (generation << 8) | n as u64;
    sizes.iter().enumerate().map(|(n, size)| conformance::block(seed(n), *size)).collect()
}

fn pointer(writer: u64) -> RecordKey {
    RecordKey::pointer(&owner(writer), &Writer::from(owner(writer)))
}

fn number(value: Bytes) -> u64 {
    u64::from_be_bytes(value[..].try_into().unwrap())
}

fn say(what: &str, writer: u64, generation: u64) {
    // One write, so that a line comes whole or not at all.
    let line = format!("{what} {writer} {generation}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn write_until_killed(path: &Path) -> ! {
    let store = open(path);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                loop {
                    let before = store.read(&pointer(writer)).unwrap();
                    let generation = before.clone().map_or(0, number) + 1;
                    let blocks_now = blocks(writer, generation);
                    let (first, second) = blocks_now.split_at(3);
                    store.put(&owner(writer), first).unwrap();
                    store.put(&owner(writer), second).unwrap();
                    say("put", writer, generation);
                    let value = Bytes::copy_from_slice(&generation.to_be_bytes());
                    let batch = Batch::new()
                        .expect(pointer(writer), before)
                        .put(RecordKey::usage_total(&owner(writer)), value.clone())
                        .put(pointer(writer), value);
                    assert!(store.commit(batch).unwrap().is_committed());
                    say("committed", writer, generation);
                    if generation > KEPT {
                        let old: Vec<_> = blocks(writer, generation - KEPT).into_iter().map(|(cid, _)| cid).collect();
                        store.delete(&owner(writer), &old).unwrap();
                    }
                    if writer == 0 && generation.is_multiple_of(5) {
                        store.reclaim().unwrap();
                    }
                }
            });
        }
    });
    unreachable!("the writers never end")
}

/// What the store has said about each writer.
#[derive(Default)]
struct Acknowledged {
    /// The last generation that was put.
    put: [u64; WRITERS as usize],
    /// The last generation that was committed, or read after a crash.
    committed: [u64; WRITERS as usize],
    /// Kills since then. Each may have met one commit that took effect and whose answer nobody heard.
    in_flight: [u64; WRITERS as usize],
}

/// Starts a child and kills it `delay` after it has acknowledged something, or after its start.
fn run_and_kill(path: &Path, delay: Duration, let_it_write: bool, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "nothing_acknowledged_is_lost_when_killed"])
        .env(FOLDER, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (writes, wrote) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // Lines until the pipe closes with the child.
        let lines = out.lines().map_while(Result::ok);
        lines
            .inspect(|line| {
                if line.starts_with("put") {
                    // The parent may have stopped listening.
                    let _ = writes.send(());
                }
            })
            .collect::<Vec<_>>()
    });
    if let_it_write {
        wrote.recv().expect("the child writes");
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the child ended by itself: {status}");
    for line in reader.join().unwrap() {
        let words: Vec<_> = line.split(' ').collect();
        if let [what @ ("put" | "committed"), writer, generation] = words[..] {
            let (writer, generation): (usize, u64) = (writer.parse().unwrap(), generation.parse().unwrap());
            if what == "put" {
                acknowledged.put[writer] = generation;
            } else {
                acknowledged.committed[writer] = generation;
                acknowledged.in_flight[writer] = 0;
            }
        }
    }
    acknowledged.in_flight.iter_mut().for_each(|kills| *kills += 1);
}

fn check(store: &RocksStore, acknowledged: &mut Acknowledged) {
    for writer in 0..WRITERS {
        let at = writer as usize;
        let (put, committed, in_flight) =
            (acknowledged.put[at], acknowledged.committed[at], acknowledged.in_flight[at]);
        let now = store.read(&pointer(writer)).unwrap().map_or(0, number);
        assert!(
            (committed..=committed + in_flight).contains(&now),
            "writer {writer}: {committed} was acknowledged, {in_flight} may have been in flight, the pointer is {now}"
        );
        // What was read must not go back either.
        acknowledged.committed[at] = now;
        acknowledged.in_flight[at] = 0;
        let usage = store.read(&RecordKey::usage_total(&owner(writer))).unwrap().map_or(0, number);
        assert_eq!(usage, now, "half a batch");
        // The last generation may have been deleting the oldest of these.
        for generation in (now.saturating_sub(KEPT - 2).max(1)..=now).chain([put]).filter(|n| *n > 0) {
            for (cid, bytes) in blocks(writer, generation) {
                let found = store.get(&owner(writer), &cid).unwrap();
                assert_eq!(
                    found.as_ref(),
                    Some(&bytes),
                    "writer {writer}: a block of generation {generation} of {now}"
                );
            }
        }
        for entry in store.list(&owner(writer), None, 10_000).unwrap() {
            let bytes = store.get(&owner(writer), &entry.cid).unwrap().expect("a listed block is there");
            assert!(entry.cid.matches(&bytes) && entry.size == bytes.len() as u64);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn nothing_acknowledged_is_lost_when_killed() {
    if let Some(path) = std::env::var_os(FOLDER) {
        write_until_killed(Path::new(&path));
    }
    let rounds = setting("PYRGOS_CRASH_ROUNDS").unwrap_or(24);
    let mut seed = setting("PYRGOS_CRASH_SEED").unwrap_or_else(|| std::process::id().into());
    println!("PYRGOS_CRASH_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    let start = Instant::now();
    for round in 0..rounds {
        // An LCG, good enough for delays of up to 200 ms, most of them short. One kill of four may fall into the opening.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (seed >> 33) as f64 / (1u64 << 31) as f64;
        let delay = Duration::from_secs_f64(0.2 * random * random);
        run_and_kill(dir.path(), delay, round % 4 != 3, &mut acknowledged);
        // Every other time the next child recovers, not this process.
        if round % 2 == 0 || round + 1 == rounds {
            let store = open(dir.path());
            assert!(!store.may_have_lost_puts(), "the machine ran on");
            check(&store, &mut acknowledged);
        }
    }
    let committed: u64 = acknowledged.committed.iter().sum();
    println!("{rounds} kills, {committed} commits, none of the acknowledged lost, {:?}", start.elapsed());
    assert!(acknowledged.put.iter().sum::<u64>() >= rounds / 4 * 3, "the children did not get to write");
}
