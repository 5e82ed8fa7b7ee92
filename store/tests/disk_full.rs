//! A disk without space: typed errors, nothing acknowledged is lost, and the store works on once there is space.
//!
//! Mounts a small tmpfs, which only root may; says so and does nothing for others.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pyrgos_store::rocks::{Options, RocksStore};
use pyrgos_store::{Batch, Blocks, RecordKey, Records, StoreError, conformance};

/// A file system of a few MiB, unmounted in the end.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output()
            .map_err(|error| error.to_string())
            .and_then(|out| match out.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
            });
        match mounted {
            Ok(()) => Some(SmallDisk { dir }),
            Err(reason) => {
                println!("skipped: cannot mount a small tmpfs: {reason}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path()).status();
    }
}

fn options(reserve_bytes: u64) -> Options {
    let mut options = Options::default();
    options.reserve_bytes = reserve_bytes;
    options.segment_bytes = 4 << 20;
    // Small, so that writes often wait for a flush when the disk is full.
    options.write_buffer_bytes = 96 << 10;
    options
}

/// Puts and commits until the store says that the disk is full; answers how many blocks were acknowledged.
fn fill(store: &RocksStore, size: usize) -> u64 {
    let owner = conformance::owner(0);
    for n in 0..100_000 {
        let stored = store.put(&owner, &[conformance::block(n, size)]).and_then(|()| {
            let batch = Batch::new().put(RecordKey::link_count(&owner, 0), n.to_be_bytes().to_vec());
            store.commit(batch)
        });
        match stored {
            Ok(outcome) => assert!(outcome.is_committed()),
            Err(StoreError::DiskFull) => return n,
            Err(other) => panic!("block {n}: {other}: {other:?}"),
        }
    }
    panic!("the disk never became full");
}

fn check(store: &RocksStore, count: u64, size: usize) {
    let owner = conformance::owner(0);
    for n in 0..count {
        let (cid, bytes) = conformance::block(n, size);
        assert_eq!(store.get(&owner, &cid).unwrap(), Some(bytes), "block {n} of {count}");
    }
}

/// Tries a commit until it succeeds.
fn wait_for_commit(store: &RocksStore, within: Duration) -> Duration {
    let start = Instant::now();
    loop {
        match store.commit(Batch::new().put(RecordKey::login("alice"), "x")) {
            Ok(_) => return start.elapsed(),
            Err(error) if start.elapsed() > within => panic!("still refused after {within:?}: {error}"),
            // The database looks for space from time to time; there is no event to wait for.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn runs_full_and_recovers(reserve_bytes: u64, size: usize) {
    let Some(disk) = SmallDisk::mount("48m") else { return };
    let data = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 16 << 20]).unwrap();
    let store = RocksStore::open(&data, options(reserve_bytes)).unwrap();
    let count = fill(&store, size);
    check(&store, count, size);
    if reserve_bytes > 0 {
        // The reserve is what records live on.
        assert!(store.commit(Batch::new().put(RecordKey::login("bob"), "x")).unwrap().is_committed());
    }
    std::fs::remove_file(&ballast).unwrap();
    let took = wait_for_commit(&store, Duration::from_secs(30));
    let owner = conformance::owner(0);
    let more = conformance::block(1 << 40, size);
    store.put(&owner, std::slice::from_ref(&more)).unwrap();
    assert!(store.commit(Batch::new()).unwrap().is_committed());
    println!("full after {count} blocks of {size} bytes, working {took:?} after space came");
    check(&store, count, size);
    drop(store);
    let store = RocksStore::open(&data, options(reserve_bytes)).unwrap();
    check(&store, count, size);
    assert_eq!(store.get(&owner, &more.0).unwrap(), Some(more.1));
}

#[test]
fn large_blocks_fill_the_disk() {
    runs_full_and_recovers(0, 300_000);
}

#[test]
fn small_blocks_fill_the_disk() {
    runs_full_and_recovers(0, 30_000);
}

#[test]
fn a_reserve_keeps_the_records_working() {
    // More than all that the database may still have to write of what it has in memory.
    runs_full_and_recovers(16 << 20, 300_000);
    runs_full_and_recovers(16 << 20, 30_000);
}
