#![no_main]
use pyrgos_protocol::merkle::pointer::CasFailure;
pyrgos_fuzz::texts!(CasFailure);
