//! Proofs that a user is also somebody on another service (`spec/01` §8).

use bytes::Bytes;
use pyrgos_crypto::random::CryptoRng;

use super::{DIRECTORY, IDENTITY_PROOFS};
use crate::encoding::text::{TextError, base58, from_base58};
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{CipherError, CipherText, PublicSigningKey, SecretSigningKey, SymmetricKey};
use crate::names::Username;

/// Marks the file's type (mime type `application/vnd.peergos-identity-proof`).
const MARK: i64 = 24;

/// Size of a signature, in bytes.
const SIGNATURE_LEN: usize = 64;

/// The services that have a code, by their code.
const KNOWN: [&str; 11] = [
    "Peergos",
    "Twitter",
    "Facebook",
    "Website",
    "Reddit",
    "Github",
    "HackerNews",
    "Lobsters",
    "LinkedIn",
    "Mastodon",
    "Matrix",
];

/// A service on which people have names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service(ServiceKind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ServiceKind {
    Known(usize),
    Other(String),
}

impl Service {
    /// The service that all of this is about.
    pub fn peergos() -> Self {
        Service(ServiceKind::Known(0))
    }

    /// A service by name; that of a known one is taken in any case of letters.
    pub fn named(name: &str) -> Self {
        match KNOWN.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            Some(code) => Service(ServiceKind::Known(code)),
            None => Service(ServiceKind::Other(name.to_owned())),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        match &self.0 {
            ServiceKind::Known(code) => KNOWN[*code],
            ServiceKind::Other(name) => name,
        }
    }
}

impl ToCbor for Service {
    fn to_cbor(&self) -> Value {
        match &self.0 {
            ServiceKind::Known(code) => Value::map([("c", Value::Int(*code as i64)), ("t", Value::Int(0))]),
            ServiceKind::Other(name) => Value::map([("n", Value::text(name)), ("t", Value::Int(1))]),
        }
    }
}

impl FromCbor for Service {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("service")?;
        let unknown = |what: &str, number| DecodeError::invalid("service", format!("unknown {what} {number}"));
        match fields.int("t")? {
            0 => {
                let number = fields.int("c")?;
                let code = usize::try_from(number).ok().filter(|code| *code < KNOWN.len());
                Ok(Service(ServiceKind::Known(code.ok_or_else(|| unknown("code", number))?)))
            }
            1 => Ok(Service(ServiceKind::Other(fields.text("n")?.to_owned()))),
            other => Err(unknown("type", other)),
        }
    }
}

/// The claim: a user of Peergos is somebody on another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityLink {
    /// The user.
    pub user: Username,
    /// Where that is a name: Peergos.
    pub service: Service,
    /// The name on the other service.
    pub other_user: String,
    /// The other service.
    pub other_service: Service,
}

impl IdentityLink {
    /// The claim in words: the first line of a post.
    pub fn sentence(&self) -> String {
        let (ours, theirs) = (self.service.name(), self.other_service.name());
        format!("I am {} on {ours} and {} on {theirs}", self.user, self.other_user)
    }

    /// Name of the file that holds the proof.
    pub fn file_name(&self) -> String {
        format!("{}.{}.id.cbor", self.other_user, self.other_service.name())
    }

    /// Where everybody finds the proof once its file is published. `server` is an address like `https://example.org`.
    pub fn public_url(&self, server: &str) -> String {
        let file = self.file_name();
        format!("{server}/public/{}/{DIRECTORY}/{IDENTITY_PROOFS}/{file}?open=true", self.user)
    }

    /// The words as a claim again. They must be exactly eight, with single spaces between them.
    fn from_sentence(sentence: &str) -> Result<Self, PostError> {
        let words: Vec<&str> = sentence.split(' ').collect();
        let ["I", "am", user, "on", service, "and", other_user, "on", other_service] = words[..] else {
            return Err(PostError::Sentence);
        };
        Ok(IdentityLink {
            user: Username::existing(user).map_err(|_| PostError::Sentence)?,
            service: Service::named(service),
            other_user: other_user.to_owned(),
            other_service: Service::named(other_service),
        })
    }
}

impl ToCbor for IdentityLink {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("sa", self.service.to_cbor()),
            ("sb", self.other_service.to_cbor()),
            ("ua", self.user.to_cbor()),
            ("ub", Value::text(&self.other_user)),
        ])
    }
}

impl FromCbor for IdentityLink {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("IdentityLink")?;
        Ok(IdentityLink {
            user: fields.get("ua")?,
            service: fields.get("sa")?,
            other_user: fields.text("ub")?.to_owned(),
            other_service: fields.get("sb")?,
        })
    }
}

