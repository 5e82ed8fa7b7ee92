//! What a node keeps: blocks and records.
//!
//! Two traits, [`Blocks`] and [`Records`], are the whole door. [`RocksStore`] implements both on a disk, [`MemoryStore`] both
//! in memory. [`layers`] wraps any of them: one counts, one fails on purpose.
//! [`conformance`] is the behaviour that each implementation and each layer must show.
//!
//! Keys begin with the owner or the username ([`RecordKey`]), so that everything of one user is a range: counting,
//! listing, collecting, moving and deleting an account are range operations, and no cost of one user grows with
//! another's data.
//!
//! # What is durable when
//!
//! * [`Blocks::put`] returns: the blocks can be read. They survive as promised by the next line, not before.
//! * [`Records::commit`] of a durable batch returns [`Outcome::Committed`]: the batch, and every block whose `put`
//!   returned before `commit` was called, are on the disk and survive `kill -9` and power loss.
//! * A crash in between may lose any of the blocks that no commit followed, in no particular order. After such a crash
//!   [`Blocks::may_have_lost_puts`] says so, and whoever moves a pointer must then look whether the blocks that the new
//!   target reaches are there.

#![forbid(unsafe_code)]

pub mod blocks;
pub mod conformance;
pub mod error;
pub mod layers;
pub mod memory;
pub mod records;
pub mod rocks;

pub use blocks::{BlockEntry, Blocks};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use records::{Batch, Durability, Outcome, Prefix, RecordKey, Records, Table};
pub use rocks::RocksStore;

/// All that a node needs of its store, as one object: `Arc<dyn Store>`.
pub trait Store: Blocks + Records {}

impl<S: Blocks + Records + ?Sized> Store for S {}
