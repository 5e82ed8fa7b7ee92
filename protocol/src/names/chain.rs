//! Chains of claims: the keys that have owned a name, oldest first (`spec/06` §1.3–§1.6).

use bytes::Bytes;

use super::{Claim, ClaimError, Date, DateError, Username};
use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{Owner, PublicSigningKey, SecretSigningKey, SigningPrivateKeyAndPublicHash};

/// How long a claim is made for, in months.
const VALID_MONTHS: i32 = 2;

/// How much of that is left when a client renews it at login, in months.
const RENEW_MONTHS: i32 = 1;

/// One owner of a name: `{claim, owner, keychange}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// The owner's key.
    pub owner: Owner,
    /// What the owner claims.
    pub claim: Claim,
    /// In all links but the last: `signed(owner, link of the next owner)`.
    pub key_change: Option<Bytes>,
}

impl ChainLink {
    /// A last link: the claim of the present owner.
    pub fn sign(username: &Username, expiry: Date, home: Cid, owner: &SigningPrivateKeyAndPublicHash) -> Self {
        ChainLink {
            owner: Owner::new(owner.public_key_hash.clone()),
            claim: Claim::sign(username, expiry, vec![home], &owner.secret),
            key_change: None,
        }
    }

    /// The link that hands a name over to the next owner: no server, no end.
    pub fn hand_over(username: &Username, owner: &SigningPrivateKeyAndPublicHash, next: &Owner) -> Self {
        ChainLink {
            owner: Owner::new(owner.public_key_hash.clone()),
            claim: Claim::sign(username, Date::MAX, Vec::new(), &owner.secret),
            key_change: Some(sign_key_change(next, &owner.secret)),
        }
    }
}

fn sign_key_change(next: &Owner, secret: &SecretSigningKey) -> Bytes {
    secret.sign_attached(&next.to_bytes()).into()
}

impl ToCbor for ChainLink {
    fn to_cbor(&self) -> Value {
        let mut entries = vec![("claim", self.claim.to_cbor()), ("owner", self.owner.to_cbor())];
        if let Some(key_change) = &self.key_change {
            entries.push(("keychange", Value::Bytes(key_change.clone())));
        }
        Value::map(entries)
    }
}

impl FromCbor for ChainLink {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("claim link")?;
        let key_change = fields.optional("keychange").map(|value| value.as_bytes().cloned()).transpose()?;
        Ok(ChainLink { owner: fields.get("owner")?, claim: fields.get("claim")?, key_change })
    }
}

/// Why a chain is not valid for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No link at all.
    #[error("the claim chain is empty")]
    Empty,
    /// An old link that names a server, or a last one that does not name exactly one.
    #[error("the claim of link {0} names a wrong number of servers")]
    Providers(usize),
    /// A claim that is not valid.
    #[error("link {link}: {cause}")]
    Claim {
        /// Position in the chain, from 0.
        link: usize,
        /// What is wrong with the claim.
        #[source]
        cause: ClaimError,
    },
    /// The owner's key is neither in its hash nor known otherwise.
    #[error("the key of the owner of link {0} is not known")]
    UnknownKey(usize),
    /// The hand-over to the next key is missing, signed by another key, or made out to another.
    #[error("link {0} does not hand over to the next key")]
    KeyChange(usize),
}

/// Why an update does not extend a stored chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Nothing in the update is new.
    #[error("the update holds nothing new")]
    NothingNew,
    /// The claim would end sooner than the present one.
    #[error("New claim chain expiry before existing!")]
    Expiry,
    /// Another key claims a name that is taken.
    #[error("User already exists: Invalid key change attempt!")]
    Taken,
    /// The update starts from another key than the present owner's.
    #[error("Different keys in merge chains intersection!")]
    DifferentKeys,
    /// A key that owned the name before.
    #[error("You cannot reuse a previous password!")]
    ReusedKey,
    /// The result would not be valid for the name.
    #[error("Invalid key chain merge! {0}")]
    Invalid(#[from] ChainError),
}

/// A chain of claims. As a block it is one dag-cbor list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Chain(pub Vec<ChainLink>);

/// Finds the key in an owner's hash. Only owners of very old accounts need another lookup, since theirs is a SHA-256.
pub fn inline_key(owner: &Owner) -> Option<PublicSigningKey> {
    owner.signing_key()
}

impl Chain {
    /// The first claim of a name, made `today`.
    ///
    /// # Errors
    /// Two months after `today` there is no date.
    pub fn first(
        username: &Username,
        owner: &SigningPrivateKeyAndPublicHash,
        home: Cid,
        today: Date,
    ) -> Result<Self, DateError> {
        Ok(Chain(vec![ChainLink::sign(username, today.plus_months(VALID_MONTHS)?, home, owner)]))
    }

    /// The present owner's link.
    pub fn last(&self) -> Option<&ChainLink> {
        self.0.last()
    }

    /// The present owner.
    pub fn owner(&self) -> Option<&Owner> {
        self.last().map(|link| &link.owner)
    }

    /// The server that holds the present owner's data.
    pub fn home(&self) -> Option<&Cid> {
        self.last()?.claim.providers.first()
    }

    /// Whether a client should renew the claim at login: less than a month is left.
    pub fn needs_renewal(&self, today: Date) -> bool {
        let soon = today.plus_months(RENEW_MONTHS).unwrap_or(Date::MAX);
        self.last().is_some_and(|link| link.claim.expiry < soon)
    }

