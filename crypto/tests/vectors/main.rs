//! Replays the vectors of the reference implementation, as far as they are about bytes and not about formats. Each test
//! prints how many cases it ran (`cargo test -p pyrgos-crypto --test vectors -- --nocapture`).

mod fingerprint;
mod hybrid;
mod keys;
mod login;
mod pow;

use std::fs::File;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

/// One file of vectors, or a part of one.
struct Vectors(Value);

impl Vectors {
    /// Reads `testdata/<name>.json.gz`.
    fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(format!("{name}.json.gz"));
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(serde_json::from_reader(GzDecoder::new(file)).expect("vectors are JSON"))
    }

    fn cases(&self, key: &str) -> Vec<Vectors> {
        let cases = self.0[key].as_array();
        let cases = cases.unwrap_or_else(|| panic!("no list {key}"));
        assert!(!cases.is_empty(), "{key} is empty");
        cases.iter().cloned().map(Vectors).collect()
    }

    fn part(&self, key: &str) -> Vectors {
        assert!(self.has(key), "no {key}");
        Vectors(self.0[key].clone())
    }

    fn has(&self, key: &str) -> bool {
        !self.0[key].is_null()
    }

    fn text(&self, key: &str) -> &str {
        let text = self.0[key].as_str();
        text.unwrap_or_else(|| panic!("no text {key} in {}", self.0))
    }

    fn number(&self, key: &str) -> u64 {
        let number = self.0[key].as_u64();
        number.unwrap_or_else(|| panic!("no number {key} in {}", self.0))
    }

    fn flag(&self, key: &str) -> bool {
        let flag = self.0[key].as_bool();
        flag.unwrap_or_else(|| panic!("no flag {key} in {}", self.0))
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        hex::decode(self.text(key)).unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        let bytes = self.bytes(key);
        let length = bytes.len();
        bytes.try_into().unwrap_or_else(|_| panic!("{key} has {length} bytes"))
    }

    fn description(&self) -> &str {
        self.text("description")
    }

    /// What the reference does with this input.
    fn accepted(&self) -> bool {
        match self.text("reference") {
            "accept" => true,
            "reject" => false,
            other => panic!("unknown verdict {other}"),
        }
    }
}

/// Zero padding up to a length, as the padded cipher texts have it (spec/01 §3.7).
fn padded(mut bytes: Vec<u8>, length: u64) -> Vec<u8> {
    let length = usize::try_from(length).unwrap();
    assert!(bytes.len() <= length);
    bytes.resize(length, 0);
    bytes
}

/// The last `N` bytes: where a key sits in its CBOR envelope.
fn tail<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.last_chunk().expect("the envelope is longer")
}
