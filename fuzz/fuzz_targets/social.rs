#![no_main]
use pyrgos_protocol::social::chat::{ChatState, MessageEnvelope, PrivateChatState, SignedMessage};
use pyrgos_protocol::social::{
    BlindFollowRequest, CapsInDirectory, FeedState, FollowRequest, FriendAnnotation, FriendsGroups, Groups,
    ProcessedCaps, ServerMessage, SharedItem, SharedWithState, SocialPost, TofuKeyStore,
};
pyrgos_fuzz::structures!(
    BlindFollowRequest,
    CapsInDirectory,
    ChatState,
    FeedState,
    FollowRequest,
    FriendAnnotation,
    FriendsGroups,
    Groups,
    MessageEnvelope,
    PrivateChatState,
    ProcessedCaps,
    ServerMessage,
    SharedItem,
    SharedWithState,
    SignedMessage,
    SocialPost,
    TofuKeyStore
);
