//! Second factors: authenticators, mounted devices, backup codes (`spec/01` §4.8, §4.9).

use bytes::Bytes;
use pyrgos_crypto::totp;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::login::{
    AddMount, AddTotp, DeleteSecondFactor, EnableMount, EnableTotp, FactorCode, GenerateBackupCodes, ListSecondFactors,
};
use pyrgos_protocol::api::{Call, login::AccountAuth};
use pyrgos_protocol::encoding::{DecodeError, Map, Value, text};
use pyrgos_protocol::keys::signed::LOGIN_WINDOW;
use pyrgos_protocol::keys::{Owner, SignedRequest};
use pyrgos_protocol::login::second_factor::{
    BackupCodes, FactorAnswer, FactorType, MAX_FACTORS, MultiFactorAuthMethod, MultiFactorAuthRequest,
    MultiFactorAuthResponse, TotpKey, backup_code_hash,
};
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, Outcome, Prefix, RecordKey, Records, Table};
use zeroize::Zeroizing;

use super::clock::EntropyRng;
use super::{Failure, Service};

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Whether a login may go on.
pub(super) enum Passed {
    /// No factor is needed, or it was shown.
    Yes,
    /// One of these is needed.
    Ask(MultiFactorAuthRequest),
}

/// A factor as the node keeps it.
struct Factor {
    credential_id: Bytes,
    kind: FactorType,
    name: String,
    created_epoch_day: i64,
    enabled: bool,
    secret: Secret,
    /// Step of the newest code that let somebody in; that code and older ones are used up (`spec/01` §12.2).
    last_step: Option<i64>,
    /// The record that was read, for changes that must not race.
    record: Bytes,
}

enum Secret {
    /// Key of an authenticator or a mount.
    Key(Zeroizing<Vec<u8>>),
    /// SHA-256 of each backup code that is left.
    Hashes(Vec<[u8; 32]>),
}

impl Factor {
    fn read(credential_id: &[u8], record: &Bytes) -> Result<Self, DecodeError> {
        let value = Value::decode(record)?;
        let fields = value.fields("second factor")?;
        let kind = FactorType::from_number(fields.int("t")?)
            .ok_or_else(|| DecodeError::invalid("second factor", "unknown type"))?;
        let secret = match fields.optional("h") {
            Some(hashes) => {
                let hashes = hashes.as_list()?.iter().map(|hash| hash.as_array("backup code"));
                Secret::Hashes(hashes.collect::<Result<_, _>>()?)
            }
            None => Secret::Key(Zeroizing::new(fields.bytes("k")?.to_vec())),
        };
        Ok(Factor {
            credential_id: Bytes::copy_from_slice(credential_id),
            kind,
            name: fields.text("n")?.to_owned(),
            created_epoch_day: fields.int("c")?,
            enabled: fields.required("e")?.as_bool()?,
            secret,
            last_step: fields.optional("s").map(Value::as_int).transpose()?,
            record: record.clone(),
        })
    }

    fn to_record(&self) -> Bytes {
        let mut map = Map::default();
        map.insert("t", Value::Int(self.kind.number()));
        map.insert("n", Value::text(&self.name));
        map.insert("c", Value::Int(self.created_epoch_day));
        map.insert("e", Value::Bool(self.enabled));
        if let Some(step) = self.last_step {
            map.insert("s", Value::Int(step));
        }
        match &self.secret {
            Secret::Key(key) => map.insert("k", Value::Bytes(Bytes::from_owner(key.clone()))),
            Secret::Hashes(hashes) => map.insert("h", Value::List(hashes.iter().map(Value::bytes).collect())),
        }
        Value::Map(map).encode().into()
    }

    fn key(&self, username: &str) -> RecordKey {
        RecordKey::second_factor(username, &self.credential_id)
    }

    fn method(&self) -> MultiFactorAuthMethod {
        let name = match &self.secret {
            Secret::Key(_) => self.name.clone(),
            Secret::Hashes(hashes) => hashes.len().to_string(),
        };
        MultiFactorAuthMethod {
            created_epoch_day: self.created_epoch_day,
            enabled: self.enabled,
            credential_id: self.credential_id.clone(),
            name,
            factor: self.kind,
        }
    }

