//! Second factors: what travels, and the rules of codes (`spec/01` §4.9).

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::random::{CryptoRng, random_bytes};
use zeroize::Zeroizing;

use crate::encoding::text::{TextError, base32_upper, from_multibase};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::names::Username;

/// Longest name of a factor, in UTF-16 units.
pub const MAX_NAME_LEN: usize = 32;

/// Most factors that one user may have.
pub const MAX_FACTORS: usize = 10;

/// Number of backup codes in a set.
pub const BACKUP_CODES: usize = 10;

/// Kinds of second factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactorType {
    /// A code that an authenticator shows.
    Totp,
    /// A security key or a passkey.
    Webauthn,
    /// One of a set of codes that work once.
    BackupCodes,
    /// A code that a device which mounts the account computes by itself; not offered to people.
    Mount,
}

impl FactorType {
    /// The number on the wire.
    pub fn number(self) -> i64 {
        match self {
            FactorType::Totp => 1,
            FactorType::Webauthn => 2,
            FactorType::BackupCodes => 3,
            FactorType::Mount => 4,
        }
    }

    /// The type of a number.
    pub fn from_number(number: i64) -> Option<Self> {
        [FactorType::Totp, FactorType::Webauthn, FactorType::BackupCodes, FactorType::Mount]
            .into_iter()
            .find(|factor| factor.number() == number)
    }
}

/// One factor of a user: `{c, e, i, n, t}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiFactorAuthMethod {
    /// When it was made, in days since 1970-01-01.
    pub created_epoch_day: i64,
    /// Whether it guards the login.
    pub enabled: bool,
    /// Identifies it.
    pub credential_id: Bytes,
    /// The user's name for it; empty for an authenticator, the number of codes left for backup codes.
    pub name: String,
    /// Its kind.
    pub factor: FactorType,
}

impl ToCbor for MultiFactorAuthMethod {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("c", Value::Int(self.created_epoch_day)),
            ("e", Value::Bool(self.enabled)),
            ("i", Value::Bytes(self.credential_id.clone())),
            ("n", Value::text(self.name.as_str())),
            ("t", Value::Int(self.factor.number())),
        ])
    }
}

impl FromCbor for MultiFactorAuthMethod {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const NAME: &str = "MultiFactorAuthMethod";
        let fields = value.fields(NAME)?;
        let name = fields.text("n")?;
        if name.encode_utf16().count() > MAX_NAME_LEN {
            return Err(DecodeError::invalid(NAME, "the name is too long"));
        }
        let number = fields.int("t")?;
        let factor = FactorType::from_number(number)
            .ok_or_else(|| DecodeError::invalid(NAME, format!("unknown type {number}")))?;
        Ok(MultiFactorAuthMethod {
            created_epoch_day: fields.int("c")?,
            enabled: fields.optional("e").map_or(Ok(false), Value::as_bool)?,
            credential_id: fields.bytes("i")?.clone(),
            name: name.to_owned(),
            factor,
        })
    }
}

/// A server's demand for a second factor: `{c: challenge, m: methods}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiFactorAuthRequest {
    /// 32 random bytes for a security key to sign.
    pub challenge: Bytes,
    /// The factors that would do.
    pub methods: Vec<MultiFactorAuthMethod>,
}

impl ToCbor for MultiFactorAuthRequest {
    fn to_cbor(&self) -> Value {
        Value::map([("c", Value::Bytes(self.challenge.clone())), ("m", Value::list(&self.methods))])
    }
}

impl FromCbor for MultiFactorAuthRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("MultiFactorAuthRequest")?;
        Ok(MultiFactorAuthRequest {
            challenge: fields.bytes("c")?.clone(),
            methods: fields.required("m")?.as_list_of()?,
        })
    }
}

/// A client's answer: `{i: credential id, r}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiFactorAuthResponse {
    /// The factor that answers.
    pub credential_id: Bytes,
    /// What it says.
    pub answer: FactorAnswer,
}

/// What a factor says.
#[derive(Clone, PartialEq, Eq)]
pub enum FactorAnswer {
    /// The code of an authenticator, a mount or a backup set, as typed.
    Code(String),
    /// The signature of a security key, or its attestation when it is registered.
    Webauthn(WebauthnResponse),
}

/// Codes are secrets for as long as they are valid.
impl std::fmt::Debug for FactorAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FactorAnswer::Code(_) => f.write_str("Code(..)"),
            FactorAnswer::Webauthn(response) => response.fmt(f),
        }
    }
}

/// `{a, c, s}`: authenticator data and signature at login, attestation object and nothing at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebauthnResponse {
    /// Authenticator data, or attestation object.
    pub authenticator_data: Bytes,
    /// The client data in JSON.
    pub client_data_json: Bytes,
    /// The signature; empty at registration.
    pub signature: Bytes,
}

impl ToCbor for WebauthnResponse {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("a", Value::Bytes(self.authenticator_data.clone())),
            ("c", Value::Bytes(self.client_data_json.clone())),
            ("s", Value::Bytes(self.signature.clone())),
        ])
    }
}

