//! The newest sequence that was seen of each pointer, so that a home that goes back is found out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyrgos_protocol::keys::{Owner, Writer};

/// Most pointers that are remembered. When there are more, all are forgotten: whoever fills it, with pointers that he
/// signed, hides his own only for as long as clients do not look themselves, which they do.
const MAX_SEEN: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<(Owner, Writer), i64>>);

impl Seen {
    /// Remembers a sequence, or gives the newer one that was seen.
    pub(super) fn check(&self, owner: Owner, writer: Writer, sequence: i64) -> Result<(), i64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (owner, writer);
        match seen.get_mut(&key) {
            Some(newest) if *newest > sequence => Err(*newest),
            Some(newest) => {
                *newest = sequence;
                Ok(())
            }
            None => {
                if seen.len() >= MAX_SEEN {
                    seen.clear();
                }
                seen.insert(key, sequence);
                Ok(())
            }
        }
    }
}