    /// Whether it guards the login: an unverified factor does not, nor does a set without codes.
    fn is_live(&self) -> bool {
        self.enabled && !matches!(&self.secret, Secret::Hashes(hashes) if hashes.is_empty())
    }

    /// Whether a login without it must ask. Backup codes and mounts only stand in for others.
    fn is_demanded(&self) -> bool {
        self.is_live() && matches!(self.kind, FactorType::Totp | FactorType::Webauthn)
    }
}

impl Service {
    fn factors(&self, username: &str) -> Result<Vec<Factor>, Failure> {
        let rows =
            self.parts.records.scan(&Prefix::of_username(Table::SecondFactors, username), None, MAX_FACTORS * 2)?;
        let read = |(key, record): &(RecordKey, Bytes)| {
            let damaged = || Failure::Damaged("second factor");
            Factor::read(key.suffix().ok_or_else(damaged)?, record).map_err(|_| damaged())
        };
        rows.iter().map(read).collect()
    }

    /// Asks for a second factor, or checks the answer.
    pub(super) fn check_second_factors(
        &self,
        username: &Username,
        offered: &[FactorType],
        answer: Option<&MultiFactorAuthResponse>,
    ) -> Result<Passed, Failure> {
        let factors = self.factors(username.as_str())?;
        if !factors.iter().any(Factor::is_demanded) {
            return Ok(Passed::Yes);
        }
        let Some(answer) = answer else {
            let mut challenge = vec![0; 32];
            self.parts.entropy.fill(&mut challenge);
            // Mounts answer by themselves and are offered to nobody.
            let asked = |factor: &&Factor| {
                factor.is_live() && factor.kind != FactorType::Mount && offered.contains(&factor.kind)
            };
            let methods = factors.iter().filter(asked).map(Factor::method).collect();
            return Ok(Passed::Ask(MultiFactorAuthRequest { challenge: challenge.into(), methods }));
        };
        let now = self.now_millis();
        if let Err(seconds) = self.failed_codes.check(username, now) {
            return Err(ApiError::rate_limited(format!("too many wrong codes, try again in {seconds} s")).into());
        }
        let factor =
            factors.into_iter().find(|factor| factor.is_live() && factor.credential_id == answer.credential_id);
        let right = match factor {
            Some(factor) => self.check_answer(username.as_str(), factor, &answer.answer)?,
            None => Err("Unknown second factor".to_owned()),
        };
        match right {
            Ok(()) => Ok(Passed::Yes),
            Err(text) => {
                self.failed_codes.failed(username.clone(), now);
                Err(Failure::refused(text))
            }
        }
    }

    /// Checks a code, which is used up by it. A mount logs in by itself, as often as it likes, so its codes are not.
    fn check_answer(
        &self,
        username: &str,
        mut factor: Factor,
        answer: &FactorAnswer,
    ) -> Result<Result<(), String>, Failure> {
        let FactorAnswer::Code(code) = answer else {
            return Ok(Err("Security keys are not supported by this server".to_owned()));
        };
        let key = factor.key(username);
        match &mut factor.secret {
            Secret::Key(secret) => {
                let wrong = Err(format!("Invalid TOTP code for credId {}", text::hex(&factor.credential_id)));
                let step = totp::matching_step(secret, code, self.now_secs());
                let Some(step) = step.and_then(|step| i64::try_from(step).ok()) else { return Ok(wrong) };
                if factor.kind == FactorType::Mount {
                    return Ok(Ok(()));
                }
                if factor.last_step.is_some_and(|last| step <= last) {
                    return Ok(wrong);
                }
                factor.last_step = Some(step);
                let batch = Batch::new().expect(key.clone(), Some(factor.record.clone())).put(key, factor.to_record());
                // Somebody else used a code of this factor just now, perhaps this one.
                Ok(if self.parts.records.commit(batch)?.is_committed() { Ok(()) } else { wrong })
            }
            Secret::Hashes(hashes) => {
                let hash = backup_code_hash(code);
                let Some(at) = hashes.iter().position(|known| *known == hash) else {
                    return Ok(Err("Invalid backup code".to_owned()));
                };
                hashes.remove(at);
                let batch = Batch::new().expect(key.clone(), Some(factor.record.clone())).put(key, factor.to_record());
                let used = self.parts.records.commit(batch)?;
                // Somebody else used a code of this set just now, perhaps this one.
                Ok(if used.is_committed() { Ok(()) } else { Err("Invalid backup code".to_owned()) })
            }
        }
    }

