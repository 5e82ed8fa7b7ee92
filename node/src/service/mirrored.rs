//! The accounts of other nodes that this one keeps copies of: the list in the store, who may put an account on it, and what
//! a copy may take. What follows the list is `mirror::follow`.

use std::sync::PoisonError;

use pyrgos_protocol::api::mirror::{StartMirror, StartPaidMirror};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::SignedTime;
use pyrgos_protocol::keys::signed::CALL_WINDOW;
use pyrgos_protocol::mirroring::MirrorToken;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Blocks, Prefix, RecordKey, Records, Table};
use tokio::sync::watch;

use super::usage::{count_record, read_count};
use super::{Failure, Service};

/// Most accounts that one node mirrors.
const MAX_MIRRORED: usize = 1000;

/// Less space than this is that of an account which has none (`spec/06` §7.1).
const MIN_SPACE: u64 = 1 << 20;

/// The work that a paid mirror costs where none is for sale: more leading zero bits than a hash has.
const NOT_FOR_SALE: u32 = 256;

/// An account of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// Opens its blocks.
    pub token: MirrorToken,
    /// What the copy may take, in bytes.
    pub limit_bytes: u64,
    /// Another mirror to copy from instead of the home.
    pub from: Option<Cid>,
    /// Whether its owner asked for it; else the operator put it on the list.
    pub is_asked: bool,
}

impl Mirrored {
    /// What the operator puts on the list, copied from the account's home.
    pub fn new(token: MirrorToken, limit_bytes: u64) -> Self {
        Mirrored { token, limit_bytes, from: None, is_asked: false }
    }

    fn record(&self) -> Vec<u8> {
        let from = self.from.as_ref().map(Cid::to_bytes).unwrap_or_default();
        Value::List(vec![self.token.bat.to_cbor(), Value::bytes(from), Value::Bool(self.is_asked)]).encode()
    }

    fn read(name: &str, record: &bytes::Bytes, limit_bytes: u64) -> Option<Self> {
        let value = Value::decode_shared(record).ok()?;
        let [bat, from, is_asked] = value.as_list().ok()? else { return None };
        let from = from.as_bytes().ok().filter(|from| !from.is_empty());
        Some(Mirrored {
            token: MirrorToken { username: Username::existing(name).ok()?, bat: FromCbor::from_cbor(bat).ok()? },
            limit_bytes,
            from: from.map(|from| Cid::from_bytes(from)).transpose().ok()?,
            is_asked: is_asked.as_bool().ok()?,
        })
    }
}

impl Service {
    /// Hears of each change of the list.
    pub fn mirrored_changes(&self) -> watch::Receiver<()> {
        self.mirrored_changes.subscribe()
    }

    /// The list, in the order of the names.
    pub fn mirrored(&self) -> Result<Vec<Mirrored>, Failure> {
        let rows = self.parts.records.scan(&Prefix::whole(Table::Mirrored), None, MAX_MIRRORED)?;
        let read = |(key, record): &(RecordKey, bytes::Bytes)| {
            let name = key.to_username().ok_or(Failure::Damaged("list of mirrored accounts"))?;
            let limit_bytes = self.space_of(name)?.unwrap_or(0);
            Mirrored::read(name, record, limit_bytes).ok_or(Failure::Damaged("list of mirrored accounts"))
        };
        let mut all = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable_by(|a, b| a.token.username.as_str().cmp(b.token.username.as_str()));
        Ok(all)
    }

    /// Begins to keep a copy of an account, or changes its limit and source.
    ///
    /// # Errors
    /// Nobody has the name, the account lives here, or the list is full.
    pub fn keep_mirror(&self, mirrored: &Mirrored) -> Result<(), Failure> {
        let Mirrored { token, limit_bytes, .. } = mirrored;
        let name = token.username.as_str();
        let unknown = || Failure::refused(format!("nobody has the name {name}"));
        let owner = self.owner_of(&token.username)?.ok_or_else(unknown)?;
        if self.home_elsewhere(&token.username)?.is_none() {
            return Err(Failure::refused(format!("{name} lives on this node")));
        }
        let _list = self.mirroring.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock_owner(&owner);
        let listed = self.mirrored()?;
        let known = listed.iter().find(|listed| listed.token.username == token.username);
        if known.is_none() && listed.len() >= MAX_MIRRORED {
            return Err(Failure::refused(format!("this node mirrors {MAX_MIRRORED} accounts already")));
        }
        // The times that owners sign open other calls too, so that every node which they come through has one: what is on the
        // list already stays, and a token counts as the account's only once its home has shown that it is.
        if mirrored.is_asked && known.is_some_and(|known| !known.is_asked || known.token != *token) {
            return Ok(());
        }
        let row = RecordKey::mirrored(name);
        let batch = Batch::new().put(RecordKey::quota(name), count_record(*limit_bytes)).put(row, mirrored.record());
        let batch = match mirrored.is_asked {
            true => batch,
            false => batch.and(self.one_more_bat(name, &token.bat)?),
        };
        self.write(batch)?;
        self.mirrored_changes.send_replace(());
        Ok(())
    }

