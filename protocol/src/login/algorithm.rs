//! How a password is turned into keys (`spec/01` §4.2, §4.3).

use pyrgos_crypto::boxes;
use pyrgos_crypto::password::{self, Params};
use pyrgos_crypto::random::{CryptoRng, random_bytes};
use pyrgos_crypto::secretbox;
use zeroize::Zeroizing;

use crate::encoding::text::hex;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{BoxingKeyPair, SecretBoxingKey, SecretSigningKey, SigningKeyPair, SymmetricKey};
use crate::names::Username;

const RANDOM: i64 = 0;
const SCRYPT: i64 = 1;

/// Smallest binary logarithm of scrypt's cost that is read. Logins use 17, secret links 15.
const MIN_LOG2_N: i64 = 15;

/// Derived bytes of today's accounts: login seed and root key.
const LOGIN_LEN: usize = 64;

/// Derived bytes of old accounts: identity seed, boxing secret and root key.
const LEGACY_LOGIN_LEN: usize = 96;

/// Why a password gives no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// The account's keys do not come from a password.
    #[error("this account's keys are not derived from a password")]
    NotDerived,
    /// A number of derived bytes that no login has. Such parameters would end in a root key that everybody knows
    /// (`spec/01` §4.3).
    #[error("a login derives 64 or 96 bytes, not {0}")]
    OutputLength(usize),
    /// The password is the username.
    #[error("the password must differ from the username")]
    PasswordIsUsername,
    /// Parameters out of bounds, too little memory, or a wrong password where something was decrypted.
    #[error(transparent)]
    Crypto(#[from] pyrgos_crypto::Error),
}

/// The derivation of an account's secrets, a public part of its writer data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretGenerationAlgorithm {
    /// Type 0: not derived from a password.
    Random,
    /// Type 1.
    Scrypt(ScryptAlgorithm),
}

/// Parameters of scrypt: `{c, m, o, p, s, type: 1}`.
///
/// Read as they stand, since they come from a public block that may be old; [`ScryptAlgorithm::derive`] checks them
/// before it uses time and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScryptAlgorithm {
    /// `m`: binary logarithm of the cost N, at least 15.
    pub log2_n: u8,
    /// `c`: block size r.
    pub r: u32,
    /// `p`: parallelism.
    pub p: u32,
    /// `o`: number of derived bytes.
    pub output_len: usize,
    /// `s`: text that follows the username in the salt.
    pub extra_salt: String,
}

impl ScryptAlgorithm {
    /// Today's parameters for a login.
    pub fn login(extra_salt: String) -> Self {
        ScryptAlgorithm::of_params(Params::LOGIN, extra_salt)
    }

    /// The parameters of secret links.
    pub fn secret_link() -> Self {
        ScryptAlgorithm::of_params(Params::SECRET_LINK, String::new())
    }

    fn of_params(params: Params, extra_salt: String) -> Self {
        let Params { log2_n, r, p, output_len } = params;
        ScryptAlgorithm { log2_n, r, p, output_len, extra_salt }
    }

    /// Derives `output_len` secret bytes from a password and the whole salt text; [`extra_salt`](Self::extra_salt) is
    /// the caller's to add. Takes a noticeable time on purpose: not for an async executor.
    ///
    /// # Errors
    /// [`DeriveError::Crypto`] for parameters out of bounds or without the memory that they need.
    pub fn derive(&self, password: &str, salt: &str) -> Result<Zeroizing<Vec<u8>>, DeriveError> {
        let params = Params { log2_n: self.log2_n, r: self.r, p: self.p, output_len: self.output_len };
        Ok(password::derive(password, salt, params)?)
    }
}

