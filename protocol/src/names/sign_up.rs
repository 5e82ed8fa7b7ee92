//! The operation log of a sign-up: a whole account in one request (`spec/06` §1.8).

use std::time::Duration;

use bytes::Bytes;

use super::{Chain, ChainError, Username};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{Owner, PublicSigningKey, SignedError, SignedRequest, Writer};
use crate::login::{BlockWrite, LoginData};
use crate::merkle::bat::BatWithId;
use crate::merkle::pointer::{PointerUpdate, SignedPointerUpdate};

/// The largest log that a server reads, in bytes. Existing servers stop at 64 KiB, which existing clients come close to
/// (`spec/04` §20.9).
pub const MAX_LOG_BYTES: usize = 256 * 1024;

/// How far the request to keep the mirror token may be from a server's time. Clients sign it before they work for the
/// difficulty that the server asks for, which may take long.
pub const SIGN_UP_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The call that the mirror token's authorisation is made out to.
pub const ADD_BAT_PATH: &str = "peergos/v0/bats/addBat";

/// One step of a sign-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store a block.
    Block(BlockWrite),
    /// Move a pointer.
    Pointer(SignedPointerUpdate),
}

impl Operation {
    /// Whose write it is.
    pub fn writer(&self) -> &Writer {
        match self {
            Operation::Block(write) => &write.writer,
            Operation::Pointer(write) => &write.writer,
        }
    }
}

impl ToCbor for Operation {
    fn to_cbor(&self) -> Value {
        match self {
            Operation::Block(write) => write.to_cbor(),
            Operation::Pointer(write) => write.to_cbor(),
        }
    }
}

impl FromCbor for Operation {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        match value.fields("operation")?.optional("r") {
            Some(_) => Ok(Operation::Block(BlockWrite::from_cbor(value)?)),
            None => Ok(Operation::Pointer(SignedPointerUpdate::from_cbor(value)?)),
        }
    }
}

/// Login data with the identity's signature over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorisedLogin {
    /// The login data.
    pub data: LoginData,
    /// The bare signature, 64 bytes.
    pub auth: Bytes,
}

/// The mirror token with the identity's request to keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorisedBat {
    /// The token.
    pub bat: BatWithId,
    /// `signed(identity, request for `[`ADD_BAT_PATH`]`)`.
    pub auth: Bytes,
}

/// Everything that makes an account, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OperationLog {
    /// Blocks and pointers.
    pub operations: Vec<Operation>,
    /// Absent for accounts of the old kind.
    pub login: Option<AuthorisedLogin>,
    /// The token that the owner's mirrors show.
    pub mirror_bat: Option<AuthorisedBat>,
}

