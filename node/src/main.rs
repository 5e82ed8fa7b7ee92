//! Pyrgos.
fn main() {}
