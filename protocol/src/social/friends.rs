//! Whom we follow, whom we asked to follow, and whom we blocked (`spec/05` §3.6, §3.7, §3.10).

use std::collections::BTreeSet;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::login::EntryPoint;
use crate::names::Username;

/// Those whom we follow, from the entry points that were appended over time: without the blocked, the last entry point
/// of each writer, in the order in which the writers first appeared.
pub fn following(entries: Vec<EntryPoint>, blocked: &Blocked) -> Vec<EntryPoint> {
    let mut following: Vec<EntryPoint> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for entry in entries.into_iter().filter(|entry| !blocked.contains(&entry.owner_name)) {
        let at = *places.entry(entry.capability.writer.clone()).or_insert(following.len());
        match following.get_mut(at) {
            Some(earlier) => *earlier = entry,
            None => following.push(entry),
        }
    }
    following
}

/// Those whom we asked to follow and who have not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PendingSocialState {
    /// The names.
    pub outgoing: BTreeSet<Username>,
}

impl ToCbor for PendingSocialState {
    fn to_cbor(&self) -> Value {
        Value::map([("pendingOutgoing", Value::list(&self.outgoing))])
    }
}

impl FromCbor for PendingSocialState {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let names: Vec<Username> = value.fields("PendingSocialState")?.required("pendingOutgoing")?.as_list_of()?;
        Ok(PendingSocialState { outgoing: names.into_iter().collect() })
    }
}

/// Those whom we blocked: a text of one name in each line. Nobody else learns of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Blocked(BTreeSet<Username>);

impl Blocked {
    /// Reads the text. Lines that are no names are skipped, above all empty ones, which the reference leaves behind.
    pub fn from_text(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        Blocked(lines.filter_map(|line| Username::existing(line).ok()).collect())
    }

    /// The whole text, sorted, each line ended.
    pub fn to_text(&self) -> String {
        self.0.iter().map(Blocked::line).collect()
    }

    /// The line that blocks one more name when it is appended to the file.
    pub fn line(name: &Username) -> String {
        format!("{name}\n")
    }

    /// Whether a name is blocked.
    pub fn contains(&self, name: &Username) -> bool {
        self.0.contains(name)
    }

    /// Blocks a name. False if it was blocked.
    pub fn insert(&mut self, name: Username) -> bool {
        self.0.insert(name)
    }

    /// Unblocks a name. False if it was not blocked.
    pub fn remove(&mut self, name: &Username) -> bool {
        self.0.remove(name)
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &Username> {
        self.0.iter()
    }
}
