#![no_main]
use pyrgos_protocol::names::Chain;
pyrgos_fuzz::structures!(Chain);
