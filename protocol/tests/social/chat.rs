//! The chat of `05-feed-chat-messages.json`: made again message by message by one member, joined and answered by another,
//! and the answer taken in by the first.

use bytes::Bytes;
use proptest::prelude::*;
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{Owner, SecretSigningKey, SigningKeyPair};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::names::chain::inline_key;
use pyrgos_protocol::social::chat::{
    self, ChatError, ChatId, ChatState, LogIndex, MemberId, Message, MessageEnvelope, PrivateChatState, SignedMessage,
};
use pyrgos_protocol::social::stream;
use serde_json::Value;

use crate::files::{content, name, structure};
use crate::support::{Cases, bytes, load, properties, system_random, text};

fn log(file: &Value) -> Vec<SignedMessage> {
    let file = content(file).unwrap();
    let log: Vec<SignedMessage> = stream::read_all(&file).unwrap();
    assert_eq!(stream::write_all(&log), file);
    log
}

fn identity(at: usize) -> Owner {
    text(&load("05-sharing")["steps"]["users"][at], "identity_key_hash").parse().unwrap()
}

#[test]
fn vectors() {
    let mut cases = Cases::of("05-feed-chat-messages");
    let data = cases.value("data");
    let recorded = &data["chat"];
    let id: ChatId = text(recorded, "uid").parse().unwrap();
    assert_eq!((id.as_str(), id.creator()), (text(recorded, "uid"), &name("alice05")));
    let files = [
        (chat::PRIVATE_STATE, &recorded["children"]),
        (chat::SHARED_WITH_MEMBERS, &recorded["children"]),
        (chat::MESSAGES, &recorded["shared_children"]),
        (chat::MESSAGE_INDEX, &recorded["shared_children"]),
        (chat::CHAT_STATE, &recorded["shared_children"]),
    ];
    assert!(files.iter().all(|(file, children)| children.as_array().unwrap().contains(&Value::from(*file))));
    let home = format!("/alice05/{}/{}/{}", chat::MESSAGING, id.as_str(), chat::SHARED_WITH_MEMBERS);
    assert_eq!(text(&recorded["messages"], "path"), format!("{home}/{}", chat::MESSAGES));

    // Alice makes it.
    let alices = log(&recorded["messages"]);
    let private: PrivateChatState = structure(&content(&recorded["private"]).unwrap());
    let mut alice = ChatState::found(id.clone(), identity(0));
    let messages = recorded["messages_list"].as_array().unwrap();
    assert_eq!(messages.len(), alices.len());
    for (signed, case) in alices.iter().zip(messages) {
        let envelope: MessageEnvelope = structure(&bytes(case, "cbor"));
        assert_eq!(signed.unverified().as_ref(), Ok(&envelope));
        assert_eq!(format!("{:?}", envelope.message), text(case, "type"));
        let sent = envelope.sent_millis;
        let again = match envelope.message {
            // Alice's identity key is not recorded.
            Message::Join { .. } => {
                let heard = alice.merge(&MemberId::creator(), std::slice::from_ref(signed), inline_key).unwrap();
                assert!(heard.refused.is_empty());
                heard.taken[0].clone()
            }
            Message::Invite { username, identity, .. } => alice.invite(username, identity, &private, sent).unwrap(),
            message => alice.say(message, &private, sent).unwrap(),
        };
        assert_eq!(again, *signed, "{}", text(case, "type"));
    }
    assert_eq!(hex::encode(alice.to_bytes()), hex::encode(content(&recorded["state"]).unwrap()));
    assert_eq!(structure::<ChatState>(&alice.to_bytes()), alice);
    let index = content(&recorded["index"]).unwrap();
    assert_eq!(LogIndex::from_bytes(&index).as_ref(), Ok(&LogIndex::default()));
    assert_eq!(LogIndex::default().to_bytes(), index);

    // Bob reads her log, joins and answers.
    let bobs = log(&data["chat_bob"]["messages"]);
    let (mut bob, read) =
        ChatState::accept(id, &name("alice05"), &alices, (&name("bob05"), &identity(1)), inline_key).unwrap();
    assert_eq!(read.taken, alices);
    let own = bob.host().clone();
    let said = bob.merge(&own, &bobs[alices.len()..], inline_key).unwrap();
    assert_eq!((said.taken.as_slice(), said.refused.len()), (&bobs[alices.len()..], 0));
    assert_eq!(hex::encode(bob.to_bytes()), hex::encode(content(&data["chat_bob"]["state"]).unwrap()));

    // Alice takes in what he has more.
    let known = alice.member(bob.host()).unwrap().merged as usize;
    let heard = alice.merge(bob.host(), &bobs[known..], inline_key).unwrap();
    assert_eq!((heard.taken.as_slice(), heard.refused.len()), (&bobs[alices.len()..], 0));
    assert_eq!(alice.recent(), bob.recent());
    assert_eq!(alice.member(bob.host()).unwrap().merged as usize, bobs.len());
    assert!(alice.members().all(|member| member.has_joined() && !member.is_removed));
    // Once more there is nothing new.
    let known = alice.member(bob.host()).unwrap().merged as usize;
    assert!(alice.merge(bob.host(), &bobs[known..], inline_key).unwrap().taken.is_empty());
    assert!(alice.merge(bob.host(), &bobs, inline_key).unwrap().taken.is_empty());
    cases.count(messages.len() + 7);
    cases.finish();
}

