#![no_main]
use pyrgos_fuzz::secret_text;
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::keys::SigningKeyPair;
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::login::second_factor::TotpKey;
use pyrgos_protocol::merkle::bat::{Bat, BatId, BatWithId, BlockAuth};
use pyrgos_protocol::social::profile::identity::IdentityProof;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    secret_text(bytes, AbsoluteCapability::from_link);
    secret_text(bytes, SigningKeyPair::from_secret_text);
    secret_text(bytes, TotpKey::from_secret_text);
    secret_text(bytes, |text| text.parse::<Bat>());
    secret_text(bytes, |text| text.parse::<BatId>());
    secret_text(bytes, |text| text.parse::<BatWithId>());
    secret_text(bytes, BlockAuth::from_text);
    secret_text(bytes, LinkAddress::parse);
    secret_text(bytes, IdentityProof::from_post);
});
