#![no_main]
use pyrgos_protocol::names::{DecidedBlock, NameProof, Operation, State};
pyrgos_fuzz::structures!(DecidedBlock, NameProof, Operation, State);
