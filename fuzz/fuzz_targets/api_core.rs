#![no_main]
use pyrgos_protocol::api::core::{GetChain, GetPublicKey, GetUsername, GetUsernames, MigrateUser, SignUp, UpdateChain};
use pyrgos_protocol::api::mirror::{GetUserSnapshots, StartMirror, StartPaidMirror};
pyrgos_fuzz::calls!(
    GetChain,
    GetPublicKey,
    GetUsername,
    GetUsernames,
    SignUp,
    UpdateChain,
    MigrateUser,
    StartMirror,
    StartPaidMirror,
    GetUserSnapshots,
);
