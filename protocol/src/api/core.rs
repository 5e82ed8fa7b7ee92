//! Names: `peergos/v0/core/…` (`spec/04` §6). Bodies are [frames](super::frame), not CBOR.

use std::fmt;
use std::io::Read;

use bytes::Bytes;

use super::frame::{MAX_TEXT, Reader, Writer as FrameWriter};
use super::{ApiError, Call, Request};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{MAX_PROOF_BYTES, Owner, ProofOfWork};
use crate::merkle::bat::BatWithId;
use crate::migration::UserSnapshot;
use crate::names::sign_up::MAX_LOG_BYTES;
use crate::names::{Chain, OperationLog, Username};

/// Largest claim or chain in a request, in bytes (`spec/04` §2.8 lets 4 MiB pass; a chain of ten keys has 3 KiB).
pub const MAX_CHAIN: usize = 64 * 1024;

/// Largest list of all names that a client takes, in bytes after decompression.
pub const MAX_USERNAMES: u64 = 16 << 20;

const MAX_LINK: usize = 256;

/// Reads a name that somebody may have. The text of the failure is the one that existing clients know.
pub(super) fn read_name(frame: &mut Reader) -> Result<Username, ApiError> {
    Username::existing(&frame.text()?).map_err(|_| ApiError::refused("Invalid username"))
}

/// `getPublicKey`: the present owner of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetPublicKey {
    /// The name.
    pub username: Username,
}

impl Call for GetPublicKey {
    /// None if nobody owns the name.
    type Output = Option<Owner>;
    const PATH: &'static str = "peergos/v0/core/getPublicKey";
    const MAX_BODY: usize = MAX_TEXT + 4;

    fn request(&self) -> Request {
        Request::new(Self::PATH).body(FrameWriter::new().text(self.username.as_str()).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(GetPublicKey { username: read_name(&mut Reader::new(request.body.clone()))? })
    }

    fn write(owner: &Option<Owner>) -> Bytes {
        let frame = FrameWriter::new().bool(owner.is_some());
        match owner {
            Some(owner) => frame.bytes(&owner.to_bytes()).finish(),
            None => frame.finish(),
        }
    }

    fn read_body(&self, body: Bytes) -> Result<Option<Owner>, ApiError> {
        let mut frame = Reader::new(body);
        Ok(if frame.bool()? { Some(Owner::from_bytes(&frame.bytes(MAX_LINK)?)?) } else { None })
    }
}

/// `getChain`: the claims of a name. A client verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetChain {
    /// The name.
    pub username: Username,
}

impl Call for GetChain {
    /// Empty if nobody owns the name.
    type Output = Chain;
    const PATH: &'static str = "peergos/v0/core/getChain";
    const MAX_BODY: usize = MAX_TEXT + 4;

    fn request(&self) -> Request {
        Request::new(Self::PATH).body(FrameWriter::new().text(self.username.as_str()).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(GetChain { username: read_name(&mut Reader::new(request.body.clone()))? })
    }

    fn write(chain: &Chain) -> Bytes {
        chain.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Chain, ApiError> {
        Ok(Chain::from_bytes(&body)?)
    }
}

/// `getUsername`: the name of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetUsername {
    /// The identity.
    pub owner: Owner,
}

impl Call for GetUsername {
    type Output = Username;
    const PATH: &'static str = "peergos/v0/core/getUsername";
    const MAX_BODY: usize = MAX_LINK + 4;

    fn request(&self) -> Request {
        Request::new(Self::PATH).body(FrameWriter::new().bytes(&self.owner.to_bytes()).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let link = Reader::new(request.body.clone()).bytes(MAX_LINK)?;
        Ok(GetUsername { owner: Owner::from_bytes(&link)? })
    }

    fn write(username: &Username) -> Bytes {
        FrameWriter::new().text(username.as_str()).finish()
    }

    fn read_body(&self, body: Bytes) -> Result<Username, ApiError> {
        read_name(&mut Reader::new(body))
    }
}

/// `getUsernamesGzip/<prefix>`: names that begin with a text, for completion while somebody types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetUsernames {
    /// How the names begin. Existing nodes ignore it.
    pub prefix: String,
}

impl Call for GetUsernames {
    type Output = Vec<Username>;
    const PATH: &'static str = "peergos/v0/core/getUsernamesGzip/";

