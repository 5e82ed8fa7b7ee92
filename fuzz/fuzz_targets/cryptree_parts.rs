#![no_main]
use pyrgos_protocol::cryptree::node::{BaseBlock, ParentBlock};
pyrgos_fuzz::structures!(BaseBlock, ParentBlock);
