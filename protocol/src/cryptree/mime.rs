//! Mime types from a file's first bytes and its name (`spec/03` Appendix A). The result is a hint for display.

/// How many leading bytes of a file decide.
pub const HEADER_LEN: usize = 40;

/// The mime type of a file that starts with `header` (its first [`HEADER_LEN`] bytes, or all of a shorter file; more are
/// ignored) and has this name.
pub fn detect(header: &[u8], name: &str) -> String {
    let header = &header[..header.len().min(HEADER_LEN)];
    if let Some(known) = by_signature(header, name) {
        return known.to_owned();
    }
    match as_text(header) {
        Some(text) => text_type(text, name),
        None => "application/octet-stream".to_owned(),
    }
}

fn by_signature(header: &[u8], name: &str) -> Option<&'static str> {
    let starts = |prefix: &[u8]| header.starts_with(prefix);
    let at = |offset: usize, part: &[u8]| header.get(offset..).is_some_and(|rest| rest.starts_with(part));

    Some(if starts(b"BM") {
        "image/bmp"
    } else if starts(b"GIF") {
        "image/gif"
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        if name.ends_with(".ico") { "image/vnd.microsoft.icon" } else { "image/png" }
    } else if starts(b"\xff\xd8") {
        "image/jpg"
    } else if starts(b"\0\0\x01\0") || starts(b"\0\0\x02\0") {
        "image/x-icon"
    } else if starts(b"RIFF") && at(8, b"WEBP") {
        "image/webp"
    } else if starts(b"\xff\x0a") || starts(b"\0\0\0\x0cJXL \r\n\x87\n") {
        "image/jxl"
    } else if starts(b"II*\0") || starts(b"MM\0*") {
        "image/tiff"
    } else if starts(b"\0") && at(4, b"ftyp") {
        iso_media(header)
    } else if at(4, b"pnot") || at(4, b"moov") || at(4, b"mdat") {
        "video/quicktime"
    } else if at(24, b"webm") {
        "video/webm"
    } else if starts(b"OggS\0\x02") && [&b"\x80theora"[..], b"fishead\0", b"\x01video\0\0\0"].iter().any(|c| at(28, c))
    {
        "video/ogg"
    } else if starts(b"\x1a\x45\xdf\xa3") {
        "video/x-matroska"
    } else if starts(b"FLV") {
        "video/x-flv"
    } else if at(8, b"AVI ") {
        "video/avi"
    } else if starts(b"MThd") {
        "audio/midi"
    } else if starts(b"ID3") || starts(b"\xff\xfb") || starts(b"\xff\xfa") {
        "audio/mpeg"
    } else if starts(b"fLaC") {
        "audio/flac"
    } else if starts(b"OggS\0\x02")
        && [&b"OpusHead"[..], b"\x7fFLAC", b"\x01vorbis", b"Speex   "].iter().any(|c| at(28, c))
    {
        "audio/ogg"
    } else if starts(b"RIFF") && at(8, b"WAVE") {
        "audio/wav"
    } else if starts(b"FORM") && at(8, b"AIFF") {
        "audio/aiff"
    } else if starts(b"%PDF") {
        "application/pdf"
    } else if starts(b"%!PS-Adobe-") {
        "application/postscript"
    } else if starts(b"\0asm") {
        "application/wasm"
    } else if starts(b"PK\x03\x04") {
        zip(name)
    } else if starts(b"\x1f\x8b\x08") {
        "application/x-gzip"
    } else if starts(b"Rar!\x1a\x07") {
        "application/x-rar-compressed"
    } else if starts(b"wOFF") {
        "font/woff"
    } else if starts(b"wOF2") {
        "font/woff2"
    } else if starts(b"OTTO") {
        "font/otf"
    } else if starts(b"\0\x01\0\0") {
        "font/ttf"
    } else if starts(b"\x82\x11") {
        // A CBOR list of two that starts with the type number 17 or 24.
        "application/vnd.peergos-post"
    } else if starts(b"\x82\x18\x18") {
        "application/vnd.peergos-identity-proof"
    } else {
        return None;
    })
}

/// Containers of the ISO base media format, by their major brand at offset 8.
fn iso_media(header: &[u8]) -> &'static str {
    let brand = |offset: usize| header.get(offset..offset + 4).unwrap_or_default();
    match brand(8) {
        b"iso2" | b"isom" | b"dash" | b"mp42" | b"mp41" => "video/mp4",
        _ if brand(16) == b"isom" => "video/mp4",
        b"M4V " => "video/m4v",
        b"avif" => "image/avif",
        b"heic" => "image/heic",
        b"M4A " => "audio/mp4",
        b"avc1" => "video/h264",
        b"qt  " => "video/quicktime",
        brand if brand.starts_with(b"3gp") => "video/3gpp",
        _ => "video/mp4",
    }
}

