//! Keeps the mirror of what others share true to where things are (`spec/05` §4.8).
//!
//! A record says nothing of a later renaming or move. What was moved stays readable under the path that it had, until
//! something else is shared there: then both must be found, each under a path of its own.

use std::collections::VecDeque;

use super::desk::Desk;
use super::error::ClientError;
use super::item::Reached;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::sharing::{Found, parent_of};
use crate::api::Transport;
use crate::cryptree::name::FileName;
use crate::names::Username;
use crate::social::CapsInDirectory;
use crate::social::places::{self, ITEMS};

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

    /// Brings everything in the mirror to the place where it is now.
    pub(crate) async fn settle(&mut self) -> Result<(), ClientError> {
        let mut moved = Vec::new();
        for user in self.names(&places::world_root()).await? {
            let Ok(owner) = Username::existing(user.as_str()) else { continue };
            let home = RemotePath::home(user);
            let mut mirror = Vec::new();
            let mut pending = vec![Vec::new()];
            while let Some(names) = pending.pop() {
                pending.extend(self.mirrored(&owner, &names).await?);
                mirror.push((self.received(&owner, &names).await?, names));
            }
            self.fetch(mirror.iter().map(|(items, _)| items)).await?;
            for (items, names) in mirror {
                let directory = names.iter().fold(home.clone(), |path, name| path.join(name.clone()));
                let mut staying = items.clone();
                for element in items.iter() {
                    let is_there = |path: &RemotePath| *path == directory.join(element.name.clone());
                    let trail = self.trail(&element.capability).await;
                    let Ok(Some(path)) = self.set_aside(trail).await? else { continue };
                    if is_there(&path) {
                        continue;
                    }
                    // Its owner could have moved it to where it seems to be somebody else's.
                    let located = self.locate(&element.capability).await;
                    if self.set_aside(located).await?.is_ok_and(|located| located.as_ref() == Some(&path)) {
                        staying.remove(element.name.as_str());
                        moved.push((Found { path, cap: element.capability.clone() }, element.sharers.clone()));
                    }
                }
                if staying != items {
                    self.put_received(&owner, &names, &staying);
                }
            }
        }
        for (found, sharers) in moved {
            for sharer in &sharers {
                self.keep(Found { path: found.path.clone(), cap: found.cap.clone() }, sharer).await?;
            }
        }
        Ok(())
    }

    /// Fetches what many capabilities lead to at once. What cannot be opened is noticed when it is opened by itself.
    async fn fetch(&mut self, items: impl Iterator<Item = &CapsInDirectory>) -> Result<(), ClientError> {
        let elements = items.flat_map(CapsInDirectory::iter);
        let reached: Vec<Reached> =
            elements.map(|element| Reached { cap: element.capability.read_only(), signer: None }).collect();
        let opened = self.view.open_targets(&reached).await;
        self.set_aside(opened).await.map(drop)
    }

    fn put_received(&mut self, owner: &Username, names: &[FileName], items: &CapsInDirectory) {
        self.put(&format!("{}/{ITEMS}", places::world(owner, names)), items, false);
    }
}
