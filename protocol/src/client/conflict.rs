//! Two who store the same file at once: the first keeps the name, and what the second stored lies beside it, named with
//! who and when. Nobody's work is lost, and nobody has to be asked.

use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::{Runtime, millis};
use super::seal::SealedContent;
use super::view::View;
use crate::api::Transport;
use crate::cryptree::fragments::NodeData;
use crate::cryptree::name::FileName;
use crate::cryptree::properties::Timestamp;
use crate::names::Date;

/// Which content a file had when an operation looked at it; none for no file. A new name, or new keys for everybody who
/// keeps access, are no new content.
#[derive(Clone, PartialEq)]
pub(crate) struct Seen(Option<(NodeData, Timestamp, u64)>);

impl Seen {
    pub(crate) fn of(item: Option<&Item>) -> Self {
        let mark = |item: &Item| (item.node.data().clone(), item.properties().modified, item.properties().size_bytes);
        Seen(item.filter(|item| !item.is_directory()).map(mark))
    }

    /// Whether somebody else stored a file since.
    pub(crate) fn is_overtaken_by(&self, now: Option<&Item>) -> bool {
        now.is_some_and(|item| !item.is_directory()) && *self != Seen::of(now)
    }
}

/// Where a file was put.
pub(crate) enum Put {
    Stored,
    /// There is one already, which stays.
    Skipped,
    /// Under this path, because somebody else stored a file under the other one at the same time.
    Beside(RemotePath),
}

impl<T: Transport, R: Runtime> View<'_, T, R> {
    /// Puts a whole file into its place, or beside what somebody else put there since `seen`.
    pub(crate) async fn put_file_or_beside(
        &mut self,
        place: &Place<'_>,
        meta: &FileMeta,
        content: &SealedContent,
        if_exists: IfExists,
        seen: &Seen,
    ) -> Result<Put, ClientError> {
        if if_exists == IfExists::Replace {
            let now = self.child_at(place.parent, place.name, place.path).await?;
            if seen.is_overtaken_by(now.as_ref()) {
                let (name, path) = self.beside(place).await?;
                let place = Place { parent: place.parent, name: &name, path: &path };
                self.put_file(&place, meta, content, IfExists::Fail).await?;
                return Ok(Put::Beside(path));
            }
        }
        Ok(match self.put_file(place, meta, content, if_exists).await? {
            true => Put::Stored,
            false => Put::Skipped,
        })
    }

    /// A free name beside a file for another version of it.
    ///
    /// # Errors
    /// [`ClientError::Changed`] where nothing can be put beside it.
    pub(crate) async fn beside(&mut self, place: &Place<'_>) -> Result<(FileName, RemotePath), ClientError> {
        let changed = || ClientError::Changed { path: place.path.clone() };
        let directory = place.path.parent().filter(|_| place.parent.signer.is_some()).ok_or_else(changed)?;
        let core = self.core;
        let who = if core.tree.above.is_empty() { core.tree.username.as_str() } else { "a link" };
        let state = self.directory(place.parent).await?;
        for number in 1..=1000 {
            let name = name_beside(place.name, who, core.network.runtime.now(), number).ok_or_else(changed)?;
            if state.entry(&name).is_none() {
                let path = directory.join(name.clone());
                return Ok((name, path));
            }
        }
        Err(changed())
    }
}

/// `report.txt` → `report (conflict of bob 2026-11-25 14.03).txt`; times are UTC.
fn name_beside(name: &FileName, who: &str, when: Timestamp, number: u32) -> Option<FileName> {
    let name = name.as_str();
    // The ending as copies keep it (`spec/03` §4.9).
    let dot = name.rfind('.').filter(|dot| *dot > 0 && dot + 1 < name.len());
    let (base, ending) = name.split_at(dot.unwrap_or(name.len()));
    let date = Date::from_unix_millis(millis(when));
    let minute = when.seconds().div_euclid(60).rem_euclid(24 * 60);
    let (year, month, day) = (date.year(), date.month(), date.day());
    let number = if number > 1 { format!(", {number}") } else { String::new() };
    let note =
        format!(" (conflict of {who} {year:04}-{month:02}-{day:02} {:02}.{:02}{number})", minute / 60, minute % 60);
    // Long names lose their end, long endings are none.
    let mut base = base.to_owned();
    loop {
        match FileName::new(format!("{base}{note}{ending}")) {
            Ok(name) => return Some(name),
            Err(_) => base.pop()?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(name: &str, number: u32) -> String {
        let when = Timestamp::new(1_795_615_427, 0).unwrap();
        let name = name_beside(&FileName::new(name).unwrap(), "bob", when, number);
        name.map_or_else(|| "none".to_owned(), |name| name.as_str().to_owned())
    }

    #[test]
    fn names_tell_who_and_when() {
        assert_eq!(beside("report.txt", 1), "report (conflict of bob 2026-11-25 14.03).txt");
        assert_eq!(beside("report.txt", 2), "report (conflict of bob 2026-11-25 14.03, 2).txt");
        assert_eq!(beside("report", 1), "report (conflict of bob 2026-11-25 14.03)");
        assert_eq!(beside(".profile", 1), ".profile (conflict of bob 2026-11-25 14.03)");
        assert_eq!(beside("a.tar.gz", 1), "a.tar (conflict of bob 2026-11-25 14.03).gz");
        let long = beside(&format!("{}.txt", "ä".repeat(251)), 1);
        assert!(long.ends_with("ä (conflict of bob 2026-11-25 14.03).txt") && long.encode_utf16().count() == 255);
        assert_eq!(beside(&format!("a.{}", "b".repeat(253)), 1), "none");
    }
}
