//! Reading and writing straight from and to a server's object storage (`spec/02` §2.7).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::merkle::bat::BatId;

/// What a server's storage offers besides the calls. A server without object storage offers nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockStoreProperties {
    /// Clients may ask for URLs to write to.
    pub direct_writes: bool,
    /// Anyone may read public blocks below [`Self::public_url`].
    pub public_reads: bool,
    /// Clients may ask for URLs to read from.
    pub authorised_reads: bool,
    /// Base URL of public reads.
    pub public_url: Option<String>,
    /// Base URL of authorised reads.
    pub authorised_url: Option<String>,
}

impl ToCbor for BlockStoreProperties {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("w", Value::Bool(self.direct_writes));
        map.insert("pr", Value::Bool(self.public_reads));
        map.insert("ar", Value::Bool(self.authorised_reads));
        if let Some(url) = &self.public_url {
            map.insert("b", Value::text(url));
        }
        if let Some(url) = &self.authorised_url {
            map.insert("ba", Value::text(url));
        }
        Value::Map(map)
    }
}

impl FromCbor for BlockStoreProperties {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BlockStoreProperties")?;
        let url = |key| fields.optional(key).map(|url| url.as_text().map(str::to_owned)).transpose();
        Ok(BlockStoreProperties {
            direct_writes: fields.required("w")?.as_bool()?,
            public_reads: fields.required("pr")?.as_bool()?,
            authorised_reads: fields.required("ar")?.as_bool()?,
            public_url: url("b")?,
            authorised_url: url("ba")?,
        })
    }
}

/// One block that a client wants to write by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectWrite {
    /// The writer's attached signature over the block's SHA-256; the block's address comes from it.
    pub signature: Bytes,
    /// The block's size in bytes.
    pub len: u64,
    /// The tokens that guard it.
    pub bats: Vec<BatId>,
}

/// The request for URLs to write raw blocks to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteAuthRequest {
    /// At most [`super::MAX_BLOCKS_PER_AUTH`] blocks.
    pub blocks: Vec<DirectWrite>,
}

impl ToCbor for WriteAuthRequest {
    fn to_cbor(&self) -> Value {
        let list = |part: fn(&DirectWrite) -> Value| -> Value { Value::List(self.blocks.iter().map(part).collect()) };
        Value::map([
            ("s", list(|block| Value::Bytes(block.signature.clone()))),
            ("l", list(|block| Value::Int(block.len.try_into().unwrap_or(i64::MAX)))),
            ("b", list(|block| Value::list(&block.bats))),
        ])
    }
}

impl FromCbor for WriteAuthRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("WriteAuthRequest", reason);
        let fields = value.fields("WriteAuthRequest")?;
        let list = |key| fields.required(key)?.as_list();
        let (signatures, lens, bats) = (list("s")?, list("l")?, list("b")?);
        if signatures.len() != lens.len() || signatures.len() != bats.len() {
            return Err(invalid("different counts of signatures, sizes and tokens"));
        }
        if signatures.len() > super::MAX_BLOCKS_PER_AUTH {
            return Err(invalid("too many blocks"));
        }
        let blocks = signatures.iter().zip(lens).zip(bats).map(|((signature, len), bats)| {
            Ok(DirectWrite {
                signature: signature.as_bytes()?.clone(),
                len: u64::try_from(len.as_int()?).map_err(|_| invalid("negative size"))?,
                bats: bats.as_list_of()?,
            })
        });
        Ok(WriteAuthRequest { blocks: blocks.collect::<Result<_, DecodeError>>()? })
    }
}

/// A URL that allows one request without further authority, and the headers that belong to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresignedUrl {
    /// The URL.
    pub url: String,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
}

impl ToCbor for PresignedUrl {
    fn to_cbor(&self) -> Value {
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), Value::text(value)));
        Value::map([("b", Value::text(&self.url)), ("h", Value::map(headers))])
    }
}

impl FromCbor for PresignedUrl {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("PresignedUrl")?;
        let headers = fields.required("h")?.as_map()?.iter();
        Ok(PresignedUrl {
            url: fields.text("b")?.to_owned(),
            headers: headers
                .map(|(name, value)| Ok((name.to_owned(), value.as_text()?.to_owned())))
                .collect::<Result<_, DecodeError>>()?,
        })
    }
}
