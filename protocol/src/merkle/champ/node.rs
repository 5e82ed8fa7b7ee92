//! One node of a CHAMP and its block (`spec/02` §6.3).

use std::cmp::Ordering;

use bytes::Bytes;

use super::{MAX_BUCKET, SLOTS};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::merkle::bat::BatId;
use crate::merkle::bat::prefix::BATS_KEY;

/// A mapping. A value of null stands for an absent key (`spec/02` §6.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The whole key, not its hash.
    pub key: Bytes,
    /// The value, a link in most trees.
    pub value: Value,
}

impl Entry {
    /// The value, unless it is the null that stands for an absent one.
    pub fn present(&self) -> Option<&Value> {
        Some(&self.value).filter(|value| **value != Value::Null)
    }
}

/// What is in one of a node's slots.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Slot {
    /// No key.
    #[default]
    Empty,
    /// Up to [`MAX_BUCKET`] mappings, sorted by key.
    Bucket(Vec<Entry>),
    /// The node one level down.
    Child(Cid),
}

/// A node: eight slots, and on some roots a token that guards the block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// The slots.
    pub slots: [Slot; SLOTS],
    /// Name of the token, on roots of secret links only.
    pub bat: Option<BatId>,
}

impl Node {
    /// Whether there is neither a mapping nor a child.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| *slot == Slot::Empty)
    }

    /// The mappings in this node's buckets and the slots they are in, in order.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.slots.iter().enumerate().flat_map(|(at, slot)| match slot {
            Slot::Bucket(entries) => entries.iter().map(|entry| (at, entry)).collect::<Vec<_>>(),
            _ => Vec::new(),
        })
    }

    /// The children, in the order of the block: from the highest slot to the lowest.
    pub fn children(&self) -> impl Iterator<Item = (usize, &Cid)> {
        self.slots.iter().enumerate().rev().filter_map(|(at, slot)| match slot {
            Slot::Child(cid) => Some((at, cid)),
            _ => None,
        })
    }

    /// The mappings, if they are few enough to be a bucket of the parent and there is no child.
    pub(super) fn as_bucket(&self) -> Option<Vec<Entry>> {
        if self.children().next().is_some() || self.entries().count() > MAX_BUCKET {
            return None;
        }
        let mut entries: Vec<Entry> = self.entries().map(|(_, entry)| entry.clone()).collect();
        sort(&mut entries);
        Some(entries)
    }

    /// The node as a block and its address.
    pub fn to_block(&self) -> (Cid, Bytes) {
        let block = Bytes::from(self.to_bytes());
        (Cid::of_cbor(&block), block)
    }

    fn bitmap(&self, of: impl Fn(&Slot) -> bool) -> Value {
        let bits = self.slots.iter().enumerate().filter(|(_, slot)| of(slot)).fold(0u8, |bits, (at, _)| bits | 1 << at);
        // No trailing zero bytes: an empty map is an empty string.
        if bits == 0 { Value::bytes([]) } else { Value::bytes([bits]) }
    }
}

/// The order of a bucket: shorter keys first, then byte by byte.
pub(super) fn key_order(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Sorts a bucket.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| key_order(&a.key, &b.key));
}

impl ToCbor for Node {
    fn to_cbor(&self) -> Value {
        let buckets = self.slots.iter().filter_map(|slot| match slot {
            Slot::Bucket(entries) => {
                let pairs = entries.iter().flat_map(|entry| [Value::Bytes(entry.key.clone()), entry.value.clone()]);
                Some(Value::List(pairs.collect()))
            }
            _ => None,
        });
        let children = self.children().map(|(_, cid)| Value::Link(cid.clone()));
        let list = Value::List(vec![
            self.bitmap(|slot| matches!(slot, Slot::Bucket(_))),
            self.bitmap(|slot| matches!(slot, Slot::Child(_))),
            Value::List(buckets.chain(children).collect()),
        ]);
        match &self.bat {
            None => list,
            Some(bat) => Value::map([("d", list), (BATS_KEY, Value::List(vec![bat.to_cbor()]))]),
        }
    }
}

impl FromCbor for Node {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let Value::Map(map) = value else { return from_list(value) };
        let list = map.get("d").ok_or(DecodeError::Missing { structure: "CHAMP node", key: "d" })?;
        // Only the first name counts, the reference ignores others.
        let first = map.get(BATS_KEY).map(Value::as_list).transpose()?.and_then(<[Value]>::first);
        Ok(Node { bat: first.map(BatId::from_cbor).transpose()?, ..from_list(list)? })
    }
}

fn from_list(value: &Value) -> Result<Node, DecodeError> {
    let items = value.elements("CHAMP node", 3)?;
    let (data, children, contents) = (bits(&items[0])?, bits(&items[1])?, items[2].as_list()?);
    if data & children != 0 || (data.count_ones() + children.count_ones()) as usize != contents.len() {
        return Err(DecodeError::invalid("CHAMP node", "the maps do not fit the contents"));
    }
    let (buckets, links) = contents.split_at(data.count_ones() as usize);
    let mut node = Node::default();
    for (at, content) in set_bits(data).zip(buckets) {
        node.slots[at] = Slot::Bucket(bucket(content)?);
    }
    for (at, content) in set_bits(children).zip(links.iter().rev()) {
        node.slots[at] = Slot::Child(content.as_link()?.clone());
    }
    Ok(node)
}

/// Reads a bitmap of eight slots; zero bytes may trail, as old writers left them.
fn bits(value: &Value) -> Result<u8, DecodeError> {
    match value.as_bytes()?.split_first() {
        None => Ok(0),
        Some((bits, rest)) if rest.iter().all(|byte| *byte == 0) => Ok(*bits),
        Some(_) => Err(DecodeError::invalid("CHAMP node", "a slot beyond the eighth")),
    }
}

fn set_bits(bits: u8) -> impl Iterator<Item = usize> {
    (0..SLOTS).filter(move |at| bits >> at & 1 == 1)
}

fn bucket(value: &Value) -> Result<Vec<Entry>, DecodeError> {
    let items = value.as_list()?;
    if items.is_empty() || items.len() % 2 != 0 {
        return Err(DecodeError::invalid("CHAMP bucket", format!("{} elements", items.len())));
    }
    let pairs = items.chunks_exact(2);
    pairs.map(|pair| Ok(Entry { key: pair[0].as_bytes()?.clone(), value: pair[1].clone() })).collect()
}
