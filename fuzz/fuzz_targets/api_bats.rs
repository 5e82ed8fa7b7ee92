#![no_main]
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
pyrgos_fuzz::calls!(AddBat, GetUserBats);
