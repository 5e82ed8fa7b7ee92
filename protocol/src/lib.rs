//! Every format of the Peergos protocol, and the client that speaks them.
//!
//! No sockets, no disk, no clock and no source of randomness of its own: time, random numbers and transport come in as
//! arguments, so that the same code runs in the node, in the command line, in a simulation under a seed and in a browser.
//!
//! Start at [`encoding`] for the bytes below everything else.

#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod cryptree;
pub mod encoding;
pub mod keys;
pub mod links;
pub mod login;
pub mod merkle;
pub mod migration;
pub mod mirroring;
pub mod names;
pub mod social;
