//! The tables, and how their keys are made of bytes.
//!
//! A key that has a part of variable length before another part writes that part's length before it (two bytes, big
//! endian), so that no key of one owner or username is a prefix of another's.

use std::fmt;

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{KeyHash, Owner, Writer};

/// A kind of record. Each has its own name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Table {
    /// Signed pointer of each writer (`spec/02` §3): owner, writer.
    Pointers,
    /// Writers that the node knows for an owner (`spec/02` §2.5): owner, writer.
    Writers,
    /// Login data (`spec/01` §4): username.
    Logins,
    /// Second factors (`spec/01` §4): username, credential id.
    SecondFactors,
    /// Block access tokens of an account, oldest first (`spec/02` §8.7): username, position.
    Bats,
    /// Waiting follow requests (`spec/04` §7): owner, SHA-256 of the request.
    FollowRequests,
    /// How often secret links were opened (`spec/04` §4.9): owner, label.
    LinkCounts,
    /// Claim chain of each username (`spec/06` §1): username.
    Names,
    /// Username of each identity: owner.
    Identities,
    /// Space that an account may use, in bytes: username.
    Quotas,
    /// Space that a writer uses and the root it was counted for (`spec/02` §9): owner, writer.
    Usage,
    /// Blocks that an open transaction protects (`spec/02` §10.1): owner, transaction, CID.
    Transactions,
    /// Writers that are no longer reached from the identity, and since when: owner, writer.
    Departed,
    /// Accounts from which no garbage can be collected until something is written again: owner.
    Collected,
    /// Messages between a user and the operator, oldest first (`spec/04` §12): username, number.
    Messages,
    /// Sign-up tokens that were not used yet: token.
    SignupTokens,
    /// Requests for more space that wait (`spec/04` §10): username.
    SpaceRequests,
    /// Blocks that the witnesses of the network decided (design §3): height.
    NameBlocks,
    /// Nodes of the present tree of all names (`spec/06` §2.2): CID.
    NameNodes,
    /// The owner's signed list of nodes that mirror the account (design §4): username.
    MirrorLists,
    /// Accounts of other nodes that this one keeps copies of: username.
    Mirrored,
    /// What the node keeps about itself: name.
    Meta,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 22] = [
        Table::Pointers,
        Table::Writers,
        Table::Logins,
        Table::SecondFactors,
        Table::Bats,
        Table::FollowRequests,
        Table::LinkCounts,
        Table::Names,
        Table::Identities,
        Table::Quotas,
        Table::Usage,
        Table::Transactions,
        Table::Departed,
        Table::Collected,
        Table::Messages,
        Table::SignupTokens,
        Table::SpaceRequests,
        Table::NameBlocks,
        Table::NameNodes,
        Table::MirrorLists,
        Table::Mirrored,
        Table::Meta,
    ];

    /// The table's name on the disk. Never changes.
    pub fn name(self) -> &'static str {
        match self {
            Table::Pointers => "pointers",
            Table::Writers => "writers",
            Table::Logins => "logins",
            Table::SecondFactors => "second-factors",
            Table::Bats => "bats",
            Table::FollowRequests => "follow-requests",
            Table::LinkCounts => "link-counts",
            Table::Names => "names",
            Table::Identities => "identities",
            Table::Quotas => "quotas",
            Table::Usage => "usage",
            Table::Transactions => "transactions",
            Table::Departed => "departed",
            Table::Collected => "collected",
            Table::Messages => "messages",
            Table::SignupTokens => "signup-tokens",
            Table::SpaceRequests => "space-requests",
            Table::NameBlocks => "name-blocks",
            Table::NameNodes => "name-nodes",
            Table::MirrorLists => "mirror-lists",
            Table::Mirrored => "mirrored",
            Table::Meta => "meta",
        }
    }
}

/// Where a record is: a table and bytes. Made by the functions here, one for each table.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    table: Table,
    bytes: Vec<u8>,
}