    /// Takes an account off the list and deletes its copy, unless the account lives here by now. Whether it was on the
    /// list. A pass that is under way keeps nothing any more.
    pub fn drop_mirror(&self, username: &Username) -> Result<bool, Failure> {
        let _list = self.mirroring.lock().unwrap_or_else(PoisonError::into_inner);
        let name = username.as_str();
        let row = RecordKey::mirrored(name);
        if self.parts.records.read(&row)?.is_none() {
            return Ok(false);
        }
        if let Some(owner) = self.owner_of(username)? {
            let _lock = self.lock_owner(&owner);
            if self.home_elsewhere(username)?.is_some() {
                let of_owner = [
                    Table::Pointers,
                    Table::Writers,
                    Table::Usage,
                    Table::Departed,
                    Table::FollowRequests,
                    Table::LinkCounts,
                    Table::Transactions,
                    Table::Collected,
                ];
                let batch = of_owner
                    .iter()
                    .fold(Batch::new(), |batch, table| batch.delete_all(Prefix::of_owner(*table, &owner)));
                let batch = batch.delete_all(Prefix::of_username(Table::Bats, name));
                let single = [RecordKey::usage_total(&owner), RecordKey::login(name), RecordKey::quota(name)];
                self.write(single.into_iter().fold(batch, Batch::delete))?;
                self.parts.blocks.delete_all(&owner)?;
            }
        }
        // Last, so that after a crash one can see that it is not done.
        self.write(Batch::new().delete(row))?;
        self.mirrored_changes.send_replace(());
        Ok(true)
    }

    /// Mirrors an account because its owner asks for it. The operator has given it space here.
    pub fn start_mirror(&self, call: StartMirror) -> Result<bool, Failure> {
        let StartMirror { username, bat, auth, .. } = call;
        let (username, owner, identity) = self.identity(username.as_str())?;
        SignedTime::check(&auth, &identity, self.now_millis(), CALL_WINDOW)?;
        let limit_bytes = self.granted(&owner)?;
        if limit_bytes <= MIN_SPACE {
            return Err(Failure::refused(format!("The space quota of {username} is too small for a copy")));
        }
        if !bat.id().is_of(bat.bat()) {
            return Err(Failure::refused("Invalid BAT id for BAT"));
        }
        self.keep_mirror(&Mirrored { token: MirrorToken { username, bat }, limit_bytes, from: None, is_asked: true })?;
        Ok(true)
    }

    /// No space is for sale here.
    pub fn start_paid_mirror(&self, _: StartPaidMirror) -> Result<u32, Failure> {
        Ok(NOT_FOR_SALE)
    }

    /// What an account may use here, whoever it is.
    pub(super) fn space_of(&self, name: &str) -> Result<Option<u64>, Failure> {
        self.parts.records.read(&RecordKey::quota(name))?.map(|record| read_count(&record)).transpose()
    }

    /// Lets an account use so much space here: more or less for one that lives here, room for a copy for one that does not.
    ///
    /// # Errors
    /// Nobody has the name.
    pub fn give_space(&self, username: &Username, bytes: u64) -> Result<(), Failure> {
        let unknown = || Failure::refused(format!("nobody has the name {username}"));
        let owner = self.owner_of(username)?.ok_or_else(unknown)?;
        let _lock = self.lock_owner(&owner);
        self.write(Batch::new().put(RecordKey::quota(username.as_str()), count_record(bytes)))?;
        // A copy that had too little goes on.
        self.mirrored_changes.send_replace(());
        Ok(())
    }
}
