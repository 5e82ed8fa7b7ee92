//! The plain model: items in memory, and who may do what with them.

use std::collections::{BTreeMap, BTreeSet};

use pyrgos_protocol::links::SecretLink;

/// Which of the three users.
pub type User = usize;

/// An item, whatever its name and place become.
pub type Id = usize;

/// A secret link.
#[derive(Clone)]
pub struct Link {
    pub secret: SecretLink,
    pub is_writable: bool,
}

/// A file or a directory.
pub struct Item {
    pub owner: User,
    pub parent: Option<Id>,
    pub name: String,
    /// None for a directory.
    pub content: Option<Vec<u8>>,
    /// Whom it was shared with to read.
    pub readers: BTreeSet<User>,
    /// Whether it was shared with the group of all friends, who are the two others, to read.
    pub is_for_friends: bool,
    /// Its secret links.
    pub links: Vec<Link>,
    /// Whom it was shared with to write.
    pub writers: BTreeSet<User>,
    /// Whether it was ever shared to write, or a link to write was made: from then on it has a key of its own, and what moves over its border is a
    /// copy, with which nothing is shared.
    pub has_own_space: bool,
}

impl Item {
    fn new(owner: User, parent: Option<Id>, name: &str, content: Option<Vec<u8>>) -> Self {
        let (readers, writers, links) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let (is_for_friends, has_own_space) = (false, false);
        Item { owner, parent, name: name.to_owned(), content, readers, is_for_friends, links, writers, has_own_space }
    }

    pub fn is_shared(&self) -> bool {
        self.is_for_friends || !self.readers.is_empty() || !self.writers.is_empty()
    }

    /// Whether a user was granted it by name.
    pub fn is_granted_to(&self, user: User) -> bool {
        self.readers.contains(&user) || self.writers.contains(&user)
    }

    pub fn is_shared_with(&self, user: User) -> bool {
        self.is_granted_to(user) || (self.is_for_friends && user != self.owner)
    }
}

/// Everything that the three have. The first items are their home directories.
pub struct World {
    items: BTreeMap<Id, Item>,
    next: Id,
    /// Links that were withdrawn, or whose items are no more.
    pub ended: Vec<SecretLink>,
}

impl World {
    pub fn new(users: usize) -> Self {
        let mut world = World { items: BTreeMap::new(), next: 0, ended: Vec::new() };
        for owner in 0..users {
            world.add(Item::new(owner, None, "", None));
        }
        world
    }

    fn add(&mut self, item: Item) -> Id {
        self.next += 1;
        self.items.insert(self.next - 1, item);
        self.next - 1
    }

    pub fn item(&self, id: Id) -> &Item {
        &self.items[&id]
    }

    pub fn item_mut(&mut self, id: Id) -> &mut Item {
        self.items.get_mut(&id).expect("an item that is there")
    }

    /// All items, home directories left out.
    pub fn items(&self) -> impl Iterator<Item = (Id, &Item)> {
        self.items.iter().filter(|(_, item)| item.parent.is_some()).map(|(id, item)| (*id, item))
    }

    /// All directories, home directories too.
    pub fn directories(&self) -> impl Iterator<Item = Id> {
        self.items.iter().filter(|(_, item)| item.content.is_none()).map(|(id, _)| *id)
    }

    pub fn children(&self, directory: Id) -> impl Iterator<Item = Id> {
        self.items.iter().filter(move |(_, item)| item.parent == Some(directory)).map(|(id, _)| *id)
    }

    pub fn child(&self, directory: Id, name: &str) -> Option<Id> {
        self.children(directory).find(|id| self.item(*id).name == name)
    }

    /// The item and what it lies in, innermost first.
    pub fn upwards(&self, id: Id) -> impl Iterator<Item = Id> {
        std::iter::successors(Some(id), |id| self.item(*id).parent)
    }

    /// The names from the home directory down.
    pub fn names(&self, id: Id) -> Vec<&str> {
        let mut names: Vec<&str> = self.upwards(id).map(|id| self.item(id).name.as_str()).collect();
        names.pop();
        names.reverse();
        names
    }

    pub fn may_read(&self, user: User, id: Id) -> bool {
        self.item(id).owner == user || self.upwards(id).any(|id| self.item(id).is_shared_with(user))
    }

    pub fn may_write(&self, user: User, id: Id) -> bool {
        self.item(id).owner == user || self.upwards(id).any(|id| self.item(id).writers.contains(&user))
    }

