#![no_main]
use pyrgos_protocol::merkle::block::{BlockStoreProperties, PresignedUrl, WriteAuthRequest};
pyrgos_fuzz::structures!(BlockStoreProperties, PresignedUrl, WriteAuthRequest);
