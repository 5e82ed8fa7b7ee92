//! How results look: columns and sizes for people, JSON lines for programs.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON value a line instead of text.
    pub json: bool,
    /// Less on standard error: no progress bars.
    pub quiet: bool,
}

impl Output {
    /// Prints a line of text, or the value as JSON. A reader that went away (`| head`) ends the output quietly.
    pub fn line(&self, text: impl AsRef<str>, value: &impl Serialize) {
        let mut out = std::io::stdout().lock();
        let printed = if self.json {
            serde_json::to_writer(&mut out, value).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"))
        } else {
            out.write_all(text.as_ref().as_bytes()).and_then(|()| out.write_all(b"\n"))
        };
        // Nobody is left to tell.
        let _ = printed;
    }

    /// Tells a person what was done; silent with `--json` and `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json && !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }
}

/// A name as a terminal may show it: control characters, which could steer the terminal, become `?`, as `ls` does.
/// Programs that read a pipe get the name as it is.
pub fn printable(name: &str) -> String {
    if std::io::stdout().is_terminal() { defused(name) } else { name.to_owned() }
}

/// A name without characters that could steer a terminal.
pub fn defused(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || is_format(c) { '?' } else { c }).collect()
}

/// Characters that turn the direction of text or hide in it.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A size as `ls -h` shows it.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// A time as `ls -l` shows it, in the local time zone.
pub fn local_time(seconds: i64, nanos: u32) -> String {
    match Timestamp::new(seconds, nanos as i32) {
        Ok(time) => time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => "-".repeat(16),
    }
}

/// A time for programs: RFC 3339 in UTC; none when it lies outside the years that have such a form.
pub fn utc_time(seconds: i64, nanos: u32) -> Option<String> {
    Timestamp::new(seconds, nanos as i32).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_ls() {
        let cases = [(0, "0"), (1023, "1023"), (1024, "1.0K"), (10_239, "10K"), (5 << 20, "5.0M"), (u64::MAX, "16E")];
        for (bytes, text) in cases {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(defused("a\u{1b}[2Jb\nc\u{202e}d é"), "a?[2Jb?c?d é");
    }

    #[test]
    fn times_outside_the_calendar_are_no_panic() {
        assert_eq!(utc_time(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(utc_time(i64::MIN, 0), None);
        assert_eq!(local_time(i64::MAX, 999_999_999).len(), 16);
        // Placeholder time of later directory chunks (`spec/03` §2.1).
        assert_eq!(utc_time(-31_557_014_135_596_800, 0), None);
    }
}
