//! Following accounts that live on other nodes, with the owner's mirror token (design §4, `spec/06` §7).
//!
//! [`follow`] keeps the list of accounts that this node mirrors and copies each when its home says that it changed, and
//! once a minute in any case; [`copy`] is one such pass; [`notices`] is how a home says so, and [`source`] how it gives blocks.

pub mod copy;
mod existing;
pub mod follow;
pub mod notices;
mod part;
pub mod source;
mod supply;

pub use follow::{MirrorStatus, Mirrors};