fn zip(name: &str) -> &'static str {
    const BY_SUFFIX: [(&str, &str); 9] = [
        (".jar", "application/java-archive"),
        (".epub", "application/epub+zip"),
        (".pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        (".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (".odt", "application/vnd.oasis.opendocument.text"),
        (".ods", "application/vnd.oasis.opendocument.spreadsheet"),
        (".odp", "application/vnd.oasis.opendocument.presentation"),
        (".apk", "application/vnd.android.package-archive"),
    ];
    by_suffix(&BY_SUFFIX, name).unwrap_or("application/zip")
}

/// The header as text, if it is UTF-8. A last character that the cut at [`HEADER_LEN`] split is left out.
fn as_text(header: &[u8]) -> Option<&str> {
    match std::str::from_utf8(header) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&header[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

fn text_type(text: &str, name: &str) -> String {
    // What follows `text/` is a whole mime type for excalidraw in the reference, and other clients know it so.
    const BY_SUFFIX: [(&str, &str); 21] = [
        (".md", "md"),
        (".csv", "csv"),
        (".edn", "x-clojure"),
        (".excalidraw", "application/vnd.excalidraw+json"),
        (".xml", "xml"),
        (".asp", "asp"),
        (".rt", "richtext"),
        (".rtf", "rtf"),
        (".rtx", "richtext"),
        (".java", "x-java-source"),
        (".mjs", "javascript"),
        (".gv", "vnd.graphviz"),
        (".f", "x-fortran"),
        (".s", "x-asm"),
        (".p", "x-pascal"),
        (".yaml", "yaml"),
        (".c", "x-c"),
        (".c9r", CRYPTOMATOR),
        (".c9s", CRYPTOMATOR),
        (".bkup", CRYPTOMATOR),
        (".cryptomator", CRYPTOMATOR),
    ];
    const CRYPTOMATOR: &str = "application/vnd.cryptomator.encrypted";

    let whole = if name.ends_with(".ics") && text.contains("BEGIN:VCALENDAR") {
        Some("text/calendar")
    } else if name.ends_with(".vcf") && text.contains("BEGIN:VCARD") {
        Some("text/vcard")
    } else if name.ends_with(".html") {
        Some("text/html")
    } else if name.ends_with(".css") {
        Some("text/css")
    } else if name.ends_with(".js") {
        Some("text/javascript")
    } else if name.ends_with(".svg") && (text.contains("<?xml") || text.contains("<svg ")) {
        Some("image/svg+xml")
    } else if name.ends_with(".json") {
        Some("application/json")
    } else {
        None
    };
    if let Some(whole) = whole {
        return whole.to_owned();
    }
    match by_suffix(&BY_SUFFIX, name) {
        Some(CRYPTOMATOR) => CRYPTOMATOR.to_owned(),
        Some(subtype) => format!("text/{subtype}"),
        None => {
            let start = text.trim().to_lowercase();
            if start.contains("html>") || start.contains("<html") { "text/html" } else { "text/plain" }.to_owned()
        }
    }
}

fn by_suffix<'a>(table: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    table.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, mime)| *mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of Appendix A that the vectors do not cover.
    #[test]
    fn appendix_a() {
        let cases: [(&[u8], &str, &str); 24] = [
            (b"\0\0\x02\0", "a", "image/x-icon"),
            (b"\xff\x0a", "a", "image/jxl"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "a", "image/jxl"),
            (b"II*\0", "a", "image/tiff"),
            (b"\0\0\0\x18ftypqt  ", "a", "video/quicktime"),
            (b"\0\0\0\x18ftyp3gp5", "a", "video/3gpp"),
            (b"\0\0\0\x18ftypxxxx\0\0\0\0isom", "a", "video/mp4"),
            (b"\0\0\0\x18ftyp", "a", "video/mp4"),
            (b"....moov", "a", "video/quicktime"),
            (b"OggS\0\x02......................\x80theora", "a", "video/ogg"),
            (b"OggS\0\x02......................Speex   ", "a", "audio/ogg"),
            (b"RIFF....WAVE", "a", "audio/wav"),
            (b"RIFF....AVI ", "a", "video/avi"),
            (b"FORM....AIFF", "a", "audio/aiff"),
            (b"\0asm", "a", "application/wasm"),
            (b"PK\x03\x04", "a.odt", "application/vnd.oasis.opendocument.text"),
            (b"wOF2", "a", "font/woff2"),
            (b"BEGIN:VCALENDAR", "a.ics", "text/calendar"),
            (b"BEGIN", "a.ics", "text/plain"),
            (b"x", "a.c9r", "application/vnd.cryptomator.encrypted"),
            (b"x", "a.rtf", "text/rtf"),
            (b"  <HTML lang", "a", "text/html"),
            (b"x", "a.c", "text/x-c"),
            (b"\xc3(", "a", "application/octet-stream"),
        ];
        for (header, name, mime) in cases {
            assert_eq!(detect(header, name), mime, "{header:?} {name}");
        }
    }

    #[test]
    fn only_the_first_forty_bytes_count() {
        let mut header = vec![b'a'; HEADER_LEN];
        header.extend_from_slice(b"\xff\xff");
        assert_eq!(detect(&header, "a"), "text/plain");
    }
}
