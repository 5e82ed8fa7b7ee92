//! Taking in what friends have shared since the last look (`spec/05` §4.3).
//!
//! Each friend is looked at on a [copy of the view](super::apart), several at once. What was found is then put down one
//! after the other, and published together.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::apart::AT_ONCE;
use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::{Desk, part};
use super::download::OpenFile;
use super::error::ClientError;
use super::item::{Item, Reached};
use super::path::RemotePath;
use super::receiving::{ReceivingFailure, is_about_others};
use super::runtime::Runtime;
use super::session::Session;
use super::sharing::{lenient, user_of};
use crate::api::Transport;
use crate::cryptree::AbsoluteCapability;
use crate::cryptree::home::{CAPABILITY_CACHE, KEYSTORE, SHARED, WORLD};
use crate::login::EntryPoint;
use crate::names::Username;
use crate::social::places::{
    self, BLOCKED, FROM_FRIENDS, GROUPS_FROM_FRIENDS, SHARING_READ, SHARING_WRITE, SOCIAL_STATE,
};
use crate::social::shared_with::Access;
use crate::social::stream::{Record, Records};
use crate::social::{FriendsGroups, GroupUid, ProcessedCaps};

/// Most bytes of one stream that are taken in at once; the rest follows with the next look.
const MAX_STREAM: u64 = 4 << 20;

/// How many new records are fetched together.
const RECORDS_AHEAD: usize = 400;

/// What a look reads in the home directory.
const OWN_FILES: [&str; 6] = [FROM_FRIENDS, BLOCKED, GROUPS_FROM_FRIENDS, KEYSTORE, SOCIAL_STATE, CAPABILITY_CACHE];

/// A capability that a friend's streams hold, and where it leads.
pub(crate) struct Found {
    pub path: RemotePath,
    pub cap: AbsoluteCapability,
}

impl Found {
    /// The group whose directory it is, if it is one of the friend's.
    fn group_of(&self, friend: &Username) -> Option<GroupUid> {
        match self.path.names() {
            [shared, name] if shared.as_str() == SHARED && self.path.user().as_str() == friend.as_str() => {
                name.as_str().parse().ok()
            }
            _ => None,
        }
    }
}

/// Sharing directories of a friend that are to be looked through: the friend's own for this account, and groups.
type Directories = VecDeque<(Option<GroupUid>, AbsoluteCapability)>;

/// A group's directory; one that was rotated takes the place of the old one.
fn add_directory(directories: &mut Directories, uid: GroupUid, cap: &AbsoluteCapability) {
    directories.retain(|(known, _)| known.as_ref() != Some(&uid));
    directories.push_back((Some(uid), cap.clone()));
}

/// What is new in a friend's streams.
#[derive(Default)]
struct Discovered {
    found: Vec<Found>,
    groups: Vec<(GroupUid, AbsoluteCapability)>,
    /// How far the streams were read, if that is further than before.
    processed: Option<ProcessedCaps>,
    /// What did not open, if that is not the same as before.
    unopened: Option<VecDeque<AbsoluteCapability>>,
    failures: Vec<ReceivingFailure>,
}

