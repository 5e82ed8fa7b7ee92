#![no_main]
use pyrgos_protocol::merkle::resolution::ResolutionRecord;
pyrgos_fuzz::structures!(ResolutionRecord);
