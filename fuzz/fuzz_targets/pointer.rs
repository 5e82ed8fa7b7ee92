#![no_main]
use pyrgos_protocol::merkle::pointer::{MultiWriterCommit, PointerUpdate};
pyrgos_fuzz::structures!(MultiWriterCommit, PointerUpdate);
