//! Bulk data on its way to the disk: this store, RocksDB alone in three ways, and a plain file as the bound.
//!
//! `cargo bench -p pyrgos-store --bench bulk` prints a table: MiB/s and the ratio to the plain file, bytes that reached
//! the disk for each byte stored (`/proc/self/io`), files, resident memory after and at its peak. `PYRGOS_BENCH_MIB` sets
//! the amount (1024), `PYRGOS_BENCH_DIR` the disk. Each run is a process of its own; the ways take turns, three times, and the table has the
//! fastest, since others use the disk too.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_store::rocks::{Options, RocksStore};
use pyrgos_store::{Batch, Blocks, RecordKey, Records, conformance};
use rocksdb::{ColumnFamilyDescriptor, DB, FlushOptions, WriteOptions};

/// (bytes in a block, blocks in a commit, share of the whole amount to write: small commits take long)
const SHAPES: [(usize, usize, usize); 4] = [(1 << 20, 5, 1), (1 << 20, 100, 1), (256 << 10, 1, 16), (20_000, 3, 64)];

const WAYS: [(&str, &str); 5] = [
    ("file", "one file, fdatasync at each commit"),
    ("store", "this store"),
    ("log", "RocksDB blob files, everything through the log"),
    ("flush", "RocksDB blob files outside the log, flushed at each commit"),
    ("put", "RocksDB blob files outside the log, flushed at each put"),
];

/// Something that blocks can be put into and committed.
trait Target {
    fn put(&mut self, key: &Cid, block: &Bytes);
    fn commit(&mut self);
    fn get(&self, _key: &Cid) -> Option<usize> {
        None
    }
}

struct PlainFile(File);

impl Target for PlainFile {
    fn put(&mut self, _key: &Cid, block: &Bytes) {
        self.0.write_all(block).unwrap();
    }
    fn commit(&mut self) {
        self.0.sync_data().unwrap();
    }
}

impl Target for RocksStore {
    fn put(&mut self, key: &Cid, block: &Bytes) {
        Blocks::put(self, &conformance::owner(0), &[(key.clone(), block.clone())]).unwrap();
    }
    fn commit(&mut self) {
        let batch = Batch::new().put(RecordKey::login("alice"), "x");
        assert!(Records::commit(self, batch).unwrap().is_committed());
    }
    fn get(&self, key: &Cid) -> Option<usize> {
        Blocks::get(self, &conformance::owner(0), key).unwrap().map(|block| block.len())
    }
}

/// RocksDB with blob files and the same bounds of memory.
struct Plain {
    db: DB,
    log: bool,
    flush_each: bool,
}

impl Plain {
    fn open(path: &Path, log: bool, flush_each: bool) -> Self {
        let mut shared = rocksdb::Options::default();
        shared.create_if_missing(true);
        shared.create_missing_column_families(true);
        shared.set_max_open_files(256);
        shared.set_max_total_wal_size(64 << 20);
        let mut blocks = rocksdb::Options::default();
        blocks.set_compression_type(rocksdb::DBCompressionType::None);
        blocks.set_enable_blob_files(true);
        blocks.set_min_blob_size(1 << 10);
        blocks.set_blob_file_size(256 << 20);
        blocks.set_write_buffer_size(16 << 20);
        blocks.set_max_write_buffer_number(3);
        let families = [("default", rocksdb::Options::default()), ("blocks", blocks)];
        let families = families.map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
        Plain { db: DB::open_cf_descriptors(&shared, path, families).unwrap(), log, flush_each }
    }

    fn flush(&self) {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cf_opt(self.db.cf_handle("blocks").unwrap(), &options).unwrap();
    }
}

