//! Names that a network of witnesses decides about (design §3).
//!
//! The consensus itself is `arc-malachitebft-core-consensus`, a kept implementation of Tendermint. These rooms are what it
//! leaves to its user: [`context`] tells it what a block, a vote and a witness are, [`message`] how they travel and lie on
//! disk, [`engine`] drives it with messages, timers and operations in and messages, log records and decisions out, without
//! a socket, a file or a clock of its own, and [`journal`] is the log on the disk.

pub mod context;
pub mod engine;
pub mod journal;
mod mempool;
pub mod message;
