#![no_main]
use pyrgos_protocol::cryptree::FileProperties;
pyrgos_fuzz::structures!(FileProperties);
