//! The feed of `05-feed-chat-messages.json`: two feeds, a post, a comment on it, the post edited.

use bytes::Bytes;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::social::feed::{FEED, FEED_ITEMS, FEED_STATE};
use pyrgos_protocol::social::post::{Content, ContentHash, PostAudience};
use pyrgos_protocol::social::{FeedState, FileRef, SharedItem, SocialPost, stream};
use serde_json::Value;

use crate::files::{content, name, structure};
use crate::support::{Cases, bytes, text};

#[test]
fn posts() {
    let mut cases = Cases::of("05-feed-chat-messages");
    let data = cases.value("data");
    let recorded = &data["post"];
    let post: SocialPost = structure(&bytes(recorded, "cbor"));
    let remade = SocialPost::new(name("alice05"), vec!["hello feed".into()], post.time_secs, PostAudience::Friends);
    assert_eq!(remade, post);
    assert_eq!(post.content_hash().to_string(), text(recorded, "content_hash"));
    let at = text(recorded, "path").strip_prefix("alice05/").unwrap();
    assert_eq!(at.rsplit_once('/').unwrap().0, post.directory());

    let comment: SocialPost = structure(&bytes(&data, "comment_cbor"));
    let on = comment.parent.clone().expect("a comment has a parent");
    assert_eq!((on.path(), on.content_hash), (text(recorded, "path"), post.content_hash()));
    let body = vec!["a comment".into(), Content::File(on.clone().into())];
    assert_eq!(post.comment(on.clone(), name("bob05"), body, comment.time_secs), comment);

    let edited: SocialPost = structure(&bytes(&data, "edited_post_cbor"));
    let with_comment = SocialPost { comments: vec![on], ..post.clone() };
    assert_eq!(with_comment.content_hash(), post.content_hash());
    assert_eq!(with_comment.edit(vec!["edited".into()], edited.time_secs), edited);
    assert_ne!(edited.content_hash(), post.content_hash());
    let again = edited.clone().edit(vec!["once more".into()], edited.time_secs + 1);
    assert_eq!(again.earlier, [post, SocialPost { comments: Vec::new(), earlier: Vec::new(), ..edited }]);
    cases.count(3);
    cases.finish();
}

/// A feed as it was recorded, built from what it holds.
fn feed(recorded_state: &Value, items: &[SharedItem]) -> Vec<u8> {
    let state: FeedState = structure(&content(recorded_state).unwrap());
    let mut built = FeedState { seen: state.seen, processed: state.processed.clone(), ..FeedState::default() };
    let (first, rest) = items.split_at(items.len() / 2);
    let stream = [built.append(first), built.append(rest)].concat();
    assert_eq!(built, state);
    assert_eq!(stream.len() as u64, state.bytes);
    // A feed is fed by the read and the write streams of friends and of their groups, and by posts of our own.
    let counts: Vec<u64> = state
        .processed
        .values()
        .flat_map(|caps| std::iter::once(caps).chain(caps.groups.values()))
        .map(|caps| caps.read.records + caps.write.records)
        .collect();
    let own = items.iter().filter(|item| !item.path.starts_with('/')).count() as u64;
    assert_eq!(counts.iter().sum::<u64>() + own, state.records);
    stream
}

#[test]
fn feeds() {
    let mut cases = Cases::of("05-feed-chat-messages");
    let data = cases.value("data");
    let file = content(&data["post"]["feed"]).unwrap();
    let items: Vec<SharedItem> = stream::read_all(&file).unwrap();
    assert_eq!(feed(&data["post"]["feed_state"], &items), file);
    let own = items.last().unwrap();
    assert_eq!(own.path, text(&data["post"], "path"));
    assert_eq!([&own.owner, &own.sharer], [&name("alice05"); 2]);
    for (path, file) in [(&data["post"]["feed"], FEED_ITEMS), (&data["post"]["feed_state"], FEED_STATE)] {
        assert_eq!(text(path, "path"), format!("/alice05/{FEED}/{file}"));
    }

    let recorded = data["bob_feed"]["items"].as_array().unwrap();
    let items: Vec<SharedItem> = recorded.iter().map(|item| structure(&bytes(item, "cbor"))).collect();
    for (item, recorded) in items.iter().zip(recorded) {
        assert_eq!(item.path, text(recorded, "path"));
        assert_eq!([&item.owner, &item.sharer], [&name(text(recorded, "owner")), &name(text(recorded, "sharer"))]);
    }
    let stream = Bytes::from(feed(&data["bob_feed"]["feed_state"], &items));
    assert_eq!(stream::read_all::<SharedItem>(&stream).unwrap(), items);
    cases.count(2);
    cases.finish();
}

#[test]
fn malformed_posts_are_refused() {
    let mut cases = Cases::of("05-feed-chat-messages");
    let data = cases.value("data");
    let post = bytes(&data["post"], "cbor");
    let changed = |from: &[u8], to: &[u8]| {
        let at = post.windows(from.len()).position(|window| window == from).expect("the post has it");
        [&post[..at], to, &post[at + from.len()..]].concat()
    };
    assert!(SocialPost::from_bytes(&changed(b"\x82\x11", b"\x82\x12")).is_err(), "another type of file");
    assert!(SocialPost::from_bytes(&changed(b"Friends", b"friends")).is_err(), "an unknown audience");
    assert!(SocialPost::from_bytes(&changed(b"\x6ahello feed", b"\xa1at\x63Ref")).is_err(), "no reference");

    let comment: SocialPost = structure(&bytes(&data, "comment_cbor"));
    let on = comment.parent.unwrap();
    let to = |path: &str| FileRef::new(path.to_owned(), on.capability.clone(), ContentHash::of(b""));
    for path in ["../bob/secret", "alice/../bob/secret", "/alice/..", ".."] {
        assert!(to(path).is_err(), "{path}");
    }
    assert!(to("alice/..a/b..").is_ok());
    let climbing = String::from_utf8_lossy(&on.to_bytes()).into_owned();
    assert!(climbing.contains("alice05/.posts/2026"));
    let mut bytes = on.to_bytes();
    let at = bytes.windows(8).position(|window| window == b"alice05/").unwrap();
    bytes[at..at + 8].copy_from_slice(b"alic/../");
    assert!(FileRef::from_bytes(&bytes).is_err());
    let mut bytes = on.to_bytes();
    let at = bytes.windows(3).position(|window| window == [0x00, 0x12, 0x20]).unwrap();
    bytes[at + 1] = 0x1e;
    assert!(FileRef::from_bytes(&bytes).is_err(), "another hash function");
}
