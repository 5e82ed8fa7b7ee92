//! What all handles of one session share.

use std::sync::PoisonError;

use futures_util::lock::Mutex;

use super::error::ClientError;
use super::keys::SessionKeys;
use super::network::Network;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::capability::AbsoluteCapability;
use crate::cryptree::name::FileName;
use crate::keys::Owner;
use crate::merkle::bat::{BatId, BatWithId};
use crate::names::Username;

/// Which tree the handles look at and change. It holds no secret of an account but the way into the tree, so that what
/// a link leads to is one as well.
pub(crate) struct Tree {
    /// Whose tree.
    pub owner: Owner,
    /// The owner's name, in front of every path.
    pub username: Username,
    /// The names from the home directory to the root; none for an account.
    pub above: Vec<FileName>,
    /// The root: the home directory, writable, or what a link leads to.
    pub root: AbsoluteCapability,
    /// The owner's mirror token, which new blocks name. Only the account knows it; old accounts may lack one.
    pub mirror_bat: Option<BatWithId>,
    /// Whether it is an account's whole tree, with its hidden files; else what a link leads to.
    pub is_account: bool,
}

impl Tree {
    /// The whole tree of an account.
    pub(crate) fn of_account(keys: &SessionKeys) -> Self {
        Tree {
            owner: keys.owner.clone(),
            username: keys.username.clone(),
            above: Vec::new(),
            root: keys.home.clone(),
            mirror_bat: keys.mirror_bat.clone(),
            is_account: true,
        }
    }
}

/// See the module.
pub(crate) struct Core<T, R> {
    pub network: Network<T, R>,
    pub tree: Tree,
    /// Held while changes are applied and published, so that one session does not race against itself.
    pub writing: Mutex<()>,
    /// Files that were put beside what somebody else stored at the same time.
    conflicts: std::sync::Mutex<Vec<RemotePath>>,
}

impl<T: Transport, R: Runtime> Core<T, R> {
    pub(crate) fn new(network: Network<T, R>, tree: Tree) -> Self {
        Core { network, tree, writing: Mutex::default(), conflicts: Default::default() }
    }

    pub(crate) fn view(&self) -> View<'_, T, R> {
        View::new(self)
    }

    /// Whether a path lies in the tree of this session's own user.
    pub(crate) fn is_own(&self, path: &RemotePath) -> bool {
        path.user().as_str() == self.tree.username.as_str()
    }

    /// Notes a file that was put beside another one.
    pub(crate) fn note_conflict(&self, path: RemotePath) {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    /// The files that were put beside another one since the last time this was asked.
    pub(crate) fn take_conflicts(&self) -> Vec<RemotePath> {
        std::mem::take(&mut self.conflicts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this is the account's own identity.
    pub(crate) fn is_owner(&self, owner: &Owner) -> bool {
        self.tree.owner == *owner
    }

    /// The mirror token that new nodes name where their directory has none: only in the account's own tree, whose
    /// mirrors hold it.
    pub(crate) fn mirror_of(&self, owner: &Owner) -> Option<&BatId> {
        self.tree.mirror_bat.as_ref().filter(|_| self.is_owner(owner)).map(|bat| bat.id())
    }

    /// Whether to try again after a failure: after a lost race, and when a block was gone because the state that named
    /// it has been replaced meanwhile.
    pub(crate) async fn try_again(
        &self,
        attempt: &mut u32,
        error: &ClientError,
        view: &View<'_, T, R>,
    ) -> Result<bool, ClientError> {
        *attempt += 1;
        if *attempt >= self.network.settings.conflict_attempts {
            return Ok(false);
        }
        match error {
            ClientError::Conflict => {
                self.network.pause(self.network.settings.first_pause / 4 * *attempt).await;
                Ok(true)
            }
            ClientError::WithheldBlock { .. } | ClientError::ForgedListing { .. } => {
                for (writer, version) in &view.versions {
                    let now = self.network.version(view.owner_of(writer), writer).await?;
                    if now.target != version.target {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}

/// Runs an operation on a view of the current state, and again on a newer one after a lost race.
///
/// A macro, because the borrow of the view by the operation's future cannot be written as a closure's type.
macro_rules! on_current_state {
    ($core:expr, |$view:ident| $operation:expr) => {{
        let core = $core;
        let mut attempt = 0;
        loop {
            let mut view = core.view();
            let result: Result<_, ClientError> = {
                let $view = &mut view;
                async { $operation }.await
            };
            match result {
                Err(error) => {
                    if !core.try_again(&mut attempt, &error, &view).await? {
                        break Err(error);
                    }
                }
                Ok(done) => break Ok(done),
            }
        }
    }};
}
pub(crate) use on_current_state;
