//! Whole courses of the social layer between accounts on one node: the recorded ones of other clients, and the end of an
//! account.

mod deletion;
mod follow_flows;
#[path = "../people/mod.rs"]
mod people;
