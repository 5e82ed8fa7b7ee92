//! Paths, content types, and the few pages that the gateway writes itself.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::service::published::PublishedChild;

/// Most entries on one page.
const MAX_LISTED: usize = 10_000;

/// The names in a path, percent-decoded; none for a path with a name that no file has.
pub(in crate::http) fn segments(path: &str) -> Option<Vec<String>> {
    let names = path.strip_suffix('/').unwrap_or(path).split('/');
    names.map(decode).map(|name| name.filter(|name| is_name(name))).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        out.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

fn encode(name: &str, out: &mut String) {
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

/// The content type of a file: by the ending of its name, as web pages need it, else what its owner's client found in it.
pub(super) fn content_type(name: &str, mime_type: &str) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let by_ending = match ending.as_deref() {
        Some("html" | "htm") => Some("text/html"),
        Some("css") => Some("text/css"),
        Some("js" | "mjs") => Some("text/javascript"),
        Some("json") => Some("application/json"),
        Some("svg") => Some("image/svg+xml"),
        Some("png") => Some("image/png"),
        Some("jpg" | "jpeg") => Some("image/jpeg"),
        Some("woff") => Some("font/woff"),
        Some("woff2") => Some("font/woff2"),
        Some("wasm") => Some("application/wasm"),
        Some("xml") => Some("text/xml"),
        Some("md") => Some("text/markdown"),
        Some("pdf") => Some("application/pdf"),
        _ => None,
    };
    let found = match mime_type {
        // How existing clients call it.
        "image/jpg" => "image/jpeg",
        known if is_type(known) => known,
        _ => "application/octet-stream",
    };
    let content_type = by_ending.unwrap_or(found);
    match content_type.starts_with("text/") {
        true => format!("{content_type}; charset=utf-8"),
        false => content_type.to_owned(),
    }
}

/// Whether a text is `type/subtype` and nothing else: it comes from a user and goes into a header.
fn is_type(text: &str) -> bool {
    let is_token = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !part.is_empty() && part.len() <= 127 && part.bytes().all(allowed)
    };
    text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// Whether browsers show such content by themselves, also in a sandbox; anything else is to be saved.
pub(super) fn is_shown(content_type: &str) -> bool {
    let shown = ["text/", "image/", "audio/", "video/", "font/", "application/json"];
    shown.iter().any(|kind| content_type.starts_with(kind))
}

/// A short text.
pub(super) fn message(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// To the same path with a slash at the end.
pub(super) fn redirect(path: &str) -> Response {
    let mut response = message(StatusCode::FOUND, "This is a directory");
    // The last name alone: a path that begins with two slashes would lead to another host.
    let name = path.rsplit('/').next().unwrap_or_default();
    if let Ok(location) = HeaderValue::from_str(&format!("./{name}/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The list of what is in a directory.
pub(super) fn listing(names: &[String], children: &[PublishedChild]) -> Response {
    let mut page = String::from("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
    escape(&names.join("/"), &mut page);
    page.push_str("</title></head><body><h1>");
    escape(&names.join("/"), &mut page);
    page.push_str("</h1><ul>\n");
    for child in children.iter().filter(|child| is_name(&child.name)).take(MAX_LISTED) {
        let slash = if child.is_directory { "/" } else { "" };
        page.push_str("<li><a href=\"./");
        encode(&child.name, &mut page);
        page.push_str(slash);
        page.push_str("\">");
        escape(&child.name, &mut page);
        page.push_str(slash);
        page.push_str("</a></li>\n");
    }
    page.push_str("</ul></body></html>\n");
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names() {
        let names = |path: &str| segments(path).map(|names| names.join("|"));
        assert_eq!(names("alice/a%20b/%C3%A9").as_deref(), Some("alice|a b|é"));
        assert_eq!(names("alice/x/").as_deref(), Some("alice|x"));
        for path in
            ["", "/", "alice//x", "alice/../x", "alice/%2e%2e/x", "alice/a%2Fb", "alice/%00", "a/%", "a/%f", "a/%ff"]
        {
            assert_eq!(segments(path), None, "{path}");
        }
    }

    #[test]
    fn types_come_from_names_and_never_break_a_header() {
        assert_eq!(content_type("index.HTML", ""), "text/html; charset=utf-8");
        assert_eq!(content_type("a.svg", "text/html"), "image/svg+xml");
        assert_eq!(content_type("a", "image/jpg"), "image/jpeg");
        assert_eq!(content_type("a.bin", "video/mp4"), "video/mp4");
        for hostile in ["", "text", "text/html\r\nSet-Cookie: a=b", "text/html; x", "a/b/c", "text/é"] {
            assert_eq!(content_type("a.bin", hostile), "application/octet-stream", "{hostile}");
        }
        assert!(is_shown("text/html; charset=utf-8") && !is_shown("application/pdf"));
    }

    #[test]
    fn names_in_a_listing_are_text() {
        let hostile = "\"><script>alert('x')&".to_owned();
        let children = [
            PublishedChild { name: hostile.clone(), is_directory: true },
            PublishedChild { name: "../up".to_owned(), is_directory: false },
        ];
        let response = listing(&[hostile], &children);
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), 1 << 20));
        let page = String::from_utf8(body.unwrap().unwrap().to_vec()).unwrap();
        assert!(!page.contains("<script") && !page.contains("../up"), "{page}");
        assert!(page.contains("href=\"./%22%3E%3Cscript%3Ealert%28%27x%27%29%26/\""), "{page}");
    }
}
