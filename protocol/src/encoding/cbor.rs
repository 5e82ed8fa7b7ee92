//! The CBOR of the protocol: definite lengths, signed 64 bit integers, text keys, tag 42 links, no floats
//! (`spec/01` §1).
//!
//! A codec of our own, because the protocol orders map keys by UTF-16 code units and its readers are more lenient than
//! strict DAG-CBOR (`spec/01` §1.4). Decoding is total: bounded depth, no allocation before the input proves its size.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::cid::{Cid, CidError};

/// Deepest nesting that a reader follows. No format of the protocol comes near it.
pub const MAX_DEPTH: usize = 256;

/// Items that any input may hold, however short they are. Longer inputs may hold one item for every
/// [`BYTES_PER_ITEM`] of their bytes: an item in memory is some fifty bytes, so that without a limit four megabytes of
/// small integers would take two hundred. No format of the protocol comes near it.
pub const MIN_ITEMS: usize = 1 << 16;

/// See [`MIN_ITEMS`].
pub const BYTES_PER_ITEM: usize = 8;

const LINK_TAG: u64 = 42;

/// One CBOR item.
///
/// Byte strings share the buffer they were decoded from, so decoding a block of many large strings copies nothing.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Major types 0 and 1, −2^63 … 2^63−1.
    Int(i64),
    /// Major type 2.
    Bytes(Bytes),
    /// Major type 3, valid UTF-8.
    Text(String),
    /// Major type 4.
    List(Vec<Value>),
    /// Major type 5, text keys.
    Map(Map),
    /// Tag 42 around `00 ‖ CID bytes`.
    Link(Cid),
    /// `f4`, `f5`.
    Bool(bool),
    /// `f6`.
    Null,
}

/// The shape of a value and nothing of its content: decrypted structures pass through here (invariant 6 of the design).
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bytes(bytes) => write!(f, "bytes({})", bytes.len()),
            Value::Text(text) => write!(f, "text({})", text.len()),
            Value::List(items) => write!(f, "list({})", items.len()),
            Value::Map(map) => write!(f, "map({})", map.len()),
            other => f.write_str(other.kind()),
        }
    }
}

/// Entries sorted in the canonical order: number of UTF-16 units first, then the units one by one (`spec/01` §1.2).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Map(Vec<(String, Value)>);

/// Why bytes are not the CBOR or the structure that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside an item.
    #[error("CBOR input ends inside an item")]
    Truncated,
    /// Bytes follow the item where none may.
    #[error("{0} bytes follow the CBOR item")]
    Trailing(usize),
    /// The initial byte starts nothing that this protocol has.
    #[error("unsupported CBOR initial byte {0:#04x}")]
    Unsupported(u8),
    /// A length or count says more than the input holds.
    #[error("CBOR length {0} exceeds the input")]
    TooLong(u64),
    /// An integer outside −2^63 … 2^63−1.
    #[error("CBOR integer outside the signed 64 bit range")]
    IntegerRange,
    /// Text that is no UTF-8.
    #[error("CBOR text is not UTF-8")]
    Utf8,
    /// A map key that is no text.
    #[error("CBOR map key is not text")]
    KeyType,
    /// The same key twice in one map.
    #[error("duplicate CBOR map key")]
    DuplicateKey,
    /// Any tag but 42.
    #[error("unsupported CBOR tag {0}")]
    Tag(u64),
    /// Tag 42 around something that is no link.
    #[error("malformed link: {0}")]
    Link(#[from] CidError),
    /// More items than an input of this length may hold ([`MIN_ITEMS`]).
    #[error("too many CBOR items for the length of the input")]
    TooManyItems,
    /// More than [`MAX_DEPTH`] levels.
    #[error("CBOR nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Readable, but not the one canonical form that a content address demands.
    #[error("CBOR is not in canonical form")]
    NotCanonical,
    /// The structure lacks a key that it must have.
    #[error("{structure} lacks the key `{key}`")]
    Missing {
        /// Name of the structure.
        structure: &'static str,
        /// The absent key.
        key: &'static str,
    },
    /// The value has another CBOR type than the structure demands.
    #[error("expected {expected} but found {found}")]
    Type {
        /// What the structure demands.
        expected: &'static str,
        /// What the input holds.
        found: &'static str,
    },
    /// The value has the right type, but a content that the structure forbids.
    #[error("invalid {structure}: {reason}")]
    Invalid {
        /// Name of the structure.
        structure: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl DecodeError {
    /// A content that the structure forbids. `reason` must not repeat secret or decrypted content.
    pub fn invalid(structure: &'static str, reason: impl Into<String>) -> Self {
        DecodeError::Invalid { structure, reason: reason.into() }
    }
}

/// A structure that has one canonical CBOR form.
pub trait ToCbor {
    /// The structure as a CBOR item.
    fn to_cbor(&self) -> Value;

    /// The canonical bytes.
    fn to_bytes(&self) -> Vec<u8> {
        self.to_cbor().encode()
    }

    /// The canonical bytes of a structure that holds secrets, wiped when dropped.
    fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.to_bytes())
    }
}

