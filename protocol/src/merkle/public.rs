//! Published capabilities: the files that a user made public, by path (`spec/02` §7.5).
//!
//! [`PublicFiles`] is the block that writer data link to as `public`. Its tree maps inodes to directories; a directory
//! holds its children inline, and once they are many, in a tree of its own whose root is inline too.

use bytes::Bytes;

use super::champ::{BlockSource, Champ, ChampError, Change, Expected, KeyHashing, Node};
use crate::cryptree::capability::AbsoluteCapability;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, ToCbor, Value};

/// Most children that a directory lists; with more it becomes a tree.
pub const MAX_LISTED: usize = 32;

/// Name and number of a published file or directory.
///
/// Only directories count, so that files published one after another have the same number and differ by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Number, from 0.
    pub number: i64,
    /// Name in its directory; empty for the root.
    pub name: String,
}

impl Inode {
    /// The root directory.
    pub fn root() -> Self {
        Inode { number: 0, name: String::new() }
    }
}

impl ToCbor for Inode {
    fn to_cbor(&self) -> Value {
        Value::map([("i", Value::Int(self.number)), ("n", Value::text(&self.name))])
    }
}

impl FromCbor for Inode {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("Inode")?;
        match fields.int("i")? {
            number @ 0.. => Ok(Inode { number, name: fields.text("n")?.to_owned() }),
            _ => Err(DecodeError::invalid("Inode", "negative number")),
        }
    }
}

/// A child of a published directory; with a capability, it is itself published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InodeCap {
    /// Which child.
    pub inode: Inode,
    /// What opens it, for everyone to read.
    pub capability: Option<AbsoluteCapability>,
}

impl ToCbor for InodeCap {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("i", self.inode.to_cbor());
        if let Some(capability) = &self.capability {
            map.insert("c", capability.to_cbor());
        }
        Value::Map(map)
    }
}

impl FromCbor for InodeCap {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("InodeCap")?;
        Ok(InodeCap { inode: fields.get("i")?, capability: fields.get_optional("c")? })
    }
}

/// A published directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublicDirectory {
    /// Up to [`MAX_LISTED`] children, in the order of their publication.
    List(Vec<InodeCap>),
    /// The root of a tree from names to children.
    Tree(Box<Node>),
}

impl ToCbor for PublicDirectory {
    fn to_cbor(&self) -> Value {
        match self {
            PublicDirectory::List(children) => Value::map([("c", Value::list(children))]),
            PublicDirectory::Tree(root) => root.to_cbor(),
        }
    }
}

impl FromCbor for PublicDirectory {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        match value {
            Value::List(_) => Ok(PublicDirectory::Tree(Box::new(Node::from_cbor(value)?))),
            other => Ok(PublicDirectory::List(other.fields("Directory")?.required("c")?.as_list_of()?)),
        }
    }
}

/// Why published files cannot be read or changed. `E` is the error of the block source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicError<E> {
    /// A tree cannot be read.
    #[error(transparent)]
    Tree(#[from] ChampError<E>),
    /// A directory or child is malformed.
    #[error("malformed public directory: {0}")]
    Malformed(#[from] DecodeError),
    /// A path without a name, or with an empty one.
    #[error("not an absolute path")]
    Path,
    /// Nothing is published there.
    #[error("nothing is published at this path")]
    NotPublished,
    /// A home directory would publish everything, now and later.
    #[error("a home directory cannot be published")]
    Home,
}

/// What is found on a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The first child on the way that has a capability; if none has, the last one.
    pub child: InodeCap,
    /// The rest of the path, to be followed inside the capability. Names joined by `/`.
    pub remaining_path: String,
}

/// All published files of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicFiles {
    /// Number of directories ever made.
    pub inode_count: i64,
    /// Root of the tree from inodes to directories.
    pub root: Cid,
}

impl ToCbor for PublicFiles {
    fn to_cbor(&self) -> Value {
        Value::map([("c", Value::Int(self.inode_count)), ("r", Value::Link(self.root.clone()))])
    }
}

impl FromCbor for PublicFiles {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("public files")?;
        Ok(PublicFiles { inode_count: fields.int("c")?, root: fields.required("r")?.as_link()?.clone() })
    }
}

/// New published files and the blocks that belong to them, the [`PublicFiles`] itself last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicChanged {
    /// The new state.
    pub files: PublicFiles,
    /// What to write.
    pub blocks: Vec<(Cid, Bytes)>,
}

/// A directory on the way to a path, and its child there.
struct Step {
    inode: Inode,
    stored: Option<Value>,
    directory: PublicDirectory,
    child: Option<InodeCap>,
}

