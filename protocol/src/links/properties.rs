//! What the owner of secret links remembers about each, and how often they were opened (`spec/05` §7.4, §7.7).

use super::secret::{LinkLabel, LinkPassword, SecretLink};
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::Owner;

/// A secret link in the owner's own records, so that the owner can show it again, change it and take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkProperties {
    /// The label.
    pub label: LinkLabel,
    /// The password in the link.
    pub password: LinkPassword,
    /// The password that is asked for in addition; empty if there is none.
    pub user_password: LinkPassword,
    /// Whether the link gives the right to write.
    pub is_writable: bool,
    /// Whether the web client shows the file at once.
    pub opens_at_once: bool,
    /// The block that the label leads to, expected at the next change.
    pub target: Option<Cid>,
    /// How often the link may be opened.
    pub max_retrievals: Option<i64>,
    /// Until when, seconds since 1970 UTC.
    pub expiry_secs: Option<i64>,
}

impl LinkProperties {
    /// The link of these properties.
    pub fn link(&self, owner: Owner) -> SecretLink {
        SecretLink { owner, label: self.label, password: self.password.clone() }
    }
}

impl ToCbor for LinkProperties {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("l", self.label.to_cbor());
        map.insert("p", Value::text(self.password.as_str()));
        map.insert("u", Value::text(self.user_password.as_str()));
        map.insert("w", Value::Bool(self.is_writable));
        map.insert("o", Value::Bool(self.opens_at_once));
        if let Some(target) = &self.target {
            map.insert("h", Value::Link(target.clone()));
        }
        if let Some(max) = self.max_retrievals {
            map.insert("m", Value::Int(max));
        }
        if let Some(expiry) = self.expiry_secs {
            map.insert("e", Value::Int(expiry));
        }
        Value::Map(map)
    }
}

impl FromCbor for LinkProperties {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("LinkProperties")?;
        let optional = |key| fields.optional(key).map(Value::as_int).transpose();
        Ok(LinkProperties {
            label: fields.get("l")?,
            password: LinkPassword::new(fields.text("p")?),
            user_password: LinkPassword::new(fields.text("u")?),
            is_writable: fields.required("w")?.as_bool()?,
            opens_at_once: fields.optional("o").map_or(Ok(false), Value::as_bool)?,
            target: fields.optional("h").map(|link| link.as_link().cloned()).transpose()?,
            max_retrievals: optional("m")?,
            expiry_secs: optional("e")?,
        })
    }
}

/// How often one link was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCount {
    /// The link.
    pub label: LinkLabel,
    /// How often, wrong passwords included.
    pub count: i64,
    /// When last, seconds since 1970 UTC.
    pub last_secs: i64,
}

/// The counts of an owner's links, as servers hand them to each other: `{d: [label, count, seconds, …]}`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LinkCounts(pub Vec<LinkCount>);

impl ToCbor for LinkCounts {
    fn to_cbor(&self) -> Value {
        let numbers = self
            .0
            .iter()
            .flat_map(|count| [count.label.to_cbor(), Value::Int(count.count), Value::Int(count.last_secs)]);
        Value::map([("d", Value::List(numbers.collect()))])
    }
}

impl FromCbor for LinkCounts {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let numbers = value.fields("LinkCounts")?.required("d")?.as_list()?;
        if numbers.len() % 3 != 0 {
            return Err(DecodeError::invalid("LinkCounts", format!("{} numbers", numbers.len())));
        }
        let counts = numbers.chunks_exact(3).map(|three| {
            let label = LinkLabel::from_cbor(&three[0])?;
            Ok(LinkCount { label, count: three[1].as_int()?, last_secs: three[2].as_int()? })
        });
        Ok(LinkCounts(counts.collect::<Result<_, DecodeError>>()?))
    }
}
