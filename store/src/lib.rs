//! What a node keeps: blocks and records.
//!
//! Two traits, [`Blocks`] and [`Records`], are the whole door. [`RocksStore`] implements both on a disk,
//! [`MemoryStore`] both in memory. [`layers`] wraps any of them: one counts, one fails on purpose. [`conformance`] is the
//! behaviour that each implementation and each layer must show.
//!
//! Keys begin with the owner or the username ([`RecordKey`]), so that everything of one user is a range: counting,
//! listing, collecting, moving and deleting an account are range operations, and no cost of one user grows with
//! another's data.
//!
//! # What is durable when
//!
//! * [`Blocks::put`] has returned: the blocks can be read. On a disk they survive `kill -9`, since they are in the
//!   kernel's hands, but not power loss.
//! * [`Records::commit`] of a durable batch has returned [`Outcome::Committed`]: the batch, and every block whose `put`
//!   had returned before `commit` was called, are on the disk and survive power loss as well.
//! * Power loss may take any of the blocks that no commit followed, in no particular order: a root may be there and the
//!   fragments below it not. A client that only lost its connection may then still send the pointer to that root. So
//!   after such a start [`Blocks::may_have_lost_puts`] is true, and whoever moves a pointer looks first whether the
//!   blocks are there that the new target reaches and the old one does not. The node needs their sizes anyway to count
//!   the account's usage (`spec/02` §9), so it may as well always look.

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
