//! Members in the tree of invitations, and their clocks (`spec/05` §10.2).

use std::collections::BTreeMap;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// A member's place in the tree of invitations: `[0]` is the creator, `[0, 2]` the third whom the creator invited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Vec<u32>);

impl MemberId {
    /// Who made the chat.
    pub fn creator() -> Self {
        MemberId(vec![0])
    }

    /// Who was invited by this member after `earlier` others.
    pub fn invited(&self, earlier: u32) -> Self {
        MemberId(self.0.iter().copied().chain([earlier]).collect())
    }

    fn from_elements(elements: &[Value]) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::invalid("chat member", "not a list of counts");
        let number = |value: &Value| u32::try_from(value.as_int()?).map_err(|_| invalid());
        match elements {
            [] => Err(invalid()),
            elements => Ok(MemberId(elements.iter().map(number).collect::<Result<_, _>>()?)),
        }
    }

    fn elements(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|number| Value::Int(i64::from(*number)))
    }
}

impl ToCbor for MemberId {
    fn to_cbor(&self) -> Value {
        Value::List(self.elements().collect())
    }
}

impl FromCbor for MemberId {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        MemberId::from_elements(value.as_list()?)
    }
}

/// How many messages of each member have been heard: a list of member ids, each followed by the count.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TreeClock(BTreeMap<MemberId, u64>);

impl TreeClock {
    /// How many messages of a member have been heard.
    pub fn of(&self, member: &MemberId) -> u64 {
        self.0.get(member).copied().unwrap_or(0)
    }

    /// Whether the other has heard everything that this one has.
    pub fn is_within(&self, other: &TreeClock) -> bool {
        self.0.iter().all(|(member, heard)| *heard <= other.of(member))
    }

    /// One more message of a member; none at the end of counting.
    #[must_use]
    pub fn next(&self, member: &MemberId) -> Option<TreeClock> {
        let heard = self.of(member).checked_add(1).filter(|heard| i64::try_from(*heard).is_ok())?;
        let mut clock = self.clone();
        clock.0.insert(member.clone(), heard);
        Some(clock)
    }

    /// A member of whom nothing has been heard yet.
    pub fn welcome(&mut self, member: MemberId) {
        self.0.entry(member).or_insert(0);
    }

    /// This clock without what the other has not heard.
    #[must_use]
    pub fn at_most(&self, other: &TreeClock) -> TreeClock {
        TreeClock(self.0.iter().map(|(member, heard)| (member.clone(), (*heard).min(other.of(member)))).collect())
    }

    /// A member has said so much.
    pub fn hear(&mut self, member: &MemberId, heard: u64) {
        let known = self.0.entry(member.clone()).or_insert(0);
        *known = (*known).max(heard);
    }
}

impl ToCbor for TreeClock {
    fn to_cbor(&self) -> Value {
        let entry = |(member, heard): (&MemberId, &u64)| {
            // Counts came from CBOR, or were kept within its range by `next`.
            let heard = Value::Int(i64::try_from(*heard).unwrap_or(i64::MAX));
            Value::List(member.elements().chain([heard]).collect())
        };
        Value::List(self.0.iter().map(entry).collect())
    }
}

impl FromCbor for TreeClock {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("TreeClock", reason);
        let mut clock = BTreeMap::new();
        for entry in value.as_list()? {
            let (heard, member) = entry.as_list()?.split_last().ok_or_else(|| invalid("an empty entry"))?;
            let heard = u64::try_from(heard.as_int()?).map_err(|_| invalid("a negative count"))?;
            if clock.insert(MemberId::from_elements(member)?, heard).is_some() {
                return Err(invalid("a member twice"));
            }
        }
        Ok(TreeClock(clock))
    }
}
