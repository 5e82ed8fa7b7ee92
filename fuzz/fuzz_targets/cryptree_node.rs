#![no_main]
use pyrgos_protocol::cryptree::node::CryptreeNode;
pyrgos_fuzz::structures!(CryptreeNode);
