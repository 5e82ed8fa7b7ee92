#![no_main]
use pyrgos_protocol::names::{DecidedBlock, NameProof, NamesPage, Operation, SnapshotHead, State};
pyrgos_fuzz::structures!(DecidedBlock, NameProof, NamesPage, Operation, SnapshotHead, State);
