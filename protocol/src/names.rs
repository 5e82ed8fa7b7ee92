//! Usernames: who owns a name, until when, and where the owner's data live (`spec/06` §1).
//!
//! A name belongs to a chain of signed claims. [`chain`] says which chains are valid and how an update merges into a
//! stored one, [`sign_up`] holds the one request that sets up a whole account.

pub mod chain;
pub mod claim;
pub mod date;
pub mod difficulty;
pub mod sign_up;
pub mod username;

pub use chain::{Chain, ChainError, ChainLink, MergeError};
pub use claim::{Claim, ClaimError};
pub use date::{Date, DateError};
pub use difficulty::RateMonitor;
pub use sign_up::{OperationLog, SignUpError};
pub use username::{Username, UsernameError};
