//! How much space an account uses: the sum of the trees that its writers' pointers reach (`spec/02` §9).
//!
//! The figures are rows beside the pointers and change in the same batch, so they are always those of the pointers. A
//! change costs what the two trees differ by, not what they hold.

use std::collections::HashMap;

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};

use super::view::{View, has_links};
use super::{Failure, Service};
use pyrgos_protocol::keys::Owner;
use pyrgos_store::{RecordKey, Records};

/// Most blocks that one comparison looks at, counting a block again at each depth at which it appears. A file system of a
/// hundred gigabytes that is compared with nothing needs a million; more is a tree that somebody built to be expensive.
const MAX_VISITS: usize = 20_000_000;

/// Bytes that a change of target adds, negative if it frees space.
pub(super) struct Difference {
    pub(super) bytes: i64,
    /// A block of the new tree that is not there.
    pub(super) gap: Option<Cid>,
}

/// Size of the tree under `new` minus that of the tree under `old`. A block counts once for each link to it, as existing
/// nodes count; absent blocks and identity links count nothing.
///
/// Both trees are walked level by level, with one signed counter for each block. What both have cancels out before it is
/// read, so that equal subtrees are never entered.
pub(super) fn difference(view: &View<'_>, old: Option<&Cid>, new: Option<&Cid>) -> Result<Difference, Failure> {
    let mut level: HashMap<Cid, i64> = HashMap::new();
    for (root, sign) in [(old, -1), (new, 1)] {
        if let Some(root) = root {
            *level.entry(root.clone()).or_default() += sign;
        }
    }
    let mut bytes = 0i64;
    let mut gap = None;
    let mut visits = 0;
    loop {
        level.retain(|cid, count| *count != 0 && cid.identity_content().is_none());
        visits += level.len();
        if level.is_empty() {
            return Ok(Difference { bytes, gap });
        }
        if visits > MAX_VISITS {
            return Err(Failure::refused("The tree has too many blocks"));
        }
        let mut below: HashMap<Cid, i64> = HashMap::new();
        for (cid, count) in level {
            let size = if has_links(cid.codec()) {
                let block = view.get(&cid)?;
                for link in block.as_ref().map(links).unwrap_or_default() {
                    let below = below.entry(link).or_default();
                    *below = below.saturating_add(count);
                }
                block.map(|block| block.len() as u64)
            } else {
                view.size(&cid)?
            };
            match size {
                Some(size) => {
                    let size = i64::try_from(size).unwrap_or(i64::MAX);
                    bytes = bytes.saturating_add(size.saturating_mul(count));
                }
                None if count > 0 => gap = gap.or(Some(cid)),
                None => {}
            }
        }
        level = below;
    }
}

/// The links of a stored block. Stored blocks are canonical, so the fallback is only for damage.
fn links(block: &Bytes) -> Vec<Cid> {
    Value::decode_shared(block).map(|value| value.links()).unwrap_or_default()
}

/// What a writer's tree was counted as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriterUsage {
    /// The target that was counted; none if the pointer is deleted or never was.
    pub(super) root: Option<Cid>,
    /// Its size in bytes.
    pub(super) bytes: u64,
}

impl ToCbor for WriterUsage {
    fn to_cbor(&self) -> Value {
        let root = self.root.as_ref().map_or(Value::Null, |root| Value::bytes(root.to_bytes()));
        Value::List(vec![root, count(self.bytes)])
    }
}

