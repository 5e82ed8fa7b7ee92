//! What an owner gives to a mirror, and how a home tells mirrors that something changed (design §4).
//!
//! * [`token`]: the mirror token as a text, * [`notice`]: a message to all nodes that only holders of the token understand.

pub mod notice;
pub mod token;

pub use notice::Notice;
pub use token::MirrorToken;