/// A structure that can be read from CBOR. Unknown keys are ignored (`spec/01` §1.3).
pub trait FromCbor: Sized {
    /// Reads the structure from a decoded item.
    fn from_cbor(value: &Value) -> Result<Self, DecodeError>;

    /// Reads the structure from bytes that hold it and nothing else.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_cbor(&Value::decode(bytes)?)
    }

    /// Reads the structure from the first item of decrypted, padded bytes; what follows is ignored (`spec/01` §1.3).
    fn from_padded(bytes: &Bytes) -> Result<Self, DecodeError> {
        Self::from_cbor(&Value::decode_first(bytes)?.0)
    }
}

impl ToCbor for Value {
    fn to_cbor(&self) -> Value {
        self.clone()
    }
}

impl FromCbor for Value {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(value.clone())
    }
}

impl Value {
    /// A byte string with a copy of `bytes`.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bytes(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// A byte string with a copy of `bytes` that is wiped when its last user drops it.
    pub fn secret_bytes(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bytes(Bytes::from_owner(Zeroizing::new(bytes.as_ref().to_vec())))
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// A list of structures.
    pub fn list<'a, T: ToCbor + 'a>(items: impl IntoIterator<Item = &'a T>) -> Value {
        Value::List(items.into_iter().map(ToCbor::to_cbor).collect())
    }

    /// A map of the given entries. A key given twice keeps the last value.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(entries.into_iter().collect())
    }

