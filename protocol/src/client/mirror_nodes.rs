//! The nodes that mirror an account: the owner's signed list, and how nodes and friends learn of it (design §4).
//!
//! The list is a file of the profile that friends may read. A session that finds one, its own or a friend's, gives it to
//! its node, which then reads from the mirrors when the home is away.

use bytes::Bytes;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::{Desk, part};
use super::error::ClientError;
use super::item::Item;
use super::network::Repeat;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use crate::api::mirror::{GetMirrors, MirrorReport, StartMirror, TellMirrors};
use crate::api::{Call, Transport};
use crate::encoding::Cid;
use crate::keys::{ProofOfWork, SignedRequest, SignedTime};
use crate::mirroring::MirrorList;
use crate::mirroring::list::{MAX_NODES, MAX_SIGNED};
use crate::names::Username;
use crate::social::group::GroupKind;
use crate::social::profile::DIRECTORY;

/// The file's name below the profile's directory. Ours: other clients do not look at it.
const FILE: &str = "mirrors";

fn list_path(user: &Username) -> Result<RemotePath, ClientError> {
    let home = RemotePath::home(part(user.as_str()).map_err(|_| ClientError::InvalidUsername)?);
    Ok(home.join(part(DIRECTORY)?).join(part(FILE)?))
}

/// What is known about an account's mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorNodes {
    /// What the home says: who asked, and when. Nothing proves it.
    pub report: MirrorReport,
    /// The nodes of the owner's list; none if there is no list.
    pub announced: Option<Vec<Cid>>,
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Which nodes mirror the account: those that asked its home, and those of the list that this account signed.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn mirrors(&self) -> Result<MirrorNodes, ClientError> {
        let auth = SignedRequest::sign(GetMirrors::PATH, self.now_millis(), &self.keys().identity.secret).into();
        let call = GetMirrors { username: self.username().clone(), auth };
        let report = self.core().network.call(Repeat::Safely, &call).await?;
        let announced = match self.signed_mirrors(self.username()).await? {
            Some(signed) => MirrorList::open(&signed, &self.keys().identity.secret.public()).ok(),
            None => None,
        };
        Ok(MirrorNodes { report, announced: announced.map(|list| list.nodes) })
    }

    /// Asks the node of this session, which is not the account's home, to mirror the account. Its operator has given the
    /// account space there.
    ///
    /// # Errors
    /// The node refuses: no space, or it is the account's home.
    pub async fn mirror_here(&self) -> Result<(), ClientError> {
        let call = StartMirror {
            username: self.username().clone(),
            bat: self.mirror_token().await?,
            auth: SignedTime::sign(self.now_millis(), &self.keys().identity.secret).into(),
            proof: ProofOfWork::first_try(),
        };
        match self.core().network.call(Repeat::Safely, &call).await? {
            true => Ok(()),
            false => Err(ClientError::Inconsistent("a node that mirrors an account and does not")),
        }
    }

    /// Signs the list of the nodes that mirror the account, gives it to the node and to the account's friends. It takes the
    /// place of the list before.
    ///
    /// # Errors
    /// [`ClientError::Limit`] for more than 32 nodes.
    pub async fn announce_mirrors(&self, nodes: &[Cid]) -> Result<(), ClientError> {
        if nodes.len() > MAX_NODES {
            return Err(ClientError::Limit("a list of mirrors has at most 32 nodes"));
        }
        let list =
            MirrorList { username: self.username().clone(), time_millis: self.now_millis(), nodes: nodes.to_vec() };
        let signed = Bytes::from(list.sign(&self.keys().identity.secret));
        let core = self.shared_core();
        let content = &signed;
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                desk.directory(DIRECTORY, true).await?;
                desk.write(&format!("{DIRECTORY}/{FILE}"), content.clone(), false);
                desk.save().await?;
                view.commit(transaction).await
            })
        })?;
        self.share(&list_path(self.username())?, &[GroupKind::Friends]).await?;
        self.tell_mirrors(self.username(), signed).await.map(drop)
    }

    /// Gives the node the lists of mirrors of this account and of its friends, so that it reads from them when their homes
    /// are away. How many were new to it. A friend's list that cannot be read is left out.
    ///
    /// # Errors
    /// Whatever the node does with this account's own list.
    pub async fn spread_mirrors(&self) -> Result<usize, ClientError> {
        let mut news = 0;
        if let Some(signed) = self.signed_mirrors(self.username()).await? {
            news += usize::from(self.tell_mirrors(self.username(), signed).await?);
        }
        for contact in self.contacts().await? {
            let name = &contact.username;
            if let Ok(Some(signed)) = self.signed_mirrors(name).await
                && let Ok(true) = self.tell_mirrors(name, signed).await
            {
                news += 1;
            }
        }
        Ok(news)
    }

    /// Whoever gave it, the node looks at the signature.
    async fn tell_mirrors(&self, username: &Username, signed: Bytes) -> Result<bool, ClientError> {
        let call = TellMirrors { username: username.clone(), signed };
        self.core().network.call(Repeat::Safely, &call).await
    }

    async fn signed_mirrors(&self, user: &Username) -> Result<Option<Bytes>, ClientError> {
        let path = list_path(user)?;
        self.look_around(&path).await?;
        let core = self.shared_core();
        on_current_state!(core, |view| {
            let item = match view.resolve(&path).await {
                Err(ClientError::NotFound { .. }) => return Ok(None),
                item => item?,
            };
            let is_small = |item: &Item| item.properties().size_bytes <= MAX_SIGNED as u64;
            if item.is_directory() || !is_small(&item) {
                return Ok(None);
            }
            view.content(item).await.map(Some)
        })
    }
}