    /// The chain with its last claim made anew by the same owner: for a renewal, a new server id (both with
    /// [`Chain::renewed_expiry`]), or a migration (with [`Chain::migrated_expiry`]).
    pub fn with_last_claim(
        &self,
        username: &Username,
        expiry: Date,
        home: Cid,
        owner: &SigningPrivateKeyAndPublicHash,
    ) -> Self {
        let earlier = self.0.split_last().map_or(&[][..], |(_, earlier)| earlier);
        let mut links = earlier.to_vec();
        links.push(ChainLink::sign(username, expiry, home, owner));
        Chain(links)
    }

    /// The expiry of a claim that is renewed `today`: two months later, and later than the present one, since an update
    /// that ends sooner is refused and one of the same day could be replayed.
    ///
    /// # Errors
    /// Beyond the range of dates.
    pub fn renewed_expiry(&self, today: Date) -> Result<Date, DateError> {
        let renewed = today.plus_months(VALID_MONTHS)?;
        match self.last() {
            Some(link) if link.claim.expiry >= renewed => link.claim.expiry.plus_days(1),
            _ => Ok(renewed),
        }
    }

    /// The expiry of a claim that moves to another server: one day after the present one.
    ///
    /// # Errors
    /// Beyond the range of dates.
    pub fn migrated_expiry(&self) -> Result<Date, DateError> {
        self.last().ok_or(DateError)?.claim.expiry.plus_days(1)
    }

    /// The two links that hand the name over from `old` to `new`, to be sent as an update.
    pub fn key_change(
        username: &Username,
        old: &SigningPrivateKeyAndPublicHash,
        new: &SigningPrivateKeyAndPublicHash,
        home: Cid,
        expiry: Date,
    ) -> Self {
        let next = Owner::new(new.public_key_hash.clone());
        let handed_over = ChainLink::hand_over(username, old, &next);
        Chain(vec![handed_over, ChainLink::sign(username, expiry, home, new)])
    }

    /// Checks the chain for a name: each claim, each hand-over, and who may name a server. The clock is not consulted.
    /// `key_of` finds the key of an owner; [`inline_key`] does for all but very old accounts.
    ///
    /// # Errors
    /// [`ChainError`] says which link fails and why.
    pub fn verify(
        &self,
        name: &Username,
        key_of: impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<(), ChainError> {
        let (last, earlier) = self.0.split_last().ok_or(ChainError::Empty)?;
        // Before any signature: it is cheap, and the reference decides in this order.
        for (at, link) in self.0.iter().enumerate() {
            let expected = usize::from(at == earlier.len());
            if link.claim.providers.len() != expected {
                return Err(ChainError::Providers(at));
            }
        }
        for (at, pair) in self.0.windows(2).enumerate() {
            let (link, next) = (&pair[0], &pair[1]);
            let key = key_of(&link.owner).ok_or(ChainError::UnknownKey(at))?;
            link.claim.verify(name, &key).map_err(|cause| ChainError::Claim { link: at, cause })?;
            let handed_to = link.key_change.as_deref().and_then(|proof| key.open(proof).ok());
            if handed_to != Some(next.owner.to_bytes().as_slice()) {
                return Err(ChainError::KeyChange(at));
            }
        }
        let at = earlier.len();
        let key = key_of(&last.owner).ok_or(ChainError::UnknownKey(at))?;
        last.claim.verify(name, &key).map_err(|cause| ChainError::Claim { link: at, cause })
    }

    /// Merges an update (a whole new chain, or only its changed links) into the chain that is stored under `name`,
    /// which may be empty.
    ///
    /// Stricter than the reference as `spec/06` §1.5 demands: a first claim is verified like any other, and the result
    /// must be valid for the name under which it is stored, not for the one that the update says.
    ///
    /// # Errors
    /// [`MergeError`] says why the update is refused. Expiry never frees a name: another key's update is refused even
    /// when the stored claim has ended.
    pub fn merge(
        &self,
        update: &Chain,
        name: &Username,
        key_of: impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<Chain, MergeError> {
        let Some((present, earlier)) = self.0.split_last() else {
            update.verify(name, key_of)?;
            return Ok(update.clone());
        };
        if self == update {
            return Ok(update.clone());
        }
        let common = self.0.iter().zip(&update.0).take_while(|(ours, theirs)| ours == theirs).count();
        let new = &update.0[common..];
        let (Some(first), Some(last)) = (new.first(), new.last()) else {
            return Err(MergeError::NothingNew);
        };
        if first.claim.expiry < present.claim.expiry {
            return Err(MergeError::Expiry);
        }
        if first.owner != present.owner {
            return Err(if new.len() == 1 { MergeError::Taken } else { MergeError::DifferentKeys });
        }
        if earlier.iter().any(|link| link.owner == last.owner) {
            return Err(MergeError::ReusedKey);
        }
        let merged = Chain([earlier, new].concat());
        merged.verify(name, key_of)?;
        Ok(merged)
    }
}

impl ToCbor for Chain {
    fn to_cbor(&self) -> Value {
        Value::list(&self.0)
    }
}

impl FromCbor for Chain {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(Chain(value.as_list_of()?))
    }
}