impl FromCbor for WebauthnResponse {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("WebauthnResponse")?;
        Ok(WebauthnResponse {
            authenticator_data: fields.bytes("a")?.clone(),
            client_data_json: fields.bytes("c")?.clone(),
            signature: fields.bytes("s")?.clone(),
        })
    }
}

impl ToCbor for MultiFactorAuthResponse {
    fn to_cbor(&self) -> Value {
        let answer = match &self.answer {
            FactorAnswer::Code(code) => Value::text(code.as_str()),
            FactorAnswer::Webauthn(response) => response.to_cbor(),
        };
        Value::map([("i", Value::Bytes(self.credential_id.clone())), ("r", answer)])
    }
}

impl FromCbor for MultiFactorAuthResponse {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("MultiFactorAuthResponse")?;
        let answer = match fields.required("r")? {
            Value::Text(code) => FactorAnswer::Code(code.clone()),
            other => FactorAnswer::Webauthn(WebauthnResponse::from_cbor(other)?),
        };
        Ok(MultiFactorAuthResponse { credential_id: fields.bytes("i")?.clone(), answer })
    }
}

/// A new authenticator or mount: what `addTotp` and `addMount` answer.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpKey {
    /// Identifies the factor.
    pub credential_id: Vec<u8>,
    /// The secret from which codes are computed.
    pub key: Zeroizing<Vec<u8>>,
}

impl TotpKey {
    /// A fresh random one: 32 bytes each.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let credential_id = random_bytes::<32>(rng).to_vec();
        TotpKey { credential_id, key: Zeroizing::new(random_bytes::<32>(rng).to_vec()) }
    }

    /// `BASE32(credential id):BASE32(key)`.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", base32_upper(&self.credential_id), base32_upper(&*self.key)))
    }

    /// Reads that text.
    pub fn from_secret_text(text: &str) -> Result<Self, TextError> {
        let malformed = TextError { base: "second factor" };
        let (credential_id, key) = text.split_once(':').ok_or(malformed)?;
        let read = |text: &str| from_multibase(&Zeroizing::new(format!("B{text}"))).map_err(|_| malformed);
        Ok(TotpKey { credential_id: read(credential_id)?, key: Zeroizing::new(read(key)?) })
    }

    /// The address that an authenticator takes, usually as a QR code.
    pub fn provisioning_uri(&self, username: &Username) -> Zeroizing<String> {
        let secret = Zeroizing::new(base32_upper(&*self.key));
        Zeroizing::new(format!("otpauth://totp/peergos:{username}@peergos?secret={}&issuer=peergos", *secret))
    }
}

/// The secret stays out of it.
impl std::fmt::Debug for TotpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpKey(..)")
    }
}

/// A new set of backup codes, shown once: `{c: codes, i: credential id}`.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupCodes {
    /// The codes, as [`backup_code`] makes them.
    pub codes: Vec<String>,
    /// Identifies the set.
    pub credential_id: Bytes,
}

/// How many, not which.
impl std::fmt::Debug for BackupCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackupCodes({} codes)", self.codes.len())
    }
}

impl BackupCodes {
    /// A fresh random set.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let codes = (0..BACKUP_CODES).map(|_| backup_code(random_bytes(rng))).collect();
        BackupCodes { codes, credential_id: Bytes::copy_from_slice(&random_bytes::<32>(rng)) }
    }
}

impl ToCbor for BackupCodes {
    fn to_cbor(&self) -> Value {
        let codes = self.codes.iter().map(Value::text).collect();
        Value::map([("c", Value::List(codes)), ("i", Value::Bytes(self.credential_id.clone()))])
    }
}

impl FromCbor for BackupCodes {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BackupCodes")?;
        let code = |value: &Value| value.as_text().map(str::to_owned);
        Ok(BackupCodes {
            codes: fields.required("c")?.as_list()?.iter().map(code).collect::<Result<_, _>>()?,
            credential_id: fields.bytes("i")?.clone(),
        })
    }
}

/// The code of seven random bytes: ten letters and digits.
pub fn backup_code(random: [u8; 7]) -> String {
    let mut code = base32_upper(random).to_ascii_lowercase();
    code.truncate(10);
    code
}

/// A code as it is shown: `xxxxx-xxxxx`.
pub fn display_backup_code(code: &str) -> String {
    match code.split_at_checked(5) {
        Some((first, second)) => format!("{first}-{second}"),
        None => code.to_owned(),
    }
}

/// What a typed code means: lower case, without anything that no code has.
pub fn normalise_backup_code(typed: &str) -> Zeroizing<String> {
    let folded = typed.chars().flat_map(char::to_lowercase);
    Zeroizing::new(folded.filter(|c| matches!(c, 'a'..='z' | '2'..='7')).collect())
}

/// What a server keeps of a code: SHA-256 of its normal form.
pub fn backup_code_hash(typed: &str) -> [u8; 32] {
    sha256(normalise_backup_code(typed).as_bytes())
}
