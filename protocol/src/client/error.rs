//! What can go wrong for an application, by whose doing, and what helps.

use std::io;

use super::path::RemotePath;
use crate::api::{ApiError, CallError, TransportError};
use crate::encoding::{Cid, DecodeError};
use crate::keys::Writer;
use crate::names::Username;

/// Whose doing a failure is, and so who can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call cannot be done as it was asked: a path that is not there, a name that is taken.
    Usage,
    /// Who somebody is was not proven: unknown user, wrong password, a second factor.
    Authentication,
    /// Another device changed the same thing at the same time.
    Conflict,
    /// The node cannot be reached, is busy, or refuses.
    Node,
    /// The account's space is used up.
    Quota,
    /// The node answered with what it cannot have been given: it is broken or hostile. Nothing of it was used.
    Untrustworthy,
    /// The account holds data that cannot be read: damaged, or written by a program that breaks the format.
    Damaged,
    /// Reading or writing on this side failed.
    Local,
}

/// A failure of the client.
///
/// No text here contains a name, a path or any content: those stay in fields, for the application to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    // The caller's.
    /// Nothing has this path.
    #[error("no such file or directory")]
    NotFound {
        /// The path.
        path: RemotePath,
    },
    /// Something has this path already.
    #[error("a file or directory of this name exists already")]
    Exists {
        /// The path.
        path: RemotePath,
    },
    /// A directory is needed, and the path leads to a file.
    #[error("this is a file, not a directory")]
    NotADirectory {
        /// The path.
        path: RemotePath,
    },
    /// A file is needed, and the path leads to a directory.
    #[error("this is a directory, not a file")]
    IsADirectory {
        /// The path.
        path: RemotePath,
    },
    /// The directory has children, and its removal was asked for without them.
    #[error("the directory is not empty")]
    NotEmpty {
        /// The path.
        path: RemotePath,
    },
    /// A directory cannot go into itself.
    #[error("a directory cannot be moved or copied into itself")]
    IntoItself {
        /// The path.
        path: RemotePath,
    },
    /// The home directory can be neither renamed, moved nor removed.
    #[error("the home directory cannot be renamed, moved or removed")]
    Home,
    /// What a link led to was removed, or has other keys.
    #[error("what the link led to is not there any more")]
    DeadLink,
    /// The time of a link is over.
    #[error("the link has expired")]
    LinkExpired,
    /// A link was opened as often as its owner allows.
    #[error("the link was opened as often as its owner allows")]
    LinkUsedUp,
    /// The node has no such link (any more).
    #[error("the link does not exist, or was withdrawn")]
    LinkWithdrawn,
    /// The account has no link of this label.
    #[error("the account has no such link")]
    NoSuchLink,
    /// Nothing is published at the path itself.
    #[error("this is not published")]
    NotPublished,
    /// Somebody else changed the same file at the same time, and the two changes cannot be joined.
    #[error("somebody else changed this file at the same time")]
    Changed {
        /// The path.
        path: RemotePath,
    },
    /// Only the owner can do this.
    #[error("this belongs to somebody else")]
    NotOwner {
        /// The path.
        path: RemotePath,
    },
    /// The session holds no key that may write there.
    #[error("this session may read this but not change it")]
    ReadOnly {
        /// The path.
        path: RemotePath,
    },
    /// A range that the file does not have.
    #[error("the range lies outside the file of {size} bytes")]
    Range {
        /// Size of the file in bytes.
        size: u64,
    },
    /// A text is no username (`spec/06` §1.1).
    #[error("this is no valid username: lower case letters, digits and single hyphens, 1 to 32 characters")]
    InvalidUsername,
    /// A password that must not be used.
    #[error("{0}")]
    UnfitPassword(&'static str),

    // Who is who.
    /// Nobody has this name.
    #[error("no account of this name is known to the server")]
    UnknownUser,
    /// The account was deleted.
    #[error("the account of this name was deleted")]
    DeletedUser,
    /// The password does not open the account.
    #[error("wrong username or password")]
    WrongPassword,
    /// The passwords do not open the link.
    #[error("{}", if *needed { "the link needs a password besides the link itself, and this is not it" } else { "the link is not complete" })]
    LinkPassword {
        /// Whether the owner demands a password that does not stand in the link.
        needed: bool,
    },
    /// The account asks for a second factor; the session gave none, or a wrong one.
    #[error("the account asks for a second factor")]
    SecondFactor,
    /// The name belongs to somebody else.
    #[error("the username is taken")]
    NameTaken,
    /// The node takes no new accounts, or not with this token.
    #[error("the server does not accept this sign-up: {0}")]
    SignUpRefused(String),

    // Friends.
    /// What is done with others cannot be done with oneself.
    #[error("this is the account itself")]
    Oneself,
    /// The account follows the user already.
    #[error("this user is followed already")]
    AlreadyFollowed,
    /// The account does not follow the user.
    #[error("this user is not followed")]
    NotFollowed,
    /// Nothing can be shared with somebody who does not follow the account.
    #[error("this user does not follow the account, so nothing can be shared with them")]
    NotAFollower {
        /// Who.
        name: Username,
    },
    /// No follow request of the user waits for an answer.
    #[error("no follow request of this user is waiting for an answer")]
    NoRequest,
    /// The operator wrote no such message, or it was put away.
    #[error("there is no message {id} of the operator")]
    NoMessage {
        /// Its number.
        id: i64,
    },
    /// A follow request that the named user did not send.
    #[error("the follow request was not sent by the user whom it names; it was removed")]
    ForgedRequest,
    /// The other user's inbox takes no more requests.
    #[error("the inbox of this user is full")]
    InboxFull,
    /// The server shows another key for a name than before, and the old key did not name it.
    #[error(
        "the key of this user has changed, and the old key did not consent: it may not be the same person any more"
    )]
    KeyChanged {
        /// Whose key.
        name: Username,
    },

    // Other devices.
    /// Another device changed the same thing at the same time, repeatedly or in a way that cannot be joined.
    #[error("another device changed the same data at the same time")]
    Conflict,

    // The node.
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node refused.
    #[error("{call}: {source}")]
    Refused {
        /// Path of the call.
        call: &'static str,
        /// What the node said.
        source: ApiError,
    },
    /// The account's space is used up.
    #[error("{0}")]
    QuotaReached(String),

    // A node that lies.
    /// The bytes that came are not those that the name asks for.
    #[error("the server answered with a changed block instead of {cid}")]
    TamperedBlock {
        /// The block that was asked for.
        cid: Cid,
    },
    /// The node denies a block that the signed state of the account contains.
    #[error("the server withholds the block {cid}, which the signed state of the account contains")]
    WithheldBlock {
        /// The block that was asked for.
        cid: Cid,
    },
    /// The answer to a lookup neither proves the presence nor the absence of an entry, and holds blocks that do not
    /// belong to the tree.
    #[error("the server forged a listing: its answer does not belong to the tree {root}")]
    ForgedListing {
        /// Root of the tree that was asked.
        root: Cid,
    },
    /// The answer ends early or is no answer to the question.
    #[error("{call}: the server's answer is cut or malformed: {reason}")]
    CutAnswer {
        /// Path of the call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The pointer is older than one that this session has seen.
    #[error("the server went back in time: the pointer of {writer} has sequence {found:?} after {seen:?} was seen")]
    OldPointer {
        /// Whose pointer.
        writer: Writer,
        /// The highest sequence seen.
        seen: Option<i64>,
        /// The sequence that came.
        found: Option<i64>,
    },
    /// Two different pointers with the same sequence: the node shows different histories.
    #[error("the server shows two different states of {writer} with the same sequence")]
    ForkedPointer {
        /// Whose pointer.
        writer: Writer,
    },
    /// The node says that a pointer that this session has seen does not exist.
    #[error("the server withholds the pointer of {writer}, which this session has seen")]
    WithheldPointer {
        /// Whose pointer.
        writer: Writer,
    },
    /// A pointer that its writer did not sign.
    #[error("the pointer of {writer} is not signed by it")]
    ForgedPointer {
        /// Whose pointer.
        writer: Writer,
    },
    /// The state that a pointer leads to belongs to another writer.
    #[error("the server answered with the state of another writer than {writer}")]
    ForeignWriterData {
        /// The writer that was asked for.
        writer: Writer,
    },
    /// A chain of claims that does not prove that the name belongs to its last key.
    #[error("the server's proof of who owns the username is not valid")]
    ForgedClaim,
    /// The login data hold another identity than the one that owns the name.
    #[error("the login data belong to another identity than the username")]
    ForeignIdentity,
    /// A link to something that does not belong to the user whose it seems to be.
    #[error("the link is not genuine: what it leads to does not belong to the user whose it seems to be")]
    ForgedLink,
    /// Login data that the key which the node accepted does not open.
    #[error("the login data do not open with the key that the server accepted for them: damaged or exchanged")]
    ForgedLogin,
    /// Derivation parameters that would exhaust this machine, or make the password easy to guess.
    #[error("the server asks for unfit password derivation parameters: {0}")]
    UnfitDerivation(String),

    // The data.
    /// Decrypted or signed data that break their format.
    #[error("{what} cannot be read: {source}")]
    Damaged {
        /// Which structure.
        what: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// Data that the key at hand does not open.
    #[error("{0} cannot be decrypted with the key that leads to it")]
    WrongKey(&'static str),
    /// Something that the node does not hand out for the access token that its directory names.
    #[error("the access token that the directory above it names does not open it")]
    Locked,
    /// Data that contradict other data of the account.
    #[error("the account's data are inconsistent: {0}")]
    Inconsistent(&'static str),

    // This side.
    /// The source of an upload, or the sink of a download, failed.
    #[error("reading or writing on this side failed: {0}")]
    Local(#[from] io::Error),
    /// A source gave another number of bytes than it had announced.
    #[error("the file changed while it was read: {found} bytes instead of {announced}")]
    SourceChanged {
        /// What it had announced.
        announced: u64,
        /// What came.
        found: u64,
    },
    /// A limit of the format.
    #[error("{0}")]
    Limit(&'static str),
    /// Cryptography refused, for example for want of memory.
    #[error(transparent)]
    Crypto(#[from] pyrgos_crypto::Error),
}

impl ClientError {
    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        use ClientError as E;
        match self {
            E::NotFound { .. }
            | E::Exists { .. }
            | E::NotADirectory { .. }
            | E::IsADirectory { .. }
            | E::NotEmpty { .. }
            | E::IntoItself { .. }
            | E::Home
            | E::NotOwner { .. }
            | E::DeadLink
            | E::LinkExpired
            | E::LinkUsedUp
            | E::LinkWithdrawn
            | E::NoSuchLink
            | E::NotPublished
            | E::ReadOnly { .. }
            | E::Range { .. }
            | E::InvalidUsername
            | E::UnfitPassword(_)
            | E::Oneself
            | E::AlreadyFollowed
            | E::NotFollowed
            | E::NotAFollower { .. }
            | E::NoRequest
            | E::NoMessage { .. }
            | E::ForgedRequest
            | E::Limit(_) => ErrorKind::Usage,
            E::UnknownUser
            | E::DeletedUser
            | E::WrongPassword
            | E::LinkPassword { .. }
            | E::SecondFactor
            | E::NameTaken => ErrorKind::Authentication,
            E::Conflict | E::Changed { .. } => ErrorKind::Conflict,
            E::Transport(_) | E::Refused { .. } | E::SignUpRefused(_) | E::InboxFull => ErrorKind::Node,
            E::QuotaReached(_) => ErrorKind::Quota,
            E::TamperedBlock { .. }
            | E::WithheldBlock { .. }
            | E::ForgedListing { .. }
            | E::CutAnswer { .. }
            | E::OldPointer { .. }
            | E::ForkedPointer { .. }
            | E::WithheldPointer { .. }
            | E::ForgedPointer { .. }
            | E::ForeignWriterData { .. }
            | E::ForgedClaim
            | E::KeyChanged { .. }
            | E::ForeignIdentity
            | E::ForgedLink
            | E::ForgedLogin
            | E::UnfitDerivation(_) => ErrorKind::Untrustworthy,
            E::Damaged { .. } | E::WrongKey(_) | E::Locked | E::Inconsistent(_) => ErrorKind::Damaged,
            E::Local(_) | E::SourceChanged { .. } | E::Crypto(_) => ErrorKind::Local,
        }
    }

    /// What the user can do, in one sentence.
    pub fn guidance(&self) -> &'static str {
        use ClientError as E;
        match self {
            E::NotFound { .. } => "List the directory above it to see what is there.",
            E::Exists { .. } => "Choose another name, or ask for it to be replaced.",
            E::NotEmpty { .. } => "Ask for removal with everything below it.",
            E::UnknownUser => "Check the spelling of the username and the server's address.",
            E::WrongPassword => "Check the password; upper and lower case count.",
            E::DeadLink | E::LinkExpired | E::LinkUsedUp | E::LinkWithdrawn => "Ask the link's owner for a new one.",
            E::NoSuchLink => "List the links to see which there are.",
            E::LinkPassword { needed: true } => "Ask the link's owner for the password.",
            E::LinkPassword { needed: false } => "Check that the whole link was copied, with what stands behind the #.",
            E::ForgedLink => "Do not trust what the link shows. Ask the person who gave it to you.",
            E::SecondFactor => "Give the current code of the account's second factor.",
            E::NameTaken => "Choose another username.",
            // What is over after a while says so.
            E::SignUpRefused(reason) if reason.contains("in time") => "Try again in a minute.",
            E::SignUpRefused(_) => "Ask the server's operator for a sign-up token.",
            E::Transport(_) => "Check the network and the server's address, then try again.",
            E::Changed { .. } => "Look at what it is now, then try again.",
            E::NotOwner { .. } => "Share it to read; who may write is for its owner to say.",
            E::Conflict => "Try again: the change starts from what the other device wrote.",
            E::AlreadyFollowed => "There is nothing to do.",
            E::NotFollowed => "See whom the account follows.",
            E::NotAFollower { .. } => "Let them follow this account first.",
            E::NoRequest => "See which requests are waiting; a request may be under another name.",
            E::ForgedRequest => "Somebody used the name of another user. Ask the user over another channel.",
            E::InboxFull => "Try again when the other user has answered some requests.",
            E::KeyChanged { .. } => {
                "Nothing was sent. Ask the person over another channel: the server may be lying, or the account was made \
                 anew by somebody."
            }
            E::QuotaReached(_) => "Remove files, or ask the server's operator for more space.",
            E::SourceChanged { .. } => "Try again when nothing writes to the file.",
            _ => match self.kind() {
                ErrorKind::Usage => "Correct the command.",
                ErrorKind::Authentication => "Check the username and the password.",
                ErrorKind::Conflict | ErrorKind::Node => "Try again later.",
                ErrorKind::Quota => "Make room.",
                ErrorKind::Untrustworthy => {
                    "Do not trust this server: nothing of its answer was used. Compare with another server or a mirror, \
                     and tell its operator."
                }
                ErrorKind::Damaged => "Read it with the program that wrote it, or restore it from a copy.",
                ErrorKind::Local => "Check the disk and the permissions on this side.",
            },
        }
    }

    /// Whether the same call may succeed when it is repeated without any change.
    pub fn may_retry(&self) -> bool {
        match self {
            ClientError::Conflict | ClientError::SourceChanged { .. } | ClientError::Transport(_) => true,
            ClientError::Refused { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// The failure of one call.
    pub(crate) fn of_call(call: &'static str, error: CallError) -> Self {
        match error {
            CallError::Transport(error) => ClientError::Transport(error),
            CallError::Api(ApiError::QuotaReached(message)) => ClientError::QuotaReached(message),
            CallError::Api(ApiError::Malformed(reason)) => ClientError::CutAnswer { call, reason },
            CallError::Api(source) => ClientError::Refused { call, source },
        }
    }

    /// Data that break their format.
    pub(crate) fn damaged(what: &'static str) -> impl FnOnce(DecodeError) -> ClientError {
        move |source| ClientError::Damaged { what, source }
    }
}
