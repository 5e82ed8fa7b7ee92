//! Reading and printing byte arrays.

use std::fmt;

use crate::Error;

/// Reads exactly `N` bytes of `what`.
pub(crate) fn exactly<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Length { what, expected: N, actual: bytes.len() })
}

/// Lower case hex of public bytes, for `Debug`.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
