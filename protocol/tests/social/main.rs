//! Following, sharing and links against `vectors/05-*.json` and what the vectors of 02 and 03 hold of them.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod chat;
mod feed;
mod files;
mod flows;
mod follow;
mod home_files;
mod identity;
mod laws;
mod messages;
mod observer;
mod public;
mod secret_links;
mod sharing;