    /// Decodes a whole input that holds exactly one item, in any form that readers accept.
    pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
        Value::decode_shared(&Bytes::copy_from_slice(bytes))
    }

    /// As [`Value::decode`], without copying: byte strings are slices of `bytes`.
    pub fn decode_shared(bytes: &Bytes) -> Result<Value, DecodeError> {
        let (value, used) = Value::decode_first(bytes)?;
        match bytes.len() - used {
            0 => Ok(value),
            trailing => Err(DecodeError::Trailing(trailing)),
        }
    }

    /// The value at a key of the map that an input holds, of at most `max_items` items; none if there is no such key, or
    /// the input is no map. All else is read over and takes no memory.
    pub fn decode_entry(bytes: &Bytes, key: &str, max_items: usize) -> Result<Option<Value>, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.items_left = reader.items_left.min(max_items);
        let mut found = None;
        let (major, argument) = reader.head()?;
        if major == 5 {
            for _ in 0..reader.length(argument, 2)? {
                if reader.key()? != key.as_bytes() {
                    reader.skip(1)?;
                } else if found.replace(reader.item(1)?).is_some() {
                    return Err(DecodeError::DuplicateKey);
                }
            }
        } else {
            reader.position = 0;
            reader.skip(0)?;
        }
        match bytes.len() - reader.position {
            0 => Ok(found),
            trailing => Err(DecodeError::Trailing(trailing)),
        }
    }

    /// Decodes the first item and tells how many bytes it took. Byte strings are slices of `bytes`.
    pub fn decode_first(bytes: &Bytes) -> Result<(Value, usize), DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.item(0)?;
        Ok((value, reader.position))
    }

    /// Decodes a block: exactly one item, in the one form that the writer's rules give (`spec/02` §2.1).
    pub fn decode_canonical(bytes: &Bytes) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.item(0)?;
        match bytes.len() - reader.position {
            0 if reader.canonical => Ok(value),
            0 => Err(DecodeError::NotCanonical),
            trailing => Err(DecodeError::Trailing(trailing)),
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out
    }

    /// Appends the canonical bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Value::Int(value) if *value >= 0 => write_head(out, 0, *value as u64),
            Value::Int(value) => write_head(out, 1, !*value as u64),
            Value::Bytes(bytes) => {
                write_head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Text(text) => write_text(out, text),
            Value::List(items) => {
                write_head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.encode_into(out));
            }
            Value::Map(map) => {
                write_head(out, 5, map.0.len() as u64);
                for (key, value) in &map.0 {
                    write_text(out, key);
                    value.encode_into(out);
                }
            }
            Value::Link(cid) => {
                let bytes = cid.to_bytes();
                write_head(out, 6, LINK_TAG);
                write_head(out, 2, bytes.len() as u64 + 1);
                out.push(0);
                out.extend_from_slice(&bytes);
            }
            Value::Bool(false) => out.push(0xf4),
            Value::Bool(true) => out.push(0xf5),
            Value::Null => out.push(0xf6),
        }
    }

    /// Number of bytes that [`Value::encode`] gives.
    pub fn encoded_len(&self) -> usize {
        match self {
            Value::Int(value) => head_len(if *value >= 0 { *value as u64 } else { !*value as u64 }),
            Value::Bytes(bytes) => head_len(bytes.len() as u64) + bytes.len(),
            Value::Text(text) => head_len(text.len() as u64) + text.len(),
            Value::List(items) => head_len(items.len() as u64) + items.iter().map(Value::encoded_len).sum::<usize>(),
            Value::Map(map) => {
                let entries = map.0.iter();
                head_len(map.0.len() as u64)
                    + entries.map(|(k, v)| head_len(k.len() as u64) + k.len() + v.encoded_len()).sum::<usize>()
            }
            Value::Link(cid) => {
                let len = cid.encoded_len() + 1;
                2 + head_len(len as u64) + len
            }
            Value::Bool(_) | Value::Null => 1,
        }
    }

    /// Every link in the item, in the order of its bytes, duplicates included.
    pub fn links(&self) -> Vec<Cid> {
        let mut links = Vec::new();
        self.collect_links(&mut links);
        links
    }

    fn collect_links(&self, links: &mut Vec<Cid>) {
        match self {
            Value::Link(cid) => links.push(cid.clone()),
            Value::List(items) => items.iter().for_each(|item| item.collect_links(links)),
            Value::Map(map) => map.0.iter().for_each(|(_, value)| value.collect_links(links)),
            _ => {}
        }
    }

    /// Name of the CBOR type, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) => "integer",
            Value::Bytes(_) => "bytes",
            Value::Text(_) => "text",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Link(_) => "link",
            Value::Bool(_) => "bool",
            Value::Null => "null",
        }
    }

    fn mismatch(&self, expected: &'static str) -> DecodeError {
        DecodeError::Type { expected, found: self.kind() }
    }

    /// The integer, or a type error.
    pub fn as_int(&self) -> Result<i64, DecodeError> {
        match self {
            Value::Int(value) => Ok(*value),
            other => Err(other.mismatch("integer")),
        }
    }

    /// The byte string, sharing the buffer.
    pub fn as_bytes(&self) -> Result<&Bytes, DecodeError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other.mismatch("bytes")),
        }
    }

    /// A byte string of exactly `N` bytes.
    pub fn as_array<const N: usize>(&self, structure: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.as_bytes()?;
        bytes
            .as_ref()
            .try_into()
            .map_err(|_| DecodeError::invalid(structure, format!("{} bytes instead of {N}", bytes.len())))
    }

    /// The text, or a type error.
    pub fn as_text(&self) -> Result<&str, DecodeError> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(other.mismatch("text")),
        }
    }

    /// The list, or a type error.
    pub fn as_list(&self) -> Result<&[Value], DecodeError> {
        match self {
            Value::List(items) => Ok(items),
            other => Err(other.mismatch("list")),
        }
    }

    /// A list whose items are all of one structure.
    pub fn as_list_of<T: FromCbor>(&self) -> Result<Vec<T>, DecodeError> {
        self.as_list()?.iter().map(T::from_cbor).collect()
    }

    /// The map, or a type error.
    pub fn as_map(&self) -> Result<&Map, DecodeError> {
        match self {
            Value::Map(map) => Ok(map),
            other => Err(other.mismatch("map")),
        }
    }

    /// The link, or a type error.
    pub fn as_link(&self) -> Result<&Cid, DecodeError> {
        match self {
            Value::Link(cid) => Ok(cid),
            other => Err(other.mismatch("link")),
        }
    }

    /// The boolean, or a type error.
    pub fn as_bool(&self) -> Result<bool, DecodeError> {
        match self {
            Value::Bool(value) => Ok(*value),
            other => Err(other.mismatch("bool")),
        }
    }

    /// The elements of a map that stands for the named structure.
    pub fn fields(&self, structure: &'static str) -> Result<Fields<'_>, DecodeError> {
        Ok(Fields { structure, map: self.as_map()? })
    }

    /// The elements of a list that stands for the named structure; at least `min` of them.
    pub fn elements(&self, structure: &'static str, min: usize) -> Result<&[Value], DecodeError> {
        let items = self.as_list()?;
        if items.len() < min {
            return Err(DecodeError::invalid(structure, format!("{} elements instead of {min}", items.len())));
        }
        Ok(items)
    }
}