    /// Whether a user may rename, move or remove an item: its entry lies in the directory above it.
    pub fn may_take(&self, user: User, id: Id) -> bool {
        self.item(id).parent.is_some_and(|parent| self.may_write(user, parent))
    }

    /// The links of an owner.
    pub fn links(&self, owner: User) -> impl Iterator<Item = (Id, &Link)> {
        let own = self.items().filter(move |(_, item)| item.owner == owner);
        own.flat_map(|(id, item)| item.links.iter().map(move |link| (id, link)))
    }

    /// Whether an item or anything in it is shared by itself, or has a link.
    pub fn has_shares(&self, id: Id) -> bool {
        self.item(id).is_shared()
            || !self.item(id).links.is_empty()
            || self.children(id).any(|child| self.has_shares(child))
    }

    /// What was shared with a user.
    pub fn shared_with(&self, user: User) -> Vec<Id> {
        self.items().filter(|(_, item)| item.is_shared_with(user)).map(|(id, _)| id).collect()
    }

    /// The item whose key signs for what is in a directory; the home directory in the end.
    pub fn space(&self, directory: Id) -> Id {
        let at = self.upwards(directory).find(|id| self.item(*id).has_own_space);
        at.or_else(|| self.upwards(directory).last()).expect("an item leads to itself")
    }

    /// How many items an owner has.
    pub fn count(&self, owner: User) -> usize {
        self.items().filter(|(_, item)| item.owner == owner).count()
    }

    /// The number of items from this one downwards.
    pub fn size(&self, id: Id) -> usize {
        1 + self.children(id).map(|child| self.size(child)).sum::<usize>()
    }

    pub fn create(&mut self, directory: Id, name: &str, content: Option<Vec<u8>>) -> Id {
        self.add(Item::new(self.item(directory).owner, Some(directory), name, content))
    }

    /// Moves an item to where nothing is, or over a file that gives way.
    pub fn bring(&mut self, id: Id, directory: Id, name: &str) {
        let existing = self.child(directory, name);
        let parent = self.item(id).parent.expect("no home directory");
        if self.space(parent) == self.space(directory) {
            existing.into_iter().for_each(|existing| self.remove(existing));
            let item = self.item_mut(id);
            (item.parent, item.name) = (Some(directory), name.to_owned());
            return;
        }
        match existing {
            // It stays the file that it was, with another content. The links lead to it from now on.
            Some(existing) => {
                self.item_mut(existing).content = self.item(id).content.clone();
                self.hand_over_links(id, existing);
            }
            None => self.copy(id, directory, name),
        }
        self.remove(id);
    }

    fn copy(&mut self, id: Id, directory: Id, name: &str) {
        let copy = self.create(directory, name, self.item(id).content.clone());
        self.hand_over_links(id, copy);
        for child in self.children(id).collect::<Vec<_>>() {
            let name = self.item(child).name.clone();
            self.copy(child, copy, &name);
        }
    }

    /// The links of what its owner moves lead to where it is now. Nobody can take links along to somebody else's tree.
    fn hand_over_links(&mut self, from: Id, to: Id) {
        if self.item(from).owner == self.item(to).owner {
            let links = std::mem::take(&mut self.item_mut(from).links);
            let item = self.item_mut(to);
            item.has_own_space |= links.iter().any(|link| link.is_writable);
            item.links.extend(links);
        }
    }

    pub fn remove(&mut self, id: Id) {
        for child in self.children(id).collect::<Vec<_>>() {
            self.remove(child);
        }
        let removed = self.items.remove(&id);
        self.ended.extend(removed.into_iter().flat_map(|item| item.links).map(|link| link.secret));
    }

    /// An item with everything in it, without names of what it lies in.
    pub fn render(&self, id: Id) -> String {
        let item = self.item(id);
        match &item.content {
            Some(content) => file(&item.name, content),
            None => directory(&item.name, self.children(id).map(|child| self.render(child)).collect()),
        }
    }
}

/// A file as text.
pub fn file(name: &str, content: &[u8]) -> String {
    match content.len() {
        0..40 => format!("{name}={}", content.escape_ascii()),
        len => format!("{name}={}…{len}", content[..20].escape_ascii()),
    }
}

/// A directory as text.
pub fn directory(name: &str, mut children: Vec<String>) -> String {
    children.sort();
    format!("{name}[{}]", children.join(","))
}

/// A file of a size in bytes or a directory without a look inside.
pub fn outline(name: &str, size: Option<u64>) -> String {
    match size {
        Some(size) => format!("{name} ({size})"),
        None => format!("{name}/"),
    }
}