impl Discovered {
    /// Adds what a record led to. Gives the group whose directory it is.
    fn add(&mut self, found: Found, friend: &Username, may_be_group: bool) -> Option<GroupUid> {
        let group = found.group_of(friend).filter(|_| may_be_group);
        self.groups.extend(group.clone().map(|uid| (uid, found.cap.clone())));
        self.found.push(found);
        group
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Looks for what is new in a friend's streams. Single records that cannot be read for a reason are among the
    /// failures. Changes nothing.
    async fn look(&mut self, friend: &EntryPoint) -> Result<Discovered, ClientError> {
        let name = &friend.owner_name;
        let before: Option<ProcessedCaps> =
            self.structure(&places::incoming(name), "the progress in a friend's streams").await?;
        let mut processed = before.clone().unwrap_or_default();
        let groups: FriendsGroups =
            self.structure(GROUPS_FROM_FRIENDS, "the groups of friends").await?.unwrap_or_default();
        let mut directories = Directories::from([(None, friend.capability.clone())]);
        directories.extend(groups.of(name).map(|(uid, entry)| (Some(uid), entry.capability.clone())));
        let known_unopened = self.unopened(name).await?;
        self.read_ahead(&directories).await?;

        let (mut discovered, mut unopened) = (Discovered::default(), VecDeque::new());
        for cap in &known_unopened {
            match self.find(name, cap, &mut discovered.failures).await? {
                Some(found) => {
                    if let Some(uid) = discovered.add(found, name, true) {
                        add_directory(&mut directories, uid, cap);
                    }
                }
                None => unopened.push_back(cap.clone()),
            }
        }
        while let Some((group, cap)) = directories.pop_front() {
            let opened = self.open_shared(&cap).await;
            let opened = match &group {
                None => opened?,
                Some(_) => match self.set_aside(opened).await? {
                    Ok(opened) => opened,
                    Err(error) => {
                        discovered.failures.push(ReceivingFailure { friend: name.clone(), error });
                        None
                    }
                },
            };
            let Some(directory) = opened.filter(Item::is_directory) else { continue };
            for (access, stream) in [(Access::Read, SHARING_READ), (Access::Write, SHARING_WRITE)] {
                let progress = match &group {
                    None => &mut processed,
                    Some(uid) => processed.group_mut(uid),
                };
                let progress = progress.stream_mut(access);
                let Some(read) = self.read_stream(&directory, stream, progress.bytes).await? else { continue };
                let mut count = 0;
                for (at, record) in read.records.iter().enumerate() {
                    if at % RECORDS_AHEAD == 0 {
                        self.fetch(&read.records[at..read.records.len().min(at + RECORDS_AHEAD)]).await?;
                    }
                    let cap = &record.capability;
                    let Some(found) = self.find(name, cap, &mut discovered.failures).await? else {
                        unopened.push_back(cap.clone());
                        continue;
                    };
                    count += 1;
                    if let Some(uid) = discovered.add(found, name, group.is_none()) {
                        add_directory(&mut directories, uid, cap);
                    }
                }
                // The offset is the one that the reading began at.
                let _ = progress.advance(progress.bytes, &read, count);
            }
        }
        discovered.processed = Some(processed).filter(|processed| before.as_ref() != Some(processed));
        discovered.unopened = Some(unopened).filter(|unopened| *unopened != known_unopened);
        Ok(discovered)
    }

    /// Fetches the account's own files that a look reads: together, and not each on the way to the next.
    async fn read_own_ahead(&mut self, from: Option<&str>) -> Result<(), ClientError> {
        let home = self.view.home().await?;
        self.view.read_ahead(&[home], |name| OWN_FILES.contains(&name)).await?;
        let Some(cache) = self.item(CAPABILITY_CACHE).await? else { return Ok(()) };
        let is_wanted = |name: &str| name == WORLD || from.is_none_or(|from| name.starts_with(from));
        self.view.read_ahead(&[cache], is_wanted).await
    }

    /// Fetches the streams of a friend together. What is broken is noticed when it is read.
    ///
    /// # Errors
    /// When the friend's space cannot be read at all.
    async fn read_ahead(&mut self, directories: &Directories) -> Result<(), ClientError> {
        let opened = self.open_all_received(directories.iter().map(|(_, cap)| cap.read_only())).await?;
        let readable = |item: &Item| item.is_directory() && !item.is_way_through();
        let opened: Vec<Item> = opened.into_iter().filter_map(|item| item.ok()?.filter(readable)).collect();
        let ahead = self.view.read_ahead(&opened, |name| [SHARING_READ, SHARING_WRITE].contains(&name)).await;
        ahead.or_else(|error| if is_about_others(&error) { Ok(()) } else { Err(error) })
    }

    /// Fetches what records lead to together. What cannot be opened is noticed when it is opened by itself.
    async fn fetch(&mut self, records: &[Record]) -> Result<(), ClientError> {
        let reached = |record: &Record| Reached { cap: record.capability.read_only(), signer: None };
        let reached: Vec<Reached> = records.iter().map(reached).collect();
        let opened = self.view.open_each_target(&reached).await;
        self.set_aside(opened.map(drop)).await.map(drop)
    }

    /// Where a record of a friend leads; none if it does not open, or leads where the friend says nothing of.
    async fn find(
        &mut self,
        friend: &Username,
        cap: &AbsoluteCapability,
        failures: &mut Vec<ReceivingFailure>,
    ) -> Result<Option<Found>, ClientError> {
        let located = self.locate(cap).await;
        match self.set_aside(located).await? {
            Ok(path) => Ok(path.map(|path| Found { path, cap: cap.clone() })),
            Err(error) => {
                failures.push(ReceivingFailure { friend: friend.clone(), error });
                Ok(None)
            }
        }
    }

    /// What a stream holds from an offset on; none if there is nothing new.
    async fn read_stream(&mut self, directory: &Item, stream: &str, from: u64) -> Result<Option<Records>, ClientError> {
        let file = lenient(self.view.child(directory, &part(stream)?).await)?;
        let Some(file) = file.filter(|file| !file.is_directory() && file.properties().size_bytes > from) else {
            return Ok(None);
        };
        let read = async {
            let file = OpenFile::new(self.view, file).await?;
            let mut content = Vec::new();
            let end = file.size_bytes().min(from.saturating_add(MAX_STREAM));
            file.read(from..end, &mut content, &()).await?;
            Ok(Some(Bytes::from(content)))
        };
        Ok(lenient(read.await)?.map(|content| Records::read(&content, from)))
    }

    /// Puts down what was found of a friend.
    async fn take(&mut self, friend: &Username, discovered: Discovered) -> Result<(), ClientError> {
        if !discovered.groups.is_empty() {
            let mut groups: FriendsGroups =
                self.structure(GROUPS_FROM_FRIENDS, "the groups of friends").await?.unwrap_or_default();
            for (uid, capability) in discovered.groups {
                groups.insert(&uid, EntryPoint { capability, owner_name: friend.clone() });
            }
            self.put(GROUPS_FROM_FRIENDS, &groups, true);
        }
        for found in discovered.found {
            // Two who were looked at together can have met a third one with two keys.
            if self.owner_of(&user_of(&found.path)?, false).await? == found.cap.owner {
                self.keep(found, friend).await?;
            }
        }
        if let Some(processed) = discovered.processed {
            self.put(&places::incoming(friend), &processed, false);
        }
        if let Some(unopened) = discovered.unopened {
            self.put_unopened(friend, unopened);
        }
        Ok(())
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Takes in what friends have shared since the last look; only `from` that one if it is followed. Gives what is wrong
    /// with single friends and records.
    ///
    /// # Errors
    /// What is wrong with the friend `from` as a whole.
    pub(crate) async fn receive(&self, from: Option<&str>) -> Result<Vec<ReceivingFailure>, ClientError> {
        if let Some(from) = from
            && let Some(failures) = self.take_in(Some(from), true).await?
        {
            return Ok(failures);
        }
        // They may have agreed since the last look.
        self.follow_requests().await?;
        Ok(self.take_in(from, false).await?.unwrap_or_default())
    }

    /// As [`receive`](Self::receive). Gives none, and does nothing, if `from` must be followed and is not.
    async fn take_in(
        &self,
        from: Option<&str>,
        must_be_followed: bool,
    ) -> Result<Option<Vec<ReceivingFailure>>, ClientError> {
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                desk.read_own_ahead(from).await?;
                let following = desk.following().await?;
                let is_from = |entry: &&EntryPoint| from.is_none_or(|from| entry.owner_name.as_str() == from);
                let mut friends: Vec<&EntryPoint> = following.iter().filter(is_from).collect();
                if friends.is_empty() && must_be_followed {
                    return Ok(None);
                }
                if friends.is_empty() {
                    // A friend may have passed on what belongs to somebody whom this account does not follow.
                    friends = following.iter().collect();
                }
                let look = |friend: &&EntryPoint| {
                    let (friend, mut apart) = ((*friend).clone(), desk.apart());
                    async move {
                        let mut copy = apart.desk();
                        let discovered = copy.look(&friend).await;
                        let learned = copy.into_learned();
                        apart.put_back(learned);
                        (friend.owner_name, apart, discovered)
                    }
                };
                let looks: Vec<_> = friends.iter().map(look).collect();
                let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
                let mut failures = Vec::new();
                for (friend, apart, discovered) in looks {
                    desk.join(apart).await?;
                    match desk.set_aside(discovered).await? {
                        Ok(mut discovered) => {
                            failures.append(&mut discovered.failures);
                            desk.take(&friend, discovered).await?;
                        }
                        Err(error) if from == Some(friend.as_str()) => return Err(error),
                        Err(error) => failures.push(ReceivingFailure { friend, error }),
                    }
                }
                if from.is_none() {
                    desk.settle().await?;
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(Some(failures))
            })
        })
    }
}