/// Somebody with his copy of a chat.
struct Person {
    name: Username,
    identity: SigningKeyPair,
    state: Option<(ChatState, PrivateChatState)>,
    log: Vec<SignedMessage>,
    now: i64,
}

impl Person {
    fn new(text: &str) -> Self {
        let identity = SigningKeyPair::new(SecretSigningKey::generate(&mut system_random()));
        Person { name: name(text), identity, state: None, log: Vec::new(), now: 1 }
    }

    fn owner(&self) -> Owner {
        Owner::new(self.identity.public_key_hash())
    }

    fn chat(&self) -> &ChatState {
        &self.state.as_ref().unwrap().0
    }

    fn id(&self) -> MemberId {
        self.chat().host().clone()
    }

    fn create(&mut self) -> ChatId {
        let id = ChatId::generate(&self.name, &mut system_random());
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        self.enter(ChatState::found(id.clone(), self.owner()));
        id
    }

    fn enter(&mut self, mut chat: ChatState) {
        let (private, join) = chat.join(&self.identity.signer(), self.now, &mut system_random()).unwrap();
        self.state = Some((chat, private));
        self.log.push(join);
    }

    fn accept(&mut self, id: &ChatId, inviter: &Person) -> Result<(), ChatError> {
        let seat = (&self.name, &self.owner());
        let (chat, read) = ChatState::accept(id.clone(), &inviter.name, &inviter.log, seat, inline_key)?;
        assert!(read.refused.is_empty(), "{:?}", read.refused);
        self.log = read.taken;
        self.enter(chat);
        Ok(())
    }

    fn say(&mut self, message: Message) -> Result<(), ChatError> {
        let (chat, private) = self.state.as_mut().unwrap();
        self.now += 1;
        self.log.push(chat.say(message, private, self.now)?);
        Ok(())
    }

    fn tell(&mut self, text: &str) {
        self.say(Message::Application(vec![text.into()])).unwrap();
    }

    fn invite(&mut self, other: &Person) {
        let (chat, private) = self.state.as_mut().unwrap();
        self.log.push(chat.invite(other.name.clone(), other.owner(), private, 1).unwrap());
    }

    fn merge(&mut self, other: &Person) -> usize {
        let (chat, _) = self.state.as_mut().unwrap();
        let from = other.id();
        let known = chat.member(&from).unwrap().merged as usize;
        let merge = chat.merge(&from, &other.log[known..], inline_key).unwrap();
        assert!(merge.refused.is_empty(), "{:?}", merge.refused);
        let taken = merge.taken.len();
        self.log.extend(merge.taken);
        assert_eq!(chat.member(chat.host()).unwrap().merged as usize, self.log.len());
        taken
    }

    /// What is heard of a log that somebody else presents as that of `from`.
    fn hear(&mut self, from: &MemberId, log: &[SignedMessage]) -> Result<Vec<ChatError>, ChatError> {
        let (chat, _) = self.state.as_mut().unwrap();
        let merge = chat.merge(from, log, inline_key)?;
        self.log.extend(merge.taken);
        Ok(merge.refused.into_iter().map(|(_, error)| error).collect())
    }

