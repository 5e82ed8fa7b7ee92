//! Rotation against `vectors/03-writing-spaces.json` and against trees made here, hostile ones among them.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod memory;
mod shapes;
mod vectors;
