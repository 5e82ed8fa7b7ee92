//! Login data and second factors: `peergos/v0/login/…` (`spec/04` §8, `spec/01` §4).

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::mutable::{read_flag, write_flag};
use super::query::malformed;
use super::{ApiError, Call, Request};
use crate::encoding::{FromCbor, ToCbor, Value, text};
use crate::keys::PublicSigningKey;
use crate::login::second_factor::{BackupCodes, FactorType, MultiFactorAuthMethod, MultiFactorAuthResponse, TotpKey};
use crate::login::{LoginData, LoginResponse, MAX_LOGIN_DATA_BYTES};

/// Longest name of a mounted device, in UTF-16 units.
pub const MAX_FACTOR_NAME: usize = 32;

/// `getLogin`: the encrypted entry points, for whoever holds the login key.
#[derive(Clone, PartialEq, Eq)]
pub struct GetLogin {
    /// The account.
    pub username: String,
    /// The public login key.
    pub reader: PublicSigningKey,
    /// Signed time by the login key.
    pub auth: Bytes,
    /// Sent on by another node.
    pub proxied: bool,
    /// Second factors that the client can answer.
    pub factors: Vec<FactorType>,
    /// The answer to a second factor.
    pub answer: Option<MultiFactorAuthResponse>,
}

impl Call for GetLogin {
    type Output = LoginResponse;
    const PATH: &'static str = "peergos/v0/login/getLogin";

    fn request(&self) -> Request {
        let factors: Vec<String> = self.factors.iter().map(|factor| factor.number().to_string()).collect();
        Request::new(Self::PATH)
            .with("username", &self.username)
            .with("author", text::hex(self.reader.to_bytes()))
            .with("auth", text::hex(&self.auth))
            .with("proxy", self.proxied)
            .with("mfaTypes", factors.join(","))
            .with_optional("mfa", self.answer.as_ref().map(|answer| text::hex(answer.to_bytes())))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let reader = <PublicSigningKey as FromCbor>::from_bytes(&parameters.hex("author")?)?;
        let factors = match parameters.optional("mfaTypes")? {
            // What clients that know of no other types can answer.
            None => vec![FactorType::Totp, FactorType::Webauthn],
            // A type of the future is none that this node has.
            Some(numbers) => {
                let numbers = numbers.split(',').filter(|number| !number.is_empty());
                let numbers = numbers.map(|number| number.parse().map_err(|_| malformed("mfaTypes")));
                let numbers = numbers.collect::<Result<Vec<i64>, _>>()?;
                numbers.into_iter().filter_map(FactorType::from_number).collect()
            }
        };
        let answer = match parameters.hex_optional("mfa")? {
            Some(bytes) => Some(MultiFactorAuthResponse::from_bytes(&bytes)?),
            None => None,
        };
        Ok(GetLogin {
            username: parameters.required("username")?.to_owned(),
            reader,
            auth: parameters.hex("auth")?.into(),
            proxied: parameters.flag("proxy")?,
            factors,
            answer,
        })
    }

    fn write(response: &LoginResponse) -> Bytes {
        response.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<LoginResponse, ApiError> {
        Ok(LoginResponse::from_cbor(&Value::decode_shared(&body)?)?)
    }
}

/// `setLogin`: replaces the login data; with an identity update, changes the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SetLogin {
    /// The account, as the query says. The name inside the data counts.
    pub username: String,
    /// The new data.
    pub data: LoginData,
    /// The identity's bare signature over the data, 64 bytes.
    pub auth: Bytes,
    /// Store here even if this is not the account's home: for a mirror.
    pub local: bool,
}

impl Call for SetLogin {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/login/setLogin";
    const MAX_BODY: usize = MAX_LOGIN_DATA_BYTES;

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("username", &self.username)
            .with("auth", text::hex(&self.auth))
            .with("local", self.local)
            .body(self.data.to_bytes())
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(SetLogin {
            username: parameters.required("username")?.to_owned(),
            data: LoginData::from_request(&request.body)?,
            auth: parameters.hex("auth")?.into(),
            local: parameters.flag("local")?,
        })
    }

    fn write(stored: &bool) -> Bytes {
        write_flag(*stored)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_flag(&body)
    }
}

/// Who asks about second factors: the account, and its signed request for the call's path.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountAuth {
    /// The account.
    pub username: String,
    /// Signed request for [`Call::PATH`] by the identity key.
    pub auth: Bytes,
}

/// The name only: a signed request is as good as the key until its time is over.
impl fmt::Debug for AccountAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

impl AccountAuth {
    fn request(&self, path: &'static str) -> Request {
        Request::new(path).with("username", &self.username).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let username = parameters.required("username")?.to_owned();
        Ok(AccountAuth { username, auth: parameters.hex("auth")?.into() })
    }
}

fn write_bool(value: bool) -> Bytes {
    Value::Bool(value).encode().into()
}

fn read_bool(body: &Bytes) -> Result<bool, ApiError> {
    Ok(Value::decode(body)?.as_bool()?)
}

/// A secret text as an answer, wiped when it was sent.
fn write_secret(text: Zeroizing<String>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(text.as_bytes().to_vec()))
}

fn read_totp_key(body: &Bytes) -> Result<TotpKey, ApiError> {
    let text = std::str::from_utf8(body).ok().and_then(|text| TotpKey::from_secret_text(text).ok());
    text.ok_or_else(|| ApiError::Malformed("second factor's key".to_owned()))
}

