#![no_main]
use pyrgos_protocol::names::{Date, Username};
pyrgos_fuzz::texts!(Date, Username);
