//! What hangs on an account's identity beside its keys: the tree of its secret links, and its published files
//! (`spec/05` §7.3, §8.1). Changes gather in the [`View`] with all others, so that a link and the record of it appear with
//! one commit.

use std::collections::HashMap;

use bytes::Bytes;

use super::error::ClientError;
use super::item::Signer;
use super::network::Network;
use super::runtime::Runtime;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::AbsoluteCapability;
use crate::encoding::{Cid, FromCbor, Value};
use crate::keys::Owner;
use crate::links::sealed::HASHING;
use crate::links::{LinkLabel, SecretLinkTarget};
use crate::merkle::bat::BatWithId;
use crate::merkle::champ::{self, BlockSource, Champ, ChampError, Change, Node};
use crate::merkle::public::{InodeCap, PublicError, PublicFiles};
use crate::merkle::writer_data::WriterData;

/// The changes to one identity's links and published files.
#[derive(Default)]
pub(crate) struct IdentityChanges {
    links: Vec<Change>,
    targets: Vec<(Cid, Bytes)>,
    /// Absolute paths, each with what is published there from now on; none takes it back.
    published: Vec<(String, Option<AbsoluteCapability>)>,
}

impl IdentityChanges {
    /// Makes a label lead to a target, and gives the address of the target's block. A label that is taken makes the commit
    /// of a new link fail.
    pub(crate) fn put_link(&mut self, label: LinkLabel, is_new: bool, target: &SecretLinkTarget) -> Cid {
        let (cid, block) = target.to_block();
        let change = SecretLinkTarget::put(label, None, cid.clone());
        self.links.push(match is_new {
            true => change,
            // The pointer of the identity guards against other devices; what the record says of the block before may be
            // older than the tree, and must not make the link unchangeable.
            false => Change { value: change.value, ..Change::discard(change.key) },
        });
        self.targets.push((cid.clone(), block));
        cid
    }

    /// Takes a link back, if it is there.
    pub(crate) fn remove_link(&mut self, label: LinkLabel) {
        self.links.push(SecretLinkTarget::remove(label));
    }

    /// Publishes a capability at an absolute path, for reading.
    pub(crate) fn publish(&mut self, path: String, capability: &AbsoluteCapability) {
        self.published.push((path, Some(capability.read_only())));
    }

    /// Whether what is published at a path is taken back.
    pub(crate) fn withdraws(&self, path: &str) -> bool {
        self.published.iter().any(|(other, capability)| other == path && capability.is_none())
    }

    /// Takes back what is published at a path.
    pub(crate) fn withdraw(&mut self, path: String) {
        self.published.push((path, None));
    }
}

/// Blocks of the node, and those that are not sent yet. Trees of links are guarded by the owner's mirror token.
struct Blocks<'a, T, R> {
    network: &'a Network<T, R>,
    owner: &'a Owner,
    bat: Option<&'a BatWithId>,
    new: HashMap<Cid, Bytes>,
}

impl<T: Transport, R: Runtime> BlockSource for &Blocks<'_, T, R> {
    type Error = ClientError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, ClientError> {
        match self.new.get(cid) {
            Some(block) => Ok(Some(block.clone())),
            None => self.network.block(self.owner, cid, self.bat).await.map(Some),
        }
    }
}

fn tree_error(what: &'static str) -> impl Fn(ChampError<ClientError>) -> ClientError {
    move |error| match error {
        ChampError::Source(error) => error,
        ChampError::Missing(cid) => ClientError::WithheldBlock { cid },
        ChampError::Malformed { reason, .. } => ClientError::Damaged { what, source: reason },
        ChampError::Mismatch { .. } | ChampError::Conflict { .. } => ClientError::Conflict,
        _ => ClientError::Inconsistent(what),
    }
}

/// Most published paths of one account that are looked through.
const MAX_PUBLISHED: usize = 65_536;

const LINKS: &str = "the tree of secret links";
const PUBLISHED: &str = "the published files";

