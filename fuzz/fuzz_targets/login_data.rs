#![no_main]
use pyrgos_protocol::login::LoginData;
pyrgos_fuzz::structures!(LoginData);