impl RecordKey {
    /// [`Table::Pointers`].
    pub fn pointer(owner: &Owner, writer: &Writer) -> Self {
        Prefix::of_owner(Table::Pointers, owner).then(&writer.cid().to_bytes())
    }

    /// [`Table::Writers`].
    pub fn writer(owner: &Owner, writer: &Writer) -> Self {
        Prefix::of_owner(Table::Writers, owner).then(&writer.cid().to_bytes())
    }

    /// [`Table::Logins`].
    pub fn login(username: &str) -> Self {
        Prefix::of_username(Table::Logins, username).then(&[])
    }

    /// [`Table::SecondFactors`].
    pub fn second_factor(username: &str, credential_id: &[u8]) -> Self {
        Prefix::of_username(Table::SecondFactors, username).then(credential_id)
    }

    /// [`Table::Bats`]; `position` counts an account's tokens from 0 in the order of their arrival.
    pub fn bat(username: &str, position: u32) -> Self {
        Prefix::of_username(Table::Bats, username).then(&position.to_be_bytes())
    }

    /// [`Table::FollowRequests`]; a request is stored once per distinct bytes, so its SHA-256 names it.
    pub fn follow_request(owner: &Owner, sha256: &[u8; 32]) -> Self {
        Prefix::of_owner(Table::FollowRequests, owner).then(sha256)
    }

    /// [`Table::LinkCounts`].
    pub fn link_count(owner: &Owner, label: u64) -> Self {
        Prefix::of_owner(Table::LinkCounts, owner).then(&label.to_be_bytes())
    }

    /// [`Table::Names`]. The key is the name itself, so that names can be listed by their beginning.
    pub fn name(username: &str) -> Self {
        RecordKey { table: Table::Names, bytes: username.as_bytes().to_vec() }
    }

    /// [`Table::Identities`].
    pub fn identity(owner: &Owner) -> Self {
        Prefix::of_owner(Table::Identities, owner).then(&[])
    }

    /// [`Table::Quotas`].
    pub fn quota(username: &str) -> Self {
        Prefix::of_username(Table::Quotas, username).then(&[])
    }

    /// [`Table::Usage`] of one writer.
    pub fn usage(owner: &Owner, writer: &Writer) -> Self {
        Prefix::of_owner(Table::Usage, owner).then(&writer.cid().to_bytes())
    }

    /// [`Table::Usage`] of the whole account. The first of the account's rows.
    pub fn usage_total(owner: &Owner) -> Self {
        Prefix::of_owner(Table::Usage, owner).then(&[])
    }

    /// [`Table::Transactions`].
    pub fn transaction_block(owner: &Owner, transaction: &str, cid: &Cid) -> Self {
        Prefix::of_transaction(owner, transaction).then(&cid.to_bytes())
    }

    /// [`Table::Departed`].
    pub fn departed(owner: &Owner, writer: &Writer) -> Self {
        Prefix::of_owner(Table::Departed, owner).then(&writer.cid().to_bytes())
    }

    /// [`Table::Collected`].
    pub fn collected(owner: &Owner) -> Self {
        Prefix::of_owner(Table::Collected, owner).then(&[])
    }

    /// [`Table::Messages`]; `number` rises with each message of an account.
    pub fn message(username: &str, number: u64) -> Self {
        Prefix::of_username(Table::Messages, username).then(&number.to_be_bytes())
    }

    /// [`Table::SignupTokens`].
    pub fn signup_token(token: &str) -> Self {
        RecordKey { table: Table::SignupTokens, bytes: token.as_bytes().to_vec() }
    }

    /// [`Table::SpaceRequests`].
    pub fn space_request(username: &str) -> Self {
        Prefix::of_username(Table::SpaceRequests, username).then(&[])
    }

    /// [`Table::NameBlocks`].
    pub fn name_block(height: u64) -> Self {
        RecordKey { table: Table::NameBlocks, bytes: height.to_be_bytes().to_vec() }
    }

