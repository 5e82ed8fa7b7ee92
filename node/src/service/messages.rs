//! Messages between users and the operator of this node (`spec/04` §12, `spec/05` §11).

use std::collections::{HashMap, HashSet};

use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::message::{GetMessages, SendMessage};
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::SignedRequest;
use pyrgos_protocol::keys::signed::{CALL_WINDOW, open_value};
use pyrgos_protocol::social::ServerMessage;
use pyrgos_protocol::social::message::MessageKind;
use pyrgos_store::{Batch, Prefix, RecordKey, Records, Table};

use super::{Failure, Service};

/// Most messages of one user; then the oldest gives way.
const MAX_MESSAGES: usize = 1000;

/// How far a new message's time may be off, and how far back messages are counted, in milliseconds.
const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// With more new messages than this in an hour, a user has to wait.
const MAX_HOURLY: usize = 20;

impl Service {
    /// All messages of a user, in the order in which they came.
    pub fn messages(&self, username: &str) -> Result<Vec<ServerMessage>, Failure> {
        let rows = self.parts.records.scan(&Prefix::of_username(Table::Messages, username), None, MAX_MESSAGES + 1)?;
        let read = |record: &[u8]| ServerMessage::from_bytes(record).map_err(|_| Failure::Damaged("message"));
        rows.iter().map(|(_, record)| read(record)).collect()
    }

    /// The users who have messages, by name.
    pub fn conversations(&self) -> Result<Vec<String>, Failure> {
        let mut users: Vec<String> = Vec::new();
        let mut after: Option<RecordKey> = None;
        loop {
            let rows = self.parts.records.scan(&Prefix::whole(Table::Messages), after.as_ref(), MAX_MESSAGES)?;
            for username in rows.iter().filter_map(|(key, _)| key.to_username()) {
                if users.last().is_none_or(|last| last != username) {
                    users.push(username.to_owned());
                }
            }
            if rows.len() < MAX_MESSAGES {
                // Keys are in the order of the names' lengths first.
                users.sort();
                return Ok(users);
            }
            after = rows.into_iter().last().map(|(key, _)| key);
        }
    }

    /// The conversations whose last message is the operator's and was not put away.
    pub fn get_messages(&self, call: GetMessages) -> Result<Vec<ServerMessage>, Failure> {
        let (username, _, identity) = self.identity(&call.username)?;
        SignedRequest::check(&call.auth, GetMessages::PATH, &identity, self.now_millis(), CALL_WINDOW)?;
        Ok(visible(self.messages(username.as_str())?))
    }

    /// Takes a user's message or answer, or puts a message away.
    pub fn send_message(&self, call: SendMessage) -> Result<bool, Failure> {
        let (username, owner, identity) = self.identity(&call.username)?;
        let message: ServerMessage = open_value(&call.signed, &identity)?;
        let _lock = self.lock_owner(&owner);
        let known = self.messages(username.as_str())?;
        match message.kind {
            MessageKind::FromServer => Err(Failure::refused("Invalid message type sent from user: FromServer")),
            MessageKind::Dismiss => {
                let Some(mut meant) = known.into_iter().find(|known| known.id == message.id) else { return Ok(true) };
                meant.is_dismissed = true;
                self.store_message(username.as_str(), &meant, Batch::new())
            }
            MessageKind::FromUser => {
                let now = self.now_millis();
                if now.abs_diff(message.sent_millis) > HOUR_MILLIS.unsigned_abs() {
                    return Err(Failure::refused("Invalid send time on message!"));
                }
                let mine = || known.iter().filter(|known| known.kind == MessageKind::FromUser);
                // The same signed bytes once more: the answer to them was lost.
                if mine().any(|mine| mine.sent_millis == message.sent_millis && mine.body() == message.body()) {
                    return Ok(true);
                }
                let lately = mine().filter(|mine| now.saturating_sub(mine.sent_millis) < HOUR_MILLIS).count();
                if lately > MAX_HOURLY {
                    return Err(Failure::refused("Please wait before sending more messages!"));
                }
                self.append_message(username.as_str(), &known, message)
            }
        }
    }

    /// Writes to a user in the operator's name, as an answer to one of the user's messages or as a new conversation.
    ///
    /// # Errors
    /// [`Failure::Refused`] for an unknown user and for a text that is too long.
    pub fn message_user(&self, username: &str, text: String, reply_to: Option<i64>) -> Result<bool, Failure> {
        let (username, owner, _) = self.identity(username)?;
        let message = ServerMessage::new(0, self.now_millis(), MessageKind::FromServer, text, false, reply_to);
        let message = message.map_err(|error| Failure::refused(error.to_string()))?;
        let _lock = self.lock_owner(&owner);
        let known = self.messages(username.as_str())?;
        self.append_message(username.as_str(), &known, message)
    }

    /// Stores a message under the next number.
    fn append_message(
        &self,
        username: &str,
        known: &[ServerMessage],
        mut message: ServerMessage,
    ) -> Result<bool, Failure> {
        message.id = known.last().map_or(0, |last| last.id).saturating_add(1);
        let mut batch = Batch::new();
        if let Some(oldest) = known.first().filter(|_| known.len() >= MAX_MESSAGES) {
            batch = batch.delete(message_key(username, oldest)?);
        }
        self.store_message(username, &message, batch)
    }

    fn store_message(&self, username: &str, message: &ServerMessage, batch: Batch) -> Result<bool, Failure> {
        let batch = batch.put(message_key(username, message)?, message.to_bytes());
        Ok(self.parts.records.commit(batch)?.is_committed())
    }
}

fn message_key(username: &str, message: &ServerMessage) -> Result<RecordKey, Failure> {
    let number = u64::try_from(message.id).map_err(|_| Failure::Damaged("number of a message"))?;
    Ok(RecordKey::message(username, number))
}

/// The messages of the conversations that a user should see, by time.
fn visible(messages: Vec<ServerMessage>) -> Vec<ServerMessage> {
    // Messages come in order, so the first of a conversation is known before its answers.
    let mut first_of: HashMap<i64, i64> = HashMap::new();
    let mut last_of: HashMap<i64, &ServerMessage> = HashMap::new();
    for message in &messages {
        let answered = message.reply_to.and_then(|answered| first_of.get(&answered).copied());
        let first = answered.unwrap_or(message.id);
        first_of.insert(message.id, first);
        last_of.insert(first, message);
    }
    let is_open = |last: &ServerMessage| last.kind != MessageKind::FromUser && !last.is_dismissed;
    let open: HashSet<i64> = last_of.into_iter().filter(|(_, last)| is_open(last)).map(|(first, _)| first).collect();
    let mut seen: Vec<ServerMessage> = messages
        .into_iter()
        .filter(|message| first_of.get(&message.id).is_some_and(|first| open.contains(first)))
        .collect();
    seen.sort_by_key(|message| message.sent_millis);
    seen
}