impl SecretGenerationAlgorithm {
    /// The algorithm of a new account or of a changed password: today's parameters with a fresh salt.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        SecretGenerationAlgorithm::Scrypt(ScryptAlgorithm::login(hex(random_bytes::<32>(rng))))
    }

    /// The algorithm after a change of the password: the same costs, today's number of bytes, a fresh salt.
    ///
    /// # Errors
    /// [`DeriveError::NotDerived`] without a password.
    pub fn with_new_salt(&self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Self, DeriveError> {
        let extra_salt = hex(random_bytes::<32>(rng));
        let scrypt = ScryptAlgorithm { output_len: LOGIN_LEN, extra_salt, ..self.scrypt()?.clone() };
        Ok(SecretGenerationAlgorithm::Scrypt(scrypt))
    }

    /// The parameters of scrypt.
    ///
    /// # Errors
    /// [`DeriveError::NotDerived`] for the random kind.
    pub fn scrypt(&self) -> Result<&ScryptAlgorithm, DeriveError> {
        match self {
            SecretGenerationAlgorithm::Scrypt(scrypt) => Ok(scrypt),
            SecretGenerationAlgorithm::Random => Err(DeriveError::NotDerived),
        }
    }

    /// Whether the password also gives identity and boxing key, as in old accounts.
    pub fn is_legacy(&self) -> bool {
        matches!(self, SecretGenerationAlgorithm::Scrypt(scrypt) if scrypt.output_len == LEGACY_LOGIN_LEN)
    }

    /// Derives a login. The password is taken as it is: nothing trimmed, folded or normalised. Takes a noticeable time
    /// on purpose: not for an async executor.
    ///
    /// # Errors
    /// [`DeriveError`] says what is refused; other numbers of bytes than 64 and 96 always are.
    pub fn derive_login(&self, username: &Username, password: &str) -> Result<UserWithRoot, DeriveError> {
        let scrypt = self.scrypt()?;
        if password == username.as_str() {
            return Err(DeriveError::PasswordIsUsername);
        }
        if ![LOGIN_LEN, LEGACY_LOGIN_LEN].contains(&scrypt.output_len) {
            return Err(DeriveError::OutputLength(scrypt.output_len));
        }
        let derived = scrypt.derive(password, &format!("{username}{}", scrypt.extra_salt))?;
        UserWithRoot::split(&derived)
    }
}

impl ToCbor for SecretGenerationAlgorithm {
    fn to_cbor(&self) -> Value {
        match self {
            SecretGenerationAlgorithm::Random => Value::map([("type", Value::Int(RANDOM))]),
            SecretGenerationAlgorithm::Scrypt(scrypt) => Value::map([
                ("c", Value::Int(scrypt.r.into())),
                ("m", Value::Int(scrypt.log2_n.into())),
                ("o", Value::Int(scrypt.output_len as i64)),
                ("p", Value::Int(scrypt.p.into())),
                ("s", Value::text(scrypt.extra_salt.as_str())),
                ("type", Value::Int(SCRYPT)),
            ]),
        }
    }
}

impl FromCbor for SecretGenerationAlgorithm {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const NAME: &str = "SecretGenerationAlgorithm";
        let fields = value.fields(NAME)?;
        match fields.int("type")? {
            RANDOM => Ok(SecretGenerationAlgorithm::Random),
            SCRYPT => {
                let small = |key| {
                    let number = fields.int(key)?;
                    u32::try_from(number).map_err(|_| DecodeError::invalid(NAME, format!("{key} is {number}")))
                };
                let log2_n = fields.int("m")?;
                let out_of_range = |_| DecodeError::invalid(NAME, format!("m is {log2_n}"));
                if log2_n < MIN_LOG2_N {
                    return Err(DecodeError::invalid(NAME, format!("m is {log2_n}, below {MIN_LOG2_N}")));
                }
                Ok(SecretGenerationAlgorithm::Scrypt(ScryptAlgorithm {
                    log2_n: u8::try_from(log2_n).map_err(out_of_range)?,
                    r: small("c")?,
                    p: small("p")?,
                    output_len: small("o")? as usize,
                    // Absent in old data.
                    extra_salt: fields.optional("s").map_or(Ok(""), Value::as_text)?.to_owned(),
                }))
            }
            other => Err(DecodeError::invalid(NAME, format!("unknown type {other}"))),
        }
    }
}

/// What a username and a password give. Never serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserWithRoot {
    /// Proves to the home server who asks for the login data. In old accounts it is also the identity.
    pub login: SigningKeyPair,
    /// The boxing key of an old account; new ones have an independent one in their login data.
    pub legacy_boxing: Option<BoxingKeyPair>,
    /// Opens the login data.
    pub root: SymmetricKey,
}

impl UserWithRoot {
    /// Splits derived bytes by their number (`spec/01` §4.3).
    fn split(derived: &[u8]) -> Result<Self, DeriveError> {
        let wrong_length = || DeriveError::OutputLength(derived.len());
        let (seed, rest) = derived.split_first_chunk::<32>().ok_or_else(wrong_length)?;
        let (legacy_boxing, root) = match derived.len() {
            LOGIN_LEN => (None, rest),
            LEGACY_LOGIN_LEN => {
                let (boxing, root) = rest.split_at(boxes::SecretKey::SIZE);
                let secret = SecretBoxingKey::Curve25519(boxes::SecretKey::from_slice(boxing)?);
                (Some(BoxingKeyPair::new(secret)), root)
            }
            _ => return Err(wrong_length()),
        };
        Ok(UserWithRoot {
            login: SigningKeyPair::new(SecretSigningKey::from_seed(seed)),
            legacy_boxing,
            root: SymmetricKey::new(secretbox::Key::from_slice(root)?),
        })
    }
}