impl PublicFiles {
    /// No published files. The block of the empty tree ([`super::champ::empty`]) belongs to it.
    pub fn empty() -> Self {
        PublicFiles { inode_count: 0, root: super::champ::empty().root }
    }

    /// What is published at an absolute path; none if there is nothing.
    pub async fn lookup<S: BlockSource>(
        &self,
        source: &S,
        path: &str,
    ) -> Result<Option<Published>, PublicError<S::Error>> {
        let names = split(path).ok_or(PublicError::Path)?;
        let champ = Champ::new(source, KeyHashing::Sha256);
        let mut inode = Inode::root();
        for (at, name) in names.iter().enumerate() {
            let Some(child) = self.step(&champ, inode, name).await?.child else { return Ok(None) };
            let remaining = &names[at + 1..];
            if child.capability.is_some() || remaining.is_empty() {
                return Ok(Some(Published { child, remaining_path: remaining.join("/") }));
            }
            inode = child.inode;
        }
        Ok(None)
    }

    /// The children of a directory on the way to something published, in the order of publication if they are few. None
    /// if the path leads to no such directory.
    pub async fn list<S: BlockSource>(
        &self,
        source: &S,
        path: &str,
    ) -> Result<Option<Vec<InodeCap>>, PublicError<S::Error>> {
        let names = if path == "/" { Vec::new() } else { split(path).ok_or(PublicError::Path)? };
        let champ = Champ::new(source, KeyHashing::Sha256);
        let mut inode = Inode::root();
        for name in names {
            let Some(child) = self.step(&champ, inode, name).await?.child else { return Ok(None) };
            inode = child.inode;
        }
        let Some(value) = champ.get(&self.root, &inode.to_bytes()).await? else { return Ok(None) };
        match PublicDirectory::from_cbor(&value)? {
            PublicDirectory::List(children) => Ok(Some(children)),
            PublicDirectory::Tree(root) => {
                let (mut entries, mut children) = (champ.entries_in(&root), Vec::new());
                while let Some(entry) = entries.next().await? {
                    children.extend(entry.present().map(InodeCap::from_cbor).transpose()?);
                }
                Ok(Some(children))
            }
        }
    }

    /// Publishes a capability at an absolute path; one that is there already is replaced. Only the right to read it
    /// becomes public, whatever the capability gives.
    ///
    /// # Errors
    /// [`PublicError::Home`] for a path of a user name alone.
    pub async fn publish<S: BlockSource>(
        &self,
        source: &S,
        path: &str,
        capability: &AbsoluteCapability,
    ) -> Result<PublicChanged, PublicError<S::Error>> {
        let names = split(path).ok_or(PublicError::Path)?;
        if names.len() < 2 {
            return Err(PublicError::Home);
        }
        let champ = Champ::new(source, KeyHashing::Sha256);
        let (mut inode_count, mut inode) = (self.inode_count, Inode::root());
        let (mut changes, mut blocks) = (Vec::new(), Vec::new());
        for (at, name) in names.iter().enumerate() {
            let published = (at + 1 == names.len()).then(|| capability.read_only());
            let step = self.step(&champ, inode, name).await?;
            if step.stored.is_none() {
                inode_count = inode_count.checked_add(1).ok_or(DecodeError::IntegerRange)?;
            }
            let child = match step.child {
                Some(child) if published.is_none() => {
                    inode = child.inode;
                    continue;
                }
                Some(child) => InodeCap { capability: published, ..child },
                // The number is the count, which only a new directory has just raised.
                None => {
                    InodeCap { inode: Inode { number: inode_count, name: name.to_string() }, capability: published }
                }
            };
            inode = child.inode.clone();
            let directory = set(&champ, step.directory, child, &mut blocks).await?;
            changes.push(change(&step.inode, step.stored, directory.to_cbor()));
        }
        self.change(&champ, inode_count, changes, blocks).await
    }

