//! Looking many keys up in one call: what a server collects, and what its answer proves (`spec/02` §12.2).

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::FutureExt;

use super::{BlockSource, Champ, ChampError, KeyHashing, MemoryBlocks};
use crate::encoding::{Cid, Value};

/// What a server found for some keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BulkLookup {
    /// The nodes on the ways to the keys, each once. They are served without tokens.
    pub nodes: Vec<(Cid, Bytes)>,
    /// For each key the block that it links to, which a token may guard; none for absent keys.
    pub values: Vec<Option<Cid>>,
}

/// What a set of blocks says about one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The key has this value.
    Present(Value),
    /// The tree does not have the key.
    Absent,
    /// The next node on the way is not in the set, and has to be fetched by itself.
    Incomplete(Cid),
}

impl<S: BlockSource> Champ<S> {
    /// Collects the nodes that prove the values, or the absence, of the keys. The value blocks are left to the caller,
    /// who checks their tokens.
    pub async fn bulk<K: AsRef<[u8]>>(
        &self,
        root: &Cid,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BulkLookup, ChampError<S::Error>> {
        let mut found = BulkLookup::default();
        let mut seen = HashSet::new();
        for key in keys {
            let lookup = self.lookup(root, key.as_ref()).await?;
            found.nodes.extend(lookup.nodes.into_iter().filter(|(cid, _)| seen.insert(cid.clone())));
            found.values.push(match lookup.value {
                Some(Value::Link(cid)) => Some(cid),
                _ => None,
            });
        }
        Ok(found)
    }
}

/// What the blocks of an answer prove about a key of the tree below `root`. Forged blocks are not found, since
/// [`MemoryBlocks::of_cbor`] keeps each under its own hash; a malformed tree is an error.
pub fn prove(
    answer: &MemoryBlocks,
    hashing: KeyHashing,
    root: &Cid,
    key: &[u8],
) -> Result<Proof, ChampError<std::convert::Infallible>> {
    let champ = Champ::new(answer, hashing);
    // A source in memory never waits, so the lookup is finished at its first poll.
    match champ.lookup(root, key).now_or_never() {
        Some(Ok(lookup)) => Ok(lookup.value.map_or(Proof::Absent, Proof::Present)),
        Some(Err(ChampError::Missing(cid))) => Ok(Proof::Incomplete(cid)),
        Some(Err(other)) => Err(other),
        None => Ok(Proof::Incomplete(root.clone())),
    }
}
