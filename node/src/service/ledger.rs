//! Who has written how much since the last pointer update: admission of writes (`spec/02` §9.3).
//!
//! Only in memory. After a restart an account may write up to its quota again before its first pointer update; what is
//! accounted for good is in the store ([`usage`](super::usage)).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::keys::{Owner, Writer};

/// What a full account may write beyond its quota, so that it can delete.
const TOLERANCE_BYTES: u64 = 1 << 20;

/// How long admitted bytes count against the hourly limit, in milliseconds.
const WINDOW_MILLIS: i64 = 3_600_000;

#[derive(Default)]
struct Account {
    /// Bytes admitted for each writer since its last pointer update.
    pending: HashMap<Writer, u64>,
    /// A write was refused, and the account has not been below its quota since.
    is_over: bool,
    /// Admitted writes of the last hour: time and bytes.
    uploads: VecDeque<(i64, u64)>,
    uploaded: u64,
}

impl Account {
    fn pending_total(&self) -> u64 {
        self.pending.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && !self.is_over && self.uploads.is_empty()
    }

    /// Counts bytes against the hourly limit, one entry for each minute in which there were any.
    fn upload(&mut self, bytes: u64, now_millis: i64) {
        if bytes == 0 {
            return;
        }
        self.uploaded = self.uploaded.saturating_add(bytes);
        match self.uploads.back_mut() {
            Some((time, uploaded)) if now_millis.abs_diff(*time) < 60_000 => *uploaded = uploaded.saturating_add(bytes),
            _ => self.uploads.push_back((now_millis, bytes)),
        }
    }

    fn forget_old_uploads(&mut self, now_millis: i64) {
        while let Some((time, bytes)) = self.uploads.front().copied() {
            if time > now_millis.saturating_sub(WINDOW_MILLIS) {
                break;
            }
            self.uploads.pop_front();
            self.uploaded = self.uploaded.saturating_sub(bytes);
        }
    }
}

/// Pending writes of all accounts.
#[derive(Default)]
pub(super) struct Ledger {
    accounts: Mutex<HashMap<Owner, Account>>,
}

impl Ledger {
    /// Admits a write of `bytes` by a writer of an account that has `total` bytes accounted, or says why not.
    pub(super) fn admit(
        &self,
        owner: &Owner,
        writer: &Writer,
        bytes: u64,
        total: u64,
        quota: u64,
        now_millis: i64,
    ) -> Result<(), ApiError> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // Accounts without anything pending are forgotten now and then, so that the table stays small.
        if accounts.len() % 1024 == 1023 {
            accounts.retain(|_, account| {
                account.forget_old_uploads(now_millis);
                !account.is_idle()
            });
        }
        let account = accounts.entry(owner.clone()).or_default();
        account.forget_old_uploads(now_millis);
        let expected = total.saturating_add(account.pending_total()).saturating_add(bytes);
        let limit = if account.is_over { quota.saturating_add(TOLERANCE_BYTES) } else { quota };
        if expected > limit {
            let pending = account.pending.remove(writer).unwrap_or(0);
            let rejected = if account.is_over { bytes } else { pending.saturating_add(bytes) };
            account.is_over = true;
            let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            return Err(ApiError::quota_reached(signed(total), signed(quota), signed(rejected)));
        }
        if account.uploaded >= quota {
            return Err(ApiError::refused("Upload bandwidth exceeded please try again tomorrow"));
        }
        account.upload(bytes, now_millis);
        if bytes > 0 {
            let pending = account.pending.entry(writer.clone()).or_default();
            *pending = pending.saturating_add(bytes);
        }
        Ok(())
    }

    /// Takes an admission back: the write failed, and nothing of it is stored. Bytes of a writer that committed since are
    /// not pending any more.
    pub(super) fn give_back(&self, owner: &Owner, writer: &Writer, bytes: u64) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = accounts.get_mut(owner) else { return };
        if let Some(pending) = account.pending.get_mut(writer) {
            *pending = pending.saturating_sub(bytes);
            if *pending == 0 {
                account.pending.remove(writer);
            }
        }
        if let Some((_, uploaded)) = account.uploads.back_mut() {
            let bytes = bytes.min(*uploaded);
            *uploaded -= bytes;
            account.uploaded = account.uploaded.saturating_sub(bytes);
        }
    }

    /// Bytes that were admitted and that no pointer reaches yet.
    pub(super) fn pending(&self, owner: &Owner) -> u64 {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(owner).map_or(0, Account::pending_total)
    }

    /// A pointer update of these writers was committed; the account now has `total` bytes accounted.
    pub(super) fn committed<'a>(
        &self,
        owner: &Owner,
        writers: impl Iterator<Item = &'a Writer>,
        total: u64,
        quota: u64,
    ) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get_mut(owner) {
            writers.for_each(|writer| {
                account.pending.remove(writer);
            });
            if total <= quota {
                account.is_over = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrgos_protocol::keys::KeyHash;
    use serde_json::Value;

    fn quota_vectors() -> Value {
        use std::io::Read;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/02-quota.json.gz");
        let mut json = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn writes_are_admitted_as_in_the_vectors() {
        let vectors = quota_vectors();
        let mut cases = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let ledger = Ledger::default();
            let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
            let quota = case["quota"].as_u64().unwrap();
            for write in case["writes_in_order"].as_array().unwrap() {
                let name = write["writer"].as_str().unwrap();
                let writer = Writer::new(KeyHash::of_key_cbor(name.as_bytes()));
                let outcome = ledger.admit(&owner, &writer, write["bytes"].as_u64().unwrap(), 0, quota, 0);
                match write["outcome"].as_str() {
                    None => assert_eq!(outcome, Ok(())),
                    Some(text) => {
                        let message = outcome.unwrap_err().message();
                        assert!(text.contains(&message), "{message:?} is not in {text:?}");
                    }
                }
                cases += 1;
            }
        }
        assert_eq!(cases, 11);
        println!("02-quota.json: {cases} cases");
    }

    #[test]
    fn what_failed_is_given_back_and_what_is_nothing_leaves_nothing() {
        let ledger = Ledger::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let writer = Writer::from(&owner);
        for time in 0..1000 {
            ledger.admit(&owner, &writer, 100, 0, 100, time).unwrap();
            ledger.give_back(&owner, &writer, 100);
            ledger.admit(&owner, &writer, 0, 0, 100, time).unwrap();
        }
        assert_eq!(ledger.pending(&owner), 0);
        assert_eq!(ledger.accounts.lock().unwrap()[&owner].uploads, [(0, 0)]);
    }

    #[test]
    fn a_commit_clears_what_was_pending_and_an_hour_the_rest() {
        let ledger = Ledger::default();
        let owner = Owner::new(KeyHash::of_key_cbor(b"owner"));
        let writer = Writer::from(&owner);
        ledger.admit(&owner, &writer, 100, 0, 100, 0).unwrap();
        assert_eq!(ledger.pending(&owner), 100);
        assert!(matches!(ledger.admit(&owner, &writer, 1, 0, 100, 1), Err(ApiError::QuotaReached(_))));
        ledger.committed(&owner, [&writer].into_iter(), 40, 100);
        assert_eq!(ledger.pending(&owner), 0);
        let bandwidth = ledger.admit(&owner, &writer, 1, 40, 100, 2).unwrap_err();
        assert!(bandwidth.message().starts_with("Upload bandwidth exceeded"));
        ledger.admit(&owner, &writer, 1, 40, 100, WINDOW_MILLIS).unwrap();
    }
}
