//! The text of a secret link, `secret/<owner>/<label>#<password>` (`spec/05` §7.1).
//!
//! The part behind `#` never leaves the client: the server that hands out the encrypted capability of a label learns
//! neither the password nor what it opens.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use pyrgos_crypto::random::{CryptoRng, random_bytes};
use zeroize::{Zeroize, Zeroizing};

use crate::encoding::{CidError, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::Owner;

/// The characters of passwords that are made here.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// How many characters passwords have that are made here: about 71 bits.
const PASSWORD_LEN: usize = 12;

/// First element of the text.
const PREFIX: &str = "secret";

/// Names a secret link of one owner: 1 … 2^32 − 1. Servers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkLabel(NonZeroU32);

impl LinkLabel {
    /// A label of this number; none for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(LinkLabel)
    }

    /// A fresh random label. That it is free shows when it is put into the tree.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        loop {
            if let Some(label) = LinkLabel::new(u32::from_le_bytes(random_bytes(rng))) {
                return label;
            }
        }
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for LinkLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a decimal number without sign or leading zero.
impl FromStr for LinkLabel {
    type Err = SecretLinkError;

    fn from_str(text: &str) -> Result<Self, SecretLinkError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = if digits { text.parse().ok() } else { None };
        number.and_then(LinkLabel::new).ok_or(SecretLinkError::Label)
    }
}

impl ToCbor for LinkLabel {
    fn to_cbor(&self) -> Value {
        Value::Int(self.number().into())
    }
}

impl FromCbor for LinkLabel {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let label = u32::try_from(value.as_int()?).ok().and_then(LinkLabel::new);
        label.ok_or_else(|| DecodeError::invalid("link label", SecretLinkError::Label.to_string()))
    }
}

/// The password in a link, or the one that its owner demands in addition. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkPassword(Zeroizing<String>);

impl LinkPassword {
    /// A given password.
    pub fn new(text: impl Into<String>) -> Self {
        LinkPassword(Zeroizing::new(text.into()))
    }

    /// A fresh random password of 12 letters and digits.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(PASSWORD_LEN));
        while text.len() < PASSWORD_LEN {
            let [mut byte] = random_bytes::<1>(rng);
            // A byte beyond the alphabet is drawn again, so that all characters are equally likely.
            if let Some(character) = ALPHABET.get(usize::from(byte)) {
                text.push(char::from(*character));
            }
            byte.zeroize();
        }
        LinkPassword(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for LinkPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkPassword(..)")
    }
}

/// Why a text is no secret link. The text is not repeated, since it holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretLinkError {
    /// Not of the form.
    #[error("a secret link has the form secret/<owner>/<label>#<password>")]
    Form,
    /// No owner.
    #[error("the owner in the secret link is malformed: {0}")]
    Owner(#[from] CidError),
    /// No label.
    #[error("the label of a secret link is a number from 1 to 4294967295")]
    Label,
}

/// A secret link. Who has it can open what it leads to, if the server still hands it out and the owner has not demanded
/// a password in addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretLink {
    /// Whose link it is, and so which server to ask.
    pub owner: Owner,
    /// Which of the owner's links it is.
    pub label: LinkLabel,
    /// The password in it.
    pub password: LinkPassword,
}

impl SecretLink {
    /// A new link of an owner: label first, then password are drawn.
    pub fn generate(owner: Owner, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let label = LinkLabel::generate(rng);
        SecretLink { owner, label, password: LinkPassword::generate(rng) }
    }

    /// The text.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}/{}/{}#{}", self.owner, self.label, self.password.as_str()))
    }

    /// The web address on a link host, which is asked from the server, such as `example.org` or `localhost:8000`. Only
    /// the latter is reached without TLS.
    pub fn to_url(&self, host: &str) -> Zeroizing<String> {
        let scheme = if host.starts_with("localhost:") { "http" } else { "https" };
        Zeroizing::new(format!("{scheme}://{host}/{}", self.to_text().as_str()))
    }
}

/// Reads the text; one slash in front is ignored, and so is everything from a `?` in the fragment on. As existing
/// clients do, whatever the first element is.
impl FromStr for SecretLink {
    type Err = SecretLinkError;

    fn from_str(text: &str) -> Result<Self, SecretLinkError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let (path, fragment) = text.split_once('#').ok_or(SecretLinkError::Form)?;
        let mut elements = path.split('/');
        let (Some(_), Some(owner), Some(label), None) =
            (elements.next(), elements.next(), elements.next(), elements.next())
        else {
            return Err(SecretLinkError::Form);
        };
        let password = fragment.split('?').next().unwrap_or_default();
        Ok(SecretLink { owner: owner.parse()?, label: label.parse()?, password: LinkPassword::new(password) })
    }
}
