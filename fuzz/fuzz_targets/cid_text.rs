#![no_main]
use pyrgos_protocol::encoding::Cid;
pyrgos_fuzz::texts!(Cid);