/// Why a sign-up is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignUpError {
    /// A sign-up makes the first claim of a name.
    #[error("a sign-up has one claim, not {0}")]
    Links(usize),
    /// The claim is not valid.
    #[error(transparent)]
    Claim(#[from] ChainError),
    /// The owner's key is not inside its hash, as the keys of new accounts are.
    #[error("the key of {0} is not inside its hash")]
    UnknownKey(Writer),
    /// A write that its writer did not sign.
    #[error("operation {0} is not signed by its writer")]
    Operation(usize),
    /// Login data for another name.
    #[error("the login data are for another user")]
    LoginName,
    /// Login data that the identity did not authorise.
    #[error("the login data are not authorised by the new identity")]
    LoginAuth,
    /// A change of the password has no place in a sign-up.
    #[error("the login data of a sign-up move no pointer")]
    LoginMoves,
    /// The request to keep the mirror token is not the identity's, or old.
    #[error("the mirror token is not authorised: {0}")]
    Bat(#[source] SignedError),
    /// The mirror token has a name that is not its own.
    #[error("the mirror token does not have the name that it is sent with")]
    BatName,
}

impl OperationLog {
    /// Reads a log from the network.
    ///
    /// # Errors
    /// Above [`MAX_LOG_BYTES`], or malformed.
    pub fn from_request(body: &Bytes) -> Result<Self, DecodeError> {
        if body.len() > MAX_LOG_BYTES {
            return Err(DecodeError::invalid("operation log", format!("{} bytes", body.len())));
        }
        OperationLog::from_cbor(&Value::decode_shared(body)?)
    }

    /// Appends a block unless the log has it already.
    pub fn push_block(&mut self, write: BlockWrite) {
        let known = |operation: &Operation| matches!(operation, Operation::Block(known) if known.block == write.block && known.is_raw == write.is_raw);
        if !self.operations.iter().any(known) {
            self.operations.push(Operation::Block(write));
        }
    }

    /// Every check that a server can make before it stores anything (`spec/06` §1.8, `spec/01` §12.3): the claim is
    /// the valid first one of `username`, every write is signed by its writer, the login data are this user's and
    /// authorised by the identity, and so is the mirror token, at most [`SIGN_UP_WINDOW`] before or after `now_millis`.
    ///
    /// Left to the server, which has the stored state: that the name is free, that the claim names this server, that
    /// writers other than the owner ([`OperationLog::other_writers`]) are owned by it once the log is replayed, and the
    /// compare-and-swap of the pointers.
    ///
    /// # Errors
    /// [`SignUpError`] says what is refused.
    pub fn verify(&self, username: &Username, claim: &Chain, now_millis: i64) -> Result<Owner, SignUpError> {
        let [link] = claim.0.as_slice() else {
            return Err(SignUpError::Links(claim.0.len()));
        };
        claim.verify(username, Owner::signing_key)?;
        let owner = &link.owner;
        let identity = inline_key(&owner.into())?;
        for (at, operation) in self.operations.iter().enumerate() {
            let key = inline_key(operation.writer())?;
            let signed = match operation {
                Operation::Block(write) => write.is_signed_by(&key),
                Operation::Pointer(write) => PointerUpdate::open(&key, &write.signed).is_ok(),
            };
            if !signed {
                return Err(SignUpError::Operation(at));
            }
        }
        if let Some(login) = &self.login {
            login.verify(username, &identity)?;
        }
        if let Some(bat) = &self.mirror_bat {
            bat.verify(&identity, now_millis, SIGN_UP_WINDOW)?;
        }
        Ok(owner.clone())
    }

    /// The writers of the log besides the owner, each once, in order.
    pub fn other_writers(&self, owner: &Owner) -> Vec<&Writer> {
        let mut writers: Vec<&Writer> = Vec::new();
        for writer in self.operations.iter().map(Operation::writer) {
            if writer.key_hash() != owner.key_hash() && !writers.contains(&writer) {
                writers.push(writer);
            }
        }
        writers
    }
}

impl AuthorisedLogin {
    fn verify(&self, username: &Username, identity: &PublicSigningKey) -> Result<(), SignUpError> {
        if self.data.username != *username {
            return Err(SignUpError::LoginName);
        }
        if self.data.identity_update.is_some() {
            return Err(SignUpError::LoginMoves);
        }
        self.data.verify(&self.auth, identity).map_err(|_| SignUpError::LoginAuth)
    }
}

impl AuthorisedBat {
    fn verify(&self, identity: &PublicSigningKey, now_millis: i64, window: Duration) -> Result<(), SignUpError> {
        if !self.bat.id().is_of(self.bat.bat()) {
            return Err(SignUpError::BatName);
        }
        SignedRequest::check(&self.auth, ADD_BAT_PATH, identity, now_millis, window).map_err(SignUpError::Bat)?;
        Ok(())
    }
}

fn inline_key(writer: &Writer) -> Result<PublicSigningKey, SignUpError> {
    writer.signing_key().ok_or_else(|| SignUpError::UnknownKey(writer.clone()))
}

impl ToCbor for OperationLog {
    fn to_cbor(&self) -> Value {
        let mut entries = vec![("ops", Value::list(&self.operations))];
        if let Some(login) = &self.login {
            entries.extend([("login", login.data.to_cbor()), ("loginAuth", Value::Bytes(login.auth.clone()))]);
        }
        if let Some(bat) = &self.mirror_bat {
            entries.extend([("b", bat.bat.to_cbor()), ("a", Value::Bytes(bat.auth.clone()))]);
        }
        Value::map(entries)
    }
}

impl FromCbor for OperationLog {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("operation log")?;
        let login = match fields.get_optional("login")? {
            Some(data) => Some(AuthorisedLogin { data, auth: fields.bytes("loginAuth")?.clone() }),
            None => None,
        };
        let mirror_bat = match fields.get_optional("b")? {
            Some(bat) => Some(AuthorisedBat { bat, auth: fields.bytes("a")?.clone() }),
            None => None,
        };
        Ok(OperationLog { operations: fields.required("ops")?.as_list_of()?, login, mirror_bat })
    }
}
