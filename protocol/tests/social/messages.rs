//! `05-feed-chat-messages.json`: messages between user and operator.

use pyrgos_protocol::encoding::FromCbor;
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::keys::signed::open_value;
use pyrgos_protocol::social::ServerMessage;
use pyrgos_protocol::social::message::{MAX_BODY_UNITS, MAX_SIGNED_BYTES, MessageKind, MessageTooLong};

use crate::files::structure;
use crate::support::{Cases, bytes, load, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("05-feed-chat-messages");
    let data = cases.value("data");
    let identity: Owner = text(&load("05-sharing")["steps"]["users"][0], "identity_key_hash").parse().unwrap();
    let identity = identity.signing_key().unwrap();
    let recorded = data["server_messages"].as_array().unwrap();
    for case in recorded {
        let message: ServerMessage = structure(&bytes(case, "cbor"));
        let signed = bytes(case, "signed_body");
        assert!(signed.len() <= MAX_SIGNED_BYTES);
        assert_eq!(open_value::<ServerMessage>(&signed, &identity).as_ref(), Ok(&message));
        let now = message.sent_millis;
        let answered = ServerMessage::new(7, 0, MessageKind::FromServer, String::new(), false, None).unwrap();
        let remade = match text(case, "type") {
            "Dismiss" => answered.dismiss(now),
            _ if message.reply_to.is_some() => answered.reply(message.body().to_owned(), now).unwrap(),
            _ => ServerMessage::from_user(message.body().to_owned(), now).unwrap(),
        };
        assert_eq!(remade, message);
    }
    cases.count(recorded.len());
    for elsewhere in ["post", "bob_feed", "comment_cbor", "edited_post_cbor", "chat", "chat_bob"] {
        cases.leave(elsewhere, "replayed by the modules `feed` and `chat`");
    }
    cases.leave("encrypted_url", "a description");
    cases.leave("server_message_live", "a call");
    cases.finish();
}

#[test]
fn long_texts_and_unknown_types_are_refused() {
    let text = "é".repeat(MAX_BODY_UNITS);
    let message = ServerMessage::from_user(text.clone(), 1).unwrap();
    assert_eq!(ServerMessage::from_user(format!("{text}x"), 1), Err(MessageTooLong(MAX_BODY_UNITS + 1)));
    assert_eq!(message.reply("😀".repeat(2049), 1), Err(MessageTooLong(4098)));
    let bytes = hex::decode("a56162606164f561731b0000019b7ca98c8861740462696407").unwrap();
    assert!(ServerMessage::from_bytes(&bytes).is_err());
}
