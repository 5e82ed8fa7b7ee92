//! One claim: "this key owns this name until this day, and its data live on this server" (`spec/06` §1.2).

use bytes::Bytes;

use super::{Date, Username};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{PublicSigningKey, SecretSigningKey};

/// Longest expiry text, in bytes.
const MAX_EXPIRY_LEN: usize = 16;

/// Longest server id, in bytes.
const MAX_PROVIDER_LEN: usize = 100;

/// Why a claim is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Made for another name.
    #[error("the claim is for another name")]
    Name,
    /// More than one server.
    #[error("the claim names {0} servers")]
    Providers(usize),
    /// Not signed by the owner's key.
    #[error("the claim is not signed by its owner")]
    Signature,
    /// What was signed differs from what stands beside it.
    #[error("the claim says something else than was signed")]
    Content,
}

/// A signed claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub username: Username,
    /// The last day. Nobody else can take the name afterwards; it only tells when to renew.
    pub expiry: Date,
    /// The servers that hold the owner's data: one, or none in a claim that was handed over to the next key.
    pub providers: Vec<Cid>,
    /// `signed(owner, payload)`.
    pub signed: Bytes,
}

impl Claim {
    /// Signs a claim.
    pub fn sign(username: &Username, expiry: Date, providers: Vec<Cid>, owner: &SecretSigningKey) -> Self {
        let signed = owner.sign_attached(&payload(username, expiry, &providers)).into();
        Claim { username: username.clone(), expiry, providers, signed }
    }

    /// What the owner signs: name, expiry and servers in a binary form of its own, not CBOR.
    pub fn payload(&self) -> Vec<u8> {
        payload(&self.username, self.expiry, &self.providers)
    }

    /// Checks that the claim is for `name` and signed by its owner. The clock is not consulted.
    ///
    /// # Errors
    /// [`ClaimError`] says which check failed.
    pub fn verify(&self, name: &Username, owner: &PublicSigningKey) -> Result<(), ClaimError> {
        if self.username != *name {
            return Err(ClaimError::Name);
        }
        if self.providers.len() > 1 {
            return Err(ClaimError::Providers(self.providers.len()));
        }
        let signed = owner.open(&self.signed).map_err(|_| ClaimError::Signature)?;
        // Names, dates and server ids each have exactly one form, so equal content is equal bytes. Readers ignore what
        // follows the last server.
        if !signed.starts_with(&self.payload()) {
            return Err(ClaimError::Content);
        }
        Ok(())
    }
}

fn payload(username: &Username, expiry: Date, providers: &[Cid]) -> Vec<u8> {
    let mut out = Vec::new();
    // Lengths of texts are in UTF-16 units, which for ASCII are bytes.
    write_prefixed(&mut out, username.as_str().as_bytes());
    write_prefixed(&mut out, expiry.to_string().as_bytes());
    out.extend_from_slice(&(providers.len() as u32).to_be_bytes());
    for provider in providers {
        write_prefixed(&mut out, &provider.to_bytes());
    }
    out
}

fn write_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl ToCbor for Claim {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            self.username.to_cbor(),
            Value::text(self.expiry.to_string()),
            Value::List(self.providers.iter().map(|provider| Value::bytes(provider.to_bytes())).collect()),
            Value::Bytes(self.signed.clone()),
        ])
    }
}

impl FromCbor for Claim {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("claim", 4)?;
        let expiry = elements[1].as_text()?;
        if expiry.len() > MAX_EXPIRY_LEN {
            return Err(DecodeError::invalid("claim", "the expiry is too long"));
        }
        let expiry: Date = expiry.parse().map_err(|_| DecodeError::invalid("claim", "the expiry is no date"))?;
        let provider = |value: &Value| {
            let bytes = value.as_bytes()?;
            if bytes.len() > MAX_PROVIDER_LEN {
                return Err(DecodeError::invalid("claim", "the server id is too long"));
            }
            Ok(Cid::from_bytes(bytes)?)
        };
        Ok(Claim {
            username: Username::from_cbor(&elements[0])?,
            expiry,
            providers: elements[2].as_list()?.iter().map(provider).collect::<Result<_, DecodeError>>()?,
            signed: elements[3].as_bytes()?.clone(),
        })
    }
}
