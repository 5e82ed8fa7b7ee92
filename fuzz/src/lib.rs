//! What the fuzz targets have in common: a decoder is given any bytes and must answer with a value or an error, in time
//! and memory that the input bounds. What it accepts must come back when it is encoded and decoded again.
//!
//! Each target in `fuzz_targets/` is a line that names decoders.

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::api::frame::Reader;
use pyrgos_protocol::api::{Call, Request, query, trailer};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};
use pyrgos_protocol::merkle::bat::prefix;
use pyrgos_protocol::merkle::champ::bulk::prove;
use pyrgos_protocol::merkle::champ::{Change, Entry, Expected, MemoryBlocks, Node, Overlay, Slot};
use pyrgos_protocol::merkle::{Champ, KeyHashing};
use pyrgos_protocol::social::annotation::Annotations;
use pyrgos_protocol::social::stream::Records;

/// Gives the input to each of the named structures.
#[macro_export]
macro_rules! structures {
    ($($structure:path),+ $(,)?) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $($crate::structure::<$structure>(bytes);)+
        });
    };
}

/// Gives the input to each of the named types that are read from a text.
#[macro_export]
macro_rules! texts {
    ($($text:path),+ $(,)?) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $($crate::text::<$text>(bytes);)+
        });
    };
}

/// Gives the input to the named call whose path it begins with.
#[macro_export]
macro_rules! calls {
    ($($call:path),+ $(,)?) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            if let Some(exchange) = $crate::Exchange::read(bytes) {
                $(exchange.give_to::<$call>();)+
            }
        });
    };
}

/// Decodes bytes as a structure.
pub fn structure<T: FromCbor + ToCbor>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let canonical = value.to_bytes();
        let again = T::from_bytes(&canonical).unwrap_or_else(|error| panic!("own bytes refused: {error}"));
        assert!(again.to_bytes() == canonical, "a second round of decoding and encoding gave other bytes");
    }
}

/// Decodes a text, when the bytes are one.
pub fn text<T: std::str::FromStr<Err: std::fmt::Display> + ToString + PartialEq>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        let again: T = value.to_string().parse().unwrap_or_else(|error| panic!("own text refused: {error}"));
        assert!(again == value, "a second round of printing and parsing gave another value");
    }
}

/// Decodes a text, when the bytes are one, with readers whose values are not printed.
pub fn secret_text<T, E>(bytes: &[u8], read: impl FnOnce(&str) -> Result<T, E>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = read(text);
    }
}

/// Decodes bytes as a block of canonical CBOR. What is accepted must be the bytes that encoding gives: two spellings of
/// one value would be two content identifiers.
pub fn block(bytes: &[u8]) {
    if let Ok(value) = Value::decode_canonical(&Bytes::copy_from_slice(bytes)) {
        assert!(value.encode() == bytes, "bytes that are not canonical were taken for canonical");
        assert_eq!(value.encoded_len(), bytes.len());
    }
}

/// Decodes bytes as a content identifier. Its bytes and its text must lead back to it.
pub fn cid(bytes: &[u8]) {
    if let Ok(cid) = Cid::from_bytes(bytes) {
        assert!(Cid::from_bytes(&cid.to_bytes()).as_ref() == Ok(&cid), "own bytes refused");
        assert_eq!(cid.to_bytes().len(), cid.encoded_len());
        assert!(cid.to_string().parse().as_ref() == Ok(&cid), "own text refused");
    }
}

/// Reads the access tokens of a block. Both readers of a raw block must agree on where its prefix ends.
pub fn block_bats(bytes: &[u8]) {
    let block = Bytes::copy_from_slice(bytes);
    if let Ok(value) = Value::decode_shared(&block) {
        let _ = prefix::cbor_bats(&value);
    }
    if let Ok(bats) = prefix::raw_bats(&block) {
        let payload = prefix::strip_raw(&block).expect("what raw_bats reads, strip_raw skips");
        let again = Bytes::from(prefix::guard_raw(&bats, &payload));
        // An empty list of tokens is a prefix too, and its payload may look like another prefix.
        if !bats.is_empty() {
            assert!(prefix::raw_bats(&again).as_ref() == Ok(&bats), "other tokens");
            assert!(prefix::strip_raw(&again).as_ref() == Ok(&payload), "another payload");
        }
    }
}

/// Reads bytes as the parts of requests and answers that are no call of their own.
pub fn wire(bytes: &[u8]) {
    let mut frame = Reader::new(Bytes::copy_from_slice(bytes));
    while frame.bytes(1024).is_ok() && frame.text().is_ok() && frame.bool().is_ok() && frame.i64().is_ok() {}
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let message = trailer::decode(text);
    assert!(trailer::encode(&message).bytes().all(|byte| byte.is_ascii_graphic()), "a message could end the header");
    let _ = query::decode(text);
}

