//! The plain model: items in memory, and who may do what with them.

use std::collections::{BTreeMap, BTreeSet};

/// Which of the three users.
pub type User = usize;

/// An item, whatever its name and place become.
pub type Id = usize;

/// A file or a directory.
pub struct Item {
    pub owner: User,
    pub parent: Option<Id>,
    pub name: String,
    /// None for a directory.
    pub content: Option<Vec<u8>>,
    /// Whom it was shared with to read.
    pub readers: BTreeSet<User>,
}

/// Everything that the three have. The first items are their home directories.
pub struct World {
    items: BTreeMap<Id, Item>,
    next: Id,
}

impl World {
    pub fn new(users: usize) -> Self {
        let mut world = World { items: BTreeMap::new(), next: 0 };
        for owner in 0..users {
            world.add(Item { owner, parent: None, name: String::new(), content: None, readers: BTreeSet::new() });
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

    pub fn directories(&self, owner: User) -> Vec<Id> {
        let own = self.items.iter().filter(|(_, item)| item.owner == owner && item.content.is_none());
        own.map(|(id, _)| *id).collect()
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
        self.item(id).owner == user || self.upwards(id).any(|id| self.item(id).readers.contains(&user))
    }

    /// What was shared with a user.
    pub fn shared_with(&self, user: User) -> Vec<Id> {
        self.items().filter(|(_, item)| item.readers.contains(&user)).map(|(id, _)| id).collect()
    }

    pub fn create(&mut self, directory: Id, name: &str, content: Option<Vec<u8>>) -> Id {
        let owner = self.item(directory).owner;
        let (parent, name) = (Some(directory), name.to_owned());
        self.add(Item { owner, parent, name, content, readers: BTreeSet::new() })
    }

    pub fn remove(&mut self, id: Id) {
        for child in self.children(id).collect::<Vec<_>>() {
            self.remove(child);
        }
        self.items.remove(&id);
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