    fn request(&self) -> Request {
        Request::new(format!("{}{}", Self::PATH, self.prefix))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let prefix = request.path.strip_prefix(Self::PATH).ok_or(ApiError::NotFound)?;
        Ok(GetUsernames { prefix: prefix.to_owned() })
    }

    /// A gzipped JSON list.
    fn write(names: &Vec<Username>) -> Bytes {
        let names: Vec<&str> = names.iter().map(Username::as_str).collect();
        let mut gzip = flate2::read::GzEncoder::new(
            std::io::Cursor::new(serde_json::Value::from(names).to_string()),
            flate2::Compression::default(),
        );
        let mut out = Vec::new();
        // Reading from memory into memory cannot fail.
        let _ = gzip.read_to_end(&mut out);
        out.into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<Username>, ApiError> {
        let malformed = || ApiError::Malformed("list of names".to_owned());
        let mut json = Vec::new();
        // A transport that understands `Content-Encoding` may have decompressed already.
        if body.starts_with(&[0x1f, 0x8b]) {
            let mut gzip = flate2::read::GzDecoder::new(body.as_ref()).take(MAX_USERNAMES);
            gzip.read_to_end(&mut json).map_err(|_| malformed())?;
        } else {
            json.extend_from_slice(&body);
        }
        let names: Vec<String> = serde_json::from_slice(&json).map_err(|_| malformed())?;
        names.iter().map(|name| Username::existing(name).map_err(|_| malformed())).collect()
    }
}

/// What a node makes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in effect.
    Accepted,
    /// Not without a proof of work of this difficulty. 256 means never.
    WorkNeeded(u32),
}

impl Decision {
    fn write(self) -> Bytes {
        match self {
            Decision::Accepted => FrameWriter::new().bool(true).finish(),
            Decision::WorkNeeded(difficulty) => FrameWriter::new().bool(false).u32(difficulty).finish(),
        }
    }

    fn read(body: Bytes) -> Result<Self, ApiError> {
        let mut frame = Reader::new(body);
        Ok(if frame.bool()? { Decision::Accepted } else { Decision::WorkNeeded(frame.u32()?) })
    }
}

/// `signup`: makes an account: its first claim, all its blocks and pointers, login data and mirror token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignUp {
    /// The name.
    pub username: Username,
    /// The first claim: a chain of one link.
    pub claim: Chain,
    /// Everything that makes the account.
    pub log: OperationLog,
    /// Work over the claim; [`ProofOfWork::first_try`] until a difficulty is asked for.
    pub proof: ProofOfWork,
    /// A token of the node's operator; empty for none.
    pub token: String,
}

/// The name only: whoever reads the token in a log could sign up with it.
impl fmt::Debug for SignUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignUp").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Call for SignUp {
    type Output = Decision;
    const PATH: &'static str = "peergos/v0/core/signup";
    // The log, and what comes with it: a name, one claim, a proof and a token.
    const MAX_BODY: usize = MAX_LOG_BYTES + 16 * 1024;

    fn request(&self) -> Request {
        // One link travels bare, not as a list of one.
        let link = self.claim.last().map(ToCbor::to_bytes).unwrap_or_default();
        let frame = FrameWriter::new().text(self.username.as_str()).bytes(&link).bytes(&self.log.to_bytes());
        Request::new(Self::PATH).body(frame.bytes(&self.proof.to_bytes()).text(&self.token).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        // The name's rule comes first: it is the one failure here that people cause.
        let username = Username::new(&frame.text()?).map_err(|_| ApiError::refused("Invalid username"))?;
        let link = frame.bytes(MAX_CHAIN)?;
        let log = frame.bytes(MAX_LOG_BYTES)?;
        let proof = frame.bytes(MAX_PROOF_BYTES)?;
        let token = frame.text()?;
        Ok(SignUp {
            username,
            claim: Chain(vec![FromCbor::from_bytes(&link)?]),
            log: OperationLog::from_request(&log)?,
            proof: ProofOfWork::from_request(&proof)?,
            token,
        })
    }

    fn write(decision: &Decision) -> Bytes {
        decision.write()
    }

    fn read_body(&self, body: Bytes) -> Result<Decision, ApiError> {
        Decision::read(body)
    }
}

