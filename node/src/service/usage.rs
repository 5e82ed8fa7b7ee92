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

/// Most links that one comparison follows, counting a block again at each depth at which it appears. A file system of a
/// hundred gigabytes that is compared with nothing needs a fifth of it; more is a tree that somebody built to be expensive.
const MAX_VISITS: usize = 1_000_000;

/// Largest tree in bytes, a pebibyte. A small tree whose blocks link to the same ones again and again can be told as
/// larger than any number; beyond this it is refused rather than counted wrong.
pub(super) const MAX_TREE_BYTES: i128 = 1 << 50;

/// What to do about a block of a new tree that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Refuse the tree: whoever could bring its blocks later would have them for nothing (`spec/04` §17.5).
    Refuse,
    /// Count nothing. Only for replays of recordings that leave blocks out.
    Ignore,
}

/// Size of the tree under `new` minus that of the tree under `old`, in bytes; negative if the change frees space. A block
/// counts once for each link to it, as existing nodes count; identity links count nothing.
///
/// Both trees are walked level by level, with one signed counter for each block. What both have cancels out before it is
/// read, so that equal subtrees are never entered.
pub(super) fn difference(
    view: &View<'_>,
    old: Option<&Cid>,
    new: Option<&Cid>,
    absent: Absent,
) -> Result<i128, Failure> {
    let mut level: HashMap<Cid, i128> = HashMap::new();
    for (root, sign) in [(old, -1), (new, 1)] {
        if let Some(root) = root {
            *level.entry(root.clone()).or_default() += sign;
        }
    }
    let mut bytes = 0i128;
    let mut visits = 0;
    loop {
        level.retain(|_, count| *count != 0);
        if level.is_empty() {
            return Ok(bytes);
        }
        let mut below: HashMap<Cid, i128> = HashMap::new();
        for (cid, count) in level {
            let size = if has_links(cid.codec()) {
                let block = view.get(&cid)?;
                for link in block.as_ref().map(links).unwrap_or_default() {
                    // Counted here and not once the level is complete: until then it could fill the memory.
                    visits += 1;
                    if visits > MAX_VISITS {
                        return Err(Failure::refused("The tree has too many blocks"));
                    }
                    if link.identity_content().is_none() {
                        let below = below.entry(link).or_default();
                        *below = bounded(below.checked_add(count))?;
                    }
                }
                block.map(|block| block.len() as u64)
            } else {
                view.size(&cid)?
            };
            match size {
                Some(size) => {
                    let size = i128::from(size).checked_mul(count);
                    bytes = bounded(size.and_then(|size| bytes.checked_add(size)))?;
                }
                None if count > 0 && absent == Absent::Refuse => {
                    return Err(Failure::refused(format!("Block not present on this server: {cid}; write it again")));
                }
                None => {}
            }
        }
        level = below;
    }
}

fn bounded(sum: Option<i128>) -> Result<i128, Failure> {
    let sum = sum.filter(|sum| (-MAX_TREE_BYTES..=MAX_TREE_BYTES).contains(sum));
    sum.ok_or_else(|| Failure::refused("The tree is too large"))
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
            let found = difference(&view, None, Some(cid(&size["root"])), Absent::Refuse).unwrap();
            assert_eq!(found, i128::from(size["recursive_size"].as_i64().unwrap()));
            let freed = difference(&view, Some(cid(&size["root"])), None, Absent::Refuse).unwrap();
            assert_eq!(freed, -found);
        }
        for change in changes {
            let found = difference(&view, Some(cid(&change["from"])), Some(cid(&change["to"])), Absent::Refuse);
            assert_eq!(found.unwrap(), i128::from(change["change"].as_i64().unwrap()));
        }
        println!(
            "02-gc-usage.json: {} cases; its collections are replayed with the collector",
            sizes.len() + changes.len()
        );
    }

    /// A tree in which every level links twice to the next, and its size: a thousand bytes in each of 2^`levels` leaves.
    fn doubling(store: &MemoryStore, owner: &Owner, levels: u32) -> (Cid, i128) {
        let mut root = Cid::of_raw(&[7; 1000]);
        store.put(owner, &[(root.clone(), Bytes::from(vec![7; 1000]))]).unwrap();
        for _ in 0..levels {
            let block = Bytes::from(Value::List(vec![Value::Link(root.clone()), Value::Link(root)]).encode());
            root = Cid::of_cbor(&block);
            store.put(owner, &[(root.clone(), block)]).unwrap();
        }
        (root, (1 << levels) * 1000 + ((1 << levels) - 1) * 83)
    }

    #[test]
    fn a_tree_that_explodes_costs_its_blocks_only() {
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let (root, size) = doubling(&store, &owner, 39);
        assert_eq!(difference(&View::new(&store, &owner), None, Some(&root), Absent::Refuse).unwrap(), size);
    }

    /// Sums that do not fit must not come out as small ones.
    #[test]
    fn a_tree_that_is_too_large_to_count_is_refused() {
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let (root, _) = doubling(&store, &owner, 90);
        let refused = difference(&View::new(&store, &owner), None, Some(&root), Absent::Refuse).unwrap_err();
        assert!(format!("{refused:?}").contains("The tree is too large"), "{refused:?}");
    }

    #[test]
    fn an_absent_block_is_refused_unless_the_old_tree_lacks_it_too() {
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let view = View::new(&store, &owner);
        let missing = Cid::of_raw(b"missing");
        let refused = difference(&view, None, Some(&missing), Absent::Refuse).unwrap_err();
        assert!(format!("{refused:?}").contains(&missing.to_string()), "{refused:?}");
        assert_eq!(difference(&view, None, Some(&missing), Absent::Ignore).unwrap(), 0);
        assert_eq!(difference(&view, Some(&missing), Some(&missing), Absent::Refuse).unwrap(), 0);
        assert_eq!(difference(&view, Some(&missing), None, Absent::Refuse).unwrap(), 0);
    }

    /// Few bytes and nothing to enter, but more links than any honest tree has.
    #[test]
    fn the_work_for_one_comparison_is_bounded() {
        let store = MemoryStore::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let link: Cid = server_key().cid().clone();
        let wide = |number| {
            let mut items = vec![Value::Link(link.clone()); 10_000];
            items.push(Value::Int(number));
            let block = Bytes::from(Value::List(items).encode());
            let cid = Cid::of_cbor(&block);
            store.put(&owner, &[(cid.clone(), block)]).unwrap();
            Value::Link(cid)
        };
        let root = Bytes::from(Value::List((0..100).map(wide).collect()).encode());
        let cid = Cid::of_cbor(&root);
        store.put(&owner, &[(cid.clone(), root)]).unwrap();
        let refused = difference(&View::new(&store, &owner), None, Some(&cid), Absent::Refuse).unwrap_err();
        assert!(format!("{refused:?}").contains("too many blocks"), "{refused:?}");
    }

    /// A hash that holds its key, as an identity link.
    fn server_key() -> KeyHash {
        let secret = pyrgos_protocol::keys::SecretSigningKey::from_seed(&[1; 32]);
        let hash = KeyHash::of_signing_key(&secret.public());
        assert!(hash.cid().identity_content().is_some());
        hash
    }
}
