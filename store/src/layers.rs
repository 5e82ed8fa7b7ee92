//! Stores around a store. Each behaves as what it wraps, plus one thing.

mod counting;
mod faulty;

pub use counting::{Counting, Counts};
pub use faulty::{Fault, Faulty};
