//! The mutable Merkle layer: blocks and the tokens that guard them, signed pointers, writer data, the CHAMP and commits
//! of several writers (`spec/02`).

pub mod bat;
pub mod block;
pub mod champ;
pub mod pointer;

pub use bat::{Bat, BatId, BatWithId};
