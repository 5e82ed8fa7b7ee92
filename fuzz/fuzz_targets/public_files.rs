#![no_main]
use pyrgos_protocol::merkle::public::{InodeCap, PublicDirectory, PublicFiles};
pyrgos_fuzz::structures!(InodeCap, PublicDirectory, PublicFiles);
