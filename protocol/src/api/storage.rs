//! Blocks, transactions and look-ups in trees: `api/v0/…` (`spec/04` §4).

use std::str::FromStr;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::query::malformed;
use super::{ApiError, Call, Request};
use crate::encoding::{Cid, Codec, DecodeError, FromCbor, Multihash, ToCbor, Value, text};
use crate::keys::{Owner, Writer};
use crate::merkle::bat::caps::MAX_CAPS;
use crate::merkle::bat::{BatWithId, ChunkMirrorCap};
use crate::merkle::block::{BlockStoreProperties, BlockWriteGroup, MAX_BLOCK};

/// Largest body of [`PutBlocks`] in bytes. Existing clients keep the sum of blocks at or below [`MAX_BLOCK`].
pub const MAX_PUT: usize = 4 * MAX_BLOCK;

/// Reads the text of a node's identifier: a CID, or bare base58 of a peer id (`Qm…`, `12D3…`, `1…`).
pub fn read_server_id(text: &str) -> Result<Cid, ApiError> {
    let malformed = || ApiError::Malformed("server id".to_owned());
    if let Ok(cid) = text.parse::<Cid>() {
        return Ok(cid);
    }
    let bytes = text::from_base58(text).map_err(|_| malformed())?;
    let hash = Multihash::from_bytes(&bytes).map_err(|_| malformed())?;
    match hash.code() {
        Multihash::SHA2_256 => Cid::from_bytes(&bytes).map_err(|_| malformed()),
        _ => Ok(Cid::new(Codec::Libp2pKey, hash)),
    }
}

fn json(body: &[u8]) -> Result<serde_json::Value, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::Malformed("not JSON".to_owned()))
}

fn json_text<'a>(value: &'a serde_json::Value, what: &str) -> Result<&'a str, ApiError> {
    value.as_str().ok_or_else(|| ApiError::Malformed(what.to_owned()))
}

/// `id`: which node is this? It goes into the claim of a sign-up (`spec/04` §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetServerId;

impl Call for GetServerId {
    type Output = Cid;
    const PATH: &'static str = "api/v0/id";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
    }

    fn parse(_: &Request) -> Result<Self, ApiError> {
        Ok(GetServerId)
    }

    fn write(id: &Cid) -> Bytes {
        format!("{{\"ID\":\"{id}\"}}").into()
    }

    fn read_body(&self, body: Bytes) -> Result<Cid, ApiError> {
        read_server_id(json_text(&json(&body)?["ID"], "server id")?)
    }
}

/// `ids`: current and former identifiers of a node, oldest first, the current one last (`spec/04` §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetServerIds;

impl Call for GetServerIds {
    type Output = Vec<Cid>;
    const PATH: &'static str = "api/v0/ids";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
    }

    fn parse(_: &Request) -> Result<Self, ApiError> {
        Ok(GetServerIds)
    }

    fn write(ids: &Vec<Cid>) -> Bytes {
        let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        format!("{{\"IDS\":[{}]}}", ids.join(",")).into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Cid>, ApiError> {
        let json = json(&body)?;
        let ids = json["IDS"].as_array().filter(|ids| !ids.is_empty());
        let ids = ids.ok_or_else(|| ApiError::Malformed("server ids".to_owned()))?;
        ids.iter().map(|id| read_server_id(json_text(id, "server id")?)).collect()
    }
}

/// `blockstore/props` (`spec/04` §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetStorageProperties;

impl Call for GetStorageProperties {
    type Output = BlockStoreProperties;
    const PATH: &'static str = "api/v0/blockstore/props";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
    }

    fn parse(_: &Request) -> Result<Self, ApiError> {
        Ok(GetStorageProperties)
    }

    fn write(properties: &BlockStoreProperties) -> Bytes {
        properties.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<BlockStoreProperties, ApiError> {
        Ok(BlockStoreProperties::from_bytes(&body)?)
    }
}

/// Name of a transaction: 1 to 64 of `A–Z a–z 0–9 -`. It guards the blocks put under it from collection until it is
/// closed (`spec/04` §4.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(String);

impl TransactionId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TransactionId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(malformed("transaction"));
        }
        Ok(TransactionId(text.to_owned()))
    }
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `transaction/start`: before the first put of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartTransaction {
    /// Whose blocks will be put.
    pub owner: Owner,
}

impl Call for StartTransaction {
    type Output = TransactionId;
    const PATH: &'static str = "api/v0/transaction/start";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(StartTransaction { owner: request.parameters().parsed("owner")? })
    }

    fn write(id: &TransactionId) -> Bytes {
        id.0.clone().into()
    }

    fn read_body(&self, body: Bytes) -> Result<TransactionId, ApiError> {
        let text = std::str::from_utf8(&body).map_err(|_| ApiError::Malformed("transaction id".to_owned()))?;
        text.trim().parse()
    }
}

