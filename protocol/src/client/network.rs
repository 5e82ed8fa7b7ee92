//! Calls to a node that nobody trusts: what it answers is checked here, before anything else sees it.
//!
//! * Blocks are hashed and compared with the name that was asked for.
//! * Pointers must be signed by their writer and never go back (`spec/02` §3.7).
//! * The state that a pointer leads to must belong to the writer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyrgos_crypto::random::random_bytes;

use super::cache::BlockCache;
use super::error::ClientError;
use super::runtime::Runtime;
use super::settings::Settings;
use crate::api::mutable::GetPointer;
use crate::api::storage::GetBlock;
use crate::api::{self, ApiError, Call, CallError, Transport, TransportError};
use crate::encoding::{Cid, FromCbor, Value};
use crate::keys::{Owner, PublicSigningKey, Writer};
use crate::merkle::bat::BatWithId;
use crate::merkle::champ::NodeMemory;
use crate::merkle::pointer::{PointerMemory, PointerUpdate, Rollback};
use crate::merkle::writer_data::WriterData;

/// What may be repeated when no answer came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Asking twice has the effect of asking once.
    Safely,
    /// Only if the node has certainly not seen the request.
    Unseen,
}

/// A committed state of one writer.
#[derive(Clone)]
pub(crate) struct Version {
    /// The block of `data`; none if the writer has no data (never had, or was deleted).
    pub target: Option<Cid>,
    pub sequence: Option<i64>,
    pub data: Option<Arc<WriterData>>,
}

/// A node, and what this client knows from it.
pub(crate) struct Network<T, R> {
    pub transport: T,
    pub runtime: R,
    pub settings: Settings,
    pub blocks: BlockCache,
    /// Decoded nodes of the trees of writing spaces.
    pub nodes: Arc<NodeMemory>,
    seen: Mutex<PointerMemory>,
}

impl<T: Transport, R: Runtime> Network<T, R> {
    pub(crate) fn new(transport: T, runtime: R, settings: Settings) -> Self {
        let blocks = BlockCache::new(settings.cache_bytes);
        let nodes = NodeMemory::new(settings.cache_bytes / 8).into();
        Network { transport, runtime, settings, blocks, nodes, seen: Mutex::default() }
    }

    /// Makes a call, several times while the node is busy or unreachable.
    pub(crate) async fn call<C: Call>(&self, repeat: Repeat, call: &C) -> Result<C::Output, ClientError> {
        let error = match self.try_call(repeat, call).await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        Err(ClientError::of_call(C::PATH, error))
    }

    /// As [`Network::call`], with the node's own error.
    pub(crate) async fn try_call<C: Call>(&self, repeat: Repeat, call: &C) -> Result<C::Output, CallError> {
        let mut pause = self.settings.first_pause;
        let mut attempt = 1;
        loop {
            let error = match api::call(&self.transport, call).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let again = match &error {
                CallError::Transport(TransportError::Connect(_)) => true,
                CallError::Transport(TransportError::TooLarge(_)) => false,
                CallError::Transport(_) => repeat == Repeat::Safely,
                CallError::Api(ApiError::RateLimited(..)) => true,
                CallError::Api(_) => false,
            };
            if !again || attempt >= self.settings.call_attempts {
                return Err(error);
            }
            attempt += 1;
            self.pause(pause).await;
            pause *= 2;
        }
    }

    /// Waits for the given time and up to half of it more, so that clients that were refused together do not come back
    /// together.
    pub(crate) async fn pause(&self, pause: Duration) {
        let extra = pause.as_millis() as u64 / 2;
        let extra = Duration::from_millis(u64::from_le_bytes(random_bytes(&mut self.runtime.rng())) % (extra + 1));
        self.runtime.sleep(pause + extra).await;
    }

