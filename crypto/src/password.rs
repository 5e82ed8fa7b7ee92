//! Password derivation: scrypt over the SHA-256 of the password (`spec/01` §4.2).

use zeroize::Zeroizing;

use crate::{Error, hash};

/// The most memory that a derivation may take, in bytes. Its parameters come from a public block, so anyone who can
/// write that block chooses them.
pub const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// How a password is turned into secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Binary logarithm of scrypt's cost N, 15 to 20.
    pub log2_n: u8,
    /// scrypt's block size r, at least 1. `128 · r · 2^log2_n` bytes of memory may be [`MAX_MEMORY_BYTES`].
    pub r: u32,
    /// scrypt's parallelism p, 1 to 4; the browser's client only supports 1.
    pub p: u32,
    /// How many bytes to derive: 32, 64 or 96.
    pub output_len: usize,
}

impl Params {
    /// What new accounts use: 128 MiB of memory, 64 bytes.
    pub const LOGIN: Self = Self { log2_n: 17, r: 8, p: 1, output_len: 64 };

    /// What accounts made by old clients use: 96 bytes, of which the middle ones are the secret boxing key.
    pub const LEGACY_LOGIN: Self = Self { output_len: 96, ..Self::LOGIN };

    /// What secret links use: 32 MiB of memory, 32 bytes.
    pub const SECRET_LINK: Self = Self { log2_n: 15, output_len: 32, ..Self::LOGIN };

    /// How much memory a derivation takes, in bytes: `128 · r · 2^log2_n`.
    pub fn memory_bytes(&self) -> u64 {
        (128 * u64::from(self.r)).checked_shl(self.log2_n.into()).filter(|_| self.log2_n < 25).unwrap_or(u64::MAX)
    }

    /// Whether these parameters are within bounds.
    ///
    /// # Errors
    /// [`Error::PasswordParams`] names the one that is not.
    pub fn check(&self) -> Result<(), Error> {
        let bounds = [
            ("log2 N", "15 to 20", u64::from(self.log2_n), (15..=20).contains(&self.log2_n)),
            (
                "r",
                "at least 1, and 128·r·N at most 1 GiB",
                u64::from(self.r),
                self.r >= 1 && self.memory_bytes() <= MAX_MEMORY_BYTES,
            ),
            ("p", "1 to 4", u64::from(self.p), (1..=4).contains(&self.p)),
            ("the output length", "32, 64 or 96", self.output_len as u64, [32, 64, 96].contains(&self.output_len)),
        ];
        for (what, expected, actual, good) in bounds {
            if !good {
                return Err(Error::PasswordParams { what, expected, actual });
            }
        }
        Ok(())
    }
}

/// Derives `params.output_len` secret bytes from a password and a salt, both taken as they are: UTF-8, nothing trimmed,
/// folded or normalised (`spec/01` §4.2). For a login the salt is the username followed by the extra salt of the
/// account.
///
/// The memory that scrypt worked in is freed without being wiped; its library offers no way to.
///
/// Takes a noticeable time on purpose (about half a second with [`Params::LOGIN`]): not for an async executor.
///
/// # Errors
/// [`Error::PasswordParams`] outside the bounds, [`Error::Memory`] where there is not enough.
pub fn derive(password: &str, salt: &str, params: Params) -> Result<Zeroizing<Vec<u8>>, Error> {
    params.check()?;
    ensure_memory(params.memory_bytes())?;
    let digest = Zeroizing::new(hash::sha256(password.as_bytes()));
    let mut output = Zeroizing::new(vec![0; params.output_len]);
    let scrypt_params =
        scrypt::Params::new(params.log2_n, params.r, params.p).expect("narrower bounds were checked above");
    scrypt::scrypt(&digest[..], salt.as_bytes(), &scrypt_params, &mut output)
        .expect("96 bytes are below scrypt's limit");
    Ok(output)
}

/// scrypt's own allocation would abort the process where memory is short, so ask first. This is what counts on wasm32,
/// whose memory is small and whose allocator says no.
fn ensure_memory(bytes: u64) -> Result<(), Error> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes })
}