/// Why a post does not hold a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The first line does not say who is who.
    #[error("the post does not begin with `I am … on … and … on …`")]
    Sentence,
    /// There is no line with a signature.
    #[error("the post has no signature")]
    Signature,
    /// A part is no base58.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An encrypted post does not open, or holds something else.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

impl From<DecodeError> for PostError {
    fn from(error: DecodeError) -> Self {
        PostError::Cipher(error.into())
    }
}

/// A signed claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProof {
    /// The claim.
    pub claim: IdentityLink,
    /// Its signature by the user's identity key.
    pub signature: [u8; SIGNATURE_LEN],
    /// The key of an encrypted post.
    pub key: Option<SymmetricKey>,
    /// Where the post on the other service is.
    pub post_url: Option<String>,
}

impl IdentityProof {
    /// Signs a claim with the user's identity key.
    pub fn sign(claim: IdentityLink, identity: &SecretSigningKey) -> Self {
        let signed = identity.sign_attached(&claim.to_bytes());
        let mut signature = [0; SIGNATURE_LEN];
        signature.copy_from_slice(&signed[..SIGNATURE_LEN]);
        IdentityProof { claim, signature, key: None, post_url: None }
    }

    /// Whether the user's identity key signed the claim.
    pub fn is_signed_by(&self, identity: &PublicSigningKey) -> bool {
        identity.open(&self.signed()).is_ok()
    }

    /// The text of a post on the other service. `proof_url` is where the proof's file is.
    pub fn post(&self, proof_url: &str) -> String {
        format!("{}\nsig: {}\nproof: {proof_url}", self.claim.sentence(), base58(self.signature))
    }

    /// Reads a post.
    ///
    /// # Errors
    /// [`PostError`] for a text that is none.
    pub fn from_post(post: &str) -> Result<Self, PostError> {
        let claim = IdentityLink::from_sentence(post.split('\n').next().unwrap_or_default())?;
        let (_, rest) = post.split_once("\nsig: ").ok_or(PostError::Signature)?;
        let signature = from_base58(rest.split('\n').next().unwrap_or_default())?;
        let signature = signature.try_into().map_err(|_| PostError::Signature)?;
        Ok(IdentityProof { claim, signature, key: None, post_url: None })
    }

    /// A post that only those can read who have the proof's key; none if the proof has no key.
    pub fn encrypted_post(&self, rng: &mut (impl CryptoRng + ?Sized)) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(base58(CipherText::encrypt(&Value::bytes(self.signed()), key, rng).to_bytes()))
    }

    /// Reads an encrypted post.
    ///
    /// # Errors
    /// [`PostError`] for a text that is none, or for another key.
    pub fn from_encrypted_post(post: &str, key: &SymmetricKey) -> Result<Self, PostError> {
        let sealed = CipherText::from_bytes(&from_base58(post)?)?;
        let signed: Value = sealed.decrypt(key)?;
        let (signature, claim) = signed.as_bytes()?.split_first_chunk().ok_or(PostError::Signature)?;
        let claim = IdentityLink::from_bytes(claim)?;
        Ok(IdentityProof { claim, signature: *signature, key: Some(key.clone()), post_url: None })
    }

    fn signed(&self) -> Vec<u8> {
        [self.signature.as_slice(), &self.claim.to_bytes()].concat()
    }
}

/// The content of the proof's file.
impl ToCbor for IdentityProof {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("c", self.claim.to_cbor());
        map.insert("s", Value::Bytes(Bytes::copy_from_slice(&self.signature)));
        if let Some(key) = &self.key {
            map.insert("k", key.to_cbor());
        }
        if let Some(url) = &self.post_url {
            map.insert("bu", Value::text(url));
        }
        Value::List(vec![Value::Int(MARK), Value::Map(map)])
    }
}

impl FromCbor for IdentityProof {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const NAME: &str = "IdentityProof";
        let elements = value.elements(NAME, 2)?;
        match elements[0].as_int()? {
            MARK => {}
            other => return Err(DecodeError::invalid(NAME, format!("marked as {other}"))),
        }
        let fields = elements[1].fields(NAME)?;
        Ok(IdentityProof {
            claim: fields.get("c")?,
            signature: fields.required("s")?.as_array(NAME)?,
            key: fields.get_optional("k")?,
            post_url: fields.optional("bu").map(Value::as_text).transpose()?.map(str::to_owned),
        })
    }
}