    /// Signs whatever with the key of this chat.
    fn forge(&self, change: impl FnOnce(&mut MessageEnvelope)) -> SignedMessage {
        let mut scratch = self.chat().clone();
        let private = &self.state.as_ref().unwrap().1;
        let signed = scratch.say(Message::Application(vec!["forged".into()]), private, 5).unwrap();
        let mut envelope = signed.unverified().unwrap();
        change(&mut envelope);
        let signer = Cbor::decode(&private.to_bytes()).unwrap();
        let secret = SecretSigningKey::from_cbor(
            signer.as_map().unwrap().get("ci").unwrap().as_map().unwrap().get("s").unwrap(),
        );
        SignedMessage::sign(&envelope, &secret.unwrap())
    }
}

fn three() -> (ChatId, [Person; 3]) {
    let [mut alice, mut bob, mut carol] = ["alice", "bob", "carol"].map(Person::new);
    let id = alice.create();
    alice.say(Message::GroupState { key: "admins".into(), value: "alice".into() }).unwrap();
    alice.invite(&bob);
    bob.accept(&id, &alice).unwrap();
    alice.merge(&bob);
    bob.invite(&carol);
    carol.accept(&id, &bob).unwrap();
    alice.merge(&bob);
    assert_eq!(alice.merge(&carol), 1);
    bob.merge(&carol);
    (id, [alice, bob, carol])
}

fn texts(chat: &ChatState) -> Vec<String> {
    let text = |envelope: &MessageEnvelope| match &envelope.message {
        Message::Application(body) => Some(format!("{:?}", body[0].to_cbor())),
        _ => None,
    };
    let mut texts: Vec<String> = chat.recent().iter().filter_map(text).collect();
    texts.sort();
    texts
}

#[test]
fn what_members_say_reaches_all_by_any_way() {
    let (_, [mut alice, mut bob, mut carol]) = three();
    bob.tell("from bob");
    carol.tell("from carol");
    // Carol hears it from Alice only.
    alice.merge(&bob);
    alice.merge(&carol);
    assert_eq!(carol.merge(&alice), 1);
    assert_eq!(bob.merge(&alice), 1);
    assert_eq!((bob.merge(&carol), carol.merge(&bob)), (0, 0));
    assert_eq!(texts(carol.chat()), texts(alice.chat()));
    assert_eq!(texts(bob.chat()), texts(alice.chat()));
    // The next message follows on both of those that did not know of each other.
    alice.tell("and so");
    assert_eq!(alice.chat().recent().last().unwrap().follows.len(), 2);
}

#[test]
fn titles_of_two_who_did_not_hear_each_other_become_one() {
    let (_, [mut alice, mut bob, mut carol]) = three();
    let title = |value: &str| Message::GroupState { key: "title".into(), value: value.into() };
    bob.say(title("bob's")).unwrap();
    alice.say(title("alice's")).unwrap();
    alice.merge(&bob);
    bob.merge(&alice);
    carol.merge(&bob);
    let titles = [&alice, &bob, &carol].map(|person| person.chat().title().unwrap().to_owned());
    assert_eq!(titles, ["alice's"; 3].map(str::to_owned));
    carol.say(title("later")).unwrap();
    alice.merge(&carol);
    assert_eq!(alice.chat().title(), Some("later"));
    // Nobody makes his title the last one by claiming to have heard what was not said yet.
    let (bobs, carols) = (bob.id(), carol.id());
    let forever = bob.forge(|envelope| {
        envelope.message = title("forever");
        envelope.clock = (0..9).fold(envelope.clock.clone(), |clock, _| clock.next(&carols).unwrap());
    });
    for person in [&mut alice, &mut carol] {
        assert_eq!(person.hear(&bobs, std::slice::from_ref(&forever)), Ok(vec![]));
    }
    carol.say(title("not so")).unwrap();
    alice.merge(&carol);
    assert_eq!(alice.chat().title(), Some("not so"));
}

