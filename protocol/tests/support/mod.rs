//! What the vector tests share: loading, counting, and randomness that is known beforehand.
//!
//! A `mod.rs`, since Cargo takes every other file directly under `tests/` for a test of its own.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Read;
use std::path::Path;

use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

/// Reads `testdata/<name>.json.gz`.
pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(format!("{name}.json.gz"));
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).expect("the vectors are packed");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

/// The cases of one file: hands out its sections, counts what was replayed, and in the end insists that no section was
/// forgotten.
pub struct Cases {
    name: String,
    root: Value,
    seen: BTreeSet<String>,
    replayed: usize,
    skipped: Vec<String>,
}

impl Cases {
    /// The cases of `testdata/<name>.json.gz`.
    pub fn of(name: &str) -> Self {
        let (root, name) = (load(name), format!("{name}.json"));
        Cases { name, root, seen: BTreeSet::from(["description".to_owned()]), replayed: 0, skipped: Vec::new() }
    }

    /// A top-level value that is no list of cases: keys, constants. Counts as seen.
    pub fn value(&mut self, key: &str) -> Value {
        self.seen.insert(key.to_owned());
        self.root.get(key).unwrap_or_else(|| panic!("{} has no section {key}", self.name)).clone()
    }

    /// The cases of a section, each of which is counted; a section that is a single map is one case.
    pub fn section(&mut self, key: &str) -> Vec<Value> {
        let cases = match self.value(key) {
            Value::Array(cases) => cases,
            single => vec![single],
        };
        assert!(!cases.is_empty(), "{}: section {key} is empty", self.name);
        self.replayed += cases.len();
        cases
    }

    /// Counts cases that stand deeper in the file than a section's items.
    pub fn count(&mut self, cases: usize) {
        self.replayed += cases;
    }

    /// Names a part of the file that does not apply here.
    pub fn leave(&mut self, part: &str, reason: &str) {
        self.skipped.push(format!("{part}: {reason}"));
    }

    /// Names a whole section that does not apply here.
    pub fn skip_section(&mut self, key: &str, reason: &str) {
        let count = self.value(key).as_array().map_or(1, Vec::len);
        self.skipped.push(format!("{key} ({count} cases): {reason}"));
    }

    /// Names one case of a handed out section that does not apply here.
    pub fn skip(&mut self, case: &str, reason: &str) {
        self.replayed -= 1;
        self.skipped.push(format!("{case}: {reason}"));
    }

    /// Prints the number of cases and what was left out. Fails when a section was never asked for.
    pub fn finish(self) {
        println!("{}: {} cases", self.name, self.replayed);
        for skipped in &self.skipped {
            println!("{}: not replayed: {skipped}", self.name);
        }
        let all = self.root.as_object().expect("the file is a map");
        let forgotten: Vec<_> = all.keys().filter(|key| !self.seen.contains(*key)).collect();
        assert!(forgotten.is_empty(), "{}: sections never replayed: {forgotten:?}", self.name);
    }
}

/// The text under a key.
pub fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("no text {key} in {case}"))
}

/// The integer under a key.
pub fn int(case: &Value, key: &str) -> i64 {
    case[key].as_i64().unwrap_or_else(|| panic!("no integer {key} in {case}"))
}

/// The boolean under a key.
pub fn boolean(case: &Value, key: &str) -> bool {
    case[key].as_bool().unwrap_or_else(|| panic!("no boolean {key} in {case}"))
}

/// The hexadecimal bytes under a key.
pub fn bytes(case: &Value, key: &str) -> Vec<u8> {
    hex::decode(text(case, key)).unwrap_or_else(|error| panic!("{key}: {error} in {case}"))
}

/// The hexadecimal bytes under a key, exactly `N` of them.
pub fn array<const N: usize>(case: &Value, key: &str) -> [u8; N] {
    bytes(case, key).try_into().unwrap_or_else(|_| panic!("{key} has another size in {case}"))
}

/// Whether the reference accepts the case.
pub fn accepts(case: &Value) -> bool {
    match text(case, "reference") {
        "accept" => true,
        "reject" => false,
        other => panic!("unknown verdict {other}"),
    }
}

/// "Random" bytes that are known beforehand, in the order in which they are drawn. Panics when more are asked for.
pub struct KnownBytes(pub Vec<u8>);

impl TryRng for KnownBytes {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut out = [0; 4];
        self.try_fill_bytes(&mut out)?;
        Ok(u32::from_le_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut out = [0; 8];
        self.try_fill_bytes(&mut out)?;
        Ok(u64::from_le_bytes(out))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
        Ok(())
    }
}

impl TryCryptoRng for KnownBytes {}

/// The operating system's randomness.
pub fn system_random() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Properties of an integration test: a failing case is kept beside the test, as proptest cannot find a crate's root
/// from there.
pub fn properties() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, FileFailurePersistence};
    Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    }
}
