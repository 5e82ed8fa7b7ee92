//! Handing out secret links, and counting how often (`spec/05` §7.7).

use bytes::Bytes;
use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::links::{GetLinkCounts, LinksOf, OpenSecretLink};
use pyrgos_protocol::encoding::{Codec, FromCbor, Value};
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::links::sealed::{HASHING, champ_key};
use pyrgos_protocol::links::{EncryptedCapability, LinkCount, LinkCounts, LinkLabel, SecretLinkTarget};
use pyrgos_protocol::merkle::champ::Champ;
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::migration::LinkOpenings;
use pyrgos_store::{Batch, Prefix, RecordKey, Records, Table};

use super::ownership::target_of;
use super::storage::not_a_tree;
use super::view::{View, run};
use super::{Failure, Service};

/// How often a link is looked up again because its owner changed something meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// Rows that one scan reads.
const PAGE: usize = 1000;

/// Most counts in one answer.
const MAX_COUNTS: usize = 100_000;

/// How often a link was handed out, and when last, in seconds since 1970 UTC.
#[derive(Clone, Copy, Default)]
struct Opened {
    times: u64,
    last_secs: i64,
}

impl Opened {
    fn read(record: &Bytes) -> Result<Self, Failure> {
        let read = || {
            let value = Value::decode_shared(record).ok()?;
            let items = value.elements("link count", 2).ok()?;
            Some(Opened { times: items[0].as_int().ok()?.try_into().ok()?, last_secs: items[1].as_int().ok()? })
        };
        read().ok_or(Failure::Damaged("link count"))
    }

    fn count(self) -> i64 {
        i64::try_from(self.times).unwrap_or(i64::MAX)
    }

    fn record(self) -> Vec<u8> {
        Value::List(vec![Value::Int(self.count()), Value::Int(self.last_secs)]).encode()
    }
}

impl Service {
    /// Hands out what is behind a label. The count is on the disk before the answer, and rises in the same step that looks
    /// at the owner's pointer and at the count before: a link is never opened more often than its owner allows, and not
    /// once after the owner took it back.
    pub fn open_link(&self, call: OpenSecretLink) -> Result<EncryptedCapability, Failure> {
        let OpenSecretLink { owner, label } = call;
        if self.quota(&owner)?.is_none() {
            return Err(Failure::refused("Please use the link owner's server"));
        }
        let identity = Writer::from(&owner);
        let pointer_key = RecordKey::pointer(&owner, &identity);
        let count_key = RecordKey::link_count(&owner, label.number().into());
        let _lock = self.lock_guests(&owner);
        for _ in 0..MAX_ATTEMPTS {
            let pointer = self.parts.records.read(&pointer_key)?;
            let target = self.link_target(&owner, pointer.as_ref(), label)?;
            let before = self.parts.records.read(&count_key)?;
            let opened = before.as_ref().map_or(Ok(Opened::default()), Opened::read)?;
            let now_secs = self.now_millis().div_euclid(1000);
            target.check(now_secs, opened.times).map_err(|refusal| Failure::refused(refusal.to_string()))?;
            let opened = Opened { times: opened.times.saturating_add(1), last_secs: now_secs };
            let batch = Batch::new()
                .expect(pointer_key.clone(), pointer)
                .expect(count_key.clone(), before)
                .put(count_key.clone(), opened.record());
            if self.parts.records.commit(batch)?.is_committed() {
                return Ok(target.capability);
            }
        }
        Err(ApiError::RateLimited(503, "The link's owner is changing it".to_owned()).into())
    }

    /// What a label leads to in the state that the identity's pointer names.
    ///
    /// The blocks are the node's own, so no token is asked for: both kinds of trees are read, those that carry the
    /// owner's token on the root and those that carry it on every node (`spec/02` §8.8).
    fn link_target(
        &self,
        owner: &Owner,
        pointer: Option<&Bytes>,
        label: LinkLabel,
    ) -> Result<SecretLinkTarget, Failure> {
        let view = View::new(&*self.parts.blocks, owner);
        let target = pointer.map_or(Ok(None), |pointer| target_of(pointer))?;
        let data = target.map_or(Ok(None), |target| view.get(&target))?;
        let links = data.and_then(|data| WriterData::from_bytes(&data).ok()?.links);
        let Some(root) = links else { return Err(Failure::refused("No secret link published!")) };
        let champ = Champ::new(&view, HASHING);
        let value = run(champ.get(&root, &champ_key(label))).map_err(not_a_tree)?;
        let block = match value {
            Some(Value::Link(cid)) if cid.codec() == Codec::DagCbor => view.get(&cid)?,
            _ => None,
        };
        let target = block.and_then(|block| SecretLinkTarget::from_bytes(&block).ok());
        target.ok_or_else(|| Failure::refused("No secret link present!"))
    }

    /// How often links were opened, for whoever has the owner's current mirror token.
    pub fn link_counts(&self, call: GetLinkCounts) -> Result<LinkCounts, Failure> {
        let GetLinkCounts { owner, after_secs, bat } = call;
        let username = match owner {
            LinksOf::Username(username) => username,
            LinksOf::Identity(owner) => match self.parts.names.username(&owner)? {
                Some(username) => username.to_string(),
                None => return Err(Failure::refused("No value present: unknown user")),
            },
        };
        let (username, owner, _) = self.identity(&username)?;
        if self.bats(username.as_str())?.last() != Some(&bat) {
            return Err(ApiError::Unauthorised.into());
        }
        self.counts_after(&owner, after_secs)
    }

    /// Takes over what another node counted. Counts never fall, so that a link which may be opened once more there may not
    /// be opened twice more in all. What cannot be a label of ours is left out.
    pub(super) fn take_counts(&self, owner: &Owner, counts: &[LinkOpenings]) -> Result<(), Failure> {
        let _lock = self.lock_guests(owner);
        let mut batch = Batch::new();
        for openings in counts.iter().take(MAX_COUNTS) {
            let label = u32::try_from(openings.label).ok().and_then(LinkLabel::new);
            let (Some(label), Ok(times)) = (label, u64::try_from(openings.count)) else { continue };
            let key = RecordKey::link_count(owner, label.number().into());
            let known = self.parts.records.read(&key)?.as_ref().map_or(Ok(Opened::default()), Opened::read)?;
            let last_secs = known.last_secs.max(openings.last_secs);
            if times > known.times || last_secs > known.last_secs {
                batch = batch.put(key, Opened { times: times.max(known.times), last_secs }.record());
            }
        }
        self.write(batch)
    }

    /// How often an owner's links were opened, of those that were after a time.
    pub(super) fn counts_after(&self, owner: &Owner, after_secs: i64) -> Result<LinkCounts, Failure> {
        let prefix = Prefix::of_owner(Table::LinkCounts, owner);
        let mut counts = Vec::new();
        let mut after: Option<RecordKey> = None;
        loop {
            let rows = self.parts.records.scan(&prefix, after.as_ref(), PAGE)?;
            for (key, record) in &rows {
                let opened = Opened::read(record)?;
                let label = key.suffix().and_then(|label| Some(u64::from_be_bytes(label.try_into().ok()?)));
                let label = label.and_then(|label| LinkLabel::new(u32::try_from(label).ok()?));
                let label = label.ok_or(Failure::Damaged("label of a link"))?;
                if opened.last_secs > after_secs {
                    counts.push(LinkCount { label, count: opened.count(), last_secs: opened.last_secs });
                }
            }
            if rows.len() < PAGE || counts.len() >= MAX_COUNTS {
                return Ok(LinkCounts(counts));
            }
            after = rows.into_iter().last().map(|(key, _)| key);
        }
    }
}