#[test]
fn only_administrators_remove_and_appoint() {
    let (id, [mut alice, mut bob, mut carol]) = three();
    let remove = |whom: &Person| Message::RemoveMember { chat: id.as_str().to_owned(), member: whom.id() };
    let (alices, bobs, carols) = (alice.id(), bob.id(), carol.id());
    assert_eq!(bob.say(remove(&carol)), Err(ChatError::NotAnAdministrator));
    let admins = |value: &str| Message::GroupState { key: "admins".into(), value: value.into() };
    assert_eq!(bob.say(admins("bob")), Err(ChatError::NotAnAdministrator));
    // And from who does not keep to the rules.
    let usurps = bob.forge(|envelope| envelope.message = admins("bob"));
    assert_eq!(alice.hear(&bobs, &[usurps]), Ok(vec![ChatError::NotAnAdministrator]));
    let elsewhere = alice.forge(|envelope| {
        envelope.message = Message::RemoveMember { chat: "chat$alice$other".into(), member: carols.clone() };
    });
    assert_eq!(bob.hear(&alices, &[elsewhere]), Ok(vec![ChatError::OtherChat]));

    alice.say(remove(&carol)).unwrap();
    bob.merge(&alice);
    carol.tell("still here?");
    assert_eq!(bob.hear(&carols, &carol.log), Err(ChatError::Removed));
    // What the removed says is not heard from others either.
    let last = carol.log.last().unwrap().clone();
    assert_eq!(bob.hear(&alices, &[last]), Ok(vec![ChatError::Removed]));
    // Everybody may go.
    let mut dora = Person::new("dora");
    bob.invite(&dora);
    dora.accept(&id, &bob).unwrap();
    let leave = remove(&dora);
    dora.say(leave).unwrap();
    bob.merge(&dora);
    let doras = dora.id();
    assert!(bob.chat().member(&doras).unwrap().is_removed);
    assert_eq!(dora.say(Message::Application(Vec::new())), Err(ChatError::Removed));
    // Who was removed and is invited again has another number.
    carol.state = None;
    assert_eq!(carol.accept(&id, &alice), Err(ChatError::Removed));
    alice.invite(&carol);
    carol.accept(&id, &alice).unwrap();
    assert_ne!(carol.id(), carols);
}

#[test]
fn nobody_speaks_for_another() {
    let (id, [mut alice, bob, carol]) = three();
    let (bobs, carols) = (bob.id(), carol.id());
    let before = alice.chat().clone();
    let as_carol = bob.forge(|envelope| {
        envelope.author = carols.clone();
        envelope.clock = envelope.clock.next(&carols).unwrap();
    });
    let refused = alice.hear(&bobs, std::slice::from_ref(&as_carol)).unwrap();
    assert!(matches!(refused[..], [ChatError::Signature(_)]));
    // Nobody can make others deaf to a third one, or to himself.
    let deafens = bob.forge(|envelope| {
        for _ in 0..5 {
            envelope.clock = envelope.clock.next(&carols).unwrap();
        }
    });
    assert_eq!(alice.hear(&bobs, &[deafens]), Ok(vec![]));
    let mut carol = carol;
    carol.tell("can you hear me?");
    assert_eq!(alice.merge(&carol), 1);
    // A stranger's join, one with another key, an invitation under a number that is not next.
    let stranger = Person::new("carol");
    let mut elsewhere = ChatState::found(id.clone(), stranger.owner());
    let (_, join) = elsewhere.join(&stranger.identity.signer(), 1, &mut system_random()).unwrap();
    let as_carol = |change: &dyn Fn(&mut Message)| {
        let mut envelope = join.unverified().unwrap();
        envelope.author = carols.clone();
        for _ in 0..9 {
            envelope.clock = envelope.clock.next(&carols).unwrap();
        }
        change(&mut envelope.message);
        SignedMessage::sign(&envelope, &stranger.identity.signer().secret)
    };
    assert_eq!(alice.hear(&bobs, &[as_carol(&|_| {})]), Ok(vec![ChatError::OtherInvitation]));
    let owner = carol.owner();
    let renamed = as_carol(&|message| match message {
        Message::Join { username, identity, .. } => (*username, *identity) = (name("carol"), owner.clone()),
        _ => unreachable!(),
    });
    assert_eq!(alice.hear(&bobs, &[renamed]), Ok(vec![ChatError::OtherInvitation]));
    let skips = bob.forge(|envelope| {
        let member = bobs.invited(7);
        envelope.message = Message::Invite { username: name("eve"), member, identity: stranger.owner() };
        envelope.clock = (0..9).fold(envelope.clock.clone(), |clock, _| clock.next(&bobs).unwrap());
    });
    assert_eq!(alice.hear(&bobs, &[skips]), Ok(vec![ChatError::OtherInvitation]));
    assert_eq!(alice.chat().members().count(), before.members().count());
    // Changed on the way.
    carol.tell("as it was");
    let mut changed = carol.log.last().unwrap().to_bytes();
    *changed.last_mut().unwrap() ^= 1;
    let changed = SignedMessage::from_bytes(&changed).unwrap();
    assert!(matches!(alice.hear(&bobs, &[changed]).unwrap()[..], [ChatError::Signature(_) | ChatError::Decode(_)]));
    // A log of another chat, or without an invitation, lets nobody in.
    let mut eve = Person::new("eve");
    assert_eq!(eve.accept(&id, &alice), Err(ChatError::NotAMember));
    let other = ChatId::generate(&bob.name, &mut system_random());
    assert_eq!(eve.accept(&other, &alice), Err(ChatError::OtherInvitation));
    let mut twin = Person::new("carol");
    assert_eq!(twin.accept(&id, &alice), Err(ChatError::OtherInvitation));
    assert_eq!(alice.hear(&bobs.invited(9), &[]), Err(ChatError::NotAMember));
}

