//! The received capabilities by path: the `world` mirror (`spec/05` §4.8). It is a cache, which can be built anew from
//! the streams of the friends.

use std::fmt;

use crate::cryptree::{AbsoluteCapability, FileName};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::names::Username;

/// A file or directory that somebody shared with us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildElement {
    /// Its name when it was shared.
    pub name: FileName,
    /// What we may do with it.
    pub capability: AbsoluteCapability,
    /// Who shared it. The reference may list somebody twice.
    pub sharers: Vec<Username>,
}

impl ToCbor for ChildElement {
    fn to_cbor(&self) -> Value {
        Value::map([("c", self.capability.to_cbor()), ("n", self.name.to_cbor()), ("s", Value::list(&self.sharers))])
    }
}

impl FromCbor for ChildElement {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("ChildElement")?;
        Ok(ChildElement {
            name: fields.get("n")?,
            capability: fields.get("c")?,
            sharers: fields.required("s")?.as_list_of()?,
        })
    }
}

/// What was received of the children of one directory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CapsInDirectory {
    /// The elements; names are distinct.
    children: Vec<ChildElement>,
}

impl CapsInDirectory {
    /// The element of a name.
    pub fn get(&self, name: &str) -> Option<&ChildElement> {
        self.children.iter().find(|child| child.name.as_str() == name)
    }

    /// Takes out the element of a name.
    pub fn remove(&mut self, name: &str) -> Option<ChildElement> {
        let at = self.children.iter().position(|child| child.name.as_str() == name)?;
        Some(self.children.remove(at))
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &ChildElement> {
        self.children.iter()
    }

    /// The stored capability on which [`add`](Self::add) depends: it writes and the new one only reads, so whether it
    /// still opens must be known before. None if that makes no difference.
    pub fn in_question(&self, name: &str, new: &AbsoluteCapability) -> Option<&AbsoluteCapability> {
        let stored = &self.get(name)?.capability;
        (stored != new && stored.is_writable() && !new.is_writable()).then_some(stored)
    }

    /// Adds a capability that `sharer` gave us. `stored_opens` says whether the capability of
    /// [`in_question`](Self::in_question) still opens; a write capability that does is not given up for one that reads.
    /// Returns whether anything changed.
    pub fn add(
        &mut self,
        name: FileName,
        new: AbsoluteCapability,
        sharer: &Username,
        stored_opens: impl FnOnce(&AbsoluteCapability) -> bool,
    ) -> bool {
        if self.in_question(name.as_str(), &new).is_some_and(stored_opens) {
            return false;
        }
        let present = self.children.iter().position(|child| child.name == name);
        let mut sharers = vec![sharer.clone()];
        if let Some(at) = present {
            let present = self.children.remove(at);
            if present.capability == new {
                sharers = present.sharers;
                if !sharers.contains(sharer) {
                    sharers.push(sharer.clone());
                }
            }
        }
        self.children.push(ChildElement { name, capability: new, sharers });
        true
    }
}

/// Tells how many children there are; their names are secrets.
impl fmt::Debug for CapsInDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapsInDirectory({} children)", self.children.len())
    }
}

impl ToCbor for CapsInDirectory {
    fn to_cbor(&self) -> Value {
        Value::map([("c", Value::list(&self.children))])
    }
}

impl FromCbor for CapsInDirectory {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let mut children: Vec<ChildElement> = value.fields("CapsInDirectory")?.required("c")?.as_list_of()?;
        // Should a name stand there twice, the last one counts: it was received last.
        let mut seen = std::collections::HashSet::new();
        children.reverse();
        children.retain(|child| seen.insert(child.name.clone()));
        children.reverse();
        Ok(CapsInDirectory { children })
    }
}