/// A map that is read as a named structure.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    structure: &'static str,
    map: &'a Map,
}

impl<'a> Fields<'a> {
    /// The value of a key that must be there.
    pub fn required(&self, key: &'static str) -> Result<&'a Value, DecodeError> {
        self.map.get(key).ok_or(DecodeError::Missing { structure: self.structure, key })
    }

    /// The value of a key that may be absent. Null is a value, not an absence.
    pub fn optional(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// A required structure.
    pub fn get<T: FromCbor>(&self, key: &'static str) -> Result<T, DecodeError> {
        T::from_cbor(self.required(key)?)
    }

    /// An optional structure.
    pub fn get_optional<T: FromCbor>(&self, key: &str) -> Result<Option<T>, DecodeError> {
        self.optional(key).map(T::from_cbor).transpose()
    }

    /// A required integer.
    pub fn int(&self, key: &'static str) -> Result<i64, DecodeError> {
        self.required(key)?.as_int()
    }

    /// A required text.
    pub fn text(&self, key: &'static str) -> Result<&'a str, DecodeError> {
        self.required(key)?.as_text()
    }

    /// A required byte string.
    pub fn bytes(&self, key: &'static str) -> Result<&'a Bytes, DecodeError> {
        self.required(key)?.as_bytes()
    }
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).ok().map(|at| &self.0[at].1)
    }

    /// Sets a key; an earlier value is replaced.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.position(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Entries in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(existing, _)| canonical_order(existing, key))
    }
}

impl<K: Into<String>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        let mut map = Map::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

/// Order of map keys: fewer UTF-16 units first, then unit by unit as unsigned numbers (`spec/01` §1.2 rule 2).
pub fn canonical_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()));
    }
    let units = |text: &str| text.encode_utf16().count();
    units(a).cmp(&units(b)).then_with(|| a.encode_utf16().cmp(b.encode_utf16()))
}

