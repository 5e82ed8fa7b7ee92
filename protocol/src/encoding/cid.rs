//! Content identifiers and multihashes (`spec/01` §2.1–§2.4).
//!
//! A type of our own around the `cid` and `multihash` rules, since identity hashes of up to 4112 bytes are legal here
//! and those crates hold digests in arrays of a fixed size.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use pyrgos_crypto::hash::sha256;

use super::{text, varint};

/// Largest identity digest that a reader accepts, in bytes. Old data hold keys of this size inside their hashes.
pub const MAX_IDENTITY_DIGEST: usize = 4112;

/// Largest identity digest that a writer makes, in bytes: the CBOR of one 32 byte key.
pub const MAX_WRITTEN_IDENTITY_DIGEST: usize = 36;

/// Why bytes or a text are no content identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidError {
    /// The input ends early, is no varint, or bytes follow the multihash.
    #[error("malformed content identifier")]
    Malformed,
    /// A version other than 0 and 1.
    #[error("unsupported CID version {0}")]
    Version(u64),
    /// A codec that no block of this protocol has.
    #[error("unsupported CID codec {0:#x}")]
    Codec(u64),
    /// A hash function that this protocol does not know.
    #[error("unsupported hash function {0:#x}")]
    HashCode(u64),
    /// A digest whose length does not fit its hash function.
    #[error("a digest of {length} bytes does not fit hash function {code:#x}")]
    DigestLength {
        /// The hash function.
        code: u64,
        /// The digest's length in bytes.
        length: u64,
    },
    /// The text is in no base that CIDs may have.
    #[error("malformed CID text")]
    Text,
}

impl From<varint::VarintError> for CidError {
    fn from(_: varint::VarintError) -> Self {
        CidError::Malformed
    }
}

/// What a block's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Opaque bytes, 0x55.
    Raw,
    /// 0x70; only in version 0 identifiers.
    DagPb,
    /// One canonical CBOR item, 0x71.
    DagCbor,
    /// A peer's public key, 0x72.
    Libp2pKey,
}

impl Codec {
    /// The multicodec number.
    pub fn code(self) -> u64 {
        match self {
            Codec::Raw => 0x55,
            Codec::DagPb => 0x70,
            Codec::DagCbor => 0x71,
            Codec::Libp2pKey => 0x72,
        }
    }

    fn from_code(code: u64) -> Result<Self, CidError> {
        match code {
            0x55 => Ok(Codec::Raw),
            0x70 => Ok(Codec::DagPb),
            0x71 => Ok(Codec::DagCbor),
            0x72 => Ok(Codec::Libp2pKey),
            other => Err(CidError::Codec(other)),
        }
    }
}

/// A hash function and its digest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Multihash {
    code: u64,
    digest: Digest,
}

/// Digests of 32 bytes, which nearly all are, live in place. Others are shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Digest {
    Short([u8; 32]),
    Other(Arc<[u8]>),
}

impl Multihash {
    /// The identity "hash": the content itself.
    pub const IDENTITY: u64 = 0x00;
    /// SHA-256.
    pub const SHA2_256: u64 = 0x12;

    /// A digest of the given hash function; lengths are checked (`spec/01` §2.2).
    pub fn new(code: u64, digest: &[u8]) -> Result<Self, CidError> {
        let fits = match code {
            Self::IDENTITY => digest.len() <= MAX_IDENTITY_DIGEST,
            0x12 | 0x41 | 0x1e => digest.len() == 32,
            0x13 | 0x14 | 0x40 => digest.len() == 64,
            _ => return Err(CidError::HashCode(code)),
        };
        if !fits {
            return Err(CidError::DigestLength { code, length: digest.len() as u64 });
        }
        let digest = match digest.try_into() {
            Ok(short) => Digest::Short(short),
            Err(_) => Digest::Other(digest.into()),
        };
        Ok(Multihash { code, digest })
    }

    /// SHA-256 of some bytes.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Multihash { code: Self::SHA2_256, digest: Digest::Short(sha256(bytes)) }
    }

    /// Number of the hash function.
    pub fn code(&self) -> u64 {
        self.code
    }

    /// The digest's bytes.
    pub fn digest(&self) -> &[u8] {
        match &self.digest {
            Digest::Short(digest) => digest,
            Digest::Other(digest) => digest,
        }
    }

    /// `varint(code) ‖ varint(length) ‖ digest`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.digest().len() + 4);
        self.write_into(&mut out);
        out
    }

    /// Reads the bytes of one multihash and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let (code, rest) = varint::read(bytes)?;
        let (length, digest) = varint::read(rest)?;
        if code == Self::IDENTITY && length > MAX_IDENTITY_DIGEST as u64 {
            return Err(CidError::DigestLength { code, length });
        }
        if length != digest.len() as u64 {
            return Err(CidError::Malformed);
        }
        Multihash::new(code, digest)
    }

    fn write_into(&self, out: &mut Vec<u8>) {
        varint::write(out, self.code);
        varint::write(out, self.digest().len() as u64);
        out.extend_from_slice(self.digest());
    }

    /// Base58btc without a prefix, the usual text of a peer id (`12D3KooW…`, `Qm…`).
    pub fn to_base58(&self) -> String {
        text::base58(self.to_bytes())
    }
}

