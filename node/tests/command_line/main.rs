//! The real binary against a real node, as a person or a script uses it.

mod account;
mod agent;
mod collect;
mod crash;
mod groups;
mod link;
mod people;
mod secrets;
mod session;
mod social;
mod support;
mod tampering;
mod through;
mod unshare;
mod write_sharing;
