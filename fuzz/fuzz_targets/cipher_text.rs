#![no_main]
use pyrgos_protocol::keys::{
    AsymmetricCipherText, PaddedAsymmetricCipherText, PaddedCipherText, SourcedAsymmetricCipherText, SymmetricLink,
};
pyrgos_fuzz::structures!(
    AsymmetricCipherText,
    PaddedAsymmetricCipherText,
    PaddedCipherText,
    SourcedAsymmetricCipherText,
    SymmetricLink
);
