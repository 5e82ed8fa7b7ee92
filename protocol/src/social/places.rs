//! Where the files of the social layer lie (`spec/05` §1). Paths here are relative to the user's home directory and have
//! no slash in front. A missing file means an empty one.

use super::group::GroupUid;
use super::shared_with::Recipient;
use crate::cryptree::FileName;
use crate::cryptree::home::{CAPABILITY_CACHE, OUTBOUND, SHARED, WORLD};
use crate::names::Username;

/// Below [`SHARED`]: our groups, a [`super::Groups`].
pub const GROUPS: &str = ".groups.cbor";

/// Our open follow requests, a [`super::friends::PendingSocialState`]. Hidden.
pub const SOCIAL_STATE: &str = ".social-state.cbor";

/// The sharing directories of those we follow, a stream of entry points. Hidden.
pub const FROM_FRIENDS: &str = ".from-friends.cborstream";

/// The groups that friends put us in, a [`super::FriendsGroups`]; despite the name a single item. Hidden.
pub const GROUPS_FROM_FRIENDS: &str = ".groups-from-friends.cborstream";

/// Whom we blocked, a [`super::friends::Blocked`]. Hidden.
pub const BLOCKED: &str = ".blocked-usernames.txt";

/// Whose keys we compared, a stream of [`super::FriendAnnotation`]. Hidden.
pub const ANNOTATIONS: &str = ".annotations";

/// In a sharing directory: what is granted to read.
pub const SHARING_READ: &str = "sharing.r";

/// In a sharing directory: what is granted to write.
pub const SHARING_WRITE: &str = "sharing.w";

/// In a directory of the `world` mirror: what was received there, a [`super::CapsInDirectory`].
pub const ITEMS: &str = "items.cbor";

/// In a directory of the `outbound` mirror: who its files are shared with, a [`super::SharedWithState`].
pub const SHARED_WITH: &str = "sharedWith.cbor";

/// The directory that holds what one person or group is granted.
pub fn sharing_directory(recipient: &Recipient) -> String {
    format!("{SHARED}/{recipient}")
}

/// How far a friend's streams have been read.
pub fn incoming(friend: &Username) -> String {
    format!("{CAPABILITY_CACHE}/{friend}$incoming.cbor")
}

/// Capabilities of a friend that counted as read but did not open, a stream like `sharing.r`. A file of this client, which
/// others pass over: to them such a capability is lost (`spec/05` §4.3).
pub fn unopened(friend: &Username) -> String {
    format!("{CAPABILITY_CACHE}/{friend}$unopened.cborstream")
}

/// The directory of the whole `world` mirror.
pub fn world_root() -> String {
    format!("{CAPABILITY_CACHE}/{WORLD}")
}

/// The directory of the `world` mirror for a directory of somebody: the owner's name, then the names below his home
/// directory.
pub fn world(owner: &Username, names: &[FileName]) -> String {
    mirrored(WORLD, owner, names)
}

/// The directory of the `outbound` mirror for one of our directories.
pub fn outbound(us: &Username, names: &[FileName]) -> String {
    mirrored(OUTBOUND, us, names)
}

/// Path of a group's sharing directory as its owner's friends see it, `/owner/shared/.uid`: the key in
/// [`super::FriendsGroups`].
pub fn group_path(owner: &Username, group: &GroupUid) -> String {
    format!("/{owner}/{SHARED}/{group}")
}

fn mirrored(mirror: &str, owner: &Username, names: &[FileName]) -> String {
    let names = names.iter().flat_map(|name| ["/", name.as_str()]);
    [CAPABILITY_CACHE, "/", mirror, "/", owner.as_str()].into_iter().chain(names).collect()
}
