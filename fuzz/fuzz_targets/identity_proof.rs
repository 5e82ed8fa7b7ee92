#![no_main]
use pyrgos_protocol::social::profile::identity::IdentityProof;
pyrgos_fuzz::structures!(IdentityProof);
