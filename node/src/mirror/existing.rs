//! The state of an account on a home that has no snapshots for mirrors, as existing nodes have none: all its writers and
//! their pointers, one by one (`spec/06` §7.2).
//!
//! Pointers and blocks come along; login data do not, since such a home gives them to the login key only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::{Owner, Writer};
use pyrgos_protocol::merkle::champ::BlockSource;
use pyrgos_protocol::merkle::ownership::{self, OwnershipError, WriterSource};
use pyrgos_protocol::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::MirrorToken;

use super::copy::CopyError;
use crate::p2p::Peers;

/// Most writers of an account.
const MAX_WRITERS: usize = 100_000;

/// Asks another node for the pieces.
struct Remote<'a> {
    peers: Arc<dyn Peers>,
    node: &'a Cid,
    owner: &'a Owner,
    token: &'a MirrorToken,
    pointers: Mutex<HashMap<Writer, Bytes>>,
}

/// What an existing home shows of an account to whoever holds its mirror token. Signatures are checked by who keeps it.
///
/// # Errors
/// [`CopyError`].
pub(super) async fn snapshot(
    peers: Arc<dyn Peers>,
    node: &Cid,
    owner: &Owner,
    token: &MirrorToken,
) -> Result<UserSnapshot, CopyError> {
    let remote = Remote { peers, node, owner, token, pointers: Mutex::default() };
    let walk = ownership::walk(&remote, owner, MAX_WRITERS).await.map_err(|error| match error {
        OwnershipError::Source(error) => error,
        OwnershipError::Missing(block) => CopyError::Missing { source_node: node.clone(), block },
        error => CopyError::Wrong { source_node: node.clone(), reason: error.to_string() },
    })?;
    let mut signed = remote.pointers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let pointer = |writer: Writer| signed.remove(&writer).map(|signed| SignedPointerUpdate { writer, signed });
    Ok(UserSnapshot {
        username: token.username.clone(),
        owner: owner.clone(),
        pointers: walk.writers.into_iter().filter_map(pointer).collect(),
        follow_requests: Vec::new(),
        // That the token is the account's is not shown by what everybody may read. The operator's is known.
        bats: Vec::new(),
        login: None,
        link_counts: Vec::new(),
    })
}

impl Remote<'_> {
    async fn ask<C: Call>(&self, call: &C) -> Result<C::Output, CopyError> {
        let answer = self.peers.request(self.node, &call.request()).await?;
        call.read(answer).map_err(|error| CopyError::Refused { source_node: self.node.clone(), error })
    }
}

impl BlockSource for Remote<'_> {
    type Error = CopyError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, CopyError> {
        if let Some(content) = cid.identity_content() {
            return Ok(Some(Bytes::copy_from_slice(content)));
        }
        let call = GetBlock { owner: self.owner.clone(), cid: cid.clone(), bat: Some(self.token.bat.clone()) };
        self.ask(&call).await
    }
}

impl WriterSource for Remote<'_> {
    async fn target(&self, writer: &Writer) -> Result<Option<Cid>, CopyError> {
        let call = GetPointer { owner: self.owner.clone(), writer: writer.clone() };
        let Some(signed) = self.ask(&call).await? else { return Ok(None) };
        let update = PointerUpdate::open_stored(&signed).map_err(|_| {
            let reason = format!("the pointer of {writer} is malformed");
            CopyError::Wrong { source_node: self.node.clone(), reason }
        })?;
        let mut pointers = self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        pointers.insert(writer.clone(), signed);
        Ok(update.updated().cloned())
    }
}
