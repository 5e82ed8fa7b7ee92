//! A node for the Peergos protocol, and the command line around it.
//!
//! [`daemon::Daemon`] is a whole node. To embed one, build a [`service::Service`] over any store
//! ([`daemon::service`]) and either serve it on a socket ([`daemon::Daemon::serve`]) or take its [`http::router`].
//! [`native`] gives the client of `pyrgos-protocol` what it needs on a machine: HTTP, clock, randomness, threads.

#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod homes;
pub mod http;
pub mod identity;
pub mod mirror;
pub mod names;
pub mod native;
pub mod p2p;
pub mod service;
