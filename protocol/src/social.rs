//! Following and sharing: what a user keeps about friends and shares, and the messages that make friends (`spec/05`
//! §1–§6, §8–§11). Formats and decisions; fetching and storing is the client's.
//!
//! | module | holds |
//! |---|---|
//! | [`places`] | where each of the files below lies |
//! | [`follow`] | follow requests and the blind form in which they travel |
//! | [`inbox`] | what the requests in an inbox mean, and what is to be done about each |
//! | [`friends`] | whom we follow, asked and blocked |
//! | [`keystore`] | the keys of friends as they were first seen |
//! | [`annotation`] | the friends whose keys were compared |
//! | [`stream`] | the capabilities that somebody was granted, one behind the other |
//! | [`discovery`] | how far a friend's streams have been read |
//! | [`world`] | the received capabilities, by path |
//! | [`group`] | groups of friends, our own and those of others |
//! | [`shared_with`] | who our own files are shared with |
//! | [`profile`] | what a user tells about himself |
//! | [`post`] | posts, and references to files |
//! | [`feed`] | what friends have shared, in the order in which it was found |
//! | [`chat`] | chats: messages that members sign, and the rules for taking them in |
//! | [`message`] | messages between a user and the operator of the node |

pub mod annotation;
pub mod chat;
pub mod discovery;
pub mod feed;
pub mod follow;
pub mod friends;
pub mod group;
pub mod inbox;
pub mod keystore;
pub mod message;
pub mod places;
pub mod post;
pub mod profile;
pub mod shared_with;
pub mod stream;
pub mod world;

pub use annotation::FriendAnnotation;
pub use discovery::ProcessedCaps;
pub use feed::{FeedState, SharedItem};
pub use follow::{Answer, BlindFollowRequest, FollowRequest, ReceivedFollowRequest};
pub use group::{FriendsGroups, GroupKind, GroupUid, Groups};
pub use inbox::Inbox;
pub use keystore::TofuKeyStore;
pub use message::ServerMessage;
pub use post::{FileRef, SocialPost};
pub use shared_with::{Access, Recipient, SharedWithState};
pub use world::CapsInDirectory;