impl fmt::Debug for Multihash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base58())
    }
}

/// A content identifier: what a link points at.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid {
    /// `None` is version 0, whose codec is always dag-pb and whose hash is always SHA-256.
    codec: Option<Codec>,
    hash: Multihash,
}

impl Cid {
    /// A version 1 identifier.
    pub fn new(codec: Codec, hash: Multihash) -> Self {
        Cid { codec: Some(codec), hash }
    }

    /// The address of a block: version 1, SHA-256 of its bytes.
    pub fn of_block(codec: Codec, block: &[u8]) -> Self {
        Cid::new(codec, Multihash::sha256_of(block))
    }

    /// The address of a dag-cbor block.
    pub fn of_cbor(block: &[u8]) -> Self {
        Cid::of_block(Codec::DagCbor, block)
    }

    /// The address of a raw block.
    pub fn of_raw(block: &[u8]) -> Self {
        Cid::of_block(Codec::Raw, block)
    }

    /// An identifier of a block whose SHA-256 is known.
    pub fn from_sha256(codec: Codec, digest: [u8; 32]) -> Self {
        Cid::new(codec, Multihash { code: Multihash::SHA2_256, digest: Digest::Short(digest) })
    }

    /// An identifier that holds its content. Fails above [`MAX_IDENTITY_DIGEST`] bytes.
    pub fn identity(codec: Codec, content: &[u8]) -> Result<Self, CidError> {
        Ok(Cid::new(codec, Multihash::new(Multihash::IDENTITY, content)?))
    }

    /// What the block's bytes are.
    pub fn codec(&self) -> Codec {
        self.codec.unwrap_or(Codec::DagPb)
    }

    /// Whether this is a version 0 identifier.
    pub fn is_version_0(&self) -> bool {
        self.codec.is_none()
    }

    /// The hash.
    pub fn hash(&self) -> &Multihash {
        &self.hash
    }

    /// The content of an identity identifier.
    pub fn identity_content(&self) -> Option<&[u8]> {
        (self.hash.code == Multihash::IDENTITY).then(|| self.hash.digest())
    }

    /// Whether `block` is what this identifier names. Hash functions other than SHA-256 and identity name nothing here
    /// (`spec/02` §12.3).
    pub fn matches(&self, block: &[u8]) -> bool {
        match self.hash.code {
            Multihash::SHA2_256 => self.hash.digest() == sha256(block),
            Multihash::IDENTITY => self.hash.digest() == block,
            _ => false,
        }
    }

    /// Binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        if let Some(codec) = self.codec {
            varint::write(&mut out, 1);
            varint::write(&mut out, codec.code());
        }
        self.hash.write_into(&mut out);
        out
    }

    /// Length of the binary form in bytes.
    pub fn encoded_len(&self) -> usize {
        let digest = self.hash.digest().len();
        let version_and_codec = if self.codec.is_some() { 2 } else { 0 };
        version_and_codec + varint::encoded_len(self.hash.code) + varint::encoded_len(digest as u64) + digest
    }

    /// Reads the text of a server id: CID text, or base58btc of a bare identity multihash (`12D3KooW…`), which becomes
    /// version 1 with the codec of peer keys (`spec/01` §2.4).
    pub fn from_server_id(server_id: &str) -> Result<Self, CidError> {
        if !server_id.starts_with('1') {
            return server_id.parse();
        }
        let hash = Multihash::from_bytes(&text::from_base58(server_id).map_err(|_| CidError::Text)?)?;
        Ok(Cid::new(Codec::Libp2pKey, hash))
    }

    /// Reads the binary form; bytes after the multihash are an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        if bytes.len() == 34 && bytes.starts_with(&[0x12, 0x20]) {
            return Ok(Cid { codec: None, hash: Multihash::from_bytes(bytes)? });
        }
        let (version, rest) = varint::read(bytes)?;
        if version != 1 {
            return Err(CidError::Version(version));
        }
        let (codec, rest) = varint::read(rest)?;
        Ok(Cid::new(Codec::from_code(codec)?, Multihash::from_bytes(rest)?))
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.codec.is_some() {
            f.write_str("z")?;
        }
        f.write_str(&text::base58(self.to_bytes()))
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        if text.len() == 46 && text.starts_with("Qm") {
            let bytes = text::from_base58(text).map_err(|_| CidError::Text)?;
            return match Cid::from_bytes(&bytes)? {
                cid if cid.is_version_0() => Ok(cid),
                _ => Err(CidError::Text),
            };
        }
        Cid::from_bytes(&text::from_multibase(text).map_err(|_| CidError::Text)?)
    }
}
