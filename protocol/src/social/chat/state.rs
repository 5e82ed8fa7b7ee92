//! What follows from the messages of a chat, and the rules for taking them in (`spec/05` §10.1, §10.2).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pyrgos_crypto::random::CryptoRng;

use super::{
    ChatId, Member, MemberId, Message, MessageEnvelope, MessageRef, PrivateChatState, SignedMessage, TreeClock,
};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::signed::SignedError;
use crate::keys::{
    KeyHash, Owner, OwnerProof, PublicSigningKey, SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash,
};
use crate::names::Username;

/// The version of [`ChatState`]; others are refused.
const VERSION: i64 = 0;

/// How many messages a state repeats.
const RECENT: usize = 10;

/// The property that names those who may remove members, with commas between.
const ADMINS: &str = "admins";

/// Why something cannot be done in a chat, or a message is passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The message cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The message is not its author's.
    #[error(transparent)]
    Signature(#[from] SignedError),
    /// There is no such member.
    #[error("not a member of this chat")]
    NotAMember,
    /// The member was removed, or left.
    #[error("no longer a member of this chat")]
    Removed,
    /// The member has another name, identity or number than the invitation says.
    #[error("the invitation is for somebody else")]
    OtherInvitation,
    /// Only administrators may do this.
    #[error("only an administrator of this chat may do that")]
    NotAnAdministrator,
    /// The message was made for another chat.
    #[error("the message belongs to another chat")]
    OtherChat,
    /// The signing key of an identity is not known.
    #[error("the identity key of a member is not known")]
    UnknownKey,
    /// The author has sent as many messages, or a member has invited as many others, as can be counted.
    #[error("this chat cannot grow any more")]
    Full,
}

/// A property of the chat and who set it when: `{v: value, a: author, t: clock}`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupProperty {
    value: String,
    author: MemberId,
    clock: TreeClock,
}

impl GroupProperty {
    /// Whether another value takes its place: a later one does, and of two that did not know of each other that of the
    /// smaller author.
    fn yields_to(&self, other: &GroupProperty) -> bool {
        self.clock.is_within(&other.clock) || !other.clock.is_within(&self.clock) && other.author < self.author
    }
}

impl ToCbor for GroupProperty {
    fn to_cbor(&self) -> Value {
        Value::map([("v", Value::text(&self.value)), ("a", self.author.to_cbor()), ("t", self.clock.to_cbor())])
    }
}

impl FromCbor for GroupProperty {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("GroupProperty")?;
        Ok(GroupProperty { value: fields.text("v")?.to_owned(), author: fields.get("a")?, clock: fields.get("t")? })
    }
}

/// What one member's copy of the log amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatState {
    id: ChatId,
    /// Whose copy it is.
    host: MemberId,
    clock: TreeClock,
    /// The reference keeps no order; what is read is written in the same one.
    members: Vec<Member>,
    properties: BTreeMap<String, GroupProperty>,
    recent: Vec<MessageEnvelope>,
}

/// What came of reading another member's log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Merge {
    /// What is new, in order: these are to be appended to our own log.
    pub taken: Vec<SignedMessage>,
    /// What was passed over, by its place in what was read, and why. What we had is in neither list.
    pub refused: Vec<(usize, ChatError)>,
}

impl ChatState {
    /// A chat that its creator has still to join.
    pub fn found(id: ChatId, identity: Owner) -> Self {
        let creator = Member::invited(MemberId::creator(), id.creator().clone(), identity, 0);
        ChatState {
            id,
            host: MemberId::creator(),
            clock: TreeClock::default(),
            members: vec![creator],
            properties: BTreeMap::new(),
            recent: Vec::new(),
        }
    }

