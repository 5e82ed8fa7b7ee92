#![no_main]
use pyrgos_protocol::social::{GroupUid, Recipient};
pyrgos_fuzz::texts!(GroupUid, Recipient);