fn count(bytes: u64) -> Value {
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl WriterUsage {
    pub(super) fn read(record: &[u8]) -> Result<Self, Failure> {
        let damaged = || Failure::Damaged("usage of a writer");
        let value = Value::decode(record).map_err(|_| damaged())?;
        let items = value.elements("usage", 2).map_err(|_| damaged())?;
        let root = match &items[0] {
            Value::Null => None,
            root => Some(root.as_bytes().ok().and_then(|cid| Cid::from_bytes(cid).ok()).ok_or_else(damaged)?),
        };
        let bytes = items[1].as_int().ok().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(damaged)?;
        Ok(WriterUsage { root, bytes })
    }
}

/// A number of bytes as a record.
pub(super) fn count_record(bytes: u64) -> Vec<u8> {
    count(bytes).encode()
}

/// Reads a number of bytes.
pub(super) fn read_count(record: &[u8]) -> Result<u64, Failure> {
    let value = Value::from_bytes(record).ok().and_then(|value| value.as_int().ok());
    value.and_then(|bytes| u64::try_from(bytes).ok()).ok_or(Failure::Damaged("number of bytes"))
}

impl Service {
    /// Bytes that the account's pointers reach.
    pub(super) fn total_usage(&self, owner: &Owner) -> Result<u64, Failure> {
        let record = self.parts.records.read(&RecordKey::usage_total(owner))?;
        record.map_or(Ok(0), |record| read_count(&record))
    }

    /// What the account may use, if it has space here.
    pub(super) fn quota(&self, owner: &Owner) -> Result<Option<u64>, Failure> {
        let Some(username) = self.parts.names.username(owner)? else { return Ok(None) };
        let record = self.parts.records.read(&RecordKey::quota(username.as_str()))?;
        record.map(|record| read_count(&record)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrgos_protocol::encoding::text;
    use pyrgos_protocol::keys::KeyHash;
    use pyrgos_store::{Blocks, MemoryStore};
    use std::collections::BTreeMap;

    fn vectors() -> serde_json::Value {
        use std::io::Read;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/02-gc-usage.json.gz");
        let mut json = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn sizes_are_those_of_existing_nodes() {
        let vectors = vectors();
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let mut cids: BTreeMap<&str, Cid> = BTreeMap::new();
        for (name, block) in vectors["blocks"].as_object().unwrap() {
            let cid: Cid = block["cid"].as_str().unwrap().parse().unwrap();
            let bytes = Bytes::from(text::from_hex(block["block"].as_str().unwrap()).unwrap());
            assert!(cid.matches(&bytes));
            store.put(&owner, &[(cid.clone(), bytes)]).unwrap();
            cids.insert(name, cid);
        }
        let view = View::new(&store, &owner);
        let cid = |name: &serde_json::Value| &cids[name.as_str().unwrap()];
        let (sizes, changes) =
            (vectors["recursive_sizes"].as_array().unwrap(), vectors["size_changes"].as_array().unwrap());
        for size in sizes {
            let found = difference(&view, None, Some(cid(&size["root"]))).unwrap();
            assert_eq!((found.bytes, found.gap), (size["recursive_size"].as_i64().unwrap(), None));
            let freed = difference(&view, Some(cid(&size["root"])), None).unwrap();
            assert_eq!(freed.bytes, -found.bytes);
        }
        for change in changes {
            let found = difference(&view, Some(cid(&change["from"])), Some(cid(&change["to"]))).unwrap();
            assert_eq!(found.bytes, change["change"].as_i64().unwrap());
        }
        println!("02-gc-usage.json: {} cases; its collections come with the collector", sizes.len() + changes.len());
    }

    /// Every level links twice to the next: 2^40 leaves, but forty blocks.
    #[test]
    fn a_tree_that_explodes_costs_its_blocks_only() {
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let mut root = Cid::of_raw(&[7; 1000]);
        store.put(&owner, &[(root.clone(), Bytes::from(vec![7; 1000]))]).unwrap();
        for _ in 0..40 {
            let block = Bytes::from(Value::List(vec![Value::Link(root.clone()), Value::Link(root)]).encode());
            root = Cid::of_cbor(&block);
            store.put(&owner, &[(root.clone(), block)]).unwrap();
        }
        let found = difference(&View::new(&store, &owner), None, Some(&root)).unwrap();
        let nodes = ((1i64 << 40) - 1) * 83;
        assert_eq!(found.bytes, (1i64 << 40) * 1000 + nodes);
        let missing = Cid::of_raw(b"missing");
        assert_eq!(difference(&View::new(&store, &owner), None, Some(&missing)).unwrap().gap, Some(missing));
    }
}
