//! Login data: handing them out to whoever holds the login key, and replacing them (`spec/01` §4).

use bytes::Bytes;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::login::{GetLogin, SetLogin};
use pyrgos_protocol::encoding::{DecodeError, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::signed::LOGIN_WINDOW;
use pyrgos_protocol::keys::{Owner, PublicSigningKey, SignedError, SignedTime, Writer};
use pyrgos_protocol::login::{IdentityUpdate, LoginData, LoginResponse, UserStaticData};
use pyrgos_protocol::merkle::block;
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Blocks, Outcome, RecordKey, Records};

use super::second_factors::Passed;
use super::view::View;
use super::{Failure, Service, Source};

/// What the node keeps of login data: who may read them, and the data.
pub(super) struct LoginRow {
    pub(super) reader: PublicSigningKey,
    pub(super) data: UserStaticData,
}

impl LoginRow {
    pub(super) fn of(data: &LoginData) -> Self {
        LoginRow { reader: data.authorised_reader, data: data.entry_points.clone() }
    }
}

impl ToCbor for LoginRow {
    fn to_cbor(&self) -> Value {
        Value::List(vec![self.reader.to_cbor(), self.data.to_cbor()])
    }
}

impl FromCbor for LoginRow {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.elements("login row", 2)?;
        Ok(LoginRow { reader: FromCbor::from_cbor(&items[0])?, data: FromCbor::from_cbor(&items[1])? })
    }
}

const WRONG: &str = "Incorrect username or password";

impl Service {
    /// The login data, or the question for a second factor.
    ///
    /// The login key is checked first: who does not hold it learns nothing, not even whether the user exists or has second
    /// factors.
    pub fn get_login(&self, call: GetLogin, source: Source) -> Result<LoginResponse, Failure> {
        let now = self.now_millis();
        let GetLogin { username, reader, auth, proxied, factors, answer } = call;
        // Names that nobody has are not counted: there is nothing to guess, and they would fill the tables.
        let Ok(name) = Username::existing(&username) else { return Err(Failure::refused(WRONG)) };
        let row = self.login_row(&name)?;
        let by_source = (name.clone(), source);
        let (by_name, by_name_and_source) = &self.failed_logins;
        let by_name_wait = match self.known_sources.has(&by_source, now) {
            true => Ok(()),
            false => by_name.check(&name, now),
        };
        if let Err(seconds) = by_name_wait.and(by_name_and_source.check(&by_source, now)) {
            return Err(ApiError::rate_limited(format!("too many failed logins, try again in {seconds} s")).into());
        }
        let failed = |is_account: bool| {
            if is_account {
                by_name.failed(name.clone(), now);
                by_name_and_source.failed(by_source.clone(), now);
            }
            Err(Failure::refused(WRONG))
        };
        match SignedTime::check(&auth, &reader, now, LOGIN_WINDOW) {
            Ok(_) => {}
            // Only the holder of the key can have signed an old time.
            Err(stale @ SignedError::Window { .. }) => return Err(stale.into()),
            Err(_) => return failed(row.is_some()),
        }
        let row = match row {
            Some(row) if row.reader == reader => row,
            Some(_) => return failed(true),
            None if !proxied && self.lives_elsewhere(&name)? => {
                return Err(Failure::refused("Please login on your home server"));
            }
            None => return failed(false),
        };
        match self.check_second_factors(&name, &factors, answer.as_ref())? {
            Passed::Yes => {
                self.known_sources.succeeded(by_source, now);
                Ok(LoginResponse::LoggedIn(row.data))
            }
            Passed::Ask(request) => Ok(LoginResponse::SecondFactor(request)),
        }
    }

    pub(super) fn login_row(&self, username: &Username) -> Result<Option<LoginRow>, Failure> {
        let record = self.parts.records.read(&RecordKey::login(username.as_str()))?;
        record.map(|record| LoginRow::from_bytes(&record).map_err(|_| Failure::Damaged("login data"))).transpose()
    }

    fn lives_elsewhere(&self, username: &Username) -> Result<bool, Failure> {
        let chain = self.parts.names.chain(username)?;
        Ok(chain.home().is_some_and(|home| !self.policy.ids.contains(home)))
    }

    /// Replaces the login data; with an identity update, together with the identity's pointer.
    pub fn set_login(&self, call: SetLogin) -> Result<bool, Failure> {
        let SetLogin { data, auth, local, .. } = call;
        // The name in the data is the signed one.
        let (username, owner, identity) = self.identity(data.username.as_str())?;
        data.verify(&auth, &identity).map_err(|_| Failure::refused("Invalid signature of the login data"))?;
        // A mirror keeps a copy of login data, but moves no pointer.
        let may_copy = local && data.identity_update.is_none() && self.quota(&owner)?.is_some();
        if !may_copy && !self.is_home(&username)? {
            return Err(Failure::refused("Please use your home server"));
        }
        let _lock = self.lock_owner(&owner);
        let row_key = RecordKey::login(username.as_str());
        let batch = Batch::new().put(row_key, LoginRow::of(&data).to_bytes());
        let outcome = match &data.identity_update {
            None => self.parts.records.commit(batch)?,
            Some(update) => self.change_password(&owner, &identity, update, batch)?,
        };
        Ok(matches!(outcome, Outcome::Committed))
    }

    /// A change of the password is one batch: the pointer to the new derivation and the login data under the new key are
    /// both there or both not, whenever the node stops (`spec/01` §4.11).
    fn change_password(
        &self,
        owner: &Owner,
        identity: &PublicSigningKey,
        update: &IdentityUpdate,
        batch: Batch,
    ) -> Result<Outcome, Failure> {
        let IdentityUpdate { block: write, pointer } = update;
        let itself = Writer::from(owner);
        if write.writer != itself || pointer.writer != itself || write.is_raw {
            return Err(Failure::refused("A change of the password changes the identity's writer data only"));
        }
        block::check_signature(identity, &write.block, &write.signed_hash)?;
        let stored = self.parts.records.read(&RecordKey::pointer(owner, &itself))?;
        if stored.as_ref() == Some(&pointer.signed) {
            // The answer to an earlier attempt was lost.
            return Ok(self.parts.records.commit(batch)?);
        }
        block::check_writable(pyrgos_protocol::encoding::Codec::DagCbor, &write.block)?;
        let blocks: [(_, Bytes); 1] = [(write.cid(), write.block.clone())];
        let view = View::new(&*self.parts.blocks, owner).carrying(&blocks);
        let moves = self.admit_moves(&view, owner, std::slice::from_ref(pointer))?;
        let prepared = self.prepare(&view, owner, moves, batch)?;
        self.parts.blocks.put(owner, &blocks)?;
        self.store(owner, prepared)
    }
}
