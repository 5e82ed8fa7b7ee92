//! What a client asks for when it asks for guarded blocks (`spec/02` §2.7, §12.2).

use zeroize::Zeroizing;

use super::{BatWithId, malformed_text};
use crate::encoding::text;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};

/// Most chunks in one bulk lookup (`spec/02` §2.1).
pub const MAX_CAPS: usize = 20;

/// One chunk of a file tree: its map key and the token of its block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkMirrorCap {
    /// Key of the chunk in the tree, normally 32 bytes.
    pub map_key: Vec<u8>,
    /// Token of the chunk's block; legacy blocks have none.
    pub bat: Option<BatWithId>,
}

impl ChunkMirrorCap {
    /// The `caps=` parameter: multibase base58btc of the CBOR list of caps.
    pub fn list_to_text(caps: &[ChunkMirrorCap]) -> Zeroizing<String> {
        Zeroizing::new(text::multibase58(Zeroizing::new(Value::list(caps).encode())))
    }

    /// Reads the `caps=` parameter. More than [`MAX_CAPS`] are refused.
    pub fn list_from_text(text: &str) -> Result<Vec<ChunkMirrorCap>, DecodeError> {
        let bytes = Zeroizing::new(text::from_multibase58(text).map_err(malformed_text)?);
        let value = Value::decode(&bytes)?;
        let count = value.as_list()?.len();
        if count > MAX_CAPS {
            return Err(DecodeError::invalid("caps", format!("{count} chunks, at most {MAX_CAPS} in one call")));
        }
        value.as_list_of()
    }
}

impl ToCbor for ChunkMirrorCap {
    fn to_cbor(&self) -> Value {
        with_bat("m", Value::bytes(&self.map_key), &self.bat)
    }
}

impl FromCbor for ChunkMirrorCap {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("ChunkMirrorCap")?;
        Ok(ChunkMirrorCap { map_key: fields.bytes("m")?.to_vec(), bat: fields.get_optional("b")? })
    }
}

/// One raw block and its token, for reads straight from object storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockMirrorCap {
    /// The block.
    pub cid: Cid,
    /// Its token; public blocks have none.
    pub bat: Option<BatWithId>,
}

impl ToCbor for BlockMirrorCap {
    fn to_cbor(&self) -> Value {
        with_bat("h", Value::bytes(self.cid.to_bytes()), &self.bat)
    }
}

impl FromCbor for BlockMirrorCap {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BlockMirrorCap")?;
        Ok(BlockMirrorCap { cid: Cid::from_bytes(fields.bytes("h")?)?, bat: fields.get_optional("b")? })
    }
}

fn with_bat(key: &'static str, subject: Value, bat: &Option<BatWithId>) -> Value {
    let mut map = Map::default();
    map.insert(key, subject);
    if let Some(bat) = bat {
        map.insert("b", bat.to_cbor());
    }
    Value::Map(map)
}
