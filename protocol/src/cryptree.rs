//! The encrypted file system: formats and pure algorithms, no I/O (`spec/03`).
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | the block of one chunk of a file or directory, and how keys open it |
//! | [`capability`] | what it takes to find, open and change a node |
//! | [`properties`], [`name`] | what a node says about its file or directory |
//! | [`fragments`] | a node's data, encrypted and cut into blocks: the hot path of every upload |
//! | [`chunk`], [`mod@file`] | how a file is cut into chunks, their labels and nodes |
//! | [`hash_tree`] | the hash tree over a file's content |
//! | [`directory`] | child lists and their changes, new directories and link nodes |
//! | [`rotation`] | new keys for an item and everything below it |
//! | [`home`] | the directories that every account has |
//! | [`transaction`] | what it takes to resume an interrupted upload |
//! | [`mime`] | mime types from first bytes and name |

pub mod capability;
pub mod chunk;
pub mod directory;
pub mod file;
pub mod fragments;
pub mod hash_tree;
pub mod home;
pub mod mime;
pub mod name;
pub mod node;
pub mod properties;
pub mod rotation;
pub mod transaction;

pub use capability::{AbsoluteCapability, Location, NamedRelativeCapability, RelativeCapability};
pub use chunk::{ChunkLabel, MapKey, StreamSecret};
pub use directory::ChildList;
pub use fragments::NodeData;
pub use name::FileName;
pub use node::{CryptreeNode, OpenNode};
pub use properties::FileProperties;
