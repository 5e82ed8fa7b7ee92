//! Capabilities: what it takes to find, open and change a node (`spec/03` §5).

use std::fmt;

use pyrgos_crypto::random::CryptoRng;

use super::chunk::{ChunkLabel, MapKey};
use super::name::EntryName;
use crate::encoding::cbor::Fields;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{CipherError, KeyHash, Owner, SymmetricKey, SymmetricLink, Writer};
use crate::merkle::bat::Bat;

pub mod link;

/// Why one capability does not lead to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// A capability can only be stored relative to one of the same owner.
    #[error("the target belongs to {target} and its source to {source_owner}")]
    OtherOwner {
        /// Owner of the capability that is to be stored.
        target: Owner,
        /// Owner of the capability that it is to be stored under.
        source_owner: Owner,
    },
    /// The link to the target's write key does not open.
    #[error("the link to the write key does not open")]
    WriteLink(#[from] CipherError),
}

/// Everything needed to find and open a node, and to change it if the write key is there (`spec/03` §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AbsoluteCapability {
    /// Whose node it is.
    pub owner: Owner,
    /// The writing space it lies in.
    pub writer: Writer,
    /// Its key in the writer's tree.
    pub map_key: MapKey,
    /// The token of its block; absent on old data only.
    pub bat: Option<Bat>,
    /// Opens the base block.
    pub base_key: SymmetricKey,
    /// Leads to the signer and to the write keys of children. Without it the capability only reads.
    pub base_write_key: Option<SymmetricKey>,
}

impl AbsoluteCapability {
    /// The null capability, which older structures hold where there is none.
    pub fn null() -> Self {
        AbsoluteCapability {
            owner: Owner::new(KeyHash::null()),
            writer: Writer::new(KeyHash::null()),
            map_key: MapKey::from_bytes([0; 32]),
            bat: None,
            base_key: SymmetricKey::null(),
            base_write_key: None,
        }
    }

    /// Whether it stands for no capability: a base key of 32 zero bytes, whatever the rest holds, since clients write
    /// different null capabilities (`spec/05` §2).
    pub fn is_null(&self) -> bool {
        self.base_key.key == SymmetricKey::null().key
    }

    /// Whether it gives the right to write.
    pub fn is_writable(&self) -> bool {
        self.base_write_key.is_some()
    }

    /// The same capability without the right to write.
    pub fn read_only(&self) -> Self {
        AbsoluteCapability { base_write_key: None, ..self.clone() }
    }

    /// Which node it is about, whatever the keys.
    pub fn location(&self) -> Location {
        Location { owner: self.owner.clone(), writer: self.writer.clone(), map_key: self.map_key }
    }

    /// The label of the node.
    pub fn label(&self) -> ChunkLabel {
        ChunkLabel { map_key: self.map_key, bat: self.bat.clone() }
    }

    /// The capability of another chunk of the same file or directory, which has the same keys.
    pub fn with_label(&self, label: ChunkLabel) -> Self {
        AbsoluteCapability { map_key: label.map_key, bat: label.bat, ..self.clone() }
    }
}

impl ToCbor for AbsoluteCapability {
    fn to_cbor(&self) -> Value {
        Value::Map(self.to_map())
    }
}

impl AbsoluteCapability {
    fn to_map(&self) -> Map {
        let mut map = Map::default();
        map.insert("o", self.owner.to_cbor());
        map.insert("w", self.writer.to_cbor());
        map.insert("m", self.map_key.to_cbor());
        map.insert("k", self.base_key.to_cbor());
        insert_optional(&mut map, "a", &self.bat);
        insert_optional(&mut map, "b", &self.base_write_key);
        map
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(AbsoluteCapability {
            owner: fields.get("o")?,
            writer: fields.get("w")?,
            map_key: fields.get("m")?,
            bat: fields.get_optional("a")?,
            base_key: fields.get("k")?,
            base_write_key: fields.get_optional("b")?,
        })
    }
}

impl FromCbor for AbsoluteCapability {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        AbsoluteCapability::from_fields(value.fields("AbsoluteCapability")?)
    }
}

/// A capability as a node stores it about another node, relative to its own (`spec/03` §5.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelativeCapability {
    /// The writing space, if it is not that of the source.
    pub writer: Option<Writer>,
    /// The target's key in its writer's tree.
    pub map_key: MapKey,
    /// The token of its block; absent on old data only.
    pub bat: Option<Bat>,
    /// The target's base key; in parent links the parent key.
    pub base_key: SymmetricKey,
    /// From the source's base write key to the target's.
    pub write_link: Option<SymmetricLink>,
}