/// `listMfa`: the account's second factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSecondFactors(pub AccountAuth);

impl Call for ListSecondFactors {
    type Output = Vec<MultiFactorAuthMethod>;
    const PATH: &'static str = "peergos/v0/login/listMfa";

    fn request(&self) -> Request {
        self.0.request(Self::PATH)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(ListSecondFactors(AccountAuth::parse(request)?))
    }

    fn write(methods: &Vec<MultiFactorAuthMethod>) -> Bytes {
        Value::list(methods).encode().into()
    }

    fn read_body(&self, body: Bytes) -> Result<Vec<MultiFactorAuthMethod>, ApiError> {
        Ok(Value::decode_shared(&body)?.as_list_of()?)
    }
}

/// `addTotp`: makes a key for an authenticator, which works after [`EnableTotp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddTotp(pub AccountAuth);

impl Call for AddTotp {
    type Output = TotpKey;
    const PATH: &'static str = "peergos/v0/login/addTotp";

    fn request(&self) -> Request {
        self.0.request(Self::PATH)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(AddTotp(AccountAuth::parse(request)?))
    }

    fn write(key: &TotpKey) -> Bytes {
        write_secret(key.to_secret_text())
    }

    fn read_body(&self, body: Bytes) -> Result<TotpKey, ApiError> {
        read_totp_key(&body)
    }
}

/// `addMount`: makes a key for a device that mounts the account, which works after [`EnableMount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddMount {
    /// Who asks.
    pub account: AccountAuth,
    /// The device's name, at most [`MAX_FACTOR_NAME`] UTF-16 units.
    pub name: String,
}

impl Call for AddMount {
    type Output = TotpKey;
    const PATH: &'static str = "peergos/v0/login/addMount";

    fn request(&self) -> Request {
        self.account.request(Self::PATH).with("name", &self.name)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let name = request.parameters().required("name")?.to_owned();
        if name.encode_utf16().count() > MAX_FACTOR_NAME {
            return Err(ApiError::refused("The name of a second factor has at most 32 characters"));
        }
        Ok(AddMount { account: AccountAuth::parse(request)?, name })
    }

    fn write(key: &TotpKey) -> Bytes {
        write_secret(key.to_secret_text())
    }

    fn read_body(&self, body: Bytes) -> Result<TotpKey, ApiError> {
        read_totp_key(&body)
    }
}

/// A factor and the code that shows that its key arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct FactorCode {
    /// Who asks.
    pub account: AccountAuth,
    /// Which factor.
    pub credential_id: Bytes,
    /// Six digits.
    pub code: String,
}

impl FactorCode {
    fn request(&self, path: &'static str) -> Request {
        self.account.request(path).with("credid", text::hex(&self.credential_id)).with("code", &self.code)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(FactorCode {
            account: AccountAuth::parse(request)?,
            credential_id: parameters.hex("credid")?.into(),
            code: parameters.required("code")?.to_owned(),
        })
    }
}

/// `enableTotp`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnableTotp(pub FactorCode);

impl Call for EnableTotp {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/login/enableTotp";

    fn request(&self) -> Request {
        self.0.request(Self::PATH)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(EnableTotp(FactorCode::parse(request)?))
    }

    fn write(enabled: &bool) -> Bytes {
        write_bool(*enabled)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_bool(&body)
    }
}

/// `enableMount`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnableMount(pub FactorCode);

impl Call for EnableMount {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/login/enableMount";

    fn request(&self) -> Request {
        self.0.request(Self::PATH)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(EnableMount(FactorCode::parse(request)?))
    }

    fn write(enabled: &bool) -> Bytes {
        write_bool(*enabled)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_bool(&body)
    }
}

/// `genBackupCodes`: a new set of codes that work once; the old set ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateBackupCodes(pub AccountAuth);

impl Call for GenerateBackupCodes {
    type Output = BackupCodes;
    const PATH: &'static str = "peergos/v0/login/genBackupCodes";

    fn request(&self) -> Request {
        self.0.request(Self::PATH)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(GenerateBackupCodes(AccountAuth::parse(request)?))
    }

    fn write(codes: &BackupCodes) -> Bytes {
        Bytes::from_owner(Zeroizing::new(codes.to_bytes()))
    }

    fn read_body(&self, body: Bytes) -> Result<BackupCodes, ApiError> {
        Ok(BackupCodes::from_bytes(&body)?)
    }
}

/// `deleteMfa`: removes a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSecondFactor {
    /// Who asks.
    pub account: AccountAuth,
    /// Which factor.
    pub credential_id: Bytes,
}

impl Call for DeleteSecondFactor {
    type Output = bool;
    const PATH: &'static str = "peergos/v0/login/deleteMfa";

    fn request(&self) -> Request {
        self.account.request(Self::PATH).with("credid", text::hex(&self.credential_id))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let credential_id = request.parameters().hex("credid")?.into();
        Ok(DeleteSecondFactor { account: AccountAuth::parse(request)?, credential_id })
    }

    fn write(deleted: &bool) -> Bytes {
        write_bool(*deleted)
    }

    fn read_body(&self, body: Bytes) -> Result<bool, ApiError> {
        read_bool(&body)
    }
}
