#![no_main]
use pyrgos_protocol::merkle::block::BlockWriteGroup;
pyrgos_fuzz::structures!(BlockWriteGroup);
