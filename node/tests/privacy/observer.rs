//! Somebody who sees everything that reaches the node, and what there must not be in it (`spec/05` §12).

use std::collections::HashSet;

use pyrgos_protocol::api::core::GetChain;
use pyrgos_protocol::api::mutable::SetPointers;
use pyrgos_protocol::api::social::{RemoveFollowRequest, SendFollowRequest};
use pyrgos_protocol::api::storage::PutBlocks;
use pyrgos_protocol::api::{Call, Request};
use pyrgos_protocol::keys::Owner;

use crate::people::Exchange;

/// Bytes of every follow request to an account of today, whoever sends it and whatever it says (`spec/05` §3.2).
pub const REQUEST_BYTES: usize = 3836;

/// A signature in front of the stored bytes.
const REMOVAL_BYTES: usize = 64 + REQUEST_BYTES;

/// So many equal bytes are no accident. Looked for at every place of one side and at every twelfth of the other, so that
/// nothing of twice the length is missed.
const WINDOW: usize = 12;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    A,
    B,
}

impl Party {
    pub fn other(self) -> Self {
        match self {
            Party::A => Party::B,
            Party::B => Party::A,
        }
    }
}

/// What an observer may see of a step: which calls, about whom, and which pointers move.
pub struct Step {
    pub name: &'static str,
    pub by: Party,
    /// Calls about the other party.
    pub about_other: &'static [&'static str],
    /// Calls about oneself beside those of [`OWN`].
    pub about_self: &'static [&'static str],
    /// How many pointers each commit moves, in order.
    pub commits: &'static [usize],
}

/// Calls about one's own data, which whatever is done to one's own tree makes.
pub const OWN: [&str; 6] = [
    "api/v0/block/get",
    "api/v0/block/put/bulk",
    "api/v0/champ/get/bulk",
    "api/v0/transaction/close",
    "api/v0/transaction/start",
    "peergos/v0/mutable/getPointer",
];

/// A request with its answer, at the step in which it was made.
#[derive(Clone)]
pub struct Seen {
    pub step: &'static str,
    pub by: Party,
    pub exchange: Exchange,
}

impl Seen {
    pub fn request(&self) -> &Request {
        &self.exchange.request
    }
}

/// What the test knows and the observer must not learn.
pub struct Scene {
    pub steps: &'static [Step],
    /// Name and identity of A and of B.
    pub parties: [(String, Owner); 2],
    /// What nobody may see, with what it is: keys, names, contents.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// What two others wrote who did the same: bytes that belong to the formats.
    pub control: Vec<Seen>,
}

impl Scene {
    fn party(&self, party: Party) -> &(String, Owner) {
        &self.parties[party as usize]
    }
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// A text as it stands, and what it says in hexadecimal or in a multibase.
fn readings(text: &str) -> Vec<Vec<u8>> {
    let mut readings = vec![text.as_bytes().to_vec()];
    readings.extend(hex::decode(text));
    readings.extend(multibase::decode(text).map(|(_, bytes)| bytes));
    readings
}

/// The forms in which bytes could stand in a body.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let encoded = [multibase::Base::Base16Lower, multibase::Base::Base58Btc, multibase::Base::Base64];
    let encoded = encoded.map(|base| base.encode(bytes).into_bytes());
    std::iter::once(bytes.to_vec()).chain(encoded).collect()
}

/// What tells who somebody is: the name, the identity's hash, and the public key, which the hash ends with.
fn marks(name: &str, owner: &Owner) -> Vec<Vec<u8>> {
    let hash = owner.cid().to_bytes();
    let key = &hash[hash.len() - 32..];
    [name.as_bytes(), &hash, key].into_iter().flat_map(forms).collect()
}

/// What a party wrote, into a space of its own if only that counts: in what is shared to write, both write about the same.
fn written<'s>(seen: &'s [Seen], by: Party, own: Option<&Owner>) -> impl Iterator<Item = &'s [u8]> {
    let own = own.map(ToString::to_string);
    let is_own = move |request: &Request| {
        own.as_ref().is_none_or(|own| request.query.iter().any(|(key, value)| key == "owner" && value == own))
    };
    let is_written = move |seen: &&Seen| {
        let request = seen.request();
        let is_put = [PutBlocks::PATH, SetPointers::PATH].contains(&request.path.as_str()) && is_own(request);
        seen.by == by && (is_put || request.path == SendFollowRequest::PATH)
    };
    seen.iter().filter(is_written).map(|seen| &seen.request().body[..])
}