/// `transaction/close`: after the pointer update that makes the blocks reachable, or after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseTransaction {
    /// Whose transaction it is.
    pub owner: Owner,
    /// Its name.
    pub transaction: TransactionId,
}

impl Call for CloseTransaction {
    type Output = ();
    const PATH: &'static str = "api/v0/transaction/close";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("arg", &self.transaction).with("owner", &self.owner)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(CloseTransaction { owner: parameters.parsed("owner")?, transaction: parameters.parsed("arg")? })
    }

    fn write(_: &()) -> Bytes {
        Bytes::from_static(b"1")
    }

    fn read_body(&self, body: Bytes) -> Result<(), ApiError> {
        if body.as_ref() == b"1" { Ok(()) } else { Err(ApiError::refused("The transaction was not closed")) }
    }
}

/// `block/put/bulk`: writes blocks of one writer and one kind (`spec/04` §4.5). May be repeated without harm.
#[derive(Clone, PartialEq, Eq)]
pub struct PutBlocks {
    /// Whose space the blocks go to.
    pub owner: Owner,
    /// Who signed them.
    pub writer: Writer,
    /// What guards them until a pointer reaches them.
    pub transaction: TransactionId,
    /// [`Codec::Raw`] or [`Codec::DagCbor`].
    pub codec: Codec,
    /// The blocks. Clients keep the sum of their sizes at or below [`MAX_BLOCK`].
    pub group: BlockWriteGroup,
}

impl Call for PutBlocks {
    /// Addresses of the blocks, in order. A client compares them with its own computation.
    type Output = Vec<Cid>;
    const PATH: &'static str = "api/v0/block/put/bulk";
    const MAX_BODY: usize = MAX_PUT;

    fn request(&self) -> Request {
        let body = self.group.to_bytes();
        let format = if self.codec == Codec::Raw { "raw" } else { "dag-cbor" };
        Request::new(Self::PATH)
            .with("format", format)
            .with("owner", &self.owner)
            .with("transaction", &self.transaction)
            .with("writer", &self.writer)
            .body(body)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let codec = if parameters.required("format")? == "raw" { Codec::Raw } else { Codec::DagCbor };
        let (owner, writer) = (parameters.parsed("owner")?, parameters.parsed("writer")?);
        let transaction = parameters.parsed("transaction")?;
        let body = Value::decode_shared(&request.body)?;
        let fields = body.fields("BlockWriteGroup")?;
        let (blocks, signatures) = (fields.required("b")?.as_list()?, fields.required("s")?.as_list()?);
        if blocks.len() != signatures.len() {
            let (blocks, signatures) = (blocks.len(), signatures.len());
            let text = format!("Different number of of blocks and signatures! {blocks} != {signatures}");
            return Err(ApiError::refused(text));
        }
        Ok(PutBlocks { owner, writer, transaction, codec, group: BlockWriteGroup::from_cbor(&body)? })
    }

    fn write(cids: &Vec<Cid>) -> Bytes {
        cids.iter().map(|cid| format!("{{\"Hash\":\"{cid}\"}}")).collect::<String>().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Cid>, ApiError> {
        let malformed = || ApiError::Malformed("block addresses".to_owned());
        let objects = serde_json::Deserializer::from_slice(&body).into_iter::<serde_json::Value>();
        let cids = objects.map(|object| {
            let object = object.map_err(|_| malformed())?;
            // Older nodes write `Key`, plain or as an IPLD link.
            let text = [&object["Hash"], &object["Key"], &object["Key"]["/"]].into_iter().find_map(|v| v.as_str());
            text.and_then(|text| text.parse().ok()).ok_or_else(malformed)
        });
        let cids = cids.collect::<Result<Vec<_>, _>>()?;
        if cids.len() == self.group.blocks.len() { Ok(cids) } else { Err(malformed()) }
    }
}

/// `block/get`: reads one block (`spec/04` §4.7).
#[derive(Clone, PartialEq, Eq)]
pub struct GetBlock {
    /// In whose space.
    pub owner: Owner,
    /// Which block.
    pub cid: Cid,
    /// The token of a protected block.
    pub bat: Option<BatWithId>,
}

impl Call for GetBlock {
    /// None if the node does not have it. A client hashes the bytes before it uses them: the codec does not.
    type Output = Option<Bytes>;
    const PATH: &'static str = "api/v0/block/get";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("arg", &self.cid)
            .with("owner", &self.owner)
            .with_optional("bat", self.bat.as_ref().map(|bat| bat.to_text().to_string()))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetBlock {
            owner: parameters.parsed("owner")?,
            cid: parameters.parsed("arg")?,
            bat: parameters.parsed_optional("bat")?,
        })
    }

    fn write(block: &Option<Bytes>) -> Bytes {
        block.clone().unwrap_or_default()
    }

    fn read_body(&self, body: Bytes) -> Result<Option<Bytes>, ApiError> {
        Ok(Some(body).filter(|body| !body.is_empty()))
    }
}

