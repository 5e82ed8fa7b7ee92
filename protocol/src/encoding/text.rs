//! Multibase texts (`spec/01` §2.4).

use multibase::Base;
use num_bigint::BigUint;

/// A text is not the base that its place demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {base} text")]
pub struct TextError {
    /// Name of the base.
    pub base: &'static str,
}

/// Longest text that the base58 reader takes. Its time grows with the square of the length.
pub const MAX_BASE58: usize = 16 * 1024;

/// The digits of base58btc.
const BASE58_DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The value of each ASCII character as a digit of base58btc, 58 where it is none.
const BASE58_VALUES: [u8; 128] = {
    let mut values = [58; 128];
    let mut value = 0;
    while value < 58 {
        values[BASE58_DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Base58btc without a multibase prefix. With a library for large numbers, since look-ups carry texts of thousands of
/// digits (`spec/02` §12.2), for which those for base58 alone take 10 and 60 times as long.
pub fn base58(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut text = "1".repeat(zeros);
    if zeros < bytes.len() {
        let digits = BigUint::from_bytes_be(&bytes[zeros..]).to_radix_be(58);
        text.extend(digits.into_iter().map(|digit| char::from(BASE58_DIGITS[usize::from(digit)])));
    }
    text
}

/// Reads base58btc without a multibase prefix.
pub fn from_base58(text: &str) -> Result<Vec<u8>, TextError> {
    let error = TextError { base: "base58btc" };
    if text.len() > MAX_BASE58 {
        return Err(error);
    }
    let zeros = text.bytes().take_while(|digit| *digit == b'1').count();
    let value = |digit: u8| BASE58_VALUES.get(usize::from(digit)).copied().filter(|value| *value < 58).ok_or(error);
    let digits: Vec<u8> = text.bytes().skip(zeros).map(value).collect::<Result<_, _>>()?;
    let mut bytes = vec![0; zeros];
    if !digits.is_empty() {
        bytes.extend(BigUint::from_radix_be(&digits, 58).ok_or(error)?.to_bytes_be());
    }
    Ok(bytes)
}

/// Multibase base58btc: `z` and the base58 text.
pub fn multibase58(bytes: impl AsRef<[u8]>) -> String {
    format!("z{}", base58(bytes))
}

/// Reads multibase base58btc; no other base is taken.
pub fn from_multibase58(text: &str) -> Result<Vec<u8>, TextError> {
    let text = text.strip_prefix('z').ok_or(TextError { base: "multibase base58btc" })?;
    from_base58(text)
}

/// Reads a text in any base that CID texts may have (`spec/01` §2.4): base58btc, base32, base32hex, base36, base16,
/// base64.
pub fn from_multibase(text: &str) -> Result<Vec<u8>, TextError> {
    let error = TextError { base: "multibase" };
    if text.len() > MAX_BASE58 {
        return Err(error);
    }
    let base = match text.chars().next() {
        Some('z') => return from_base58(&text[1..]).map_err(|_| error),
        Some('b') => Base::Base32Lower,
        Some('B') => Base::Base32Upper,
        Some('v') => Base::Base32HexLower,
        Some('V') => Base::Base32HexUpper,
        Some('k') => Base::Base36Lower,
        Some('f') => Base::Base16Lower,
        Some('m') => Base::Base64,
        Some('M') => Base::Base64Pad,
        _ => return Err(error),
    };
    let body = &text[1..];
    // Letters of either case where the base has only one of each.
    let folded = match base {
        Base::Base32Lower | Base::Base32HexLower | Base::Base16Lower => Some(body.to_ascii_lowercase()),
        Base::Base32Upper | Base::Base32HexUpper => Some(body.to_ascii_uppercase()),
        Base::Base36Lower if body.bytes().any(|byte| byte.is_ascii_uppercase()) => return Err(error),
        _ => None,
    };
    base.decode(folded.as_deref().unwrap_or(body)).map_err(|_| error)
}

/// Upper case base32 without padding: object names of blocks, second factors.
pub fn base32_upper(bytes: impl AsRef<[u8]>) -> String {
    Base::Base32Upper.encode(bytes)
}

/// Lower case hexadecimal, two digits for each byte.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    Base::Base16Lower.encode(bytes)
}

/// Reads hexadecimal digits of either case.
pub fn from_hex(text: &str) -> Result<Vec<u8>, TextError> {
    Base::Base16Lower.decode(text.to_ascii_lowercase()).map_err(|_| TextError { base: "hexadecimal" })
}
