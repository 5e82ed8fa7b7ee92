//! What others share with this account, and what goes wrong with it, kept apart from everything that goes well.
//!
//! A friend can hand out a capability that leads to nonsense, publish a broken tree, or sign two states at once. None of
//! it may keep the shares of other friends from this account; so each friend, and each record of a friend, fails by
//! itself. What does not open is kept and tried again at the next look: what it leads to may have been published later
//! than the record, or its owner could not be asked.

use std::collections::{BTreeMap, VecDeque};

use futures_util::stream::{self, StreamExt};

use super::apart::AT_ONCE;
use super::core::on_current_state;
use super::desk::Desk;
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::path::RemotePath;
use super::runtime::Runtime;
use super::session::Session;
use super::sharing::ReceivedShare;
use crate::api::Transport;
use crate::cryptree::home::SHARED;
use crate::cryptree::{AbsoluteCapability, FileName};
use crate::keys::Writer;
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

/// Something that was received.
struct Wanted {
    directory: RemotePath,
    cap: AbsoluteCapability,
    /// Who is named if it cannot be read.
    friend: Username,
    sharers: Vec<Username>,
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// What was received, by the writing space in which it lies. Group directories are left out, and what only blocked
    /// people share.
    async fn wanted(&mut self) -> Result<BTreeMap<Writer, Vec<Wanted>>, ClientError> {
        let blocked = self.blocked().await?;
        let mut wanted: BTreeMap<Writer, Vec<Wanted>> = BTreeMap::new();
        for (owner, names, items) in self.mirror().await? {
            let Ok(user) = FileName::new(owner.as_str()) else { continue };
            if matches!(&names[..], [shared] if shared.as_str() == SHARED) {
                continue;
            }
            let directory = names.iter().fold(RemotePath::home(user), |path, name| path.join(name.clone()));
            for element in items.iter() {
                let sharers = element.sharers.iter().filter(|name| !blocked.contains(name));
                let sharers: Vec<Username> = sharers.cloned().collect();
                let Some(friend) = sharers.first().cloned() else { continue };
                let (directory, cap) = (directory.clone(), element.capability.clone());
                wanted.entry(cap.writer.clone()).or_default().push(Wanted { directory, cap, friend, sharers });
            }
        }
        Ok(wanted)
    }

    /// Opens what was received in one writing space.
    async fn open_wanted(&mut self, wanted: Vec<Wanted>) -> Result<Received, ClientError> {
        let mut received = Received::default();
        let opened = self.open_all_received(wanted.iter().map(|wanted| wanted.cap.clone())).await;
        let opened = match self.set_aside(opened).await? {
            Ok(opened) => opened,
            Err(error) => {
                let friend = wanted.into_iter().next().map(|wanted| wanted.friend);
                received.failures.extend(friend.map(|friend| ReceivingFailure { friend, error }));
                return Ok(received);
            }
        };
        for (Wanted { directory, friend, sharers, .. }, opened) in wanted.into_iter().zip(opened) {
            match self.set_aside(opened).await? {
                Ok(Some(item)) => {
                    let path = directory.join(item.name().clone());
                    received.shares.push(ReceivedShare { path, sharers, entry: Entry::of(&item) });
                }
                Ok(None) => {}
                Err(error) => received.failures.push(ReceivingFailure { friend, error }),
            }
        }
        Ok(received)
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Everything that others share with this account and that can be opened, sorted by path. What one friend shares does
    /// not depend on what another one broke; [`received`](Self::received) tells what is broken.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn shared_with_me(&self) -> Result<Vec<ReceivedShare>, ClientError> {
        self.received().await.map(|received| received.shares)
    }

    /// As [`shared_with_me`](Self::shared_with_me), with what friends share and cannot be read.
    ///
    /// # Errors
    /// As [`shared_with_me`](Self::shared_with_me).
    pub async fn received(&self) -> Result<Received, ClientError> {
        let mut all = Received { shares: Vec::new(), failures: self.receive(None).await? };
        let core = self.shared_core();
        let opened = on_current_state!(core, |view| {
            let mut desk = Desk::new(view);
            let wanted = desk.wanted().await?;
            let open = |wanted: Vec<Wanted>| {
                let mut apart = desk.apart();
                async move {
                    let opened = apart.desk().open_wanted(wanted).await;
                    (apart, opened)
                }
            };
            let opens: Vec<_> = wanted.into_values().map(open).collect();
            let opens: Vec<_> = stream::iter(opens).buffered(AT_ONCE).collect().await;
            let mut all = Vec::new();
            for (apart, opened) in opens {
                desk.join(apart).await?;
                all.push(opened?);
            }
            Ok(all)
        })?;
        for mut opened in opened {
            all.shares.append(&mut opened.shares);
            all.failures.append(&mut opened.failures);
        }
        all.shares.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }
}
