//! Links that open something for people without an account: secret links, which their owner can limit, change and take
//! back, and published files, which everybody can find (`spec/05` §7, §8; `spec/02` §7.3, §7.5; `spec/03` §11, §12).
//!
//! | module | holds |
//! |---|---|
//! | [`secret`] | the text of a secret link: label and password |
//! | [`sealed`] | the capability behind a secret link as the owner's server keeps it |
//! | [`properties`] | what the owner remembers about a link, and how often links were opened |
//! | [`address`] | all forms in which links stand in web addresses |
//!
//! The tree of published capabilities is [`crate::merkle::public`].

pub mod address;
pub mod properties;
pub mod sealed;
pub mod secret;

pub use properties::{LinkCount, LinkCounts, LinkProperties};
pub use sealed::{EncryptedCapability, SecretLinkTarget};
pub use secret::{LinkLabel, LinkPassword, SecretLink};
