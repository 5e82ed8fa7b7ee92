//! Why the service did not do what was asked.

use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::encoding::DecodeError;
use pyrgos_protocol::merkle::block::BlockError;
use pyrgos_protocol::merkle::pointer::PointerRefused;
use pyrgos_store::StoreError;

/// A refusal that the caller earned, or a fault of this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The caller's fault, or its bad luck. The text goes to the caller.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The store failed. The text stays here.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// What the store gave back is not what this node wrote.
    #[error("damaged record: {0}")]
    Damaged(&'static str),
}

impl Failure {
    /// A refusal with a text for the caller.
    pub fn refused(message: impl Into<String>) -> Self {
        Failure::Refused(ApiError::refused(message))
    }

    /// More is asked of the node than it does at once. Clients take 503 as "try again later".
    pub fn busy() -> Self {
        Failure::Refused(ApiError::RateLimited(503, "The server is busy".to_owned()))
    }

    /// What the caller hears. Faults of this node are told without their cause.
    pub fn into_api(self) -> ApiError {
        match self {
            Failure::Refused(error) => error,
            // Clients take 503 as "try again later".
            Failure::Store(StoreError::DiskFull) => ApiError::RateLimited(503, "The server's disk is full".to_owned()),
            Failure::Store(_) | Failure::Damaged(_) => {
                ApiError::Refused { status: 500, message: "Internal server error".to_owned() }
            }
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Failure::Refused(error.into())
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        Failure::refused(error.to_string())
    }
}

impl From<PointerRefused> for Failure {
    fn from(refused: PointerRefused) -> Self {
        match refused {
            PointerRefused::Stored => Failure::Damaged("pointer"),
            // Two texts that existing clients and operators know; the rest says it in its own words.
            PointerRefused::TargetAbsent(cid) => {
                Failure::refused(format!("Couldn't retrieve WriterData from dht! {cid}"))
            }
            PointerRefused::Sequence { stored, claimed } => {
                let optional = |sequence: Option<i64>| match sequence {
                    Some(sequence) => format!("Optional[{sequence}]"),
                    None => "Optional.empty".to_owned(),
                };
                Failure::refused(format!(
                    "Invalid sequence number update in mutable pointer: {} => {}",
                    optional(stored),
                    optional(claimed)
                ))
            }
            other => Failure::refused(other.to_string()),
        }
    }
}