/// `block/stat`: size of a block in bytes, none if absent (`spec/04` §4.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBlockSize {
    /// In whose space. Existing clients leave it out.
    pub owner: Option<Owner>,
    /// Which block.
    pub cid: Cid,
}

impl Call for GetBlockSize {
    type Output = Option<u64>;
    const PATH: &'static str = "api/v0/block/stat";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("arg", &self.cid).with_optional("owner", self.owner.as_ref())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetBlockSize { owner: parameters.parsed_optional("owner")?, cid: parameters.parsed("arg")? })
    }

    fn write(size: &Option<u64>) -> Bytes {
        format!("{{\"Size\":{}}}", size.unwrap_or(0)).into()
    }

    fn read_body(&self, body: Bytes) -> Result<Option<u64>, ApiError> {
        let size = json(&body)?["Size"].as_u64().ok_or_else(|| ApiError::Malformed("block size".to_owned()))?;
        Ok(Some(size).filter(|size| *size > 0))
    }
}

/// `champ/get/bulk`: looks up to [`MAX_CAPS`] chunks up in a file tree (`spec/04` §4.8).
#[derive(Clone, PartialEq, Eq)]
pub struct LookUpChunks {
    /// In whose space.
    pub owner: Owner,
    /// Root of the tree, from the writer's data.
    pub root: Cid,
    /// Map keys of the chunks, with the tokens of their blocks.
    pub caps: Vec<ChunkMirrorCap>,
}

impl LookUpChunks {
    /// Both forms: `arg` and `caps`, or two `arg`s and a `bat` for one chunk.
    fn parse_either(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let owner = parameters.parsed("owner")?;
        let mut args = parameters.all("arg");
        let root = args.next().ok_or_else(|| ApiError::refused("No value present for parameter arg"))?;
        let root = root.parse().map_err(|_| malformed("arg"))?;
        let caps = match (args.next(), args.next()) {
            (Some(map_key), None) => {
                let map_key = text::from_hex(map_key).map_err(|_| malformed("arg"))?;
                vec![ChunkMirrorCap { map_key, bat: parameters.parsed_optional("bat")? }]
            }
            (None, _) => {
                let bytes = Zeroizing::new(parameters.base58("caps")?);
                let value = Value::decode(&bytes)?;
                let caps = value.as_list()?;
                if caps.len() > MAX_CAPS {
                    let text = format!("Too many caps in bulk champ get call! {}", caps.len());
                    return Err(ApiError::refused(text));
                }
                value.as_list_of()?
            }
            _ => return Err(malformed("arg")),
        };
        Ok(LookUpChunks { owner, root, caps })
    }
}

impl Call for LookUpChunks {
    /// The blocks of the tree on the paths to the keys, and the chunks' own. In no order; a client hashes each and
    /// repeats the look-up over them.
    type Output = Vec<Bytes>;
    const PATH: &'static str = "api/v0/champ/get/bulk";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("arg", &self.root)
            .with("owner", &self.owner)
            .with("caps", ChunkMirrorCap::list_to_text(&self.caps).as_str())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Self::parse_either(request)
    }

    fn write(blocks: &Vec<Bytes>) -> Bytes {
        Value::List(blocks.iter().cloned().map(Value::Bytes).collect()).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Bytes>, ApiError> {
        let value = Value::decode_shared(&body)?;
        let blocks = value.as_list()?.iter().map(|block| block.as_bytes().cloned());
        Ok(blocks.collect::<Result<_, DecodeError>>()?)
    }
}

/// `champ/get`: the older form of [`LookUpChunks`], for one chunk.
#[derive(Clone, PartialEq, Eq)]
pub struct LookUpChunk {
    /// In whose space.
    pub owner: Owner,
    /// Root of the tree.
    pub root: Cid,
    /// Map key of the chunk, with the token of its block.
    pub cap: ChunkMirrorCap,
}

impl Call for LookUpChunk {
    /// As for [`LookUpChunks`].
    type Output = Vec<Bytes>;
    const PATH: &'static str = "api/v0/champ/get";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("arg", &self.root)
            .with("arg", text::hex(&self.cap.map_key))
            .with("owner", &self.owner)
            .with_optional("bat", self.cap.bat.as_ref().map(|bat| bat.to_text().to_string()))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let LookUpChunks { owner, root, caps } = LookUpChunks::parse_either(request)?;
        match <[ChunkMirrorCap; 1]>::try_from(caps) {
            Ok([cap]) => Ok(LookUpChunk { owner, root, cap }),
            Err(_) => Err(malformed("caps")),
        }
    }

    fn write(blocks: &Vec<Bytes>) -> Bytes {
        LookUpChunks::write(blocks)
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Bytes>, ApiError> {
        let LookUpChunk { owner, root, cap } = self.clone();
        LookUpChunks { owner, root, caps: vec![cap] }.read_body(body)
    }
}
