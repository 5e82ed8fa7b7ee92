#![no_main]
use pyrgos_protocol::social::{
    BlindFollowRequest, CapsInDirectory, FollowRequest, FriendAnnotation, FriendsGroups, Groups, ProcessedCaps,
    ServerMessage, SharedWithState, TofuKeyStore,
};
pyrgos_fuzz::structures!(
    BlindFollowRequest,
    CapsInDirectory,
    FollowRequest,
    FriendAnnotation,
    FriendsGroups,
    Groups,
    ProcessedCaps,
    ServerMessage,
    SharedWithState,
    TofuKeyStore
);
