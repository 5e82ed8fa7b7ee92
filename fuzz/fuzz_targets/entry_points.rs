#![no_main]
use pyrgos_protocol::login::{EntryPoints, SecretGenerationAlgorithm, UserStaticData};
pyrgos_fuzz::structures!(EntryPoints, SecretGenerationAlgorithm, UserStaticData);
