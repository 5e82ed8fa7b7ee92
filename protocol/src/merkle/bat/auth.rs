//! Proof that a reader knows a block's token, and a server's decision about it (`spec/02` §8.5, §8.6).
//!
//! The proof is a signature in the manner of S3 over the block's address, the reader's node and the time, keyed with
//! the token's secret string. It hides the token from whoever relays it.

use pyrgos_crypto::hash::{hmac_sha256, sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Bat, BatId, BatWithId};
use crate::encoding::text;
use crate::encoding::{Cid, Codec, DecodeError, FromCbor, Multihash, ToCbor, Value};

pub use super::time::UtcTime;

/// How long a proof stays valid, in seconds; all clients use this.
pub const EXPIRY_SECS: u64 = 300;

const REGION: &str = "eu-central-1";
const SERVICE: &str = "s3";
const REQUEST: &str = "aws4_request";

/// Proof of possession of a token for one block, reader and time.
///
/// Neither the token's name nor the expiry is covered by the signature, so a server must not trust them beyond what
/// [`ReadCheck`] does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockAuth {
    bat: BatId,
    expiry_secs: u64,
    signature: [u8; 32],
    time: UtcTime,
}

impl BlockAuth {
    /// Proves possession of `bat` to the server `requester` (the bare multihash of its peer id) for one block.
    pub fn create(cid: &Cid, requester: &Multihash, time: UtcTime, bat: &BatWithId) -> BlockAuth {
        BlockAuth {
            bat: bat.id().clone(),
            expiry_secs: EXPIRY_SECS,
            signature: sign(cid, requester, time, bat.bat()),
            time,
        }
    }

    /// Name of the token, not covered by the signature.
    pub fn bat(&self) -> &BatId {
        &self.bat
    }

    /// How long the proof says that it is valid, in seconds; not covered by the signature.
    pub fn expiry_secs(&self) -> u64 {
        self.expiry_secs
    }

    /// When the proof was made.
    pub fn time(&self) -> UtcTime {
        self.time
    }

    /// The signature.
    pub fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// Text form: lower case hexadecimal of the CBOR.
    pub fn to_text(&self) -> String {
        text::hex(self.to_bytes())
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Result<Self, DecodeError> {
        BlockAuth::from_bytes(&text::from_hex(text).map_err(super::malformed_text)?)
    }

    /// Whether this proves possession of `bat` now.
    pub fn is_valid(&self, cid: &Cid, requester: &Multihash, bat: &Bat, now: UtcTime, limits: &AuthLimits) -> bool {
        let made = self.time.unix_secs();
        let now = now.unix_secs();
        let until = made.saturating_add(self.expiry_secs.min(limits.max_expiry_secs));
        let expected = sign(cid, requester, self.time, bat);
        let authentic: bool = expected.ct_eq(&self.signature).into();
        authentic && until >= now && made <= now.saturating_add(limits.max_ahead_secs)
    }
}

impl ToCbor for BlockAuth {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("b", self.bat.to_cbor()),
            ("e", Value::Int(self.expiry_secs.try_into().unwrap_or(i64::MAX))),
            ("s", Value::bytes(self.signature)),
            ("t", Value::Int(self.time.to_packed())),
        ])
    }
}

impl FromCbor for BlockAuth {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BlockAuth")?;
        Ok(BlockAuth {
            bat: fields.get::<BatId>("b")?.not_inline("BlockAuth")?,
            expiry_secs: u64::try_from(fields.int("e")?)
                .map_err(|_| DecodeError::invalid("BlockAuth", "negative expiry"))?,
            signature: fields.required("s")?.as_array("BlockAuth")?,
            time: UtcTime::from_packed(fields.int("t")?)?,
        })
    }
}

/// What a server grants beyond a right signature.
///
/// The expiry is unsigned, so without a bound anyone could stretch it (`spec/02` §15 point 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthLimits {
    /// Longest validity in seconds, whatever the proof says.
    pub max_expiry_secs: u64,
    /// How far the time of a proof may be ahead of the server's, in seconds.
    pub max_ahead_secs: u64,
}

impl Default for AuthLimits {
    fn default() -> Self {
        AuthLimits { max_expiry_secs: EXPIRY_SECS, max_ahead_secs: 300 }
    }
}

/// Why a read is refused. Readers hear no more than `Unauthorised!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorised {
    /// A guarded block, and no proof.
    #[error("the block is guarded and the reader gave no proof")]
    NoProof,
    /// Tokens on a block whose bytes cannot carry any.
    #[error("the block is neither raw nor dag-cbor")]
    Codec,
    /// The proof is for none of the block's tokens, or expired.
    #[error("the proof opens none of the block's tokens")]
    Proof,
}