fn head_len(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match head_len(argument) {
        1 => out.push(major | argument as u8),
        2 => out.extend_from_slice(&[major | 24, argument as u8]),
        3 => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        5 => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    input: &'a Bytes,
    position: usize,
    /// Whether everything read so far was in the writer's one form.
    canonical: bool,
    /// Items that may still come.
    items_left: usize,
}

impl<'a> Reader<'a> {
    fn new(input: &'a Bytes) -> Self {
        Reader { input, position: 0, canonical: true, items_left: MIN_ITEMS.max(input.len() / BYTES_PER_ITEM) }
    }

    fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let end = self.position.checked_add(len).ok_or(DecodeError::Truncated)?;
        let slice = self.input.get(self.position..end).ok_or(DecodeError::Truncated)?;
        self.position = end;
        Ok(slice)
    }

    /// Major type and argument of the next head.
    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let first = self.take(1)?[0];
        let argument = match first & 0x1f {
            small @ 0..=23 => u64::from(small),
            24 => u64::from(self.take(1)?[0]),
            25 => u64::from(u16::from_be_bytes(array(self.take(2)?))),
            26 => u64::from(u32::from_be_bytes(array(self.take(4)?))),
            27 => u64::from_be_bytes(array(self.take(8)?)),
            // 28–30 are reserved, 31 is an indefinite length or a lone break.
            _ => return Err(DecodeError::Unsupported(first)),
        };
        let long_form = match first & 0x1f {
            0..=23 => 1,
            24 => 2,
            25 => 3,
            26 => 5,
            _ => 9,
        };
        if first >> 5 != 7 && long_form != head_len(argument) {
            self.canonical = false;
        }
        if first >> 5 == 7 && !(0xf4..=0xf6).contains(&first) {
            return Err(DecodeError::Unsupported(first));
        }
        Ok((first >> 5, argument))
    }

    /// A length that the rest of the input can hold, with at least `unit` bytes for each counted thing.
    fn length(&self, argument: u64, unit: usize) -> Result<usize, DecodeError> {
        let remaining = (self.input.len() - self.position) / unit;
        usize::try_from(argument).ok().filter(|len| *len <= remaining).ok_or(DecodeError::TooLong(argument))
    }

    fn string(&mut self, argument: u64) -> Result<Bytes, DecodeError> {
        let len = self.length(argument, 1)?;
        let start = self.position;
        self.position += len;
        Ok(self.input.slice(start..start + len))
    }

    fn utf8(&mut self, argument: u64) -> Result<String, DecodeError> {
        let bytes = self.string(argument)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| DecodeError::Utf8)
    }

    fn item(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::Depth);
        }
        self.items_left = self.items_left.checked_sub(1).ok_or(DecodeError::TooManyItems)?;
        let (major, argument) = self.head()?;
        match major {
            0 => i64::try_from(argument).map(Value::Int).map_err(|_| DecodeError::IntegerRange),
            1 => i64::try_from(argument).map(|n| Value::Int(!n)).map_err(|_| DecodeError::IntegerRange),
            2 => self.string(argument).map(Value::Bytes),
            3 => self.utf8(argument).map(Value::Text),
            4 => {
                let count = self.length(argument, 1)?;
                let mut items = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    items.push(self.item(depth + 1)?);
                }
                Ok(Value::List(items))
            }
            5 => self.map(argument, depth).map(Value::Map),
            6 if argument == LINK_TAG => self.link().map(Value::Link),
            6 => Err(DecodeError::Tag(argument)),
            _ => Ok(match argument {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                _ => Value::Null,
            }),
        }
    }

    /// The bytes of a map's key.
    fn key(&mut self) -> Result<Bytes, DecodeError> {
        match self.head()? {
            (3, argument) => self.string(argument),
            _ => Err(DecodeError::KeyType),
        }
    }

    /// Reads an item over. Its structure is checked, its texts are not.
    fn skip(&mut self, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::Depth);
        }
        let (major, argument) = self.head()?;
        match major {
            2 | 3 => self.position += self.length(argument, 1)?,
            4 => {
                for _ in 0..self.length(argument, 1)? {
                    self.skip(depth + 1)?;
                }
            }
            5 => {
                for _ in 0..self.length(argument, 2)? {
                    self.key()?;
                    self.skip(depth + 1)?;
                }
            }
            6 if argument == LINK_TAG => drop(self.link()?),
            6 => return Err(DecodeError::Tag(argument)),
            _ => {}
        }
        Ok(())
    }

    fn map(&mut self, argument: u64, depth: usize) -> Result<Map, DecodeError> {
        let count = self.length(argument, 2)?;
        let mut entries: Vec<(String, Value)> = Vec::with_capacity(count.min(64));
        let mut sorted = true;
        for _ in 0..count {
            let (major, argument) = self.head()?;
            if major != 3 {
                return Err(DecodeError::KeyType);
            }
            let key = self.utf8(argument)?;
            if let Some((last, _)) = entries.last() {
                match canonical_order(last, &key) {
                    Ordering::Less => {}
                    Ordering::Equal => return Err(DecodeError::DuplicateKey),
                    Ordering::Greater => sorted = false,
                }
            }
            let value = self.item(depth + 1)?;
            entries.push((key, value));
        }
        if !sorted {
            self.canonical = false;
            entries.sort_by(|(a, _), (b, _)| canonical_order(a, b));
            if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(DecodeError::DuplicateKey);
            }
        }
        Ok(Map(entries))
    }

    fn link(&mut self) -> Result<Cid, DecodeError> {
        let (major, argument) = self.head()?;
        match major {
            2 => {
                let bytes = self.string(argument)?;
                match bytes.split_first() {
                    Some((0, cid)) => Ok(Cid::from_bytes(cid)?),
                    _ => Err(DecodeError::Link(CidError::Malformed)),
                }
            }
            // Old writers put the text form here; accepted, never written (`spec/01` §1.3).
            3 => {
                self.canonical = false;
                Ok(self.utf8(argument)?.parse()?)
            }
            _ => Err(DecodeError::Link(CidError::Malformed)),
        }
    }
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(slice);
    out
}