    fn now_secs(&self) -> u64 {
        u64::try_from(self.now_millis() / 1000).unwrap_or(0)
    }

    fn today(&self) -> i64 {
        self.now_millis().div_euclid(MILLIS_PER_DAY)
    }

    /// Checks the signed request of an account for a call.
    fn authorise<C: Call>(&self, account: &AccountAuth) -> Result<(Username, Owner), Failure> {
        let (username, owner, identity) = self.identity(&account.username)?;
        SignedRequest::check(&account.auth, C::PATH, &identity, self.now_millis(), LOGIN_WINDOW)?;
        Ok((username, owner))
    }

    /// The account's second factors.
    pub fn list_second_factors(&self, call: ListSecondFactors) -> Result<Vec<MultiFactorAuthMethod>, Failure> {
        let (username, _) = self.authorise::<ListSecondFactors>(&call.0)?;
        Ok(self.factors(username.as_str())?.iter().map(Factor::method).collect())
    }

    /// A key for an authenticator, in effect after [`Service::enable_totp`].
    pub fn add_totp(&self, call: AddTotp) -> Result<TotpKey, Failure> {
        let (username, owner) = self.authorise::<AddTotp>(&call.0)?;
        let _lock = self.lock_owner(&owner);
        self.add_key(&username, FactorType::Totp, String::new())
    }

    /// A key for a device that mounts the account, in effect after [`Service::enable_mount`].
    pub fn add_mount(&self, call: AddMount) -> Result<TotpKey, Failure> {
        let (username, owner) = self.authorise::<AddMount>(&call.account)?;
        let _lock = self.lock_owner(&owner);
        self.add_key(&username, FactorType::Mount, call.name)
    }

    fn add_key(&self, username: &Username, kind: FactorType, name: String) -> Result<TotpKey, Failure> {
        let factors = self.factors(username.as_str())?;
        // An attempt that was given up makes room for the next.
        let abandoned: Vec<_> = factors.iter().filter(|factor| factor.kind == kind && !factor.enabled).collect();
        if factors.len() - abandoned.len() >= MAX_FACTORS {
            return Err(Failure::refused("Too many second factors"));
        }
        let key = TotpKey::generate(&mut EntropyRng(&*self.parts.entropy));
        let factor = Factor {
            credential_id: key.credential_id.clone().into(),
            kind,
            name,
            created_epoch_day: self.today(),
            enabled: false,
            secret: Secret::Key(key.key.clone()),
            last_step: None,
            record: Bytes::new(),
        };
        let batch = abandoned.iter().fold(Batch::new(), |batch, old| batch.delete(old.key(username.as_str())));
        self.change(batch.put(factor.key(username.as_str()), factor.to_record()))?;
        Ok(key)
    }

    /// Puts an authenticator into effect; the user's other ones end.
    pub fn enable_totp(&self, call: EnableTotp) -> Result<bool, Failure> {
        let (username, owner) = self.authorise::<EnableTotp>(&call.0.account)?;
        let _lock = self.lock_owner(&owner);
        self.enable(&username, FactorType::Totp, &call.0)
    }

    /// Puts a mounted device's factor into effect.
    pub fn enable_mount(&self, call: EnableMount) -> Result<bool, Failure> {
        let (username, owner) = self.authorise::<EnableMount>(&call.0.account)?;
        let _lock = self.lock_owner(&owner);
        self.enable(&username, FactorType::Mount, &call.0)
    }

