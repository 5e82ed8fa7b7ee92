//! A key file on a server's disk, protected by a password (`spec/01` §3.12).

use bytes::Bytes;
use pyrgos_crypto::random::{CryptoRng, random_bytes};
use pyrgos_crypto::secretbox::{self, Nonce};
use zeroize::Zeroizing;

use crate::encoding::text::hex;
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::login::{DeriveError, ScryptAlgorithm, SecretGenerationAlgorithm};

/// Bytes encrypted under a password: `[algorithm, salt, nonce, secretbox]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordProtected {
    algorithm: SecretGenerationAlgorithm,
    salt: [u8; 32],
    nonce: Nonce,
    sealed: Bytes,
}

impl PasswordProtected {
    /// Encrypts `plain` under a password with a fresh salt. Takes a noticeable time on purpose.
    ///
    /// # Errors
    /// [`DeriveError`] where the machine lacks the memory.
    pub fn encrypt(plain: &[u8], password: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Self, DeriveError> {
        let scrypt = ScryptAlgorithm { output_len: 32, ..ScryptAlgorithm::login(String::new()) };
        let (salt, nonce) = (random_bytes(rng), Nonce::generate(rng));
        let key = derive_key(&scrypt, &salt, password)?;
        let sealed = secretbox::seal(&key, &nonce, plain).into();
        Ok(PasswordProtected { algorithm: SecretGenerationAlgorithm::Scrypt(scrypt), salt, nonce, sealed })
    }

    /// Decrypts. Takes a noticeable time on purpose.
    ///
    /// # Errors
    /// [`DeriveError::Crypto`] with a wrong password or changed bytes, or for an algorithm out of bounds.
    pub fn decrypt(&self, password: &str) -> Result<Zeroizing<Vec<u8>>, DeriveError> {
        let key = derive_key(self.algorithm.scrypt()?, &self.salt, password)?;
        Ok(Zeroizing::new(secretbox::open(&key, &self.nonce, &self.sealed)?))
    }
}

/// The salt text is the hexadecimal text of the salt; the extra salt of the algorithm is not used here.
fn derive_key(scrypt: &ScryptAlgorithm, salt: &[u8; 32], password: &str) -> Result<secretbox::Key, DeriveError> {
    let derived = scrypt.derive(password, &hex(salt))?;
    let key = derived.get(..secretbox::Key::SIZE).ok_or(DeriveError::OutputLength(derived.len()))?;
    Ok(secretbox::Key::from_slice(key)?)
}

impl ToCbor for PasswordProtected {
    fn to_cbor(&self) -> Value {
        Value::List(vec![
            self.algorithm.to_cbor(),
            Value::bytes(self.salt),
            Value::bytes(self.nonce.as_bytes()),
            Value::Bytes(self.sealed.clone()),
        ])
    }
}

impl FromCbor for PasswordProtected {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let elements = value.elements("PasswordProtected", 4)?;
        Ok(PasswordProtected {
            algorithm: SecretGenerationAlgorithm::from_cbor(&elements[0])?,
            salt: elements[1].as_array("PasswordProtected")?,
            nonce: Nonce::from_bytes(elements[2].as_array("PasswordProtected")?),
            sealed: elements[3].as_bytes()?.clone(),
        })
    }
}