/// `updateChain`: renews a claim, moves it to another node, or hands the name over to another key.
#[derive(Clone, PartialEq, Eq)]
pub struct UpdateChain {
    /// The name.
    pub username: Username,
    /// The new chain, or only its changed links.
    pub update: Chain,
    /// Work over [`UpdateChain::update`].
    pub proof: ProofOfWork,
    /// Empty.
    pub token: String,
}

debug_only!(UpdateChain { username });

impl Call for UpdateChain {
    type Output = Decision;
    const PATH: &'static str = "peergos/v0/core/updateChain";
    const MAX_BODY: usize = 128 * 1024;

    fn request(&self) -> Request {
        let frame = FrameWriter::new().text(self.username.as_str()).bytes(&self.update.to_bytes());
        Request::new(Self::PATH).body(frame.bytes(&self.proof.to_bytes()).text(&self.token).finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        let username = read_name(&mut frame)?;
        let chain = Value::decode_shared(&frame.bytes(MAX_CHAIN)?)?;
        let proof = ProofOfWork::from_request(&frame.bytes(MAX_PROOF_BYTES)?)?;
        Ok(UpdateChain { username, update: Chain::from_cbor(&chain)?, proof, token: frame.text()? })
    }

    fn write(decision: &Decision) -> Bytes {
        decision.write()
    }

    fn read_body(&self, body: Bytes) -> Result<Decision, ApiError> {
        Decision::read(body)
    }
}

/// `migrateUser`: moves an account to the node that is asked, which asks the present home for what it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct MigrateUser {
    /// The name.
    pub username: Username,
    /// The chain with its last claim made anew for the new home.
    pub chain: Chain,
    /// The present home.
    pub current_home: Cid,
    /// The account's mirror token, without which only public blocks can be fetched.
    pub mirror_bat: Option<BatWithId>,
    /// Openings of links are answered from this time on, in seconds.
    pub counts_after_secs: i64,
    /// How much the account uses, in bytes, as its present home says.
    pub usage_bytes: i64,
    /// Whether the move shall take effect; else the account is only shown.
    pub commit: bool,
}

/// Largest identifier of a node in a request, in bytes.
const MAX_NODE: usize = 128;

/// Largest access token in a request, in bytes.
pub(super) const MAX_BAT: usize = 128;

/// Without the token.
impl fmt::Debug for MigrateUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MigrateUser");
        shown.field("username", &self.username).field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl Call for MigrateUser {
    type Output = UserSnapshot;
    const PATH: &'static str = "peergos/v0/core/migrateUser";
    const MAX_BODY: usize = MAX_TEXT + MAX_CHAIN + MAX_NODE + MAX_BAT + 64;

    fn request(&self) -> Request {
        let frame = FrameWriter::new().text(self.username.as_str()).bytes(&self.chain.to_bytes());
        let frame = frame.bytes(&self.current_home.to_bytes()).bool(self.mirror_bat.is_some());
        let frame = match &self.mirror_bat {
            Some(bat) => frame.bytes(&bat.to_bytes()),
            None => frame,
        };
        let frame = frame.i64(self.counts_after_secs).i64(self.usage_bytes).bool(self.commit);
        Request::new(Self::PATH).body(frame.finish())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let mut frame = Reader::new(request.body.clone());
        let username = read_name(&mut frame)?;
        let chain = Chain::from_bytes(&frame.bytes(MAX_CHAIN)?)?;
        let current_home = Cid::from_bytes(&frame.bytes(MAX_NODE)?).map_err(DecodeError::from)?;
        let mirror_bat = match frame.bool()? {
            true => Some(BatWithId::from_bytes(&frame.bytes(MAX_BAT)?)?),
            false => None,
        };
        let (counts_after_secs, usage_bytes, commit) = (frame.i64()?, frame.i64()?, frame.bool()?);
        Ok(MigrateUser { username, chain, current_home, mirror_bat, counts_after_secs, usage_bytes, commit })
    }

    fn write(snapshot: &UserSnapshot) -> Bytes {
        snapshot.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<UserSnapshot, ApiError> {
        Ok(UserSnapshot::from_bytes(&body)?)
    }
}

/// What the proof of work of a claim is made over: the list of the links that are sent (`spec/01` §6).
pub fn proof_data(links: &Chain) -> Vec<u8> {
    links.to_bytes()
}
