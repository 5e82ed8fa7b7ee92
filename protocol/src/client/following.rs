//! Following other users and being followed (`spec/05` §3).
//!
//! What changes in the account's own tree changes with one commit, before the message that tells the other side; so an
//! interrupted call can be made again and then completes. A request leaves the inbox last.

use std::collections::BTreeSet;

use super::commit::with_transaction;
use super::core::on_current_state;
use super::desk::Desk;
use super::error::{ClientError, ErrorKind};
use super::network::Repeat;
use super::people::{Person, person};
use super::runtime::{Runtime, millis};
use super::session::Session;
use crate::api::Transport;
use crate::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};
use crate::cryptree::AbsoluteCapability;
use crate::encoding::ToCbor;

use crate::keys::{FingerPrint, FingerPrinted, SignedTime, SymmetricKey};
use crate::names::Username;
use crate::social::annotation::{Annotations, FriendAnnotation};
use crate::social::follow::FollowError;
use crate::social::inbox::Effects;
use crate::social::places::{ANNOTATIONS, BLOCKED, sharing_directory};
use crate::social::shared_with::Recipient;
use crate::social::{Answer, BlindFollowRequest, FollowRequest, Inbox, ReceivedFollowRequest};

/// Somebody whom this account has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// The name.
    pub username: Username,
    /// Whether this account follows them: they may share with it.
    pub is_followed: bool,
    /// Whether they follow this account: it may share with them.
    pub is_follower: bool,
    /// Whether they were asked and have not answered.
    pub is_asked: bool,
    /// Whether their keys were compared, and are still the same.
    pub is_verified: bool,
}

impl Contact {
    /// Whether both follow each other.
    pub fn is_friend(&self) -> bool {
        self.is_followed && self.is_follower
    }
}

/// What became of a wish to follow somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Followed {
    /// They were asked, and now have to answer.
    Asked,
    /// They had agreed before and were only unfollowed on this side; nobody was asked.
    Again,
}

/// A message to send once the tree is published.
struct Outgoing {
    person: Person,
    request: FollowRequest,
}

/// Whether a request is what it can be as a first one: it lets us read something, and asks for a key.
fn is_first(request: &FollowRequest) -> bool {
    request.entry().is_some() && request.key.is_some()
}

