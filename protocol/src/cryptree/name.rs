//! Names of files and directories (`spec/03` §2.1).

use std::fmt;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// Longest name, in UTF-16 code units (`spec/03` §9).
pub const MAX_NAME_UNITS: usize = 255;

/// Why a text is no name of a file. The text itself is not repeated: names are secrets of their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all.
    #[error("a file name is empty")]
    Empty,
    /// `.` or `..`, which mean a place and not a file.
    #[error("a file name is `.` or `..`")]
    Dots,
    /// `/` separates names.
    #[error("a file name contains `/`")]
    Slash,
    /// More than [`MAX_NAME_UNITS`].
    #[error("a file name has {0} UTF-16 units, more than {MAX_NAME_UNITS}")]
    TooLong(usize),
}

/// The name of a file or directory: 1…255 UTF-16 units, no `/`, not `.` or `..` (`spec/03` §2.1).
///
/// Names are compared unit by unit: no case folding, no Unicode normalisation. `Debug` tells the length only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Takes a legal name.
    ///
    /// # Errors
    /// Which rule the text breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        match name.as_str() {
            "" => return Err(NameError::Empty),
            "." | ".." => return Err(NameError::Dots),
            _ => check_entry(&name)?,
        }
        Ok(FileName(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether clients with a path parser like the reference's can address the name: no backslash, which they read as
    /// `/`, and no white space at either end, which they trim. New names SHOULD be (`spec/03` §2.1).
    pub fn is_addressable(&self) -> bool {
        !self.0.contains('\\') && self.0.trim() == self.0
    }

    /// The `n`-th name to try when this one is taken: `base (copy).ext` for 1, `base (copy 2).ext` for 2 and so on. The
    /// extension starts at the last dot, unless that is the first or the last character (`spec/03` §4.9).
    ///
    /// # Errors
    /// [`NameError::TooLong`] if the longer name breaks the limit.
    pub fn copy_name(&self, n: u32) -> Result<FileName, NameError> {
        let dot = self.0.rfind('.').filter(|at| *at > 0 && *at + 1 < self.0.len());
        let (base, extension) = self.0.split_at(dot.unwrap_or(self.0.len()));
        FileName::new(match n {
            0 | 1 => format!("{base} (copy){extension}"),
            n => format!("{base} (copy {n}){extension}"),
        })
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({} units)", self.0.encode_utf16().count())
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        FileName::new(text)
    }
}

impl ToCbor for FileName {
    fn to_cbor(&self) -> Value {
        Value::text(&self.0)
    }
}

impl FromCbor for FileName {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        FileName::new(value.as_text()?).map_err(|error| DecodeError::invalid("FileName", error.to_string()))
    }
}

/// The name in an entry of a child list. Its rules are weaker than those of a [`FileName`]: empty and dot names are let
/// through, as other clients do (`spec/03` §4.1), so that one bad entry does not hide its neighbours. Such a name never
/// becomes a `FileName`, and so never a path on a disk.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName(String);

impl EntryName {
    /// Takes a name as a child list may hold it.
    ///
    /// # Errors
    /// [`NameError::Slash`] and [`NameError::TooLong`].
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check_entry(&name)?;
        Ok(EntryName(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under the full rules.
    ///
    /// # Errors
    /// Which rule the name breaks.
    pub fn file_name(&self) -> Result<FileName, NameError> {
        FileName::new(self.0.clone())
    }
}

impl From<FileName> for EntryName {
    fn from(name: FileName) -> Self {
        EntryName(name.0)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryName({} units)", self.0.encode_utf16().count())
    }
}

fn check_entry(name: &str) -> Result<(), NameError> {
    if name.contains('/') {
        return Err(NameError::Slash);
    }
    match name.encode_utf16().count() {
        units if units > MAX_NAME_UNITS => Err(NameError::TooLong(units)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_get_their_number_before_the_extension() {
        let copy = |name: &str, n| FileName::new(name).unwrap().copy_name(n).unwrap().as_str().to_owned();
        assert_eq!(copy("photo.jpg", 1), "photo (copy).jpg");
        assert_eq!(copy("photo.jpg", 2), "photo (copy 2).jpg");
        assert_eq!(copy("a.tar.gz", 1), "a.tar (copy).gz");
        assert_eq!(copy(".hidden", 1), ".hidden (copy)");
        assert_eq!(copy("ends.", 3), "ends. (copy 3)");
        assert_eq!(copy("plain", 1), "plain (copy)");
        assert_eq!(FileName::new("x".repeat(250)).unwrap().copy_name(1), Err(NameError::TooLong(257)));
    }

    #[test]
    fn names_that_a_path_parser_would_change_are_told() {
        for (name, addressable) in [("a b", true), ("a\\b", false), (" a", false), ("a\n", false), ("…", true)] {
            assert_eq!(FileName::new(name).unwrap().is_addressable(), addressable, "{name:?}");
        }
    }

    #[test]
    fn an_entry_may_hold_what_a_file_name_may_not() {
        for name in ["", ".", ".."] {
            assert!(EntryName::new(name).unwrap().file_name().is_err());
        }
        assert_eq!(EntryName::new("a/b"), Err(NameError::Slash));
        assert_eq!(EntryName::new("x".repeat(256)), Err(NameError::TooLong(256)));
    }

    #[test]
    fn debug_shows_no_name() {
        assert_eq!(format!("{:?}", FileName::new("salary.ods").unwrap()), "FileName(10 units)");
    }
}
