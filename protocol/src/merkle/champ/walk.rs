//! Finding one mapping, and visiting all (`spec/02` §6.5, §6.10).

use bytes::Bytes;

use super::{BlockSource, Champ, ChampError, Entry, MAX_DEPTH, Node, Slot, slot};
use crate::encoding::{Cid, Value};

/// The way to one key, and what is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// The nodes on the way from the root on, which prove the value or its absence.
    pub nodes: Vec<(Cid, Bytes)>,
    /// The value, if the key is present.
    pub value: Option<Value>,
}

impl<S: BlockSource> Champ<S> {
    /// The value of a key.
    pub async fn get(&self, root: &Cid, key: &[u8]) -> Result<Option<Value>, ChampError<S::Error>> {
        Ok(self.lookup(root, key).await?.value)
    }

    /// The value of a key in a tree whose root is at hand.
    pub async fn get_in(&self, root: &Node, key: &[u8]) -> Result<Option<Value>, ChampError<S::Error>> {
        match find(root, key, &self.hashing.hash(key), 0) {
            Found::Value(value) => Ok(value),
            Found::Below(child) => Ok(self.lookup_from(child, 1, key).await?.value),
        }
    }

    /// The value of a key and the nodes that prove it.
    pub async fn lookup(&self, root: &Cid, key: &[u8]) -> Result<Lookup, ChampError<S::Error>> {
        self.lookup_from(root.clone(), 0, key).await
    }

    async fn lookup_from(&self, start: Cid, depth: usize, key: &[u8]) -> Result<Lookup, ChampError<S::Error>> {
        let hash = self.hashing.hash(key);
        let mut nodes = Vec::new();
        let mut at = start;
        for depth in depth..=MAX_DEPTH {
            let loaded = self.recall(&at).await?;
            let (node, block) = &*loaded;
            nodes.push((at, block.clone()));
            match find(node, key, &hash, depth) {
                Found::Value(value) => return Ok(Lookup { nodes, value }),
                Found::Below(child) => at = child,
            }
        }
        Err(ChampError::TooDeep)
    }

    /// All mappings, in the order of the blocks; those with a null value too.
    pub fn entries(&self, root: &Cid) -> Entries<'_, S> {
        Entries { champ: self, pending: vec![Pending::Node(root.clone(), Vec::new())] }
    }

    /// As [`Self::entries`], in a tree whose root is at hand.
    pub fn entries_in(&self, root: &Node) -> Entries<'_, S> {
        let mut entries = Entries { champ: self, pending: Vec::new() };
        entries.push(root, &[]);
        entries
    }

    /// Number of mappings, those with a null value included.
    pub async fn size(&self, root: &Cid) -> Result<u64, ChampError<S::Error>> {
        let mut entries = self.entries(root);
        let mut size = 0;
        while entries.next().await?.is_some() {
            size += 1;
        }
        Ok(size)
    }
}

enum Found {
    Value(Option<Value>),
    Below(Cid),
}

fn find(node: &Node, key: &[u8], hash: &[u8], depth: usize) -> Found {
    match &node.slots[slot(hash, depth)] {
        Slot::Empty => Found::Value(None),
        Slot::Bucket(entries) => {
            let entry = entries.iter().find(|entry| entry.key == key);
            Found::Value(entry.and_then(Entry::present).cloned())
        }
        Slot::Child(child) => Found::Below(child.clone()),
    }
}

/// Goes through all mappings of a tree, fetching nodes as it comes to them.
#[derive(Debug)]
pub struct Entries<'a, S> {
    champ: &'a Champ<S>,
    /// What is still to be visited, the next one last.
    pending: Vec<Pending>,
}

#[derive(Debug)]
enum Pending {
    Entry(Entry),
    Node(Cid, Vec<u8>),
}

impl<S: BlockSource> Entries<'_, S> {
    /// The next mapping, or none at the end.
    pub async fn next(&mut self) -> Result<Option<Entry>, ChampError<S::Error>> {
        while let Some(pending) = self.pending.pop() {
            let (cid, path) = match pending {
                Pending::Entry(entry) => return Ok(Some(entry)),
                Pending::Node(cid, path) => (cid, path),
            };
            if path.len() > MAX_DEPTH {
                return Err(ChampError::TooDeep);
            }
            let (node, _) = self.champ.load(&cid).await?;
            self.champ.check_place(&node, &path)?;
            self.push(&node, &path);
        }
        Ok(None)
    }

    fn push(&mut self, node: &Node, path: &[u8]) {
        let children = node.children().map(|(at, cid)| Pending::Node(cid.clone(), [path, &[at as u8]].concat()));
        let mut contents: Vec<Pending> = node.entries().map(|(_, entry)| Pending::Entry(entry.clone())).collect();
        contents.extend(children);
        self.pending.extend(contents.into_iter().rev());
    }
}