/// Everything that the observer sees and should not.
pub fn findings(seen: &[Seen], scene: &Scene) -> Vec<String> {
    let mut findings = Vec::new();
    for step in scene.steps {
        let of_step: Vec<&Seen> = seen.iter().filter(|seen| seen.step == step.name).collect();
        of_step.iter().for_each(|seen| check_request(seen, step, scene, &mut findings));
        let commits: Vec<usize> = of_step
            .iter()
            .filter(|seen| seen.request().path == SetPointers::PATH)
            .map(|seen| SetPointers::parse(seen.request()).map_or(0, |call| call.commit.updates.len()))
            .collect();
        if commits != step.commits {
            findings.push(format!("{}: commits of {commits:?} pointers", step.name));
        }
    }
    check_joins(seen, scene, &mut findings);
    findings
}

fn check_request(seen: &Seen, step: &Step, scene: &Scene, findings: &mut Vec<String>) {
    let request = seen.request();
    let mut found = |what: String| findings.push(format!("{}: {}: {what}", step.name, request.path));
    let (name, other) = scene.party(step.by.other());
    let (own_name, own) = scene.party(step.by);
    let path = request.path.as_str();
    let owner = request.query.iter().find(|(key, _)| key == "owner").map(|(_, value)| value.as_str());
    let is_about_other = owner == Some(other.to_string().as_str()) || (path == GetChain::PATH);
    let is_expected = match (is_about_other, owner == Some(own.to_string().as_str())) {
        (true, false) => step.about_other.contains(&path),
        (false, true) => OWN.contains(&path) || path == SetPointers::PATH || step.about_self.contains(&path),
        _ => false,
    };
    if !is_expected {
        found(format!("not to be expected, about {}", if is_about_other { "the other" } else { "oneself" }));
    }

    // The parties' names and identities: in what asks for the other one, and nowhere else.
    let values = request.query.iter().filter(|(key, _)| !(is_about_other && (key == "owner" || key == "writer")));
    let mut carried: Vec<Vec<u8>> = values.flat_map(|(_, value)| readings(value)).collect();
    if path != GetChain::PATH {
        carried.push(request.body.to_vec());
    }
    for mark in marks(name, other) {
        if carried.iter().any(|bytes| contains(bytes, &mark)) {
            found("names the other party".to_owned());
        }
    }
    if is_about_other {
        for mark in marks(own_name, own) {
            if carried.iter().any(|bytes| contains(bytes, &mark)) {
                found("names its sender".to_owned());
            }
        }
    }

    // Secrets: nowhere, in questions and in answers.
    let answer = seen.exchange.answer.as_ref().map(|answer| answer.body.clone()).unwrap_or_default();
    let everything = request.query.iter().flat_map(|(_, value)| readings(value));
    let everything: Vec<Vec<u8>> = everything.chain([request.body.to_vec(), answer.to_vec()]).collect();
    for (what, secret) in &scene.secrets {
        if forms(secret).iter().any(|form| everything.iter().any(|bytes| contains(bytes, form))) {
            found(format!("shows {what}"));
        }
    }

    let size = match path {
        SendFollowRequest::PATH => Some(REQUEST_BYTES),
        RemoveFollowRequest::PATH => Some(REMOVAL_BYTES),
        _ => None,
    };
    if size.is_some_and(|size| size != request.body.len()) {
        found(format!("{} bytes", request.body.len()));
    }
}

/// Whether some of the bytes are in both, those left out that two others wrote too.
fn have_common(one: &[&[u8]], other: &[&[u8]], scene: &Scene) -> bool {
    let of_one: HashSet<&[u8]> = one.iter().flat_map(|body| body.chunks_exact(WINDOW)).collect();
    let of_other = other.iter().flat_map(|body| body.windows(WINDOW));
    let common: HashSet<&[u8]> = of_other.filter(|window| of_one.contains(window)).collect();
    let of_format: Vec<&[u8]> =
        [Party::A, Party::B].into_iter().flat_map(|by| written(&scene.control, by, None)).collect();
    common.into_iter().any(|window| !of_format.iter().any(|body| contains(body, window)))
}

/// Bytes that join the two: what both wrote, or what stands in two follow requests.
fn check_joins(seen: &[Seen], scene: &Scene, findings: &mut Vec<String>) {
    let of = |by| written(seen, by, Some(&scene.party(by).1)).collect::<Vec<_>>();
    if have_common(&of(Party::A), &of(Party::B), scene) {
        findings.push("both wrote the same bytes".to_owned());
    }
    let sent = |seen: &&Seen| seen.request().path == SendFollowRequest::PATH;
    let requests: Vec<&[u8]> = seen.iter().filter(sent).map(|seen| &seen.request().body[..]).collect();
    for (at, request) in requests.iter().enumerate() {
        if have_common(&requests[..at], &[request], scene) {
            findings.push("two follow requests have bytes in common".to_owned());
        }
    }
}