impl RelativeCapability {
    /// Where the next chunk is to be, as base blocks hold it: no writer and no link to a write key, since all chunks
    /// share these.
    pub fn to_next_chunk(label: ChunkLabel, base_key: SymmetricKey) -> Self {
        RelativeCapability { writer: None, map_key: label.map_key, bat: label.bat, base_key, write_link: None }
    }

    /// A link to a parent directory or link node whose first chunk has this label and which has this parent key. The
    /// writer is given only if it is another than that of the child.
    pub fn to_parent(label: ChunkLabel, parent_key: SymmetricKey, writer: Option<Writer>) -> Self {
        RelativeCapability { writer, map_key: label.map_key, bat: label.bat, base_key: parent_key, write_link: None }
    }

    /// A capability as it is stored relative to `source`.
    ///
    /// A link to the write key is made only if both can write and the two write keys differ: equal keys are not stored,
    /// and are lost on the way back.
    ///
    /// # Errors
    /// [`CapabilityError::OtherOwner`].
    pub fn new(
        target: &AbsoluteCapability,
        source: &AbsoluteCapability,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, CapabilityError> {
        if target.owner != source.owner {
            return Err(CapabilityError::OtherOwner {
                target: target.owner.clone(),
                source_owner: source.owner.clone(),
            });
        }
        let write_link = match (&source.base_write_key, &target.base_write_key) {
            (Some(from), Some(to)) if from != to => Some(SymmetricLink::new(from, to, rng)),
            _ => None,
        };
        Ok(RelativeCapability {
            writer: (target.writer != source.writer).then(|| target.writer.clone()),
            map_key: target.map_key,
            bat: target.bat.clone(),
            base_key: target.base_key.clone(),
            write_link,
        })
    }

    /// The capability that this one is when seen from `source`. It is writable if the source is and there is a link.
    ///
    /// # Errors
    /// [`CapabilityError::WriteLink`] if the link does not open with the source's write key.
    pub fn to_absolute(&self, source: &AbsoluteCapability) -> Result<AbsoluteCapability, CapabilityError> {
        let base_write_key = match (&self.write_link, &source.base_write_key) {
            (Some(link), Some(key)) => Some(link.target(key)?),
            _ => None,
        };
        Ok(AbsoluteCapability { base_write_key, ..self.to_absolute_read_only(source) })
    }

    /// The same without the right to write; cannot fail.
    pub fn to_absolute_read_only(&self, source: &AbsoluteCapability) -> AbsoluteCapability {
        AbsoluteCapability {
            owner: source.owner.clone(),
            writer: self.writer.clone().unwrap_or_else(|| source.writer.clone()),
            map_key: self.map_key,
            bat: self.bat.clone(),
            base_key: self.base_key.clone(),
            base_write_key: None,
        }
    }

    /// Which node it is about when seen from a node of this owner and writer.
    pub fn location(&self, owner: &Owner, writer: &Writer) -> Location {
        let writer = self.writer.as_ref().unwrap_or(writer).clone();
        Location { owner: owner.clone(), writer, map_key: self.map_key }
    }

    /// The label of the target.
    pub fn label(&self) -> ChunkLabel {
        ChunkLabel { map_key: self.map_key, bat: self.bat.clone() }
    }

    fn to_map(&self) -> Map {
        let mut map = Map::default();
        map.insert("m", self.map_key.to_cbor());
        map.insert("k", self.base_key.to_cbor());
        insert_optional(&mut map, "w", &self.writer);
        insert_optional(&mut map, "a", &self.bat);
        insert_optional(&mut map, "l", &self.write_link);
        map
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(RelativeCapability {
            writer: fields.get_optional("w")?,
            map_key: fields.get("m")?,
            bat: fields.get_optional("a")?,
            base_key: fields.get("k")?,
            write_link: fields.get_optional("l")?,
        })
    }
}

impl ToCbor for RelativeCapability {
    fn to_cbor(&self) -> Value {
        Value::Map(self.to_map())
    }
}

impl FromCbor for RelativeCapability {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        RelativeCapability::from_fields(value.fields("RelativeCapability")?)
    }
}

/// What an entry of a directory tells about its child without opening it (`spec/03` §4.1). Only hints: the child's own
/// properties decide.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Whether the child is a directory.
    pub is_directory: Option<bool>,
    /// Its mime type; empty for directories.
    pub mime_type: Option<String>,
    /// When it was created, seconds since the epoch.
    pub created_secs: Option<i64>,
}

