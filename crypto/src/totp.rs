//! Time-based one-time codes as second factors: RFC 6238 with HMAC-SHA1, steps of 30 seconds and 6 digits
//! (`spec/01` §4.9).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// How long a code is current, in seconds.
pub const STEP_SECS: u64 = 30;

/// The code of the step that holds `unix_secs`: 6 digits, with leading zeros.
pub fn code(key: &[u8], unix_secs: u64) -> String {
    code_of_step(key, unix_secs / STEP_SECS)
}

/// Whether `code` is the one of the current step or of the one before, which a person may still be typing.
pub fn check(key: &[u8], code: &str, unix_secs: u64) -> bool {
    matching_step(key, code, unix_secs).is_some()
}

/// As [`check`], and says which step (`unix_secs / 30`) the code belongs to: a server that remembers the last one it
/// accepted can refuse a code that is used again (`spec/01` §12.2).
///
/// Codes are compared in constant time.
pub fn matching_step(key: &[u8], code: &str, unix_secs: u64) -> Option<u64> {
    let current = unix_secs / STEP_SECS;
    let is_of = |step| bool::from(code_of_step(key, step).as_bytes().ct_eq(code.as_bytes()));
    // Both codes are computed and compared whatever the first result is.
    let (now, before) = (is_of(current).then_some(current), current.checked_sub(1).filter(|&step| is_of(step)));
    now.or(before)
}

/// RFC 4226 with the step as its counter.
fn code_of_step(key: &[u8], step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    // The low four bits of the last byte choose four bytes among the first 19.
    let offset = usize::from(digest[19] & 0x0f);
    let chosen =
        u32::from_be_bytes([digest[offset] & 0x7f, digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
    format!("{:06}", chosen % 1_000_000)
}