#[test]
fn ids_that_would_leave_their_directory_are_none() {
    for id in ["chat$a$1", "chat-todo$a.b$6838e47e-f72f", "chat$mr_mike$x"] {
        assert!(id.parse::<ChatId>().is_ok(), "{id}");
    }
    for id in [
        "",
        "chat",
        "chat$a",
        "chat$a$",
        "chat$$1",
        "chat$a$1$2",
        "cat$a$1",
        "chat-$a$1",
        "chat$a/b$1",
        "chat$a$../b",
        "chat$..$1",
        "chat-a/b$a$1",
        "chatx$a$1",
    ] {
        assert!(id.parse::<ChatId>().is_err(), "{id}");
    }
}

#[test]
fn an_index_grows_every_five_mebibytes() {
    let mut index = LogIndex::default();
    let (mut end, size) = (0, 2 << 20);
    for message in 1..=10u64 {
        index.grow(end, chat::index::Place { message, byte: end + size });
        end += size;
    }
    // 6, 10, 16 and 20 MiB.
    let places: Vec<u64> = (0..=10).map(|message| index.before(message).message).collect();
    assert_eq!(places, [0, 0, 0, 3, 3, 5, 5, 5, 8, 8, 10]);
    assert_eq!(index.before(7).byte, 10 << 20);
    let file = index.to_bytes();
    assert_eq!(LogIndex::from_bytes(&file), Ok(index));
    assert!(LogIndex::from_bytes(&file[1..]).is_err());
    assert!(LogIndex::from_bytes(&file[16..]).is_err());
    assert!(LogIndex::from_bytes(&[&file[..], &file[16..32]].concat()).is_err());
    assert!(LogIndex::from_bytes(&[]).is_err());
}

proptest! {
    #![proptest_config(properties())]

    /// Whoever speaks and whoever listens to whom in which order: in the end all have heard the same.
    #[test]
    fn all_hear_all(steps in proptest::collection::vec((0..3usize, 0..3usize), 1..30)) {
        let (_, mut people) = three();
        for (at, (from, to)) in steps.into_iter().enumerate() {
            if from == to {
                people[from].tell(&format!("message {at}"));
            } else {
                let [listener, speaker] = people.get_disjoint_mut([to, from]).unwrap();
                listener.merge(speaker);
            }
        }
        for _ in 0..2 {
            for (to, from) in [(0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1)] {
                let [listener, speaker] = people.get_disjoint_mut([to, from]).unwrap();
                listener.merge(speaker);
            }
        }
        let said = people.each_ref().map(|person| {
            let mut said: Vec<Vec<u8>> = person.log.iter().map(ToCbor::to_bytes).collect();
            said.sort();
            said
        });
        prop_assert_eq!(&said[0], &said[1]);
        prop_assert_eq!(&said[0], &said[2]);
        let no_order = |person: &Person| structure::<ChatState>(&Bytes::from(person.chat().to_bytes())).members().count();
        prop_assert_eq!(no_order(&people[0]), 3);
    }
}
