//! What an application holds: an account that is logged in, and its files.
//!
//! ```text
//! Session::sign_up(transport, runtime, Settings::default(), SignUp { username, password, token })   make an account
//! Session::log_in(transport, runtime, Settings::default(), &username, &password, &())               open one
//! session.state() → bytes → Session::resume(…)                    hand it to another process, and go on there
//!
//! session.stat(&path)   list(&path)   listing(&path)   names(&path)   look
//! session.directory(&path)   home_directory() → Directory::upload(name, …)   make_directory(name)   share(&audience), …
//! session.upload(&path, &mut source, &options, &progress)         store one file
//! session.batch() → make_directory, put, … → finish()             store many with few round trips
//! session.download(&path, range, &mut sink, &progress)            fetch; read, read_range for small ones
//! session.file(&path)   children(&path) → File::download(…)       fetch many with few round trips
//! session.write_at  append  truncate                              change parts of a file
//! session.make_directory  make_directories  rename  copy  remove  arrange
//! session.follow(&name)   answer(&name, answer)   contacts()   unfollow(&name)   fingerprint(&name)
//! session.share(&path, &audience)   share_to_write(&path, &audience)   shares(&path)   shared_with_me()   groups()
//! session.create_link(&path, &options)   links(&path)   change_link(label, &change)   withdraw_link(label)
//! session.publish(&path)   unpublish(&path)   published()
//! OpenLink::open(transport, runtime, settings, &link, &password)  stat, list, download, upload, rename, remove without an account
//! session.messages()   write_to_operator(text, reply_to)   dismiss_message(id)
//! session.block(&name)   unblock(&name)   blocked()   profile(&name)   set_profile_field(field, content)
//! session.mirror_token()   mirror_here()   copy_login(&password)   mirrors()   announce_mirrors(&nodes)
//! session.home_node()   migrate()   promote()
//! session.space()   usage(&path)   change_password(&old, &new, &())   delete_account(&password, &())
//! ```
//!
//! Paths are [`RemotePath`]s, `/user/directory/file`. Content comes from a [`ContentSource`] and goes to a
//! [`ContentSink`]; [`Bytes`](bytes::Bytes) and `Vec<u8>` are ready ones. Whoever wants to show progress passes a closure
//! as [`Progress`], others `&()`.
//!
//! A session needs two things from the program around it: a [`Transport`](crate::api::Transport) that carries calls to
//! one node, and a [`Runtime`] that knows the time, draws random numbers and has threads to encrypt on.
//!
//! **The node is not trusted.** Blocks are hashed, pointers checked against their writer's key and against every earlier
//! one, listings proven by the tree that the writer signed, names by their chain of claims. A node that lies is named by a
//! [`ClientError`] of the kind [`ErrorKind::Untrustworthy`], and nothing of what it said reaches a sink.
//!
//! **Other devices are respected.** Each change is published with a compare-and-swap. Who loses the race applies the
//! change again to what the other device left. Where both stored the same file, both are kept: the second as a copy beside it
//! ([`Session::take_conflicts`]). Where both changed parts of the same file, the second call fails with
//! [`ClientError::Changed`].
//!
//! | module | holds |
//! |---|---|
//! | `network`, `cache` | calls, and the checks that every answer must pass |
//! | `tree`, `view`, `item` | look-ups with proofs, a consistent look at the tree, one opened node |
//! | `edit`, `moving`, `layout`, `commit`, `conflict` | changes to a view, and their publication |
//! | `upload`, `open_upload`, `batch`, `rewrite`, `seal` | writing files |
//! | `reading`, `listing`, `download`, `file` | looking, and reading files |
//! | `directory` | a directory that an application works in |
//! | `desk`, `people` | the account's small files about others, and who they are |
//! | `following`, `sharing`, `write_sharing`, `receiving`, `mirror` | friends, and what is shared with and by them |
//! | `groups`, `blocking` | all friends or all followers as one audience; whom the account sees nothing of |
//! | `profile`, `usage` | what users tell about themselves; how much each directory holds |
//! | `spaces` | writing spaces: new keys and signers for an item |
//! | `identity`, `links`, `publishing` | secret links and published files of an account |
//! | `open_link` | what a link leads to, opened without an account |
//! | `account`, `sign_up`, `first_login`, `deletion` | accounts |
//! | `home_node`, `mirror_nodes` | where the account lives, and which nodes mirror it |
//! | `messages` | writing with the operator of the node |

mod account;
mod apart;
mod batch;
mod blocking;
mod cache;
mod commit;
mod conflict;
mod content;
mod core;
mod deletion;
mod desk;
mod directory;
mod discovering;
mod download;
mod edit;
mod entry;
mod error;
mod file;
mod first_login;
mod following;
mod groups;
mod home_node;
mod identity;
mod item;
mod keys;
mod layout;
mod links;
mod listing;
mod messages;
mod mirror;
mod mirror_nodes;
mod moving;
mod network;
mod open_link;
mod open_upload;
mod path;
mod people;
mod profile;
mod progress;
mod publishing;
mod reading;
mod receiving;
mod revoke;
mod rewrite;
mod runtime;
mod seal;
mod session;
mod settings;
mod sharing;
mod sign_up;
mod spaces;
mod tree;
mod upload;
mod usage;
mod view;
mod write_sharing;

pub use account::{Password, SecondFactor};
pub use batch::{Batch, BatchCount};
pub use content::{ContentSink, ContentSource};
pub use directory::Directory;
pub use edit::IfExists;
pub use entry::{Entry, Name};
pub use error::{ClientError, ErrorKind};
pub use file::{Children, File};
pub use following::{Contact, Followed};
pub use groups::{Audience, AudienceError, Group};
pub use home_node::HomeNode;
pub use keys::SessionState;
pub use links::{LinkChange, LinkOptions, OwnLink};
pub use listing::{Listing, Unreadable};
pub use mirror_nodes::MirrorNodes;
pub use open_link::{LinkPasswordSource, OpenLink};
pub use path::{MAX_PATH_UNITS, PathError, RemotePath};
pub use profile::profile_path;
pub use progress::Progress;
pub use receiving::{Received, ReceivingFailure};
pub use revoke::{OtherAccess, Revoked, Taken};
pub use runtime::{InlineRuntime, RngSource, Runtime};
pub use session::{Session, Space};
pub use settings::Settings;
pub use sharing::{ReceivedShare, SharedItem};
pub use sign_up::SignUp;
pub use upload::UploadOptions;
pub use usage::Usage;
