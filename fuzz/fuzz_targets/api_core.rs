#![no_main]
use pyrgos_protocol::api::core::{GetChain, GetPublicKey, GetUsername, GetUsernames, SignUp, UpdateChain};
pyrgos_fuzz::calls!(GetChain, GetPublicKey, GetUsername, GetUsernames, SignUp, UpdateChain);
