//! Secret links in the sequences: made, opened by somebody without an account, written through, withdrawn.

use super::*;

/// How many links an owner has at once.
const MAX_LINKS: usize = 3;

type Opened = OpenLink<people::Way, InlineRuntime<people::Seeded>>;

impl Game {
    /// A link to read or to write, for somebody without an account.
    pub(super) fn create_link(&mut self, user: User) -> Option<()> {
        if self.world.links(user).count() >= MAX_LINKS {
            return None;
        }
        let id = self.pick_item(|world, id| world.item(id).owner == user)?;
        let is_writable = self.dice.one_in(2);
        let at = self.path(id);
        self.tell(user, format!("link create {at}{}", if is_writable { " --write" } else { "" }));
        let options = LinkOptions { is_writable, ..LinkOptions::default() };
        let secret = run(self.sessions[user].create_link(&at, &options)).unwrap();
        let item = self.world.item_mut(id);
        item.has_own_space |= is_writable;
        item.links.push(Link { secret, is_writable });
        Some(())
    }

    /// Somebody who has links.
    fn pick_linker(&mut self) -> Option<User> {
        let linkers: Vec<User> = (0..USERS.len()).filter(|user| self.world.links(*user).next().is_some()).collect();
        let user = self.dice.pick(&linkers)?;
        self.touched.insert(user);
        Some(user)
    }

    pub(super) fn withdraw_link(&mut self) -> Option<()> {
        let user = self.pick_linker()?;
        let links: Vec<(Id, usize)> = self.world.links(user).map(|(id, link)| (id, self.position(id, link))).collect();
        let (id, at) = self.dice.pick(&links)?;
        self.tell(user, format!("link rm of {}", self.path(id)));
        let link = self.world.item_mut(id).links.remove(at);
        assert_eq!(run(self.sessions[user].withdraw_link(link.secret.label)).unwrap(), self.path(id));
        self.world.ended.push(link.secret);
        Some(())
    }

    pub(super) fn move_linked(&mut self) -> Option<()> {
        let user = self.pick_linker()?;
        let linked: Vec<Id> = self.world.links(user).flat_map(|(id, _)| self.world.upwards(id)).collect();
        let linked: Vec<Id> = linked.into_iter().filter(|id| self.world.item(*id).parent.is_some()).collect();
        let id = self.dice.pick(&linked)?;
        let space = self.world.space(self.world.item(id).parent?);
        let is_other =
            |directory: &Id| self.world.item(*directory).owner == user && self.world.space(*directory) != space;
        let targets: Vec<Id> = self.world.directories().filter(is_other).collect();
        let target = match self.dice.pick(&targets) {
            Some(target) => target,
            None => self.make_space(user)?,
        };
        let name = self.dice.name();
        self.bring(user, id, target, name)
    }

    /// A new directory of the home directory, shared to be written.
    fn make_space(&mut self, user: User) -> Option<Id> {
        let (home, name) = (user, self.dice.name());
        if self.world.child(home, name).is_some() || self.world.count(user) >= MAX_ITEMS {
            return None;
        }
        let at = self.path(home).join(name.parse().unwrap());
        self.tell(user, format!("mkdir {at}, and share it to be written"));
        run(self.sessions[user].make_directory(&at)).unwrap();
        let id = self.world.create(home, name, None);
        let with = (user + 1) % USERS.len();
        run(self.sessions[user].share_to_write(&at, &[people::name(USERS[with])])).unwrap();
        let item = self.world.item_mut(id);
        item.has_own_space = true;
        item.writers.insert(with);
        Some(id)
    }

    fn position(&self, id: Id, link: &Link) -> usize {
        let of_item = &self.world.item(id).links;
        of_item.iter().position(|other| other.secret.label == link.secret.label).expect("a link of the item")
    }

