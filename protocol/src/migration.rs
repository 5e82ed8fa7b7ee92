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
    pub link_counts: LinkCounts,
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
        map.insert("lc", self.link_counts.to_cbor());
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
        Ok(UserSnapshot {
            username: fields.get("n")?,
            owner: fields.get("o")?,
            pointers: pointers.collect::<Result<_, DecodeError>>()?,
            follow_requests: fields.required("f")?.as_list_of()?,
            bats: fields.required("b")?.as_list_of()?,
            login: fields.get_optional("l")?,
            link_counts: fields.get("lc")?,
        })
    }
}
