//! What goes wrong with what others share, kept apart from everything that goes well.
//!
//! A friend can hand out a capability that leads to nonsense, publish a broken tree, or sign two states at once. None of
//! it may keep the shares of other friends from this account; so each friend, and each record of a friend, fails by
//! itself. What does not open is kept and tried again at the next look: what it leads to may have been published later
//! than the record, or its owner could not be asked.

use std::collections::VecDeque;

use super::desk::Desk;
use super::error::{ClientError, ErrorKind};
use super::runtime::Runtime;
use super::sharing::ReceivedShare;
use crate::api::Transport;
use crate::cryptree::AbsoluteCapability;
use crate::names::Username;
use crate::social::places;
use crate::social::stream::{Records, write_all};

/// Most capabilities of one friend that are tried again; older ones give way. Those that a friend has revoked before
/// they were ever seen stay here, and cost one look-up together.
const MAX_UNOPENED: usize = 32;

/// Something of somebody else's that could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceivingFailure {
    /// Who shares it.
    pub friend: Username,
    /// Why it could not be read.
    pub error: ClientError,
}

/// What others share with this account.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Received {
    /// What can be opened, sorted by path.
    pub shares: Vec<ReceivedShare>,
    /// What is provably wrong, or cannot be read.
    pub failures: Vec<ReceivingFailure>,
}

/// Whether a failure is about what somebody else made or about what the node says of it, so that other things still
/// work. All others, such as a lost connection, end the call.
pub(crate) fn is_about_others(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { source, .. } => !source.is_transient(),
        error => matches!(
            error.kind(),
            ErrorKind::Untrustworthy | ErrorKind::Damaged | ErrorKind::Usage | ErrorKind::Authentication
        ),
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Sets a failure that is about somebody else aside: it comes back as a value. A failure that the view caused, since
    /// its state has been replaced meanwhile, stays one, so that the call is made again.
    pub(crate) async fn set_aside<O>(
        &mut self,
        result: Result<O, ClientError>,
    ) -> Result<Result<O, ClientError>, ClientError> {
        let error = match result {
            Err(error) if is_about_others(&error) => error,
            other => return other.map(Ok),
        };
        // Pointers that cannot be read now either are no reason to try again.
        match self.view.core.try_again(&mut 0, &error, self.view).await {
            Ok(true) => Err(error),
            _ => Ok(Err(error)),
        }
    }

    /// The capabilities of a friend that did not open at earlier looks.
    pub(crate) async fn unopened(&mut self, friend: &Username) -> Result<VecDeque<AbsoluteCapability>, ClientError> {
        let content = self.read(&places::unopened(friend)).await?.unwrap_or_default();
        Ok(Records::read(&content, 0).records.into_iter().map(|record| record.capability).collect())
    }

    /// Keeps what did not open for the next look.
    pub(crate) fn put_unopened(&mut self, friend: &Username, mut caps: VecDeque<AbsoluteCapability>) {
        while caps.len() > MAX_UNOPENED {
            caps.pop_front();
        }
        self.write(&places::unopened(friend), write_all(&caps), false);
    }
}
