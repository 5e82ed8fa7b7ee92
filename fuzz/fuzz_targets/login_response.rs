#![no_main]
use pyrgos_protocol::login::LoginResponse;
pyrgos_fuzz::structures!(LoginResponse);
