//! Names that a network of witnesses decides about (design §3).
//!
//! The consensus itself is `arc-malachitebft-core-consensus`, a kept implementation of Tendermint. These rooms are what it
//! leaves to its user: [`context`] tells it what a block, a vote and a witness are, [`message`] how they travel and lie on
//! disk, [`engine`] drives it with messages, timers and operations in and messages, log records and decisions out, without
//! a socket, a file or a clock of its own, and [`journal`] is the log on the disk.
//!
//! In a node a [`driver`] runs the engine: it keeps what is decided with the [`keeper`], lets others see it on the
//! [`board`], and gets from neighbours what the node has missed ([`follow`]). The service knows all that as one more
//! way to decide about names, [`registry`]. Operators put other nodes in the witnesses' place by [`witnesses`].

pub mod board;
pub mod context;
pub mod driver;
pub mod engine;
pub mod follow;
pub mod journal;
pub mod keeper;
mod mempool;
pub mod message;
pub mod registry;
mod snapshot;
pub mod witnesses;