impl Hints {
    fn insert_into(&self, map: &mut Map) {
        if let Some(is_directory) = self.is_directory {
            map.insert("d", Value::Bool(is_directory));
        }
        if let Some(mime_type) = &self.mime_type {
            map.insert("t", Value::text(mime_type));
        }
        if let Some(created) = self.created_secs {
            map.insert("c", Value::Int(created));
        }
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Hints {
            is_directory: fields.optional("d").map(Value::as_bool).transpose()?,
            mime_type: fields.optional("t").map(Value::as_text).transpose()?.map(str::to_owned),
            created_secs: fields.optional("c").map(Value::as_int).transpose()?,
        })
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hints(..)")
    }
}

/// An entry of a child list: a named capability relative to the directory (`spec/03` §4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedRelativeCapability {
    /// The name; kept equal to that in the child's properties.
    pub name: EntryName,
    /// The child, relative to the directory.
    pub cap: RelativeCapability,
    /// What is told about it.
    pub hints: Hints,
}

impl ToCbor for NamedRelativeCapability {
    fn to_cbor(&self) -> Value {
        let mut map = self.cap.to_map();
        map.insert("n", Value::text(self.name.as_str()));
        self.hints.insert_into(&mut map);
        Value::Map(map)
    }
}

impl FromCbor for NamedRelativeCapability {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("NamedRelativeCapability")?;
        Ok(NamedRelativeCapability {
            name: entry_name("NamedRelativeCapability", fields)?,
            cap: RelativeCapability::from_fields(fields)?,
            hints: Hints::from_fields(fields)?,
        })
    }
}

/// A named capability that stands on its own; in memory and between parts of a client (`spec/03` §5.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedAbsoluteCapability {
    /// The name.
    pub name: EntryName,
    /// What it names.
    pub cap: AbsoluteCapability,
    /// What is told about it.
    pub hints: Hints,
}

impl ToCbor for NamedAbsoluteCapability {
    fn to_cbor(&self) -> Value {
        let mut map = self.cap.to_map();
        map.insert("n", Value::text(self.name.as_str()));
        self.hints.insert_into(&mut map);
        Value::Map(map)
    }
}

impl FromCbor for NamedAbsoluteCapability {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("NamedAbsoluteCapability")?;
        Ok(NamedAbsoluteCapability {
            name: entry_name("NamedAbsoluteCapability", fields)?,
            cap: AbsoluteCapability::from_fields(fields)?,
            hints: Hints::from_fields(fields)?,
        })
    }
}

/// Which node, without any key: the identity by which entries are matched (`spec/03` §5.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Location {
    /// Whose node it is.
    pub owner: Owner,
    /// The writing space.
    pub writer: Writer,
    /// The key in the writer's tree.
    pub map_key: MapKey,
}

impl ToCbor for Location {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.owner.to_cbor(), self.writer.to_cbor(), self.map_key.to_cbor()])
    }
}

impl FromCbor for Location {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("Location", 3)?;
        Ok(Location {
            owner: Owner::from_cbor(&elements[0])?,
            writer: Writer::from_cbor(&elements[1])?,
            map_key: MapKey::from_cbor(&elements[2])?,
        })
    }
}

/// A capability and the path of its node (`spec/03` §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct CapabilityWithPath {
    /// The capability.
    pub cap: AbsoluteCapability,
    /// The path, `/username/…`.
    pub path: String,
}

/// Says nothing of the path, which is made of names.
impl fmt::Debug for CapabilityWithPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapabilityWithPath").field("cap", &self.cap).finish_non_exhaustive()
    }
}

impl ToCbor for CapabilityWithPath {
    fn to_cbor(&self) -> Value {
        Value::map([("c", self.cap.to_cbor()), ("p", Value::text(&self.path))])
    }
}

impl FromCbor for CapabilityWithPath {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("CapabilityWithPath")?;
        Ok(CapabilityWithPath { cap: fields.get("c")?, path: fields.text("p")?.to_owned() })
    }
}

fn entry_name(structure: &'static str, fields: Fields<'_>) -> Result<EntryName, DecodeError> {
    EntryName::new(fields.text("n")?).map_err(|error| DecodeError::invalid(structure, error.to_string()))
}

fn insert_optional(map: &mut Map, key: &'static str, value: &Option<impl ToCbor>) {
    if let Some(value) = value {
        map.insert(key, value.to_cbor());
    }
}
