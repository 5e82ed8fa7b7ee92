//! What a user tells about himself (`spec/05` §8.4). Each field is a file of its own, which can be shared or published
//! like any other; an absent file is a field that is not set.

use std::str::FromStr;

pub mod identity;

/// The directory of the fields below the home directory. Hidden.
pub const DIRECTORY: &str = ".profile";

/// Below [`DIRECTORY`]: proofs that the user is also somebody on another service.
pub const IDENTITY_PROOFS: &str = "ids";

/// A field of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileField {
    /// A small picture, in the form that the client which set it likes.
    Photo,
    /// A large picture.
    HighResolutionPhoto,
    /// About the user.
    Biography,
    /// What the user is up to.
    Status,
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// Telephone number.
    Phone,
    /// Address for mail.
    Email,
    /// Path of the published directory that is the user's web site.
    WebRoot,
}

/// A text is no field of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no field of a profile")]
pub struct UnknownField;

impl ProfileField {
    /// All fields.
    pub const ALL: [ProfileField; 9] = [
        ProfileField::Photo,
        ProfileField::HighResolutionPhoto,
        ProfileField::Biography,
        ProfileField::Status,
        ProfileField::FirstName,
        ProfileField::LastName,
        ProfileField::Phone,
        ProfileField::Email,
        ProfileField::WebRoot,
    ];

    /// The name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            ProfileField::Photo => "photo",
            ProfileField::HighResolutionPhoto => "highres",
            ProfileField::Biography => "bio",
            ProfileField::Status => "status",
            ProfileField::FirstName => "firstname",
            ProfileField::LastName => "lastname",
            ProfileField::Phone => "phone",
            ProfileField::Email => "email",
            ProfileField::WebRoot => "webroot",
        }
    }

    /// Whether the file holds a text; otherwise a picture.
    pub fn is_text(self) -> bool {
        !matches!(self, ProfileField::Photo | ProfileField::HighResolutionPhoto)
    }
}

/// Reads the name of the file.
impl FromStr for ProfileField {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        ProfileField::ALL.into_iter().find(|field| field.file_name() == text).ok_or(UnknownField)
    }
}