    /// [`Table::NameNodes`].
    pub fn name_node(cid: &Cid) -> Self {
        RecordKey { table: Table::NameNodes, bytes: cid.to_bytes() }
    }

    /// [`Table::MirrorLists`].
    pub fn mirror_list(username: &str) -> Self {
        Prefix::of_username(Table::MirrorLists, username).then(&[])
    }

    /// [`Table::Mirrored`].
    pub fn mirrored(username: &str) -> Self {
        Prefix::of_username(Table::Mirrored, username).then(&[])
    }

    /// [`Table::Meta`].
    pub fn meta(name: &str) -> Self {
        RecordKey { table: Table::Meta, bytes: name.as_bytes().to_vec() }
    }

    /// A key from the bytes that a store read. Only stores and their tests call this.
    pub fn from_stored(table: Table, bytes: Vec<u8>) -> Self {
        RecordKey { table, bytes }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The key's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first part of a key that has its length before it, and what follows.
    fn split(&self) -> Option<(&[u8], &[u8])> {
        let (length, rest) = self.bytes.split_first_chunk::<2>()?;
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    }

    /// The owner that the key begins with; none in a table whose keys begin otherwise.
    pub fn to_owner(&self) -> Option<Owner> {
        let (owner, _) = self.split()?;
        Some(Owner::new(KeyHash::new(Cid::from_bytes(owner).ok()?).ok()?))
    }

    /// The username that the key begins with or is; none in a table whose keys begin otherwise.
    pub fn to_username(&self) -> Option<&str> {
        let name = match self.table {
            Table::Names => &self.bytes[..],
            Table::Logins
            | Table::SecondFactors
            | Table::Bats
            | Table::Quotas
            | Table::Messages
            | Table::MirrorLists
            | Table::Mirrored
            | Table::SpaceRequests => self.split()?.0,
            _ => return None,
        };
        std::str::from_utf8(name).ok()
    }

    /// The writer that a key of [`Table::Pointers`], [`Table::Writers`], [`Table::Usage`] or [`Table::Departed`] ends
    /// with.
    pub fn to_writer(&self) -> Option<Writer> {
        match self.table {
            Table::Pointers | Table::Writers | Table::Usage | Table::Departed => {
                let (_, writer) = self.split()?;
                Some(Writer::new(KeyHash::new(Cid::from_bytes(writer).ok()?).ok()?))
            }
            _ => None,
        }
    }

    /// The transaction's name and the CID in a key of [`Table::Transactions`].
    pub fn to_transaction_block(&self) -> Option<(&str, Cid)> {
        if self.table != Table::Transactions {
            return None;
        }
        let (_, rest) = self.split()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (name, cid) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some((std::str::from_utf8(name).ok()?, Cid::from_bytes(cid).ok()?))
    }

    /// What follows the owner or username: a credential's id, a position, a hash or a label.
    pub fn suffix(&self) -> Option<&[u8]> {
        Some(self.split()?.1)
    }
}

impl fmt::Debug for RecordKey {
    // Sign-up tokens are secrets and transactions' names are nobody's business: the table is enough to find a bug.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({}, {} bytes)", self.table.name(), self.bytes.len())
    }
}

/// The beginning that some keys of a table share.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix {
    table: Table,
    bytes: Vec<u8>,
}

impl Prefix {
    /// Every key of a table.
    pub fn whole(table: Table) -> Self {
        Prefix { table, bytes: Vec::new() }
    }

    /// All keys of an owner, in a table whose keys begin with the owner.
    pub fn of_owner(table: Table, owner: &Owner) -> Self {
        let mut prefix = Prefix::whole(table);
        prefix.push_part(&owner.cid().to_bytes());
        prefix
    }

    /// All keys of an account, in a table whose keys begin with the username (all but [`Table::Names`]).
    pub fn of_username(table: Table, username: &str) -> Self {
        let mut prefix = Prefix::whole(table);
        prefix.push_part(username.as_bytes());
        prefix
    }

