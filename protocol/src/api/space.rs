//! Space of an account and what it costs: `peergos/v0/storage/…` (`spec/04` §10).

use bytes::Bytes;

use super::{ApiError, Call, Request};
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value, text};
use crate::keys::Owner;

/// `quota`: how many bytes the account may use.
#[derive(Clone, PartialEq, Eq)]
pub struct GetQuota {
    /// The account.
    pub owner: Owner,
    /// Signed time by the identity key.
    pub auth: Bytes,
}

debug_only!(GetQuota { owner });

impl Call for GetQuota {
    /// Bytes.
    type Output = u64;
    const PATH: &'static str = "peergos/v0/storage/quota";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetQuota { owner: parameters.parsed("owner")?, auth: parameters.hex("auth")?.into() })
    }

    fn write(bytes: &u64) -> Bytes {
        write_count(*bytes)
    }

    fn read_body(&self, body: Bytes) -> Result<u64, ApiError> {
        read_count(&body)
    }
}

/// `usage`: how many bytes the account uses.
#[derive(Clone, PartialEq, Eq)]
pub struct GetUsage {
    /// The account.
    pub owner: Owner,
    /// The asked node's own figure, which counts blocks that no pointer reaches yet.
    pub local: bool,
    /// Signed time by the identity key.
    pub auth: Bytes,
}

debug_only!(GetUsage { owner, local });

impl Call for GetUsage {
    /// Bytes.
    type Output = u64;
    const PATH: &'static str = "peergos/v0/storage/usage";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("owner", &self.owner)
            .with("local", self.local)
            .with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let (owner, local) = (parameters.parsed("owner")?, parameters.flag("local")?);
        Ok(GetUsage { owner, local, auth: parameters.hex("auth")?.into() })
    }

    fn write(bytes: &u64) -> Bytes {
        write_count(*bytes)
    }

    fn read_body(&self, body: Bytes) -> Result<u64, ApiError> {
        read_count(&body)
    }
}

fn write_count(bytes: u64) -> Bytes {
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)).encode().into()
}

fn read_count(body: &Bytes) -> Result<u64, ApiError> {
    let count = Value::decode(body)?.as_int()?;
    u64::try_from(count).map_err(|_| ApiError::Malformed("negative number of bytes".to_owned()))
}

/// A wish for space, signed by the identity key (`spec/04` §10.2).
#[derive(Clone, PartialEq, Eq)]
pub struct SpaceRequest {
    /// The account.
    pub username: String,
    /// Bytes asked for, which may be fewer than before.
    pub bytes: u64,
    /// Paid by the year.
    pub annual: bool,
    /// Milliseconds since 1970.
    pub millis: i64,
    /// Proof of payment.
    pub payment: Option<Bytes>,
}

debug_only!(SpaceRequest { username, bytes, annual, millis });

impl ToCbor for SpaceRequest {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("u", Value::text(&self.username));
        map.insert("s", Value::Int(i64::try_from(self.bytes).unwrap_or(i64::MAX)));
        map.insert("a", Value::Bool(self.annual));
        map.insert("t", Value::Int(self.millis));
        if let Some(payment) = &self.payment {
            map.insert("p", Value::Bytes(payment.clone()));
        }
        Value::Map(map)
    }
}

impl FromCbor for SpaceRequest {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("SpaceRequest")?;
        Ok(SpaceRequest {
            username: fields.text("u")?.to_owned(),
            bytes: u64::try_from(fields.int("s")?)
                .map_err(|_| DecodeError::invalid("SpaceRequest", "negative number of bytes"))?,
            annual: fields.optional("a").map_or(Ok(false), Value::as_bool)?,
            millis: fields.int("t")?,
            payment: fields.optional("p").map(|payment| payment.as_bytes().cloned()).transpose()?,
        })
    }
}

