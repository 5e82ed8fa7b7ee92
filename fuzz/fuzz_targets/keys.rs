#![no_main]
use pyrgos_protocol::keys::{
    BoxingKeyPair, FingerPrint, KeyHash, OwnerProof, PasswordProtected, ProofOfWork, SignedRequest, SigningKeyPair,
    SigningPrivateKeyAndPublicHash, SymmetricKey,
};
pyrgos_fuzz::structures!(
    BoxingKeyPair,
    FingerPrint,
    KeyHash,
    OwnerProof,
    PasswordProtected,
    ProofOfWork,
    SignedRequest,
    SigningKeyPair,
    SigningPrivateKeyAndPublicHash,
    SymmetricKey
);
