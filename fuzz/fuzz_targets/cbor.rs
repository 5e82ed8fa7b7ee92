#![no_main]
use pyrgos_protocol::encoding::Value;
pyrgos_fuzz::structures!(Value);
