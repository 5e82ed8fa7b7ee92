//! What travels when an account moves to another node or is mirrored with a whole node (`spec/06` §8.2).

use std::fmt;

use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};
use crate::keys::{Owner, Writer};
use crate::links::LinkCounts;
use crate::login::LoginData;
use crate::merkle::bat::BatWithId;
use crate::merkle::pointer::SignedPointerUpdate;
use crate::names::Username;
use crate::social::BlindFollowRequest;

/// Everything that a home keeps of an account beside its blocks.
#[derive(Clone, PartialEq, Eq)]
pub struct UserSnapshot {
    /// The account's name.
    pub username: Username,
    /// Its identity.
    pub owner: Owner,
    /// The pointers of all its writers.
    pub pointers: Vec<SignedPointerUpdate>,
    /// Follow requests that wait for an answer.
    pub follow_requests: Vec<BlindFollowRequest>,
    /// Access tokens, the newest mirror token last.
    pub bats: Vec<BatWithId>,
    /// None for old accounts, which log in without it.
    pub login: Option<LoginData>,
    /// How often links were opened.
    pub link_counts: Vec<LinkOpenings>,
}

/// How often one link was opened. Existing nodes keep labels as signed numbers and check none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOpenings {
    /// The link's label.
    pub label: i64,
    /// How often.
    pub count: i64,
    /// When last, in seconds since 1970 UTC.
    pub last_secs: i64,
}

impl LinkOpenings {
    /// What a node counted.
    pub fn all_of(counts: &LinkCounts) -> Vec<Self> {
        let openings = counts.0.iter().map(|counted| LinkOpenings {
            label: counted.label.number().into(),
            count: counted.count,
            last_secs: counted.last_secs,
        });
        openings.collect()
    }
}

/// The name and numbers only: tokens open blocks.
impl fmt::Debug for UserSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSnapshot")
            .field("username", &self.username)
            .field("pointers", &self.pointers.len())
            .finish_non_exhaustive()
    }
}

impl ToCbor for UserSnapshot {
    fn to_cbor(&self) -> Value {
        let mut pointers: Vec<&SignedPointerUpdate> = self.pointers.iter().collect();
        pointers.sort_by_cached_key(|pointer| pointer.writer.to_bytes());
        let pointers = pointers.into_iter().flat_map(|p| [p.writer.to_cbor(), Value::Bytes(p.signed.clone())]);
        let mut map = Map::default();
        map.insert("n", self.username.to_cbor());
        map.insert("o", self.owner.to_cbor());
        map.insert("p", Value::List(pointers.collect()));
        map.insert("f", Value::list(&self.follow_requests));
        map.insert("b", Value::list(&self.bats));
        if let Some(login) = &self.login {
            map.insert("l", login.to_cbor());
        }
        let counts = self.link_counts.iter().flat_map(|of| [of.label, of.count, of.last_secs].map(Value::Int));
        map.insert("lc", Value::map([("d", Value::List(counts.collect()))]));
        Value::Map(map)
    }
}

impl FromCbor for UserSnapshot {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        const WHAT: &str = "UserSnapshot";
        let fields = value.fields(WHAT)?;
        let pointers = fields.required("p")?.as_list()?;
        if pointers.len() % 2 != 0 {
            return Err(DecodeError::invalid(WHAT, "a writer without its pointer"));
        }
        let pointers = pointers.chunks_exact(2).map(|pair| {
            Ok(SignedPointerUpdate { writer: Writer::from_cbor(&pair[0])?, signed: pair[1].as_bytes()?.clone() })
        });
        let counts = fields.required("lc")?.fields("LinkCounts")?.required("d")?.as_list()?;
        if counts.len() % 3 != 0 {
            return Err(DecodeError::invalid(WHAT, "a label without its count"));
        }
        let counts = counts.chunks_exact(3).map(|three| {
            let [label, count, last_secs] = [three[0].as_int()?, three[1].as_int()?, three[2].as_int()?];
            Ok(LinkOpenings { label, count, last_secs })
        });
        Ok(UserSnapshot {
            username: fields.get("n")?,
            owner: fields.get("o")?,
            pointers: pointers.collect::<Result<_, DecodeError>>()?,
            follow_requests: fields.required("f")?.as_list_of()?,
            bats: fields.required("b")?.as_list_of()?,
            login: fields.get_optional("l")?,
            link_counts: counts.collect::<Result<_, DecodeError>>()?,
        })
    }
}