    /// Withdraws what is published at a path, and the directories that led to it alone.
    pub async fn withdraw<S: BlockSource>(
        &self,
        source: &S,
        path: &str,
    ) -> Result<PublicChanged, PublicError<S::Error>> {
        let names = split(path).ok_or(PublicError::Path)?;
        let champ = Champ::new(source, KeyHashing::Sha256);
        let (mut steps, mut inode) = (Vec::new(), Inode::root());
        for name in &names {
            let step = self.step(&champ, inode, name).await?;
            let child = step.child.clone().ok_or(PublicError::NotPublished)?;
            inode = child.inode.clone();
            steps.push((step, child));
        }
        if steps.last().is_none_or(|(_, child)| child.capability.is_none()) {
            return Err(PublicError::NotPublished);
        }
        // The target may be a directory with other published children, which keeps its place without a capability.
        let below = champ.get(&self.root, &inode.to_bytes()).await?;
        let below = below.as_ref().map(PublicDirectory::from_cbor).transpose()?;
        let is_directory = below.is_some_and(|directory| !is_empty(&directory));
        let (mut changes, mut blocks) = (Vec::new(), Vec::new());
        let mut is_target = true;
        for (step, child) in steps.into_iter().rev() {
            let directory = match is_target {
                true if is_directory => {
                    set(&champ, step.directory, InodeCap { capability: None, ..child }, &mut blocks).await?
                }
                // A directory that lost its last child stays if it is published itself.
                false if child.capability.is_some() => break,
                _ => remove(&champ, step.directory, &child.inode.name, &mut blocks).await?,
            };
            is_target = false;
            // An empty directory leaves its parent's list, but its entry in the tree stays, empty, as the reference
            // leaves it.
            changes.push(change(&step.inode, step.stored, directory.to_cbor()));
            if !is_empty(&directory) {
                break;
            }
        }
        self.change(&champ, self.inode_count, changes, blocks).await
    }

    async fn step<S: BlockSource>(
        &self,
        champ: &Champ<&S>,
        inode: Inode,
        name: &str,
    ) -> Result<Step, PublicError<S::Error>> {
        let stored = champ.get(&self.root, &inode.to_bytes()).await?;
        let directory = match &stored {
            Some(value) => PublicDirectory::from_cbor(value)?,
            None => PublicDirectory::List(Vec::new()),
        };
        let child = match &directory {
            PublicDirectory::List(children) => children.iter().find(|child| child.inode.name == name).cloned(),
            PublicDirectory::Tree(root) => {
                let child = champ.get_in(root, name.as_bytes()).await?;
                child.as_ref().map(InodeCap::from_cbor).transpose()?
            }
        };
        Ok(Step { inode, stored, directory, child })
    }

    async fn change<S: BlockSource>(
        &self,
        champ: &Champ<&S>,
        inode_count: i64,
        changes: Vec<Change>,
        mut blocks: Vec<(Cid, Bytes)>,
    ) -> Result<PublicChanged, PublicError<S::Error>> {
        let changed = champ.apply(&self.root, &changes).await?;
        blocks.extend(changed.blocks);
        let files = PublicFiles { inode_count, root: changed.root };
        let block = Bytes::from(files.to_bytes());
        blocks.push((Cid::of_cbor(&block), block));
        Ok(PublicChanged { files, blocks })
    }
}

fn split(path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

fn change(inode: &Inode, stored: Option<Value>, directory: Value) -> Change {
    Change::put(inode.to_bytes(), stored, directory)
}

/// Adds or replaces a child.
async fn set<S: BlockSource>(
    champ: &Champ<&S>,
    directory: PublicDirectory,
    child: InodeCap,
    blocks: &mut Vec<(Cid, Bytes)>,
) -> Result<PublicDirectory, PublicError<S::Error>> {
    let put = |child: &InodeCap| Change {
        key: child.inode.name.clone().into_bytes().into(),
        expected: Expected::Any,
        value: Some(child.to_cbor()),
    };
    let (root, changes) = match directory {
        PublicDirectory::List(mut children) => {
            match children.iter_mut().find(|other| other.inode.name == child.inode.name) {
                Some(existing) => *existing = child,
                None => children.push(child),
            }
            if children.len() <= MAX_LISTED {
                return Ok(PublicDirectory::List(children));
            }
            (Node::default(), children.iter().map(put).collect::<Vec<_>>())
        }
        PublicDirectory::Tree(root) => (*root, vec![put(&child)]),
    };
    let (root, new) = champ.apply_in(&root, &changes).await?;
    blocks.extend(new);
    Ok(PublicDirectory::Tree(Box::new(root)))
}

/// Removes a child; a tree stays a tree, however few are left.
async fn remove<S: BlockSource>(
    champ: &Champ<&S>,
    directory: PublicDirectory,
    name: &str,
    blocks: &mut Vec<(Cid, Bytes)>,
) -> Result<PublicDirectory, PublicError<S::Error>> {
    match directory {
        PublicDirectory::List(mut children) => {
            children.retain(|child| child.inode.name != name);
            Ok(PublicDirectory::List(children))
        }
        PublicDirectory::Tree(root) => {
            let (root, new) = champ.apply_in(&root, &[Change::discard(name.as_bytes().to_vec())]).await?;
            blocks.extend(new);
            Ok(PublicDirectory::Tree(Box::new(root)))
        }
    }
}

fn is_empty(directory: &PublicDirectory) -> bool {
    match directory {
        PublicDirectory::List(children) => children.is_empty(),
        PublicDirectory::Tree(root) => root.is_empty(),
    }
}
