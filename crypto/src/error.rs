/// Why a primitive refused its input. No variant carries secret bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key, nonce or part has one size only, and this is another.
    #[error("{what} has {actual} bytes, expected {expected}")]
    Length {
        /// What was being read.
        what: &'static str,
        /// The only valid size, in bytes.
        expected: usize,
        /// The size that came, in bytes.
        actual: usize,
    },

    /// A message is too short to hold what each message of its kind holds (a tag, a nonce, a signature).
    #[error("{what} has {actual} bytes, expected at least {minimum}")]
    TooShort {
        /// What was being read.
        what: &'static str,
        /// The smallest valid size, in bytes.
        minimum: usize,
        /// The size that came, in bytes.
        actual: usize,
    },

    /// Decryption failed: another key, another nonce or another sender, or the bytes were changed on the way. These
    /// cannot be told apart.
    #[error("cannot decrypt: wrong key, or the data was changed")]
    Decrypt,

    /// The signature is not one of this key over this message.
    #[error("the signature does not match the key and the message")]
    Signature,

    /// The two halves of a stored signing key do not belong together. Signing with it would give signatures that no
    /// one can verify, and could leak the secret.
    #[error("the public half of the signing key does not belong to its secret half")]
    KeyHalves,

    /// An X25519 public key of low order: anyone can compute the shared secret.
    #[error("the public key is of low order")]
    LowOrder,

    /// An ML-KEM key that fails the input checks of FIPS 203 (§7.2 modulus check, §7.3 hash check).
    #[error("the ML-KEM key is malformed")]
    KemKey,

    /// Parameters of a password derivation outside the bounds of [`password::Params`](crate::password::Params).
    #[error("password derivation refused: {what} is {actual}, expected {expected}")]
    PasswordParams {
        /// Which parameter.
        what: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What came.
        actual: u64,
    },

    /// The machine cannot give a password derivation the memory it needs.
    #[error("password derivation needs {bytes} bytes of memory")]
    Memory {
        /// How much is needed.
        bytes: usize,
    },

    /// A proof of work of this difficulty is out of reach. Difficulty 256 means that the server is closed.
    #[error("a proof of work of difficulty {difficulty} is out of reach")]
    Difficulty {
        /// The difficulty that was asked for.
        difficulty: u32,
    },
}