/// The answer to somebody whom this account follows already. One that does not say so would take the permission to
/// follow back: the other side would delete its sharing directory for us (`spec/05` §3.6).
fn while_following(answer: Answer) -> Answer {
    match answer {
        Answer::Accept | Answer::AcceptAndReciprocate => Answer::AcceptAndReciprocate,
        Answer::Deny | Answer::ReciprocateOnly => Answer::ReciprocateOnly,
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Does what a request asks for in our own tree. Gives our sharing directory for the other side if the effects make
    /// it.
    async fn apply(&mut self, name: &Username, effects: &Effects) -> Result<Option<AbsoluteCapability>, ClientError> {
        let recipient = Recipient::from(name.clone());
        let mut directory = None;
        if effects.make_directory {
            directory = Some(self.sharing_directory(&recipient).await?.cap);
        }
        if effects.delete_directory {
            self.remove(&sharing_directory(&recipient)).await?;
        }
        self.share_groups(&effects.share_groups, name).await?;
        if let Some(entry) = &effects.add_entry {
            self.add_entry_point(entry).await?;
        }
        if effects.forget_pending {
            let mut pending = self.pending().await?;
            if pending.outgoing.remove(name) {
                self.put_pending(&pending);
            }
        }
        Ok(directory)
    }

    /// Takes in the answers to our own requests. Gives the senders of first requests, and the requests that are done
    /// with.
    async fn take_in(
        &mut self,
        received: &[ReceivedFollowRequest],
    ) -> Result<(Vec<Username>, Vec<ReceivedFollowRequest>), ClientError> {
        let us = self.view.core.tree.username.clone();
        let (pending, directories) = (self.pending().await?.outgoing, self.directories().await?);
        let inbox = Inbox::sort(received.to_vec(), &us, &pending, &directories);
        let mut done = Vec::new();
        for answer in inbox.answers {
            let sender = answer.request.sender().clone();
            // A second answer of the same name decides nothing any more.
            if self.pending().await?.outgoing.contains(&sender) {
                let believed = self.is_believed(&answer.request).await;
                match self.set_aside(believed).await? {
                    Ok(true) => drop(self.apply(&sender, &Effects::of_received(&answer.request)).await?),
                    Ok(false) => {}
                    // Whoever broke their own account must not break ours. It may be mended, so the answer stays.
                    Err(_) => continue,
                }
            }
            done.push(answer);
        }
        let known = self.entry_points().await?;
        for ignored in inbox.ignored {
            // An answer that was taken in by a call that did not come to removing it. It names the key of our directory;
            // a first request, which may still want our answer, names a key that nobody knows.
            let sender = ignored.request.sender().clone();
            let is_taken_in = ignored.request.entry().is_some_and(|entry| known.contains(entry));
            if is_taken_in && self.is_echo(&ignored.request, &sender).await? {
                done.push(ignored);
            }
        }
        let blocked = self.blocked().await?;
        let mut first = Vec::new();
        for request in inbox.first {
            match is_first(&request.request) {
                // It waits unseen: whoever was blocked may be unblocked.
                true if blocked.contains(request.request.sender()) => {}
                true if !first.contains(request.request.sender()) => first.push(request.request.sender().clone()),
                true => {}
                // The rest of an answer to a request that is no longer open.
                false => done.push(request),
            }
        }
        Ok((first, done))
    }

    /// Whether a request names the key of our sharing directory for its sender, as answers do.
    async fn is_echo(&mut self, request: &FollowRequest, sender: &Username) -> Result<bool, ClientError> {
        let directory = self.item(&sharing_directory(&sender.clone().into())).await?;
        Ok(directory.is_some_and(|directory| request.key.as_ref() == Some(&directory.cap.base_key)))
    }

    /// Whether the capability in a request, if there is one, belongs to the named sender.
    async fn is_believed(&mut self, request: &FollowRequest) -> Result<bool, ClientError> {
        match request.entry() {
            Some(entry) => self.is_genuine(&entry.clone()).await,
            None => Ok(true),
        }
    }
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Fetches and opens what is in the inbox. Anybody can put anything there, so what does not open is left out.
    async fn inbox(&self) -> Result<Vec<ReceivedFollowRequest>, ClientError> {
        let (network, keys) = (&self.core().network, self.keys());
        let Some(boxing) = &keys.boxing else { return Ok(Vec::new()) };
        let auth = SignedTime::sign(millis(network.runtime.now()), &keys.identity.secret).into();
        let call = GetFollowRequests { owner: keys.owner.clone(), auth };
        let stored = network.call(Repeat::Safely, &call).await?;
        Ok(stored.into_iter().filter_map(|blind| ReceivedFollowRequest::open(blind, &boxing.secret).ok()).collect())
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<(), ClientError> {
        let network = &self.core().network;
        let mut rng = network.runtime.rng();
        let (request, boxing) = (outgoing.request.clone(), outgoing.person.boxing.clone());
        let sealed = network.runtime.compute(move || BlindFollowRequest::seal(&request, &boxing, &mut rng)).await;
        let sealed = sealed.map_err(|error| match error {
            FollowError::TooLong(_) => ClientError::Limit("the follow request is longer than a node takes"),
            _ => ClientError::WrongKey("a follow request"),
        })?;
        let call = SendFollowRequest { target: outgoing.person.owner.clone(), request: sealed.to_bytes().into() };
        // The same bytes are stored once, however often they are sent.
        match network.call(Repeat::Safely, &call).await? {
            true => Ok(()),
            false => Err(ClientError::InboxFull),
        }
    }

    async fn remove_requests(&self, done: &[ReceivedFollowRequest]) -> Result<(), ClientError> {
        let (network, keys) = (&self.core().network, self.keys());
        for request in done {
            let call = RemoveFollowRequest::sign(keys.owner.clone(), &request.blind, &keys.identity.secret);
            network.call(Repeat::Safely, &call).await?;
        }
        Ok(())
    }

    /// Asks somebody to be allowed to follow them. They are asked again if they have not answered yet; nobody is asked
    /// if they had agreed before and were only unfollowed here.
    ///
    /// # Errors
    /// [`ClientError::UnknownUser`], [`ClientError::AlreadyFollowed`], [`ClientError::Oneself`],
    /// [`ClientError::KeyChanged`] if the server shows another key than it did before, [`ClientError::InboxFull`].
    pub async fn follow(&self, name: &Username) -> Result<Followed, ClientError> {
        if name == self.username() {
            return Err(ClientError::Oneself);
        }
        self.follow_requests().await?;
        let core = self.shared_core();
        let asked = with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let was_blocked = desk.unblock(name).await?;
                let is_known = desk.entry_points().await?.iter().any(|entry| entry.owner_name == *name);
                let mut outgoing = None;
                if !is_known {
                    let owner = desk.owner_of(name, true).await?;
                    let person = person(&core.network, owner).await?;
                    let directory = desk.sharing_directory(&name.clone().into()).await?;
                    // Known as asked before the message goes: its answer would otherwise never be taken for one.
                    let mut pending = desk.pending().await?;
                    if pending.outgoing.insert(name.clone()) {
                        desk.put_pending(&pending);
                    }
                    let key = SymmetricKey::generate(&mut core.network.runtime.rng());
                    let request = FollowRequest::first(core.tree.username.clone(), &directory.cap, key);
                    outgoing = Some(Outgoing { person, request });
                } else if !was_blocked {
                    return Err(ClientError::AlreadyFollowed);
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(outgoing)
            })
        })?;
        match asked {
            Some(outgoing) => self.send(&outgoing).await.map(|()| Followed::Asked),
            None => Ok(Followed::Again),
        }
    }

    /// Those who ask to follow this account and wait for an answer. Answers to this account's own requests are taken in
    /// on the way. The names are claims until [`answer`](Self::answer) has checked them. Blocked ones are left out.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn follow_requests(&self) -> Result<Vec<Username>, ClientError> {
        let received = self.inbox().await?;
        if received.is_empty() {
            return Ok(Vec::new());
        }
        let core = self.shared_core();
        let (first, done) = with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let taken = desk.take_in(&received).await?;
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(taken)
            })
        })?;
        self.remove_requests(&done).await?;
        Ok(first)
    }

    /// Answers the request of somebody.
    ///
    /// # Errors
    /// [`ClientError::NoRequest`], [`ClientError::ForgedRequest`] if it did not come from the named user; it is then
    /// removed. [`ClientError::KeyChanged`] if the server shows another key than it did before.
    pub async fn answer(&self, name: &Username, answer: Answer) -> Result<(), ClientError> {
        self.follow_requests().await?;
        let received = self.inbox().await?;
        let from_name =
            |received: &ReceivedFollowRequest| received.request.sender() == name && is_first(&received.request);
        let received: Vec<ReceivedFollowRequest> = received.into_iter().filter(from_name).collect();
        if received.is_empty() || name == self.username() {
            return Err(ClientError::NoRequest);
        }
        let core = self.shared_core();
        let reply = with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let owner = desk.owner_of(name, true).await?;
                // Anybody may write anybody's name; the newest request that is genuine counts.
                let mut genuine = None;
                for received in received.iter().rev() {
                    if genuine.is_none() && desk.is_genuine(&received.request.entry).await? {
                        genuine = Some(&received.request);
                    }
                }
                let Some(first) = genuine else { return Ok(None) };
                let person = person(&core.network, owner).await?;
                if answer.reciprocates() {
                    desk.unblock(name).await?;
                }
                let is_followed = desk.following().await?.iter().any(|entry| entry.owner_name == *name);
                let answer = if is_followed { while_following(answer) } else { answer };
                let directory = desk.apply(name, &Effects::of_answering(first, answer)).await?;
                let directory = directory.unwrap_or_else(AbsoluteCapability::null);
                let request = FollowRequest::answer(answer, first, core.tree.username.clone(), &directory);
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(Some(Outgoing { person, request }))
            })
        })?;
        if let Some(outgoing) = &reply {
            self.send(outgoing).await?;
        }
        self.remove_requests(&received).await?;
        reply.map(|_| ()).ok_or(ClientError::ForgedRequest)
    }

    /// Ends following somebody, on this side only: nobody is told, and what they share is no longer shown.
    ///
    /// # Errors
    /// [`ClientError::NotFollowed`].
    pub async fn unfollow(&self, name: &Username) -> Result<(), ClientError> {
        self.follow_requests().await?;
        let core = self.shared_core();
        with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                if !desk.following().await?.iter().any(|entry| entry.owner_name == *name) {
                    return Err(ClientError::NotFollowed);
                }
                desk.append(BLOCKED, crate::social::friends::Blocked::line(name).as_bytes(), true).await?;
                desk.save().await?;
                view.commit(transaction).await
            })
        })
    }

    /// All whom this account follows, who follow it, and whom it asked, by name. Answers to its own requests are taken
    /// in on the way.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn contacts(&self) -> Result<Vec<Contact>, ClientError> {
        self.follow_requests().await?;
        let core = self.shared_core();
        let (contacts, compared) = on_current_state!(core, |view| {
            let mut desk = Desk::new(view);
            let followed: BTreeSet<Username> =
                desk.following().await?.into_iter().map(|entry| entry.owner_name).collect();
            let (followers, asked) = (desk.followers().await?, desk.pending().await?.outgoing);
            let names: BTreeSet<&Username> = followed.iter().chain(&followers).chain(&asked).collect();
            let notes = desk.annotations().await?;
            let mut compared = Vec::new();
            for note in notes.iter().filter(|note| note.is_verified && names.contains(&note.username)) {
                compared.push((note.clone(), desk.owner_of(&note.username, false).await?));
            }
            let contact = |name: &Username| Contact {
                username: name.clone(),
                is_followed: followed.contains(name),
                is_follower: followers.contains(name),
                is_asked: asked.contains(name),
                is_verified: false,
            };
            Ok((names.into_iter().map(contact).collect::<Vec<_>>(), compared))
        })?;
        let mut contacts = contacts;
        for (note, owner) in compared {
            let holds = match person(&core.network, owner).await {
                Ok(person) => note.holds_for(person.owner.key_hash(), &person.boxing_hash),
                Err(error) if matches!(error.kind(), ErrorKind::Node | ErrorKind::Untrustworthy) => return Err(error),
                Err(_) => false,
            };
            let contact = contacts.iter_mut().find(|contact| contact.username == note.username);
            contact.into_iter().for_each(|contact| contact.is_verified = holds);
        }
        Ok(contacts)
    }

    /// What this account and somebody else compare over another channel to be sure of each other's keys.
    ///
    /// # Errors
    /// [`ClientError::UnknownUser`], [`ClientError::KeyChanged`] if the server shows another key than it did before.
    pub async fn fingerprint(&self, name: &Username) -> Result<FingerPrint, ClientError> {
        self.compare_keys(name, false).await
    }

    /// Notes that the fingerprints were compared and are equal. The note is worth nothing after either key of the other
    /// user has changed.
    ///
    /// # Errors
    /// As [`fingerprint`](Self::fingerprint).
    pub async fn set_verified(&self, name: &Username) -> Result<(), ClientError> {
        self.compare_keys(name, true).await.map(|_| ())
    }

    async fn compare_keys(&self, name: &Username, note: bool) -> Result<FingerPrint, ClientError> {
        if name == self.username() {
            return Err(ClientError::Oneself);
        }
        let core = self.shared_core();
        let friend = with_transaction!(core, |transaction| {
            on_current_state!(core, |view| {
                let mut desk = Desk::new(view);
                let owner = desk.owner_of(name, true).await?;
                let friend = person(&core.network, owner).await?;
                if note {
                    let mut notes = desk.annotations().await?;
                    let (identity, boxing) = (friend.owner.key_hash().clone(), friend.boxing_hash.clone());
                    notes.set(FriendAnnotation::verified(name.clone(), identity, boxing));
                    desk.write(ANNOTATIONS, notes.to_stream(), true);
                }
                desk.save().await?;
                view.commit(transaction).await?;
                Ok(friend)
            })
        })?;
        let us = person(&core.network, core.tree.owner.clone()).await?;
        let (name, own_name) = (name.clone(), core.tree.username.clone());
        let work = move || {
            let own =
                FingerPrinted { username: own_name.as_str(), identity: us.owner.key_hash(), boxing: &us.boxing_hash };
            let friend = FingerPrinted {
                username: name.as_str(),
                identity: friend.owner.key_hash(),
                boxing: &friend.boxing_hash,
            };
            FingerPrint::of(own, friend)
        };
        Ok(core.network.runtime.compute(work).await)
    }
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    async fn annotations(&mut self) -> Result<Annotations, ClientError> {
        let content = self.read(ANNOTATIONS).await?.unwrap_or_default();
        Annotations::from_stream(&content).map_err(ClientError::damaged("the notes on friends"))
    }
}
