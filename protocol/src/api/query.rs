//! Parameters in the request target (`spec/04` §2.4).
//!
//! The whole query is percent-decoded first, then split at `&`, then each part at its first `=`; a `+` is a plus. This
//! order is the protocol's, and its price is that a value with `&` cannot be sent.

use std::borrow::Cow;
use std::str::FromStr;

use super::ApiError;
use crate::encoding::text;

/// Longest query in bytes that a node reads: 20 capabilities with tokens are about 4 KiB.
pub const MAX_QUERY: usize = 64 * 1024;

/// Appends `?key=value&…` percent-encoded; nothing for no parameters.
pub(super) fn encode_into(query: &[(Cow<'static, str>, String)], out: &mut String) {
    for (at, (key, value)) in query.iter().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        percent_encode(key, out);
        out.push('=');
        percent_encode(value, out);
    }
}

fn percent_encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// Undoes percent encoding; `plus` says what a `+` stands for. `None` for a broken escape or bytes that are no UTF-8.
pub(super) fn percent_decode(text: &str, plus: u8) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        match first {
            b'%' => {
                let (high, low) = (digit(rest.first())?, digit(rest.get(1))?);
                out.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            b'+' => out.push(plus),
            other => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

/// Reads an encoded query (without the `?`). Empty parts at the end are dropped, since peers send a trailing `&`;
/// any other part without `=` is an error.
pub fn decode(query: &str) -> Result<Vec<(Cow<'static, str>, String)>, ApiError> {
    if query.len() > MAX_QUERY {
        return Err(ApiError::refused("Query too long"));
    }
    let decoded = percent_decode(query, b'+').ok_or_else(|| ApiError::refused("Malformed query"))?;
    let parts = decoded.trim_end_matches('&');
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |part: &str| match part.split_once('=') {
        Some((key, value)) => Ok((Cow::Owned(key.to_owned()), value.to_owned())),
        None => Err(ApiError::refused("Malformed query: a parameter without =")),
    };
    parts.split('&').map(pair).collect()
}

/// The parameters of a request, for reading. Unknown ones are ignored; a known one given twice is refused, except where
/// a list is meant.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    query: &'a [(Cow<'static, str>, String)],
}

impl<'a> Parameters<'a> {
    pub(super) fn new(query: &'a [(Cow<'static, str>, String)]) -> Self {
        Parameters { query }
    }

    /// Every value of a key, in order.
    pub fn all(&self, key: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.query.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A value that may be absent.
    pub fn optional(&self, key: &'static str) -> Result<Option<&'a str>, ApiError> {
        let mut values = self.all(key);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(ApiError::refused(format!("Parameter {key} given twice"))),
        }
    }

    /// A value that must be there. The text of the failure is the one that existing nodes give.
    pub fn required(&self, key: &'static str) -> Result<&'a str, ApiError> {
        self.optional(key)?.ok_or_else(|| ApiError::refused(format!("No value present for parameter {key}")))
    }

    /// A value that must be there, parsed. The failure names the parameter and never repeats its value, which may be a
    /// secret.
    pub fn parsed<T: FromStr>(&self, key: &'static str) -> Result<T, ApiError> {
        parse(key, self.required(key)?)
    }

    /// A value that may be absent, parsed.
    pub fn parsed_optional<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, ApiError> {
        self.optional(key)?.map(|value| parse(key, value)).transpose()
    }

    /// `true` or anything else; absent is false.
    pub fn flag(&self, key: &'static str) -> Result<bool, ApiError> {
        Ok(self.optional(key)?.is_some_and(|value| value.eq_ignore_ascii_case("true")))
    }

    /// Hexadecimal digits of either case.
    pub fn hex(&self, key: &'static str) -> Result<Vec<u8>, ApiError> {
        text::from_hex(self.required(key)?).map_err(|_| malformed(key))
    }

    /// Hexadecimal digits that may be absent.
    pub fn hex_optional(&self, key: &'static str) -> Result<Option<Vec<u8>>, ApiError> {
        self.optional(key)?.map(|value| text::from_hex(value).map_err(|_| malformed(key))).transpose()
    }

    /// Multibase base58btc, which is how structures travel in a query.
    pub fn base58(&self, key: &'static str) -> Result<Vec<u8>, ApiError> {
        text::from_multibase58(self.required(key)?).map_err(|_| malformed(key))
    }

    /// Multibase base58btc that may be absent.
    pub fn base58_optional(&self, key: &'static str) -> Result<Option<Vec<u8>>, ApiError> {
        self.optional(key)?.map(|value| text::from_multibase58(value).map_err(|_| malformed(key))).transpose()
    }
}

fn parse<T: FromStr>(key: &'static str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| malformed(key))
}

/// The failure for a value that cannot be read.
pub(super) fn malformed(key: &'static str) -> ApiError {
    ApiError::refused(format!("Malformed parameter {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Request;
    use bytes::Bytes;

    fn pairs(query: &str) -> Vec<(String, String)> {
        decode(query).unwrap().into_iter().map(|(key, value)| (key.into_owned(), value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn decodes_before_it_splits() {
        assert_eq!(pairs("a%3D1%26b=2=3"), [pair("a", "1"), pair("b", "2=3")]);
        assert_eq!(pairs("name=my+key%20one"), [pair("name", "my+key one")]);
        assert_eq!(pairs("a=1&"), [pair("a", "1")]);
        assert_eq!(pairs("a=1&&&"), [pair("a", "1")]);
        assert_eq!(pairs("a="), [pair("a", "")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn refuses_what_it_cannot_split() {
        for query in ["a", "a=1&b", "a=1&&b=2", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%é1"] {
            assert!(decode(query).is_err(), "{query}");
        }
        assert!(decode(&"a=1&".repeat(MAX_QUERY)).is_err());
    }

    #[test]
    fn encodes_what_it_decodes() {
        let request = Request::new("x/y").with("name", "a b+c%d=é").with("caps", "z1,2");
        assert_eq!(request.target(), "/x/y?name=a%20b%2Bc%25d%3D%C3%A9&caps=z1,2");
        let (path, query) = request.target().split_once('?').map(|(p, q)| (p.to_owned(), q.to_owned())).unwrap();
        assert!(Request::parse(&path, Some(&query), Bytes::new()).unwrap() == request);
    }

    #[test]
    fn knows_absence_from_repetition() {
        let request = Request::parse("/p", Some("arg=1&arg=2&owner=x"), Bytes::new()).unwrap();
        let parameters = request.parameters();
        assert_eq!(parameters.all("arg").collect::<Vec<_>>(), ["1", "2"]);
        assert!(parameters.optional("arg").is_err());
        assert_eq!(parameters.required("owner").unwrap(), "x");
        assert!(parameters.required("writer").unwrap_err().message().starts_with("No value present"));
    }
}
