//! Writer data: the public root of one writing space, the block that a pointer targets (`spec/02` §4).

use std::collections::BTreeMap;

use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{KeyHash, OwnerProof, Writer};
use crate::login::{SecretGenerationAlgorithm, UserStaticData};

use super::champ;
use super::pointer::{maybe_hash, read_maybe_hash};

pub use super::ownership::owned_key;

/// The public root of one writing space. Never guarded by a token, so that everyone may read it.
///
/// Keys that this version does not know are ignored when reading, and lost when the block is written again, as the
/// reference does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriterData {
    /// The writer's own key.
    pub controller: KeyHash,
    /// Root of the file tree; from the first file or directory on.
    pub tree: Option<Cid>,
    /// Root of the secret links; identity keys only.
    pub links: Option<Cid>,
    /// Owned keys with a label; the account of the names only.
    pub named: Option<BTreeMap<String, OwnerProof>>,
    /// Root of the owned keys. Old data may lack it; whoever writes has it, at least as the empty tree.
    pub owned: Option<Cid>,
    /// The published capabilities; identity keys only.
    pub public: Option<Cid>,
    /// The entry points of legacy accounts, encrypted; identity keys only.
    pub static_data: Option<UserStaticData>,
    /// Public boxing key for follow requests; identity keys only.
    pub inbound: Option<KeyHash>,
    /// How the account's secrets are derived; identity keys only.
    pub algorithm: Option<SecretGenerationAlgorithm>,
}

impl WriterData {
    /// The data of a new writer, which owns no key. The block of the empty tree ([`champ::empty`]) belongs to it.
    pub fn new(controller: KeyHash) -> Self {
        WriterData {
            controller,
            tree: None,
            links: None,
            named: None,
            owned: Some(champ::empty().root),
            public: None,
            static_data: None,
            inbound: None,
            algorithm: None,
        }
    }

    /// The same with other contents of `tree`, or with nothing else changed: what a merge may join (`spec/02` §11.5).
    pub fn differs_only_in_tree(&self, other: &WriterData) -> bool {
        WriterData { tree: None, ..self.clone() } == WriterData { tree: None, ..other.clone() }
    }
}

impl ToCbor for WriterData {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("controller", self.controller.to_cbor());
        let links = [("tree", &self.tree), ("links", &self.links), ("owned", &self.owned), ("public", &self.public)];
        for (key, link) in links {
            if let Some(cid) = link {
                map.insert(key, Value::Link(cid.clone()));
            }
        }
        if let Some(named) = &self.named {
            map.insert("named", Value::map(named.iter().map(|(name, proof)| (name.clone(), proof.to_cbor()))));
        }
        if let Some(sealed) = &self.static_data {
            map.insert("static", sealed.to_cbor());
        }
        if let Some(key) = &self.inbound {
            map.insert("inbound", key.to_cbor());
        }
        if let Some(algorithm) = &self.algorithm {
            map.insert("algorithm", algorithm.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for WriterData {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("WriterData")?;
        let link = |key| fields.optional(key).map(|value| value.as_link().cloned()).transpose();
        Ok(WriterData {
            controller: fields.get("controller")?,
            tree: link("tree")?,
            links: link("links")?,
            named: fields.optional("named").map(read_named).transpose()?,
            owned: link("owned")?,
            public: link("public")?,
            static_data: fields.get_optional("static")?,
            inbound: fields.get_optional("inbound")?,
            algorithm: fields.get_optional("algorithm")?,
        })
    }
}

fn read_named(value: &Value) -> Result<BTreeMap<String, OwnerProof>, DecodeError> {
    let proofs = value.as_map()?.iter();
    proofs.map(|(name, proof)| Ok((name.to_owned(), OwnerProof::from_cbor(proof)?))).collect()
}

/// Writer data as a client saw them committed; local state, never on the wire (`spec/02` §4.4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommittedWriterData {
    /// The pointer's target.
    pub target: Option<Cid>,
    /// The pointer's sequence.
    pub sequence: Option<i64>,
    /// The target's content.
    pub data: Option<WriterData>,
}

impl ToCbor for CommittedWriterData {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("h", maybe_hash(&self.target));
        if let Some(sequence) = self.sequence {
            map.insert("s", Value::Int(sequence));
        }
        if let Some(data) = &self.data {
            map.insert("p", data.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for CommittedWriterData {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("CommittedWriterData")?;
        Ok(CommittedWriterData {
            target: read_maybe_hash(fields.required("h")?)?,
            sequence: fields.optional("s").map(Value::as_int).transpose()?,
            data: fields.get_optional("p")?,
        })
    }
}

/// The state of several writers as a client saw them; local state, never on the wire (`spec/02` §4.4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// The writers, in the order of their keys.
    pub versions: BTreeMap<Writer, CommittedWriterData>,
}

impl ToCbor for Snapshot {
    fn to_cbor(&self) -> Value {
        let mut versions: Vec<_> = self.versions.iter().collect();
        versions.sort_by_key(|(writer, _)| writer.cid().to_bytes());
        Value::List(versions.into_iter().flat_map(|(writer, version)| [writer.to_cbor(), version.to_cbor()]).collect())
    }
}

impl FromCbor for Snapshot {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.as_list()?;
        if items.len() % 2 != 0 {
            return Err(DecodeError::invalid("Snapshot", "a writer without a version"));
        }
        let pairs = items.chunks_exact(2);
        let versions = pairs.map(|pair| Ok((Writer::from_cbor(&pair[0])?, CommittedWriterData::from_cbor(&pair[1])?)));
        Ok(Snapshot { versions: versions.collect::<Result<_, DecodeError>>()? })
    }
}
