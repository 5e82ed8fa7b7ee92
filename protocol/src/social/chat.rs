//! Chats: a log of signed messages, of which each member keeps a full copy and takes over what the copies of others have
//! more (`spec/05` §10). Formats and rules; fetching and storing the copies is the client's.
//!
//! | module | holds |
//! |---|---|
//! | [`clock`] | who a member is in the tree of invitations, and what has been heard from whom |
//! | [`id`] | the names of chats |
//! | [`member`] | members, and what each knows alone |
//! | [`message`] | messages, signed and plain |
//! | [`state`] | what follows from a log: who takes part, properties, what is new in another's log |
//! | [`index`] | where in the log to begin |

pub mod clock;
pub mod id;
pub mod index;
pub mod member;
pub mod message;
pub mod state;

pub use clock::{MemberId, TreeClock};
pub use id::ChatId;
pub use index::LogIndex;
pub use member::{Member, PrivateChatState};
pub use message::{Message, MessageEnvelope, MessageRef, SignedMessage};
pub use state::{ChatError, ChatState, Merge};

/// Below the home directory: one directory for each chat, named by its id. Hidden.
pub const MESSAGING: &str = ".messaging";

/// In a chat's directory: our own key, a [`PrivateChatState`].
pub const PRIVATE_STATE: &str = "private-chat-state.cbor";

/// In a chat's directory: what the members may read.
pub const SHARED_WITH_MEMBERS: &str = "shared";

/// In [`SHARED_WITH_MEMBERS`]: a [`ChatState`].
pub const CHAT_STATE: &str = "peergos-chat-state.cbor";

/// In [`SHARED_WITH_MEMBERS`]: the log, a stream of [`SignedMessage`].
pub const MESSAGES: &str = "peergos-chat-messages.cborstream";

/// In [`SHARED_WITH_MEMBERS`]: a [`LogIndex`].
pub const MESSAGE_INDEX: &str = "peergos-chat-messages.index.bin";
