//! Unsigned varints: LEB128, least significant group first, at most 10 bytes (`spec/01` §2.1).

/// The input is no varint: it ends early, is longer than it need be, or does not fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed varint")]
pub struct VarintError;

/// Reads a varint and gives the input that follows it.
pub fn read(input: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let (value, rest) = unsigned_varint::decode::u64(input).map_err(|_| VarintError)?;
    // The crate drops the bits of a tenth byte that do not fit; a number would have several forms.
    let mut buffer = unsigned_varint::encode::u64_buffer();
    if unsigned_varint::encode::u64(value, &mut buffer) != &input[..input.len() - rest.len()] {
        return Err(VarintError);
    }
    Ok((value, rest))
}

/// Appends a varint.
pub fn write(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(unsigned_varint::encode::u64(value, &mut unsigned_varint::encode::u64_buffer()));
}

/// Number of bytes of a varint.
pub fn encoded_len(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}