/// A read of one block that a server has to decide about.
#[derive(Clone, Copy, Debug)]
pub struct ReadCheck<'a> {
    /// The block.
    pub cid: &'a Cid,
    /// The tokens that guard it, from [`super::prefix::block_bats`].
    pub bats: &'a [BatId],
    /// Token of the server's administrator, which opens every block.
    pub instance: Option<&'a Bat>,
}

impl ReadCheck<'_> {
    /// Decides about a proof made for `requester`, the node that asks. `lookup` finds a token in the server's own store;
    /// it is asked for the name in the proof only.
    pub fn by_auth(
        &self,
        auth: Option<&BlockAuth>,
        requester: &Multihash,
        now: UtcTime,
        limits: &AuthLimits,
        mut lookup: impl FnMut(&BatId) -> Option<Bat>,
    ) -> Result<(), Unauthorised> {
        let Some(auth) = self.needs(auth)? else { return Ok(()) };
        let opens = |bat: &Bat| auth.is_valid(self.cid, requester, bat, now, limits);
        let by_block = self.bats.iter().any(|id| match id {
            BatId::Inline(bat) => opens(bat),
            named if *named == auth.bat => lookup(named).is_some_and(|bat| opens(&bat)),
            _ => false,
        });
        if by_block || self.instance.is_some_and(opens) { Ok(()) } else { Err(Unauthorised::Proof) }
    }

    /// Decides about a token that a client hands to its own server in the clear (`bat=`). No store is needed: a token
    /// that hashes to one of the block's names is that name's token.
    pub fn by_bat(&self, bat: Option<&BatWithId>) -> Result<(), Unauthorised> {
        let Some(given) = self.needs(bat)? else { return Ok(()) };
        let opens = self.bats.iter().any(|id| id.is_of(given.bat())) || self.instance == Some(given.bat());
        if opens { Ok(()) } else { Err(Unauthorised::Proof) }
    }

    /// The proof, unless none is needed.
    fn needs<'p, T>(&self, proof: Option<&'p T>) -> Result<Option<&'p T>, Unauthorised> {
        if self.bats.is_empty() {
            return Ok(None);
        }
        let proof = proof.ok_or(Unauthorised::NoProof)?;
        match self.cid.codec() {
            Codec::Raw | Codec::DagCbor => Ok(Some(proof)),
            _ => Err(Unauthorised::Codec),
        }
    }
}

/// Keys of the signature, each derived from the one before (`spec/02` §8.5 step 5).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SigningKeys {
    /// Keyed with the secret string, of the date.
    pub date: [u8; 32],
    /// Of the region.
    pub region: [u8; 32],
    /// Of the service.
    pub service: [u8; 32],
    /// What signs.
    pub signing: [u8; 32],
}

impl SigningKeys {
    /// Derives the keys of a token for one day.
    pub fn derive(bat: &Bat, date: &str) -> Self {
        let secret = zeroize::Zeroizing::new(format!("AWS4{}", *bat.to_text()));
        let date = hmac_sha256(secret.as_bytes(), date.as_bytes());
        let region = hmac_sha256(&date, REGION.as_bytes());
        let service = hmac_sha256(&region, SERVICE.as_bytes());
        let signing = hmac_sha256(&service, REQUEST.as_bytes());
        SigningKeys { date, region, service, signing }
    }
}

/// The request that a proof signs, as a plain IPFS node would see it (`spec/02` §8.5 steps 1–3).
pub fn canonical_request(cid: &Cid, requester: &Multihash, time: UtcTime) -> String {
    let block = text::base58(cid.to_bytes());
    let host = requester.to_base58();
    let datetime = time.datetime();
    format!(
        "GET\n/api/v0/block/get?arg={block}\n\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n\
         x-amz-date:{datetime}\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"
    )
}

/// The text that a proof signs (`spec/02` §8.5 step 4).
pub fn string_to_sign(canonical_request: &str, time: UtcTime) -> String {
    let digest = text::hex(sha256(canonical_request.as_bytes()));
    format!("AWS4-HMAC-SHA256\n{}\n{}/{REGION}/{SERVICE}/{REQUEST}\n{digest}", time.datetime(), time.date())
}

fn sign(cid: &Cid, requester: &Multihash, time: UtcTime, bat: &Bat) -> [u8; 32] {
    let text = string_to_sign(&canonical_request(cid, requester, time), time);
    hmac_sha256(&SigningKeys::derive(bat, &time.date()).signing, text.as_bytes())
}
