//! Secret links: `api/v0/link…` (`spec/04` §4.9, `spec/05` §7.7).

use std::str::FromStr;

use bytes::Bytes;

use super::query::malformed;
use super::{ApiError, Call, Request};
use crate::encoding::{FromCbor, ToCbor};
use crate::keys::Owner;
use crate::links::{EncryptedCapability, LinkCounts, LinkLabel};
use crate::merkle::bat::BatWithId;

/// Longest host that a client prints into a link, in bytes.
const MAX_HOST: usize = 255;

/// `link/get`: what a secret link holds. Each success is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSecretLink {
    /// Whose link.
    pub owner: Owner,
    /// Which one.
    pub label: LinkLabel,
}

impl Call for OpenSecretLink {
    type Output = EncryptedCapability;
    const PATH: &'static str = "api/v0/link/get";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("label", self.label).with("owner", &self.owner)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let owner = parameters.parsed("owner")?;
        match parameters.parsed::<i64>("label")? {
            ..=0 => Err(ApiError::refused("Link labels must be positive!")),
            label => match u32::try_from(label).ok().and_then(LinkLabel::new) {
                Some(label) => Ok(OpenSecretLink { owner, label }),
                None => Err(malformed("label")),
            },
        }
    }

    fn write(capability: &EncryptedCapability) -> Bytes {
        capability.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<EncryptedCapability, ApiError> {
        Ok(EncryptedCapability::from_bytes(&body)?)
    }
}

/// `link-host`: which host stands in new links of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetLinkHost {
    /// Whose links.
    pub owner: Owner,
}

impl Call for GetLinkHost {
    /// `host[:port]`. Links go by `https` unless it begins with `localhost:`.
    type Output = String;
    const PATH: &'static str = "api/v0/link-host";

    fn request(&self) -> Request {
        Request::new(Self::PATH).with("owner", &self.owner)
    }

    fn parse(request: &Request) -> Result<Self, ApiError> {
        Ok(GetLinkHost { owner: request.parameters().parsed("owner")? })
    }

    fn write(host: &String) -> Bytes {
        host.clone().into()
    }

    /// Anything that is no host could turn the link into one to somewhere else.
    fn read_body(&self, body: Bytes) -> Result<String, ApiError> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
        match std::str::from_utf8(&body) {
            Ok(host) if !host.is_empty() && host.len() <= MAX_HOST && body.iter().all(allowed) => Ok(host.to_owned()),
            _ => Err(ApiError::Malformed("link host".to_owned())),
        }
    }
}

/// Whose links are counted. Existing clients send the name, which existing nodes fail to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinksOf {
    /// The identity.
    Identity(Owner),
    /// The username.
    Username(String),
}

impl FromStr for LinksOf {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No name is as long as a key's hash.
        Ok(text.parse().map_or_else(|_| LinksOf::Username(text.to_owned()), LinksOf::Identity))
    }
}

impl std::fmt::Display for LinksOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinksOf::Identity(owner) => owner.fmt(f),
            LinksOf::Username(username) => username.fmt(f),
        }
    }
}

/// `link/counts`: how often links were opened, for the owner and the owner's mirrors.
#[derive(Clone, PartialEq, Eq)]
pub struct GetLinkCounts {
    /// Whose links.
    pub owner: LinksOf,
    /// Only links that were opened after this time, in seconds since 1970 UTC.
    pub after_secs: i64,
    /// The owner's current mirror token.
    pub bat: BatWithId,
}

impl Call for GetLinkCounts {
    type Output = LinkCounts;
    const PATH: &'static str = "api/v0/link/counts";

    fn request(&self) -> Request {
        Request::new(Self::PATH)
            .with("owner", &self.owner)
            .with("after", self.after_secs)
            .with("bat", self.bat.to_text().as_str())
    }

    /// Existing clients write a `?` where an `&` belongs, so that the token ends up in the value before it.
    fn parse(request: &Request) -> Result<Self, ApiError> {
        let parameters = request.parameters();
        let after = parameters.required("after")?;
        let (after, bat) = match after.split_once("?bat=") {
            Some((after, bat)) => (after, bat.parse().map_err(|_| malformed("bat"))?),
            None => (after, parameters.parsed("bat")?),
        };
        let after_secs = after.parse().map_err(|_| malformed("after"))?;
        Ok(GetLinkCounts { owner: parameters.parsed("owner")?, after_secs, bat })
    }

    fn write(counts: &LinkCounts) -> Bytes {
        counts.to_bytes().into()
    }

    fn read_body(&self, body: Bytes) -> Result<LinkCounts, ApiError> {
        Ok(LinkCounts::from_bytes(&body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyHash;
    use crate::merkle::bat::Bat;

    fn owner() -> Owner {
        Owner::new(KeyHash::of_key_cbor(b"owner"))
    }

    #[test]
    fn both_separators_and_both_owners_are_read() {
        let bat = BatWithId::mirror(Bat::from_bytes([7; 32]));
        for owner in [LinksOf::Identity(owner()), LinksOf::Username("alice".to_owned())] {
            let call = GetLinkCounts { owner, after_secs: 12, bat: bat.clone() };
            let target = call.request().target();
            let (path, query) = target.split_once('?').unwrap();
            for query in [query.to_owned(), query.replace("&bat=", "?bat=")] {
                let request = Request::parse(path, Some(&query), Bytes::new()).unwrap();
                assert!(GetLinkCounts::parse(&request).unwrap() == call, "{query}");
            }
        }
    }

    #[test]
    fn labels_are_positive_numbers_of_32_bits() {
        let parse = |label: &str| {
            let request = Request::new(OpenSecretLink::PATH).with("owner", owner()).with("label", label);
            OpenSecretLink::parse(&request).map(|call| call.label.number())
        };
        assert_eq!(parse("4294967295"), Ok(u32::MAX));
        for label in ["0", "-1"] {
            assert_eq!(parse(label).unwrap_err().message(), "Link labels must be positive!");
        }
        for label in ["", "abc", "4294967296", "1.5", "99999999999999999999"] {
            assert!(parse(label).is_err(), "{label}");
        }
    }

    #[test]
    fn a_host_is_a_host() {
        let call = GetLinkHost { owner: owner() };
        let read = |host: &'static str| call.read_body(Bytes::from_static(host.as_bytes()));
        for host in ["localhost:8000", "example.org", "[::1]:80"] {
            assert_eq!(read(host).as_deref(), Ok(host));
        }
        for host in ["", "evil.org/", "evil.org/secret/x#", "a b", "user@evil.org", "é"] {
            assert!(read(host).is_err(), "{host}");
        }
    }
}
