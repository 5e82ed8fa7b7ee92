//! The directories that every account has (`spec/03` §6).

use pyrgos_crypto::random::CryptoRng;

use super::capability::{AbsoluteCapability, NamedRelativeCapability};
use super::chunk::MapKey;
use super::directory::{ChildList, DirectoryChunk, DirectoryKeys};
use super::fragments::FragmentBlock;
use super::name::FileName;
use super::node::{CryptreeNode, NodeError, ParentBlock};
use super::properties::{FileProperties, Timestamp};
use crate::encoding::Value;
use crate::keys::{Owner, SigningPrivateKeyAndPublicHash, SymmetricLinkToSigner};
use crate::merkle::bat::BatId;

/// One directory for each follower, with the capabilities that he was given.
pub const SHARED: &str = "shared";

/// Open upload transactions.
pub const TRANSACTIONS: &str = ".transactions";

/// The account's own view of what is shared, out and in.
pub const CAPABILITY_CACHE: &str = ".capabilitycache";

/// Below [`CAPABILITY_CACHE`]: capabilities that were received.
pub const WORLD: &str = "world";

/// Below [`CAPABILITY_CACHE`]: who each of the account's files is shared with.
pub const OUTBOUND: &str = "outbound";

/// The keys of friends as they were first seen.
pub const KEYSTORE: &str = ".keystore";

/// The hidden directories that sign-up makes below the home directory.
pub const SIGN_UP_DIRECTORIES: [&str; 3] = [SHARED, TRANSACTIONS, CAPABILITY_CACHE];

/// The content of a [`KEYSTORE`] that knows nobody: an empty CBOR map.
pub fn empty_keystore() -> Vec<u8> {
    Value::Map(Default::default()).encode()
}

/// A node that is to be stored, and its key in the writer's tree.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// The key in the tree.
    pub map_key: MapKey,
    /// The node.
    pub node: CryptreeNode,
    /// Its fragment blocks; a short child list has none.
    pub fragments: Vec<FragmentBlock>,
}

/// The file system of a new account.
#[derive(Clone, Debug)]
pub struct NewHome {
    /// The writable capability of the home directory, which goes into the login data as entry point.
    pub cap: AbsoluteCapability,
    /// The nodes, home directory first.
    pub nodes: Vec<NewNode>,
}

impl NewHome {
    /// The home directory of `username` and the directories that sign-up makes in it (`spec/03` §6.1), as they are
    /// after the last of the steps.
    ///
    /// `signer` is the fresh key of the home's writing space, `mirror` the id of the account's mirror token.
    ///
    /// # Errors
    /// [`NodeError::EqualKeys`] if the randomness is broken.
    pub fn build(
        owner: &Owner,
        username: FileName,
        signer: &SigningPrivateKeyAndPublicHash,
        mirror: &BatId,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, NodeError> {
        let keys = DirectoryKeys::generate(rng);
        let cap = keys.capability(owner.clone(), signer.writer());
        let mut entries = Vec::new();
        let mut nodes = Vec::new();
        for name in SIGN_UP_DIRECTORIES {
            let name = FileName::new(name).expect("the constants are legal names");
            let properties = FileProperties::directory(name, now, true);
            let child_keys = DirectoryKeys::generate(rng);
            let child = child_keys.capability(owner.clone(), signer.writer());
            entries.push(
                NamedRelativeCapability::entry(&child, &properties, &cap, rng).expect("both have the same owner"),
            );
            let parent = Some(keys.parent_link(&cap.writer, &child.writer));
            let chunk =
                DirectoryChunk::first(&child_keys, ParentBlock { parent, properties }, Some(mirror.clone()), rng);
            let (node, fragments) = chunk.build(rng)?;
            nodes.push(NewNode { map_key: child.map_key, node, fragments });
        }
        let properties = FileProperties::directory(username, now, false);
        let parent = ParentBlock { parent: None, properties };
        let mut chunk = DirectoryChunk::first(&keys, parent, Some(mirror.clone()), rng);
        chunk.signer = Some(SymmetricLinkToSigner::new(&keys.base_write, signer, rng));
        chunk.children = ChildList::Named(entries);
        let (node, fragments) = chunk.build(rng)?;
        nodes.insert(0, NewNode { map_key: cap.map_key, node, fragments });
        Ok(NewHome { cap, nodes })
    }
}
