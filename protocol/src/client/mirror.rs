//! Keeps the mirror of what others share true to where things are (`spec/05` §4.8).
//!
//! A record says nothing of a later renaming or move. What was moved stays readable under the path that it had, until
//! something else is shared there: then both must be found, each under a path of its own.

use std::collections::{BTreeMap, VecDeque};

use futures_util::stream::{self, StreamExt};

use super::apart::AT_ONCE;
use super::desk::Desk;
use super::discovering::Found;
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::sharing::{MAX_DEPTH, parent_of};
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::names::Username;
use crate::social::CapsInDirectory;
use crate::social::places::{self, ITEMS};

/// What was received in one directory of somebody, by the names from his home directory to it.
struct Place {
    names: Vec<FileName>,
    items: CapsInDirectory,
}

impl<T: Transport, R: Runtime> Desk<'_, '_, T, R> {
    /// Puts a received capability into the mirror. What its owner has moved away from there since gives way, to the
    /// place where it is now.
    pub(crate) async fn keep(&mut self, found: Found, sharer: &Username) -> Result<(), ClientError> {
        let mut pending = VecDeque::from([(found, vec![sharer.clone()])]);
        // Each round settles one element at its true place, from where no other drives it away.
        while let Some((found, sharers)) = pending.pop_front() {
            let (owner, parent, name) = parent_of(&found.path)?;
            let mut items = self.received(&owner, parent).await?;
            let present = items.get(name.as_str()).filter(|present| present.capability != found.cap).cloned();
            let mut opens = false;
            if let Some(present) = present {
                let opened = self.open_shared(&present.capability).await;
                opens = self.set_aside(opened).await?.is_ok_and(|opened| opened.is_some());
                let located = self.locate(&present.capability).await;
                if present.capability.location() != found.cap.location()
                    && let Ok(Some(path)) = self.set_aside(located).await?
                    && path != found.path
                {
                    items.remove(name.as_str());
                    pending.push_back((Found { path, cap: present.capability }, present.sharers));
                }
            }
            let mut is_changed = false;
            for sharer in &sharers {
                is_changed |= items.add(name.clone(), found.cap.clone(), sharer, |_| opens);
            }
            if is_changed {
                self.put_received(&owner, parent, &items);
            }
        }
        Ok(())
    }

    /// Everything in the mirror: of each directory whose it is, the names from his home directory to it, and what was
    /// received in it. The directories of one depth are fetched together.
    pub(crate) async fn mirror(&mut self) -> Result<Vec<(Username, Vec<FileName>, CapsInDirectory)>, ClientError> {
        let root = self.item(&places::world_root()).await?;
        let mut level: Vec<(Vec<FileName>, Item)> = root.into_iter().map(|root| (Vec::new(), root)).collect();
        let mut mirror = Vec::new();
        while !level.is_empty() {
            let directories: Vec<Item> = level.iter().map(|(_, directory)| directory.clone()).collect();
            self.view.read_ahead(&directories, |_| true).await?;
            let mut below = Vec::new();
            for (names, directory) in level {
                let children: Vec<FileName> =
                    self.view.directory(&directory).await?.entries().filter_map(|e| e.name.file_name().ok()).collect();
                for name in children {
                    let child = self.view.child(&directory, &name).await?;
                    if let Some(child) = child.filter(|child| child.is_directory() && names.len() < MAX_DEPTH) {
                        below.push(([&names[..], &[name]].concat(), child));
                    }
                }
                if let Some((owner, names)) = names.split_first()
                    && let Ok(owner) = Username::existing(owner.as_str())
                {
                    let items = self.received(&owner, names).await?;
                    mirror.push((owner, names.to_vec(), items));
                }
            }
            level = below;
        }
        Ok(mirror)
    }

    /// Brings everything in the mirror to the place where it is now.
    pub(crate) async fn settle(&mut self) -> Result<(), ClientError> {
        let mut mirror: BTreeMap<Username, Vec<Place>> = BTreeMap::new();
        for (owner, names, items) in self.mirror().await? {
            mirror.entry(owner).or_default().push(Place { names, items });
        }
        let check = |(owner, places): (Username, Vec<Place>)| {
            let mut apart = self.apart();
            async move {
                let mut copy = apart.desk();
                let displaced = copy.displaced(&owner, places).await;
                let learned = copy.into_learned();
                apart.put_back(learned);
                (owner, apart, displaced)
            }
        };
        let checks: Vec<_> = mirror.into_iter().map(check).collect();
        let checks: Vec<_> = stream::iter(checks).buffered(AT_ONCE).collect().await;
        let mut moved = Vec::new();
        for (owner, apart, displaced) in checks {
            self.join(apart).await?;
            for (staying, gone) in displaced? {
                self.put_received(&owner, &staying.names, &staying.items);
                moved.extend(gone);
            }
        }
        for (found, sharers) in moved {
            for sharer in &sharers {
                self.keep(Found { path: found.path.clone(), cap: found.cap.clone() }, sharer).await?;
            }
        }
        Ok(())
    }

    /// What was received of one owner and has moved away since: what stays in each directory, and what goes where.
    /// Changes nothing.
    async fn displaced(
        &mut self,
        owner: &Username,
        places: Vec<Place>,
    ) -> Result<Vec<(Place, Vec<(Found, Vec<Username>)>)>, ClientError> {
        let elements = places.iter().flat_map(|place| place.items.iter());
        let opened = self.open_all_received(elements.map(|element| element.capability.read_only())).await;
        if self.set_aside(opened).await?.is_err() {
            // Where things are now, nobody can say.
            return Ok(Vec::new());
        }
        let home = RemotePath::home(FileName::new(owner.as_str()).map_err(|_| ClientError::UnknownUser)?);
        let mut displaced = Vec::new();
        for mut place in places {
            let directory = place.names.iter().fold(home.clone(), |path, name| path.join(name.clone()));
            let mut gone = Vec::new();
            for element in place.items.clone().iter() {
                let trail = self.trail(&element.capability).await;
                let Ok(Some(path)) = self.set_aside(trail).await? else { continue };
                if path == directory.join(element.name.clone()) {
                    continue;
                }
                // Its owner could have moved it to where it seems to be somebody else's.
                let located = self.locate(&element.capability).await;
                if self.set_aside(located).await?.is_ok_and(|located| located.as_ref() == Some(&path)) {
                    place.items.remove(element.name.as_str());
                    gone.push((Found { path, cap: element.capability.clone() }, element.sharers.clone()));
                }
            }
            if !gone.is_empty() {
                displaced.push((place, gone));
            }
        }
        Ok(displaced)
    }

    fn put_received(&mut self, owner: &Username, names: &[FileName], items: &CapsInDirectory) {
        self.put(&format!("{}/{ITEMS}", places::world(owner, names)), items, false);
    }
}
