//! What witnesses decide about names: which operations are valid, which blocks, and what they lead to (design §3).

#[path = "../support/mod.rs"]
mod support;

mod blocks;
mod claims;
mod model;
mod network;
mod updates;
