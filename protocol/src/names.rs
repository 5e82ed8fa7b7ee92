//! Usernames: who owns a name, until when, and where the owner's data live (`spec/06` §1).
//!
//! A name belongs to a chain of signed claims. [`chain`] says which chains are valid and how an update merges into a
//! stored one, [`sign_up`] holds the one request that sets up a whole account.
//!
//! Who was first is decided by the witnesses of a network (design §3). They order [`operation`]s into [`block`]s and sign
//! [`vote`]s; [`state`] is what blocks lead to and [`rules`] which operations are valid. Nothing here sends, stores or looks at a clock.

pub mod block;
pub mod chain;
pub mod claim;
pub mod commitment;
pub mod date;
pub mod difficulty;
pub mod operation;
pub mod proof;
pub mod rules;
pub mod sign_up;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod username;
pub mod vote;
pub mod witness;

pub use block::{Certificate, CertificateError, DecidedBlock, Header, NameBlock};
pub use chain::{Chain, ChainError, ChainLink, MergeError};
pub use claim::{Claim, ClaimError};
pub use commitment::{Commitments, Salt, commitment};
pub use date::{Date, DateError};
pub use difficulty::RateMonitor;
pub use operation::{Operation, OperationId, Signatures};
pub use proof::{NameProof, ProofError, Proven};
pub use rules::OperationError;
pub use sign_up::{OperationLog, SignUpError};
pub use snapshot::{NamesPage, SnapshotHead};
pub use state::{Applied, BlockError, Proposed, State, StateError};
pub use store::{Delta, MemoryNames, NameStore};
pub use username::{Username, UsernameError};
pub use vote::{BlockHash, NetworkId};
pub use witness::{WitnessError, WitnessSet};