    /// All blocks of one transaction.
    pub fn of_transaction(owner: &Owner, transaction: &str) -> Self {
        let mut prefix = Prefix::of_owner(Table::Transactions, owner);
        prefix.push_part(transaction.as_bytes());
        prefix
    }

    /// All names that begin with a text.
    pub fn of_names(beginning: &str) -> Self {
        Prefix { table: Table::Names, bytes: beginning.as_bytes().to_vec() }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The bytes that the keys begin with.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a key is one of those.
    pub fn holds(&self, key: &RecordKey) -> bool {
        self.table == key.table && key.bytes.starts_with(&self.bytes)
    }

    /// The first byte string behind all that begin with this prefix; none if there is no such (empty, or all 0xff).
    pub fn end(&self) -> Option<Vec<u8>> {
        end_of_prefix(&self.bytes)
    }

    fn then(mut self, suffix: &[u8]) -> RecordKey {
        self.bytes.extend_from_slice(suffix);
        RecordKey { table: self.table, bytes: self.bytes }
    }

    fn push_part(&mut self, part: &[u8]) {
        push_part(&mut self.bytes, part);
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({}, {} bytes)", self.table.name(), self.bytes.len())
    }
}

/// Appends a part with its length before it. A part of 64 KiB or more, which no owner, name or transaction that the
/// protocol lets pass is, stands under a length that marks it and its SHA-256, so that keys stay distinct.
pub(crate) fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    match u16::try_from(part.len()) {
        Ok(length) if length < u16::MAX => {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        _ => {
            bytes.extend_from_slice(&u16::MAX.to_be_bytes());
            bytes.extend_from_slice(Cid::of_raw(part).hash().digest());
        }
    }
}

/// The first byte string behind all that begin with `prefix`.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(content: &[u8]) -> Owner {
        Owner::new(KeyHash::of_key_cbor(content))
    }

    #[test]
    fn keys_give_back_their_parts() {
        let (owner, writer) = (owner(b"owner"), Writer::from(owner(b"writer")));
        let key = RecordKey::pointer(&owner, &writer);
        assert_eq!((key.to_owner(), key.to_writer()), (Some(owner.clone()), Some(writer)));
        let cid = Cid::of_raw(b"block");
        let key = RecordKey::transaction_block(&owner, "tx", &cid);
        assert_eq!(key.to_owner(), Some(owner.clone()));
        assert_eq!(key.to_transaction_block(), Some(("tx", cid)));
        assert_eq!(RecordKey::bat("alice", 7).to_username(), Some("alice"));
        assert_eq!(RecordKey::bat("alice", 7).suffix(), Some(&[0, 0, 0, 7][..]));
        assert_eq!(RecordKey::name("alice").to_username(), Some("alice"));
        assert_eq!(RecordKey::usage_total(&owner).to_writer(), None);
        assert_eq!(RecordKey::signup_token("x").to_owner(), None);
    }

    #[test]
    fn no_account_is_a_prefix_of_another() {
        let longer = Prefix::of_username(Table::Bats, "alice");
        assert!(!Prefix::of_username(Table::Bats, "al").holds(&RecordKey::bat("alice", 0)));
        assert!(longer.holds(&RecordKey::bat("alice", 0)));
        assert!(Prefix::of_names("al").holds(&RecordKey::name("alice")));
        let short = owner(b"o");
        let long = owner(b"owner");
        assert!(!Prefix::of_owner(Table::Usage, &short).holds(&RecordKey::usage_total(&long)));
        assert!(!Prefix::of_transaction(&short, "a").holds(&RecordKey::transaction_block(&short, "ab", short.cid())));
        let huge = "x".repeat(70_000);
        assert!(Prefix::of_username(Table::Bats, &huge).holds(&RecordKey::bat(&huge, 1)));
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_it() {
        assert_eq!(end_of_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(end_of_prefix(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(end_of_prefix(&[0xff]), None);
        assert_eq!(end_of_prefix(&[]), None);
    }

    #[test]
    fn tables_have_distinct_names() {
        let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