fn public_error(error: PublicError<ClientError>) -> ClientError {
    match error {
        PublicError::Tree(error) => tree_error(PUBLISHED)(error),
        PublicError::Malformed(source) => ClientError::Damaged { what: PUBLISHED, source },
        PublicError::Home => ClientError::Home,
        _ => ClientError::NotPublished,
    }
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// The changes to the identity, which must be the account's own.
    pub(crate) fn identity(&mut self, identity: &Signer) -> &mut IdentityChanges {
        &mut self.space_of(identity).identity
    }

    /// Carries out changes of links and published files, and gives the blocks that are new.
    pub(crate) async fn change_identity(
        &self,
        owner: &Owner,
        data: &mut WriterData,
        changes: IdentityChanges,
    ) -> Result<Vec<(Cid, Bytes)>, ClientError> {
        let network = &self.core.network;
        let mut blocks = changes.targets;
        if !changes.links.is_empty() {
            let bat = self.core.tree.mirror_bat.as_ref();
            let source = Blocks { network, owner, bat, new: HashMap::new() };
            let mut champ = Champ::new(&source, HASHING);
            if let Some(bat) = bat {
                champ = champ.with_root_bat(bat.id().clone());
            }
            let root = match &data.links {
                Some(root) => {
                    let changed = champ.apply(root, &changes.links).await.map_err(tree_error(LINKS))?;
                    blocks.extend(changed.blocks);
                    changed.root
                }
                None => {
                    let empty = Node { bat: bat.map(|bat| bat.id().clone()), ..Node::default() };
                    let (node, nodes) = champ.apply_in(&empty, &changes.links).await.map_err(tree_error(LINKS))?;
                    blocks.extend(nodes);
                    let (cid, block) = node.to_block();
                    blocks.push((cid.clone(), block));
                    cid
                }
            };
            data.links = Some(root);
        }
        if !changes.published.is_empty() {
            let mut source = Blocks { network, owner, bat: None, new: HashMap::new() };
            let mut files = match self.published(owner, data).await? {
                Some(files) => files,
                None => {
                    source.new.extend(champ::empty().blocks);
                    PublicFiles::empty()
                }
            };
            for (path, capability) in &changes.published {
                let changed = match capability {
                    Some(capability) => files.publish(&&source, path, capability).await,
                    None => files.withdraw(&&source, path).await,
                };
                let changed = changed.map_err(public_error)?;
                data.public = changed.blocks.last().map(|(cid, _)| cid.clone());
                source.new.extend(changed.blocks);
                files = changed.files;
            }
            blocks.extend(source.new);
        }
        Ok(blocks)
    }

    /// The published files that an identity's data name.
    async fn published(&self, owner: &Owner, data: &WriterData) -> Result<Option<PublicFiles>, ClientError> {
        let Some(cid) = &data.public else { return Ok(None) };
        let block = self.core.network.block(owner, cid, None).await?;
        let value = Value::decode_shared(&block).map_err(ClientError::damaged(PUBLISHED))?;
        PublicFiles::from_cbor(&value).map(Some).map_err(ClientError::damaged(PUBLISHED))
    }

    /// What is published at an absolute path itself; none if nothing is, or only what is above or below it.
    pub(crate) async fn published_at(
        &self,
        data: &WriterData,
        path: &str,
    ) -> Result<Option<AbsoluteCapability>, ClientError> {
        Ok(self.published_below(data, path).await?.into_iter().find(|(other, _)| other == path).map(|(_, cap)| cap))
    }

    /// Everything that is published at an absolute path or below it by itself.
    pub(crate) async fn published_below(
        &self,
        data: &WriterData,
        path: &str,
    ) -> Result<Vec<(String, AbsoluteCapability)>, ClientError> {
        let owner = &self.core.tree.owner;
        let Some(files) = self.published(owner, data).await? else { return Ok(Vec::new()) };
        let source = Blocks { network: &self.core.network, owner, bat: None, new: HashMap::new() };
        let mut found = Vec::new();
        let (above, name) = path.rsplit_once('/').unwrap_or_default();
        let above = if above.is_empty() { "/" } else { above };
        let at = files.list(&&source, above).await.map_err(public_error)?.unwrap_or_default();
        let at = at.into_iter().filter(|child| child.inode.name == name);
        let mut pending: Vec<(String, InodeCap)> = at.map(|child| (path.to_owned(), child)).collect();
        while let Some((path, child)) = pending.pop() {
            found.extend(child.capability.map(|capability| (path.clone(), capability)));
            if found.len() + pending.len() > MAX_PUBLISHED {
                return Err(ClientError::Limit("more is published than this client looks through"));
            }
            let below = files.list(&&source, &path).await.map_err(public_error)?.unwrap_or_default();
            pending.extend(below.into_iter().map(|child| (format!("{path}/{}", child.inode.name), child)));
        }
        Ok(found)
    }
}
