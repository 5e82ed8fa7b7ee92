#![no_main]
use pyrgos_protocol::merkle::champ::Node;
pyrgos_fuzz::structures!(Node);
