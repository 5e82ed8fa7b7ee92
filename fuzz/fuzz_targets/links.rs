#![no_main]
use pyrgos_protocol::links::{EncryptedCapability, LinkCounts, LinkProperties, SecretLinkTarget};
pyrgos_fuzz::structures!(EncryptedCapability, LinkCounts, LinkProperties, SecretLinkTarget);