    fn enable(&self, username: &Username, kind: FactorType, call: &FactorCode) -> Result<bool, Failure> {
        let factors = self.factors(username.as_str())?;
        let chosen = |factor: &&Factor| factor.kind == kind && factor.credential_id == call.credential_id;
        let factor = factors.iter().find(chosen).ok_or_else(|| Failure::refused("Unknown second factor"))?;
        let Secret::Key(key) = &factor.secret else { return Err(Failure::refused("Unknown second factor")) };
        if !totp::check(key, &call.code, self.now_secs()) {
            let id = text::hex(&factor.credential_id);
            return Err(Failure::refused(format!("Invalid TOTP code for credId {id}")));
        }
        let enabled = Factor { enabled: true, ..Factor::read(&factor.credential_id, &factor.record)? };
        // A login may use a code meanwhile.
        let key = enabled.key(username.as_str());
        let mut batch = Batch::new().expect(key.clone(), Some(factor.record.clone())).put(key, enabled.to_record());
        if kind == FactorType::Totp {
            let replaced = factors.iter().filter(|old| old.kind == kind && old.credential_id != call.credential_id);
            batch = replaced.fold(batch, |batch, old| batch.delete(old.key(username.as_str())));
        }
        self.change(batch)?;
        Ok(true)
    }

    /// A new set of backup codes; the old one ends.
    pub fn generate_backup_codes(&self, call: GenerateBackupCodes) -> Result<BackupCodes, Failure> {
        let (username, owner) = self.authorise::<GenerateBackupCodes>(&call.0)?;
        let _lock = self.lock_owner(&owner);
        let factors = self.factors(username.as_str())?;
        if !factors.iter().any(Factor::is_demanded) {
            return Err(Failure::refused(
                "Please set up an authenticator app or security key before generating backup codes.",
            ));
        }
        let codes = BackupCodes::generate(&mut EntropyRng(&*self.parts.entropy));
        let factor = Factor {
            credential_id: codes.credential_id.clone(),
            kind: FactorType::BackupCodes,
            name: String::new(),
            created_epoch_day: self.today(),
            enabled: true,
            secret: Secret::Hashes(codes.codes.iter().map(|code| backup_code_hash(code)).collect()),
            last_step: None,
            record: Bytes::new(),
        };
        let old = factors.iter().filter(|old| old.kind == FactorType::BackupCodes);
        let batch = old.fold(Batch::new(), |batch, old| batch.delete(old.key(username.as_str())));
        self.change(batch.put(factor.key(username.as_str()), factor.to_record()))?;
        Ok(codes)
    }

    /// Removes a factor. Backup codes end with the last factor that they stand in for. Removing what is not there succeeds.
    pub fn delete_second_factor(&self, call: DeleteSecondFactor) -> Result<bool, Failure> {
        let (username, owner) = self.authorise::<DeleteSecondFactor>(&call.account)?;
        let _lock = self.lock_owner(&owner);
        let (gone, left): (Vec<_>, Vec<_>) =
            self.factors(username.as_str())?.into_iter().partition(|factor| factor.credential_id == call.credential_id);
        let mut batch = gone.iter().fold(Batch::new(), |batch, factor| batch.delete(factor.key(username.as_str())));
        if !left.iter().any(Factor::is_demanded) {
            let orphans = left.iter().filter(|factor| factor.kind == FactorType::BackupCodes);
            batch = orphans.fold(batch, |batch, factor| batch.delete(factor.key(username.as_str())));
        }
        if !batch.writes().is_empty() {
            self.change(batch)?;
        }
        Ok(true)
    }

    fn change(&self, batch: Batch) -> Result<(), Failure> {
        match self.parts.records.commit(batch)? {
            Outcome::Committed => Ok(()),
            Outcome::Conflict(_) => Err(Failure::refused("The second factors changed meanwhile, try again")),
        }
    }
}
