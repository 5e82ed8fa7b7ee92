//! An account's mirror tokens: `peergos/v0/bats/…` (`spec/04` §9).

use bytes::Bytes;

use super::query::malformed;
use super::{ApiError, Call, Request};
use crate::encoding::{FromCbor, ToCbor, Value, text};
use crate::merkle::bat::{Bat, BatId, BatWithId};

/// `getUserBats`: the account's mirror tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct GetUserBats {
    /// Whose tokens.
    pub username: String,
    /// Signed request for [`Call::PATH`] by the identity key.
    pub auth: Bytes,
}

impl Call for GetUserBats {
    /// Oldest first; the last is the current one.
    type Output = Vec<BatWithId>;
    const PATH: &'static str = "peergos/v0/bats/getUserBats";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("username", &self.username).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let username = parameters.required("username")?.to_owned();
        Ok(GetUserBats { username, auth: parameters.hex("auth")?.into() })
    }

    fn write(bats: &Vec<BatWithId>) -> Bytes {
        Value::list(bats).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<BatWithId>, ApiError> {
        Ok(Value::decode_shared(&body)?.as_list_of()?)
    }
}

/// `addBat`: stores one more mirror token.
#[derive(Clone, PartialEq, Eq)]
pub struct AddBat {
    /// Whose token.
    pub username: String,
    /// The token.
    pub bat: BatWithId,
    /// Signed request for [`Call::PATH`] by the identity key.
    pub auth: Bytes,
}

impl Call for AddBat {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/bats/addBat";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("username", &self.username)
            .with("batid", self.bat.id().to_text().as_str())
            // The multibase text of the token's CBOR, not of its 32 bytes as elsewhere.
            .with("bat", text::multibase58(self.bat.bat().to_bytes()))
            .with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let id: BatId = parameters.parsed("batid")?;
        let secret = zeroize::Zeroizing::new(parameters.base58("bat")?);
        let bat = read_bat(&secret)?;
        Ok(AddBat {
            username: parameters.required("username")?.to_owned(),
            bat: BatWithId::new(bat, id)?,
            auth: parameters.hex("auth")?.into(),
        })
    }

    fn write(added: &bool) -> Bytes {
        Value::Bool(*added).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        Ok(Value::decode(&body)?.as_bool()?)
    }
}

/// Both texts of a token in use: of its CBOR (`spec/04` §9) and of its 32 bytes (`spec/02` §8.7).
fn read_bat(bytes: &[u8]) -> Result<Bat, ApiError> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(secret) => Ok(Bat::from_bytes(secret)),
        Err(_) => <Bat as FromCbor>::from_bytes(bytes).map_err(|_| malformed("bat")),
    }
}