    /// A block, from memory or from the node; its hash is right.
    ///
    /// Every block that is asked for is named by a signed or hashed structure, so the node must have it: an empty answer
    /// is [`ClientError::WithheldBlock`].
    pub(crate) async fn block(&self, owner: &Owner, cid: &Cid, bat: Option<&BatWithId>) -> Result<Bytes, ClientError> {
        if let Some(content) = cid.identity_content() {
            return Ok(Bytes::copy_from_slice(content));
        }
        if let Some(block) = self.blocks.get(cid) {
            return Ok(block);
        }
        let call = GetBlock { owner: owner.clone(), cid: cid.clone(), bat: bat.cloned() };
        let block = self.call(Repeat::Safely, &call).await?;
        let block = match block {
            Some(block) if !block.is_empty() => block,
            _ => return Err(ClientError::WithheldBlock { cid: cid.clone() }),
        };
        let (block, genuine) = if block.len() < 16 * 1024 {
            let genuine = cid.matches(&block);
            (block, genuine)
        } else {
            let cid = cid.clone();
            self.runtime
                .compute(move || {
                    let genuine = cid.matches(&block);
                    (block, genuine)
                })
                .await
        };
        if !genuine {
            return Err(ClientError::TamperedBlock { cid: cid.clone() });
        }
        self.blocks.put(cid, &block);
        Ok(block)
    }

    /// The public key of a writer: inside its hash, or, for old accounts, in a block.
    pub(crate) async fn signing_key(&self, owner: &Owner, writer: &Writer) -> Result<PublicSigningKey, ClientError> {
        match writer.signing_key() {
            Some(key) => Ok(key),
            None => {
                let block = self.block(owner, writer.cid(), None).await?;
                PublicSigningKey::from_cbor(
                    &Value::decode(&block).map_err(ClientError::damaged("a public signing key"))?,
                )
                .map_err(ClientError::damaged("a public signing key"))
            }
        }
    }

    /// The current pointer of a writer, checked against its key and against what was seen before.
    pub(crate) async fn pointer(&self, owner: &Owner, writer: &Writer) -> Result<Option<PointerUpdate>, ClientError> {
        let call = GetPointer { owner: owner.clone(), writer: writer.clone() };
        let asked_at = self.newest(writer);
        let signed = self.call(Repeat::Safely, &call).await?.unwrap_or_default();
        let key = self.signing_key(owner, writer).await?;
        let observed = self.observe(writer, &key, &signed);
        let sequence = |update: &Option<PointerUpdate>| update.as_ref().and_then(PointerUpdate::sequence);
        match observed {
            // Another call of this session has learned of a newer one while this answer was on its way: an honest node
            // said what was true when it was asked.
            Err(ClientError::OldPointer { found, .. }) if found >= sequence(&asked_at) => Ok(self.newest(writer)),
            Err(ClientError::WithheldPointer { .. }) if asked_at.is_none() => Ok(self.newest(writer)),
            observed => observed,
        }
    }

    fn newest(&self, writer: &Writer) -> Option<PointerUpdate> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).newest(writer).cloned()
    }

    /// Refuses a pointer that is older than one seen before, or another one of the same age, and remembers it.
    pub(crate) fn observe(
        &self,
        writer: &Writer,
        key: &PublicSigningKey,
        signed: &Bytes,
    ) -> Result<Option<PointerUpdate>, ClientError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = || writer.clone();
        seen.observe(&writer(), key, signed).map_err(|error| match error {
            Rollback::Older { seen, received } => ClientError::OldPointer { writer: writer(), seen, found: received },
            Rollback::Forked(_) => ClientError::ForkedPointer { writer: writer() },
            Rollback::Withheld => ClientError::WithheldPointer { writer: writer() },
            _ => ClientError::ForgedPointer { writer: writer() },
        })
    }

    /// Everything remembered about pointers, to be carried to a later session.
    pub(crate) fn memory(&self) -> Vec<(Writer, Bytes)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entries().map(|(writer, signed)| (writer.clone(), signed.clone())).collect()
    }

    /// The current state of a writer.
    pub(crate) async fn version(&self, owner: &Owner, writer: &Writer) -> Result<Version, ClientError> {
        let Some(pointer) = self.pointer(owner, writer).await? else {
            return Ok(Version { target: None, sequence: None, data: None });
        };
        let data = match pointer.updated() {
            Some(target) => Some(Arc::new(self.writer_data(owner, writer, target).await?)),
            None => None,
        };
        Ok(Version { target: pointer.updated().cloned(), sequence: pointer.sequence(), data })
    }

    /// The state that a pointer leads to.
    pub(crate) async fn writer_data(
        &self,
        owner: &Owner,
        writer: &Writer,
        target: &Cid,
    ) -> Result<WriterData, ClientError> {
        let block = self.block(owner, target, None).await?;
        let data = WriterData::from_bytes(&block).map_err(ClientError::damaged("the state of a writer"))?;
        if data.controller != *writer.key_hash() {
            return Err(ClientError::ForeignWriterData { writer: writer.clone() });
        }
        Ok(data)
    }
}
