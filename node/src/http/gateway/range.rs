//! Which part of a file a request wants (RFC 9110 §13, §14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

/// What to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The client has this version.
    Nothing,
    /// All of it.
    Whole,
    /// A part, which is not empty and lies in the file.
    Part(Range<u64>),
    /// A part that the file does not have.
    Unsatisfiable,
}

/// Reads the conditions and the range of a request for a file with this tag, quotes included. Several ranges at once, and
/// what is no range, count as none, which the standard allows.
pub(super) fn wanted(headers: &HeaderMap, tag: &str, size_bytes: u64) -> Wanted {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_this = |known: &str| known.trim().strip_prefix("W/").unwrap_or(known.trim()) == tag;
    if text(header::IF_NONE_MATCH).is_some_and(|known| known == "*" || known.split(',').any(is_this)) {
        return Wanted::Nothing;
    }
    // A part of another version is of no use; a date is none of ours.
    if text(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::Whole;
    }
    match text(header::RANGE).and_then(parse) {
        None => Wanted::Whole,
        Some((Some(first), _)) if first >= size_bytes => Wanted::Unsatisfiable,
        Some((Some(first), last)) => {
            let end = last.map_or(size_bytes, |last| last.saturating_add(1).min(size_bytes));
            Wanted::Part(first..end)
        }
        Some((None, Some(0))) | Some((None, None)) => Wanted::Unsatisfiable,
        Some((None, Some(_))) if size_bytes == 0 => Wanted::Unsatisfiable,
        Some((None, Some(count))) => Wanted::Part(size_bytes.saturating_sub(count)..size_bytes),
    }
}

/// First and last byte of `bytes=first-last`, `bytes=first-`, or, without the first, the number of bytes at the end.
fn parse(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| -> Option<Option<u64>> {
        let digits = digits.trim();
        match digits.is_empty() {
            true => Some(None),
            // A sign would be read as part of the number.
            false if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()),
            false => None,
        }
    };
    match (number(first)?, number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        parsed => Some(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(HeaderName, &str)], size: u64) -> Wanted {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        wanted(&headers, "\"a\"", size)
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        let range = |range: &str, size| of(&[(header::RANGE, range)], size);
        assert_eq!(range("bytes=0-0", 10), Wanted::Part(0..1));
        assert_eq!(range("bytes=2-5", 10), Wanted::Part(2..6));
        assert_eq!(range("bytes=2-", 10), Wanted::Part(2..10));
        assert_eq!(range("bytes=2-99", 10), Wanted::Part(2..10));
        assert_eq!(range("bytes=-3", 10), Wanted::Part(7..10));
        assert_eq!(range("bytes=-30", 10), Wanted::Part(0..10));
        assert_eq!(range("bytes=0-18446744073709551615", 10), Wanted::Part(0..10));
        for beyond in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(range(beyond, 10), Wanted::Unsatisfiable, "{beyond}");
        }
        for empty in ["bytes=0-", "bytes=-1"] {
            assert_eq!(range(empty, 0), Wanted::Unsatisfiable, "{empty}");
        }
        for none in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=+1-2", "bytes=a-b"]
        {
            assert_eq!(range(none, 10), Wanted::Whole, "{none}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let range = (header::RANGE, "bytes=1-2");
        assert_eq!(of(&[range.clone(), (header::IF_RANGE, "\"a\"")], 10), Wanted::Part(1..3));
        for other in ["\"b\"", "W/\"a\"", "Wed, 25 Nov 2026 18:00:00 GMT"] {
            assert_eq!(of(&[range.clone(), (header::IF_RANGE, other)], 10), Wanted::Whole, "{other}");
        }
        for same in ["\"a\"", "W/\"a\"", "*", "\"b\", \"a\""] {
            assert_eq!(of(&[range.clone(), (header::IF_NONE_MATCH, same)], 10), Wanted::Nothing, "{same}");
        }
        assert_eq!(of(&[range, (header::IF_NONE_MATCH, "\"b\"")], 10), Wanted::Part(1..3));
    }
}