impl Target for Plain {
    fn put(&mut self, key: &Cid, block: &Bytes) {
        let mut options = WriteOptions::default();
        options.disable_wal(!self.log);
        self.db.put_cf_opt(self.db.cf_handle("blocks").unwrap(), key.to_bytes(), block, &options).unwrap();
        if self.flush_each {
            self.flush();
        }
    }
    fn commit(&mut self) {
        if !self.log && !self.flush_each {
            self.flush();
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.put_opt(b"pointer", b"x", &options).unwrap();
    }
    fn get(&self, key: &Cid) -> Option<usize> {
        let blocks = self.db.cf_handle("blocks").unwrap();
        self.db.get_cf(blocks, key.to_bytes()).unwrap().map(|block| block.len())
    }
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn files_in(path: &Path) -> usize {
    fs::read_dir(path).map_or(0, |entries| {
        entries.flatten().map(|entry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
    })
}

/// One run; prints its figures, for the parent to read.
fn run(way: &str, block_bytes: usize, blocks_per_commit: usize, bytes: usize, path: &Path) {
    let (_, template) = conformance::block(1, block_bytes);
    let mut template = template.to_vec();
    let count = bytes / block_bytes / blocks_per_commit * blocks_per_commit;
    // A SHA-256 of the number, so that keys come in random order without hashing the blocks here.
    let key = |n: usize| Cid::of_raw(&n.to_be_bytes());
    let mut target: Box<dyn Target> = match way {
        "file" => Box::new(PlainFile(File::create(path.join("file")).unwrap())),
        "store" => Box::new(RocksStore::open(path, Options::default()).unwrap()),
        "log" => Box::new(Plain::open(path, true, false)),
        "flush" => Box::new(Plain::open(path, false, false)),
        _ => Box::new(Plain::open(path, false, true)),
    };
    // Memory that the kernel hands out for the first time costs more in a virtual machine than the disk does. So the
    // page cache takes the whole amount once before, for each way alike.
    let warm = path.join("warm");
    let mut file = File::create(&warm).unwrap();
    for _ in 0..count {
        file.write_all(&template).unwrap();
    }
    drop(file);
    fs::remove_file(&warm).unwrap();
    let written = field("/proc/self/io", "write_bytes:");
    let start = Instant::now();
    for n in 0..count {
        template[..8].copy_from_slice(&n.to_be_bytes());
        target.put(&key(n), &Bytes::copy_from_slice(&template));
        if (n + 1) % blocks_per_commit == 0 {
            target.commit();
        }
    }
    let write_secs = start.elapsed().as_secs_f64();
    let resident = field("/proc/self/status", "VmRSS:");
    let start = Instant::now();
    let read = (0..count).step_by(3).filter_map(|n| target.get(&key(n))).sum::<usize>();
    let read_secs = start.elapsed().as_secs_f64();
    // Closing included, so that what a way has only put off is counted too.
    drop(target);
    let written = field("/proc/self/io", "write_bytes:") - written;
    let bytes = (count * block_bytes) as f64;
    println!(
        "{} {} {} {} {} {}",
        bytes / write_secs / 1048576.0,
        written as f64 / bytes,
        files_in(path),
        resident / 1024,
        field("/proc/self/status", "VmHWM:") / 1024,
        read as f64 / read_secs / 1048576.0,
    );
}

fn measure(way: &str, block_bytes: usize, blocks_per_commit: usize, bytes: usize) -> [f64; 6] {
    let place = std::env::var_os("PYRGOS_BENCH_DIR").map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(&place).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["run", way])
        .args([block_bytes, blocks_per_commit, bytes].map(|n| n.to_string()))
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run_word, way, block_bytes, per_commit, bytes, path] = &arguments[..]
        && run_word == "run"
    {
        let number = |text: &str| text.parse().unwrap();
        return run(way, number(block_bytes), number(per_commit), number(bytes), Path::new(path));
    }
    let mib: usize = std::env::var("PYRGOS_BENCH_MIB").map_or(1024, |text| text.parse().unwrap());
    for (block_bytes, per_commit, share) in SHAPES {
        let bytes = (mib << 20) / share;
        println!("\n{} MiB in blocks of {block_bytes} bytes, {per_commit} in each commit", bytes >> 20);
        println!(
            "{:<60} {:>7} {:>6} {:>7} {:>6} {:>5} {:>5} {:>7}",
            "", "MiB/s", "ratio", "written", "files", "RSS", "peak", "read"
        );
        let mut runs = vec![Vec::new(); WAYS.len()];
        for _ in 0..3 {
            for ((way, _), runs) in WAYS.iter().zip(&mut runs) {
                runs.push(measure(way, block_bytes, per_commit, bytes));
            }
        }
        let mut bound = None;
        for ((_, what), mut runs) in WAYS.iter().zip(runs) {
            runs.sort_by(|a, b| b[0].total_cmp(&a[0]));
            let [speed, written, files, resident, peak, read] = runs[0];
            let ratio = speed / *bound.get_or_insert(speed);
            println!(
                "{what:<60} {speed:>7.0} {ratio:>6.2} {written:>6.2}x {files:>6} {resident:>5} {peak:>5} {read:>7.0}"
            );
        }
    }
}
