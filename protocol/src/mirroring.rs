//! What an owner gives to a mirror, how a home tells mirrors that something changed, and how they ask for it (design §4).
//!
//! * [`token`]: the mirror token as a text,
//! * [`proof`]: that a node holds the token,
//! * [`notice`]: a message to all nodes that only holders of the token understand,
//! * [`difference`]: the blocks of a tree that another does not have,
//! * [`list`]: which nodes mirror an account, in its owner's words.

pub mod difference;
pub mod list;
pub mod notice;
pub mod proof;
pub mod token;

pub use difference::{DifferencePart, DifferenceRequest};
pub use list::MirrorList;
pub use notice::Notice;
pub use proof::MirrorProof;
pub use token::MirrorToken;