    /// The copy of the member `username`, who was invited and reads the log of the member `inviter`. Nothing but the
    /// signed messages is believed, so this takes no state from the inviter. Whether the names in them have these
    /// identities, the name tree knows.
    ///
    /// `key_of` gives the signing key of an identity.
    ///
    /// # Errors
    /// [`ChatError`] of the first message, unless it is the creator's; [`ChatError::NotAMember`],
    /// [`ChatError::OtherInvitation`] or [`ChatError::Removed`] when there is no invitation in the log.
    pub fn accept(
        id: ChatId,
        inviter: &Username,
        log: &[SignedMessage],
        (username, identity): (&Username, &Owner),
        key_of: impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<(Self, Merge), ChatError> {
        let first = log.first().ok_or(ChatError::NotAMember)?.unverified()?;
        let Message::Join { identity: creator, .. } = &first.message else { return Err(ChatError::NotAMember) };
        let mut state = ChatState::found(id, creator.clone());
        let mut merge = Merge::default();
        state.take(log, &mut merge, &key_of);
        if let Some((0, error)) = merge.refused.first() {
            return Err(error.clone());
        }
        let inviter = state.member_named(inviter)?.id.clone();
        let seat = state.member_named(username)?;
        if seat.identity != *identity {
            return Err(ChatError::OtherInvitation);
        }
        if seat.is_removed {
            return Err(ChatError::Removed);
        }
        state.host = seat.id.clone();
        for member in &mut state.members {
            member.merged = match &member.id {
                id if *id == state.host => merge.taken.len() as u64,
                id if *id == inviter => log.len() as u64,
                _ => 0,
            };
        }
        Ok((state, merge))
    }

    /// The chat.
    pub fn id(&self) -> &ChatId {
        &self.id
    }

    /// Whose copy this is.
    pub fn host(&self) -> &MemberId {
        &self.host
    }

    /// All who were ever invited.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The member of a number.
    ///
    /// # Errors
    /// [`ChatError::NotAMember`].
    pub fn member(&self, id: &MemberId) -> Result<&Member, ChatError> {
        self.members.iter().find(|member| member.id == *id).ok_or(ChatError::NotAMember)
    }

    /// The last messages, oldest first, at most ten.
    pub fn recent(&self) -> &[MessageEnvelope] {
        &self.recent
    }

    /// The title, if it has one.
    pub fn title(&self) -> Option<&str> {
        self.properties.get("title").map(|title| title.value.as_str())
    }

    /// Whether somebody is an administrator. Until some are named, the creator alone is.
    pub fn is_administrator(&self, name: &Username) -> bool {
        match self.properties.get(ADMINS) {
            Some(admins) => admins.value.split(',').any(|admin| admin == name.as_str()),
            None => *name == *self.id.creator(),
        }
    }

    fn member_named(&self, name: &Username) -> Result<&Member, ChatError> {
        // Who was removed and invited again has two numbers.
        let named = || self.members.iter().filter(|member| member.username == *name);
        named().find(|member| !member.is_removed).or_else(|| named().next()).ok_or(ChatError::NotAMember)
    }

    fn member_mut(&mut self, id: &MemberId) -> Result<&mut Member, ChatError> {
        self.members.iter_mut().find(|member| member.id == *id).ok_or(ChatError::NotAMember)
    }

    /// Joins, with a new key for this chat. The message is to be appended to our log.
    ///
    /// # Errors
    /// [`ChatError::OtherInvitation`] for another identity, [`ChatError::Full`].
    pub fn join(
        &mut self,
        identity: &SigningPrivateKeyAndPublicHash,
        now_millis: i64,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(PrivateChatState, SignedMessage), ChatError> {
        let host = self.member(&self.host)?;
        if host.identity != Owner::new(identity.public_key_hash.clone()) {
            return Err(ChatError::OtherInvitation);
        }
        let pair = SigningKeyPair::generate(rng);
        let message = Message::Join {
            username: host.username.clone(),
            identity: host.identity.clone(),
            chat_identity: OwnerProof::sign(&pair.public_key_hash(), identity),
            chat_key: pair.public(),
        };
        let signed = self.send(message, &identity.secret, now_millis)?;
        Ok((
            PrivateChatState { chat_identity: pair.signer(), chat_key: pair.public(), deleted: BTreeSet::new() },
            signed,
        ))
    }

    /// Invites somebody, whose identity the caller has from the name tree. The message is to be appended to our log.
    ///
    /// # Errors
    /// As [`say`](Self::say).
    pub fn invite(
        &mut self,
        username: Username,
        identity: Owner,
        private: &PrivateChatState,
        now_millis: i64,
    ) -> Result<SignedMessage, ChatError> {
        let member = self.host.invited(self.member(&self.host)?.invited);
        self.say(Message::Invite { username, member, identity }, private, now_millis)
    }

    /// Sends a message of our own, which is to be appended to our log.
    ///
    /// # Errors
    /// [`ChatError`]: what others would refuse from us is refused here.
    pub fn say(
        &mut self,
        message: Message,
        private: &PrivateChatState,
        now_millis: i64,
    ) -> Result<SignedMessage, ChatError> {
        self.send(message, &private.chat_identity.secret, now_millis)
    }

    fn send(&mut self, message: Message, key: &SecretSigningKey, now_millis: i64) -> Result<SignedMessage, ChatError> {
        let mut clock = self.clock.next(&self.host).ok_or(ChatError::Full)?;
        if let Message::Invite { member, .. } = &message {
            clock.welcome(member.clone());
        }
        let envelope = MessageEnvelope {
            author: self.host.clone(),
            clock,
            sent_millis: now_millis,
            follows: self.newest(),
            message,
        };
        let signed = SignedMessage::sign(&envelope, key);
        self.apply(envelope)?;
        Ok(signed)
    }

    /// The messages that no other one has followed on.
    fn newest(&self) -> Vec<MessageRef> {
        let followed: HashSet<&MessageRef> = self.recent.iter().flat_map(|envelope| &envelope.follows).collect();
        let all = self.recent.iter().map(MessageEnvelope::reference);
        all.filter(|reference| !followed.contains(reference)).collect()
    }

    /// Takes in what a member's log holds from message [`merged`](Member::merged) on.
    ///
    /// What is not as it should be is passed over: a member can hold back what others say, but not put words into their
    /// mouths. Who signs two messages as the same one of his is heard once.
    ///
    /// # Errors
    /// [`ChatError::NotAMember`] or [`ChatError::Removed`]; then nothing was taken.
    pub fn merge(
        &mut self,
        from: &MemberId,
        log: &[SignedMessage],
        key_of: impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<Merge, ChatError> {
        if self.member(from)?.is_removed {
            return Err(ChatError::Removed);
        }
        let mut merge = Merge::default();
        self.take(log, &mut merge, &key_of);
        if *from != self.host {
            let member = self.member_mut(from)?;
            member.merged = member.merged.saturating_add(log.len() as u64);
        }
        Ok(merge)
    }

    fn take(&mut self, log: &[SignedMessage], merge: &mut Merge, key_of: &impl Fn(&Owner) -> Option<PublicSigningKey>) {
        for (at, signed) in log.iter().enumerate() {
            match self.hear(signed, key_of) {
                Ok(true) => merge.taken.push(signed.clone()),
                Ok(false) => {}
                Err(error) => merge.refused.push((at, error)),
            }
        }
    }

    /// Takes in one message. Gives whether it is new.
    fn hear(
        &mut self,
        signed: &SignedMessage,
        key_of: &impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<bool, ChatError> {
        let envelope = signed.unverified()?;
        let author = self.member(&envelope.author)?;
        if envelope.clock.of(&envelope.author) <= self.clock.of(&envelope.author) {
            return Ok(false);
        }
        let identity_key = key_of(&author.identity).ok_or(ChatError::UnknownKey)?;
        match (&envelope.message, &author.chat_identity) {
            (Message::Join { username, identity, chat_identity, chat_key }, _) => {
                if (username, identity) != (&author.username, &author.identity)
                    || chat_identity.owned != *identity.key_hash()
                {
                    return Err(ChatError::OtherInvitation);
                }
                chat_identity.verify(&identity_key, &KeyHash::of_signing_key(chat_key))?;
                signed.verify(&identity_key)?;
            }
            (_, None) => signed.verify(&identity_key)?,
            (_, Some(proof)) => {
                let chat_key = proof.owner(&identity_key)?.signing_key().ok_or(ChatError::UnknownKey)?;
                signed.verify(&chat_key)?;
            }
        }
        self.apply(envelope)?;
        Ok(true)
    }

    /// What a message does. It is signed, or our own. Changes nothing on an error.
    fn apply(&mut self, envelope: MessageEnvelope) -> Result<(), ChatError> {
        let MessageEnvelope { author, message, clock, .. } = &envelope;
        let sender = self.member(author)?;
        if sender.is_removed {
            return Err(ChatError::Removed);
        }
        let administrates = self.is_administrator(&sender.username);
        match message {
            Message::Application(_) | Message::ReplyTo { .. } | Message::Delete(_) | Message::Edit { .. } => {}
            Message::Join { chat_identity, .. } => {
                self.member_mut(author)?.chat_identity = Some(chat_identity.clone());
            }
            Message::Invite { username, member, identity } => {
                let earlier = sender.invited;
                if *member != author.invited(earlier) || self.member(member).is_ok() {
                    return Err(ChatError::OtherInvitation);
                }
                let invited = earlier.checked_add(1).ok_or(ChatError::Full)?;
                // Whom we invite begins with a copy of our log. What others begin with is not known, and read whole.
                let merged = if *author == self.host { sender.merged } else { 0 };
                self.member_mut(author)?.invited = invited;
                let guest = Member::invited(member.clone(), username.clone(), identity.clone(), merged);
                self.members.insert(0, guest);
                self.clock.welcome(member.clone());
            }
            Message::GroupState { key, value } => {
                if key == ADMINS && !administrates {
                    return Err(ChatError::NotAnAdministrator);
                }
                // With messages that nobody has heard an author could keep every later value out.
                let mut heard = self.clock.clone();
                heard.hear(author, clock.of(author));
                let clock = clock.at_most(&heard);
                let new = GroupProperty { value: value.clone(), author: author.clone(), clock };
                if self.properties.get(key).is_none_or(|old| old.yields_to(&new)) {
                    self.properties.insert(key.clone(), new);
                }
            }
            Message::RemoveMember { chat, member } => {
                if *chat != self.id.as_str() {
                    return Err(ChatError::OtherChat);
                }
                if member != author && !administrates {
                    return Err(ChatError::NotAnAdministrator);
                }
                self.member_mut(member)?.is_removed = true;
            }
        }
        // Only the author's own count is believed: with those of others he could make us deaf to them.
        self.clock.hear(author, clock.of(author));
        let host = self.host.clone();
        let own = self.member_mut(&host)?;
        own.merged = own.merged.saturating_add(1);
        self.recent.push(envelope);
        let more = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..more);
        Ok(())
    }
}

impl ToCbor for ChatState {
    fn to_cbor(&self) -> Value {
        let members = self.members.iter().flat_map(|member| [member.id.to_cbor(), member.to_cbor()]);
        let properties = self.properties.iter().map(|(key, property)| (key.as_str(), property.to_cbor()));
        Value::map([
            ("v", Value::Int(VERSION)),
            ("i", Value::text(self.id.as_str())),
            ("h", self.host.to_cbor()),
            ("c", self.clock.to_cbor()),
            ("m", Value::List(members.collect())),
            ("g", Value::map(properties)),
            ("r", Value::list(&self.recent)),
        ])
    }
}

impl FromCbor for ChatState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("ChatState", reason);
        let fields = value.fields("ChatState")?;
        if fields.int("v")? != VERSION {
            return Err(invalid("of an unknown version"));
        }
        let (pairs, rest) = fields.required("m")?.as_list()?.as_chunks::<2>();
        let host = fields.get("h")?;
        let mut members: Vec<Member> = Vec::new();
        let mut ids: HashSet<MemberId> = HashSet::new();
        for [id, member] in pairs {
            let (id, member) = (MemberId::from_cbor(id)?, Member::from_cbor(member)?);
            if member.id != id || !ids.insert(id) {
                return Err(invalid("a member under the number of another"));
            }
            members.push(member);
        }
        if !rest.is_empty() || !ids.contains(&host) {
            return Err(invalid("no member of the host's number, or a number without a member"));
        }
        let properties = fields.required("g")?.as_map()?.iter();
        let properties = properties.map(|(key, value)| Ok((key.to_owned(), GroupProperty::from_cbor(value)?)));
        Ok(ChatState {
            id: fields.text("i")?.parse()?,
            host,
            clock: fields.get("c")?,
            members,
            properties: properties.collect::<Result<_, DecodeError>>()?,
            recent: fields.required("r")?.as_list_of()?,
        })
    }
}