/// Reads a friend's stream of capabilities, and the files that are streams of structures. Positions lie in the input.
pub fn cap_stream(bytes: &[u8]) {
    let file = Bytes::copy_from_slice(bytes);
    let found = Records::read(&file, 0);
    assert!(found.end <= bytes.len() as u64 && found.records.iter().all(|record| record.bytes.end <= found.end));
    assert!(found.broken.is_some() || found.end == bytes.len() as u64, "the rest of the stream was passed over");
    if let Ok(annotations) = Annotations::from_stream(&file) {
        let again = Annotations::from_stream(&annotations.to_stream().into()).expect("own bytes refused");
        assert!(again.to_stream() == annotations.to_stream());
    }
}

/// A request and its answer: the query and a line feed, the length of the body in four bytes, the body, the answer.
pub struct Exchange {
    query: String,
    body: Bytes,
    answer: Bytes,
}

impl Exchange {
    /// Takes the input apart.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        let query = String::from_utf8(bytes[..line].to_vec()).ok()?;
        let (len, rest) = bytes[line + 1..].split_first_chunk()?;
        let (body, answer) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        Some(Exchange { query, body: Bytes::copy_from_slice(body), answer: Bytes::copy_from_slice(answer) })
    }

    /// Reads the request as the node does, and the answer as the client does.
    pub fn give_to<C: Call>(&self) {
        let Ok(request) = Request::parse(C::PATH, Some(&self.query), self.body.clone()) else { return };
        let Ok(call) = C::parse(&request) else { return };
        let sent = call.request();
        let target = sent.target();
        let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
        let arrived = Request::parse(path, query, sent.body.clone()).expect("own request line refused");
        let again = C::parse(&arrived).unwrap_or_else(|error| panic!("own request refused: {error}"));
        assert!(again.request() == sent, "a second round of parsing and sending gave another request");
        if let Ok(output) = call.read_body(self.answer.clone()) {
            let body = C::write(&output);
            let again = call.read_body(body.clone()).unwrap_or_else(|error| panic!("own answer refused: {error}"));
            assert!(C::write(&again) == body, "a second round of reading and writing gave another answer");
        }
    }
}
/// Reads and changes trees that no honest writer made. The input says for each of eight slots of each node whether it is
/// empty, a bucket with short keys, or an earlier node, so that nodes are shared, misplaced and nested at will.
pub fn champ_tree(bytes: &[u8]) {
    let mut blocks = MemoryBlocks::default();
    let mut roots = Vec::new();
    for choices in bytes.chunks_exact(8).take(24) {
        let slots = std::array::from_fn(|at| match choices[at] {
            0 => Slot::Empty,
            key @ 1..=127 => {
                let key = if key < 64 { vec![key] } else { vec![key, choices[0], choices[1]] };
                Slot::Bucket(vec![Entry { key: key.into(), value: Value::Int(i64::from(choices[7])) }])
            }
            child => match roots.len().checked_sub(usize::from(child - 127)) {
                Some(child) => Slot::Child(Cid::clone(&roots[child])),
                None => Slot::Empty,
            },
        });
        let (root, block) = Node { slots, bat: None }.to_block();
        blocks.extend([(root.clone(), block)]);
        roots.push(root);
    }
    let [.., first, second] = roots.as_slice() else { return };
    let champ = Champ::new(&blocks, KeyHashing::Identity);
    let key = &bytes[..bytes.len().min(3)];
    // A source in memory never waits: each future is ready at its first poll.
    let size = champ.size(first).now_or_never().expect("ready");
    if let Ok(size) = size {
        assert!(size <= 24 * 8, "a tree of {size} mappings out of {} nodes", roots.len());
    }
    let _ = prove(&blocks, KeyHashing::Identity, first, key);
    let _ = champ.diff(Some(first), Some(second)).now_or_never().expect("ready");
    let change = Change { key: Bytes::copy_from_slice(key), expected: Expected::Any, value: Some(Value::Int(0)) };
    if let Ok(changed) = champ.apply(first, &[change]).now_or_never().expect("ready") {
        let near = MemoryBlocks::of_cbor(changed.blocks.into_iter().map(|(_, block)| block));
        let overlay = Overlay { near: &near, far: &blocks };
        let found = Champ::new(overlay, KeyHashing::Identity).get(&changed.root, key).now_or_never().expect("ready");
        assert!(found == Ok(Some(Value::Int(0))), "what was written is not found");
    }
}