/// What an account has and what it pays (`spec/04` §10.3).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PaymentProperties {
    /// Bytes given without payment.
    pub free_bytes: u64,
    /// Bytes asked for.
    pub desired_bytes: u64,
    /// Paid by the year.
    pub annual: bool,
    /// The next charge, in a unit that only the node's payment service knows.
    pub next_charge: i64,
    /// Payment page.
    pub url: Option<String>,
    /// What went wrong with a payment.
    pub error: Option<String>,
    /// For the payment page.
    pub client_secret: Option<String>,
    /// Until when it is paid, in seconds since 1970.
    pub expiry_secs: Option<i64>,
}

debug_only!(PaymentProperties { free_bytes, desired_bytes, annual, expiry_secs });

impl ToCbor for PaymentProperties {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("freeQuota", Value::Int(i64::try_from(self.free_bytes).unwrap_or(i64::MAX)));
        map.insert("desiredQuota", Value::Int(i64::try_from(self.desired_bytes).unwrap_or(i64::MAX)));
        map.insert("annual", Value::Bool(self.annual));
        map.insert("nextCharge", Value::Int(self.next_charge));
        for (key, text) in [("url", &self.url), ("err", &self.error), ("client_secret", &self.client_secret)] {
            if let Some(text) = text {
                map.insert(key, Value::text(text));
            }
        }
        if let Some(expiry) = self.expiry_secs {
            map.insert("expiry", Value::Int(expiry));
        }
        Value::Map(map)
    }
}

impl FromCbor for PaymentProperties {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("PaymentProperties")?;
        let bytes = |key| {
            u64::try_from(fields.int(key)?).map_err(|_| DecodeError::invalid("PaymentProperties", "negative number"))
        };
        let text = |key| fields.optional(key).map(|text| text.as_text().map(str::to_owned)).transpose();
        Ok(PaymentProperties {
            free_bytes: bytes("freeQuota")?,
            desired_bytes: bytes("desiredQuota")?,
            annual: fields.optional("annual").map_or(Ok(false), Value::as_bool)?,
            next_charge: fields.optional("nextCharge").map_or(Ok(0), Value::as_int)?,
            url: text("url")?,
            error: text("err")?,
            client_secret: text("client_secret")?,
            expiry_secs: fields.optional("expiry").map(Value::as_int).transpose()?,
        })
    }
}

/// `request`: asks for space; an administrator grants it.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestSpace {
    /// The account.
    pub owner: Owner,
    /// Signed [`SpaceRequest`].
    pub request: Bytes,
}

debug_only!(RequestSpace { owner });

impl Call for RequestSpace {
    type Output = PaymentProperties;
    const PATH: &'static str = "peergos/v0/storage/request";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner).with("req", text::hex(&self.request))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(RequestSpace { owner: parameters.parsed("owner")?, request: parameters.hex("req")?.into() })
    }

    fn write(properties: &PaymentProperties) -> Bytes {
        properties.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<PaymentProperties, ApiError> {
        Ok(PaymentProperties::from_bytes(&body)?)
    }
}

/// `payment-properties`: what the account has and pays.
#[derive(Clone, PartialEq, Eq)]
pub struct GetPaymentProperties {
    /// The account.
    pub owner: Owner,
    /// Asks for a new secret for the payment page.
    pub new_client_secret: bool,
    /// Signed time by the identity key.
    pub auth: Bytes,
}

debug_only!(GetPaymentProperties { owner, new_client_secret });

impl Call for GetPaymentProperties {
    type Output = PaymentProperties;
    const PATH: &'static str = "peergos/v0/storage/payment-properties";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("owner", &self.owner)
            .with("new-client-secret", self.new_client_secret)
            .with("auth", text::hex(&self.auth))
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        Ok(GetPaymentProperties {
            owner: parameters.parsed("owner")?,
            new_client_secret: parameters.required("new-client-secret")? == "true",
            auth: parameters.hex("auth")?.into(),
        })
    }

    fn write(properties: &PaymentProperties) -> Bytes {
        properties.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<PaymentProperties, ApiError> {
        Ok(PaymentProperties::from_bytes(&body)?)
    }
}
