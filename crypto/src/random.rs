//! The source of randomness that every generator of this crate takes as an argument.
//!
//! A node passes the operating system's generator, a simulation one with a seed.

pub use rand_core::CryptoRng;

/// Draws `N` random bytes.
///
/// ```
/// use pyrgos_crypto::random::random_bytes;
/// let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
/// let salt = random_bytes::<32>(&mut rng);
/// assert_eq!(salt.len(), 32);
/// ```
pub fn random_bytes<const N: usize>(rng: &mut (impl CryptoRng + ?Sized)) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
