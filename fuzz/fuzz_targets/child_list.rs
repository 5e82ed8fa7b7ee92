#![no_main]
use pyrgos_protocol::cryptree::ChildList;
pyrgos_fuzz::structures!(ChildList);
