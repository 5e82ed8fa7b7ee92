#![no_main]
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};
pyrgos_fuzz::calls!(GetPointer, SetPointer, SetPointers);
