//! Form encoding of failure messages in the `Trailer` header (`spec/04` §2.5).

use super::query::percent_decode;

/// Longest message that a node sends, in bytes before encoding.
pub const MAX_MESSAGE: usize = 2048;

/// The message as a header value: space as `+`, alphanumerics and `*-._` literal, all else percent-encoded. The result
/// is ASCII without control characters whatever the message holds, so it cannot end the header.
pub fn encode(message: &str) -> String {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = String::with_capacity(end + 16);
    for byte in message[..end].bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Reads a header value. A value that is no form encoding is taken as it stands: it is only shown to people.
pub fn decode(header: &str) -> String {
    percent_decode(header, b' ').unwrap_or_else(|| header.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_existing_clients_expect() {
        let cases = [
            ("Unauthorised!", "Unauthorised%21"),
            ("Storage quota reached! \nUsed 1", "Storage+quota+reached%21+%0AUsed+1"),
            ("PointerCAS:EMPTY,,EMPTY", "PointerCAS%3AEMPTY%2C%2CEMPTY"),
            ("a*b-c.d_e~(é)'", "a*b-c.d_e%7E%28%C3%A9%29%27"),
        ];
        for (message, header) in cases {
            assert_eq!(encode(message), header);
            assert_eq!(decode(header), message);
        }
    }

    #[test]
    fn never_breaks_a_header() {
        let hostile = "x\r\nSet-Cookie: a=b\0\u{7f}\u{2028}";
        assert!(encode(hostile).bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(decode(&encode(hostile)), hostile);
        assert!(encode(&"é".repeat(5000)).len() <= MAX_MESSAGE * 3);
        assert_eq!(decode("100% wrong"), "100% wrong");
    }
}
