//! Paths of files on Peergos: `/user/directory/file`.

use std::fmt;
use std::str::FromStr;

use crate::cryptree::name::{FileName, NameError};

/// Longest path text, in UTF-16 units (`spec/03` §9).
pub const MAX_PATH_UNITS: usize = 4096;

/// An absolute path: the user whose tree it is, then the names on the way.
///
/// `Debug` tells the depth only; [`fmt::Display`] is the path itself, for the eyes of its owner.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath {
    user: FileName,
    names: Vec<FileName>,
}

/// A text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing between the slashes, so no user.
    #[error("a remote path starts with a user name: /user/directory/file")]
    NoUser,
    /// A path that is not absolute.
    #[error("a remote path starts with a slash: /user/directory/file")]
    Relative,
    /// More than [`MAX_PATH_UNITS`].
    #[error("a remote path has at most {MAX_PATH_UNITS} UTF-16 units")]
    TooLong,
    /// One of the names is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl RemotePath {
    /// The home directory of a user.
    pub fn home(user: FileName) -> Self {
        RemotePath { user, names: Vec::new() }
    }

    /// The user whose tree it is.
    pub fn user(&self) -> &FileName {
        &self.user
    }

    /// The names below the user's home directory.
    pub fn names(&self) -> &[FileName] {
        &self.names
    }

    /// The last name; the user's for a home directory.
    pub fn name(&self) -> &FileName {
        self.names.last().unwrap_or(&self.user)
    }

    /// Whether it is a user's home directory.
    pub fn is_home(&self) -> bool {
        self.names.is_empty()
    }

    /// The directory that holds it; none for a home directory.
    pub fn parent(&self) -> Option<RemotePath> {
        let (_, names) = self.names.split_last()?;
        Some(RemotePath { user: self.user.clone(), names: names.to_vec() })
    }

    /// The path of a child.
    pub fn join(&self, name: FileName) -> RemotePath {
        let mut child = self.clone();
        child.names.push(name);
        child
    }

    /// Whether it is `other` or lies below it.
    pub fn starts_with(&self, other: &RemotePath) -> bool {
        self.user == other.user && self.names.starts_with(&other.names)
    }

    /// The form without a leading slash, as upload transactions name their target (`spec/03` §8.1).
    pub fn without_slash(&self) -> String {
        let mut text = self.user.as_str().to_owned();
        for name in &self.names {
            text.push('/');
            text.push_str(name.as_str());
        }
        text
    }
}

/// Reads `/user/directory/file`; one slash at the end is ignored. Backslashes are part of names, not separators: a name
/// with one can then be addressed here although existing clients cannot.
impl FromStr for RemotePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.encode_utf16().count() > MAX_PATH_UNITS {
            return Err(PathError::TooLong);
        }
        let path = text.strip_prefix('/').ok_or(PathError::Relative)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Err(PathError::NoUser);
        }
        let mut names = path.split('/').map(FileName::new);
        let user = names.next().ok_or(PathError::NoUser)??;
        Ok(RemotePath { user, names: names.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.without_slash())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePath({} names)", self.names.len() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints() {
        let file = path("/alice/notes/a b.txt/");
        assert_eq!(file.to_string(), "/alice/notes/a b.txt");
        assert_eq!(file.without_slash(), "alice/notes/a b.txt");
        assert_eq!(file.name().as_str(), "a b.txt");
        assert_eq!(file.parent().unwrap(), path("/alice/notes"));
        assert_eq!(path("/alice").parent(), None);
        assert!(path("/alice").is_home());
        assert!(file.starts_with(&path("/alice/notes")));
        assert!(!path("/alice/notes2").starts_with(&path("/alice/notes")));
        assert_eq!(format!("{file:?}"), "RemotePath(3 names)");
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in ["", "alice/x"] {
            assert_eq!(text.parse::<RemotePath>(), Err(PathError::Relative), "{text:?}");
        }
        assert_eq!("/".parse::<RemotePath>(), Err(PathError::NoUser));
        assert_eq!("//".parse::<RemotePath>(), Err(PathError::NoUser));
        assert_eq!("/alice//x".parse::<RemotePath>(), Err(PathError::Name(NameError::Empty)));
        assert_eq!("/alice/../bob".parse::<RemotePath>(), Err(PathError::Name(NameError::Dots)));
        assert_eq!(format!("/{}", "x/".repeat(2100)).parse::<RemotePath>(), Err(PathError::TooLong));
    }
}
