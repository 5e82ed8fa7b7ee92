//! Private storage that belongs to its user: a node and a client of the Peergos protocol.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pyrgos::cli::main()
}