    /// Somebody without an account opens a link, and changes something where the link lets him.
    pub(super) fn write_through_link(&mut self) -> Option<()> {
        let user = self.pick_linker()?;
        let links: Vec<(Id, usize)> = self.world.links(user).map(|(id, link)| (id, self.position(id, link))).collect();
        let (id, at) = self.dice.pick(&links)?;
        if self.world.count(user) >= MAX_ITEMS {
            return None;
        }
        let (link, root) = (self.world.item(id).links[at].clone(), self.path(id));
        let (name, content) = (self.dice.name(), self.content());
        let target = match self.world.item(id).content.is_some() {
            true => root,
            false => root.join(name.parse().unwrap()),
        };
        self.tell(user, format!("somebody puts {target} through a link"));
        let opened = self.open(&link.secret).unwrap();
        let options = UploadOptions { if_exists: IfExists::Replace, ..UploadOptions::default() };
        let result = run(opened.upload(&target, &mut Bytes::from(content.clone()), &options, &()));
        let existing = match self.world.item(id).content.is_some() {
            true => Some(id),
            false => self.world.child(id, name),
        };
        match existing {
            _ if !link.is_writable => {
                let refused = matches!(result, Err(ClientError::ReadOnly { .. } | ClientError::IsADirectory { .. }));
                assert!(refused, "{result:?}");
            }
            Some(existing) if self.world.item(existing).content.is_none() => {
                assert!(matches!(result, Err(ClientError::IsADirectory { .. })), "{result:?}");
            }
            Some(existing) => {
                result.unwrap();
                self.world.item_mut(existing).content = Some(content);
            }
            None => {
                result.unwrap();
                self.world.create(id, name, Some(content));
            }
        }
        Some(())
    }

    fn open(&self, link: &SecretLink) -> Result<Opened, ClientError> {
        let address = LinkAddress::parse(&link.to_url("localhost:8000")).unwrap();
        let seed = self.seed.wrapping_mul(1 << 21).wrapping_add(1 << 61) + self.story.len() as u64;
        run(OpenLink::open(people::Way::new(&self.service), runtime(seed), Settings::default(), &address, &()))
    }

    /// The owner's list of links; one of them, which leads to what the model says; and one that ended, which does not open.
    pub(super) fn check_links(&mut self, user: User) {
        let home = path(&format!("/{}", USERS[user]));
        let links = run(self.sessions[user].links(&home)).unwrap();
        let mut seen: Vec<_> =
            links.iter().map(|own| (own.path.to_string(), own.link.label, own.is_writable)).collect();
        let of_model = self.world.links(user);
        let mut expected: Vec<_> =
            of_model.map(|(id, link)| (self.path(id).to_string(), link.secret.label, link.is_writable)).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "the links of {}", USERS[user]);

        // Each opening takes 50 ms on purpose.
        if !self.dice.one_in(6) {
            return;
        }
        let live: Vec<(Id, usize)> = self.world.links(user).map(|(id, link)| (id, self.position(id, link))).collect();
        if let Some((id, at)) = self.dice.pick(&live) {
            let link = &self.world.item(id).links[at];
            let opened = self.open(&link.secret).unwrap();
            assert_eq!(opened.root(), &self.path(id), "where a link leads to");
            let entry = run(opened.stat(opened.root())).unwrap();
            assert_eq!(entry.is_writable, link.is_writable);
            assert_eq!(look(&opened, opened.root(), &entry), self.world.render(id), "what a link shows");
        }
        let count = self.world.ended.len();
        if count > 0 {
            let link = &self.world.ended[self.dice.below(count)];
            match self.open(link) {
                Err(ClientError::LinkWithdrawn) => {}
                Err(other) => panic!("a link that ended: {other:?}"),
                Ok(opened) => panic!("a link that ended opens {}", opened.root()),
            }
        }
    }
}

/// What a link shows, with everything in it.
fn look(opened: &Opened, at: &RemotePath, entry: &Entry) -> String {
    if !entry.is_directory {
        return model::file(entry.name.as_str(), &run(opened.read(at)).unwrap());
    }
    let children = run(opened.list(at)).unwrap();
    let children = children.iter().filter(|child| !child.is_hidden);
    let children = children.map(|child| look(opened, &at.join(child.name.clone()), child));
    model::directory(entry.name.as_str(), children.collect())
}
