//! Random operations of three friends on each other's files, compared after every step with a plain model of who may read
//! and write what.
//!
//! A failure prints its seed; `PYRGOS_SEED=… cargo test -p pyrgos --test sharing_model` repeats it, and the seed then
//! belongs into [`FOUND`]. `PYRGOS_SEQUENCES=…` tries more.

#![allow(unreachable_pub, reason = "the modules belong to this test alone")]

mod links;
mod model;
#[path = "../people/mod.rs"]
mod people;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::{Id, Link, User, World};
use people::client_runtime::Stream;
use people::{Friends, TestSession, USERS, name, path, run, runtime};
use pyrgos::service::Service;
use pyrgos_protocol::api::mutable::GetPointer;
use pyrgos_protocol::api::storage::{GetBlock, LookUpChunks};
use pyrgos_protocol::client::{
    ClientError, Entry, IfExists, InlineRuntime, LinkOptions, OpenLink, ReceivedShare, RemotePath, Settings,
    SharedItem, Taken, UploadOptions,
};
use pyrgos_protocol::cryptree::AbsoluteCapability;
use pyrgos_protocol::cryptree::node::CryptreeNode;
use pyrgos_protocol::encoding::FromCbor;
use pyrgos_protocol::links::SecretLink;
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::merkle::WriterData;
use pyrgos_protocol::merkle::bat::{BatWithId, ChunkMirrorCap};
use pyrgos_protocol::merkle::pointer::PointerUpdate;
use pyrgos_protocol::social::group::{GroupKind, GroupUid};
use pyrgos_protocol::social::places;
use pyrgos_protocol::social::shared_with::Recipient;
use pyrgos_protocol::social::stream::Records;
use rand_core::{Rng, UnwrapErr};

/// Seeds that found something.
const FOUND: [u64; 5] = [4, 13, 1003, 1163, 1202];

/// Beside those above.
const SEQUENCES: u64 = 300;

const STEPS: usize = 40;

/// More would only make each step slower.
const MAX_ITEMS: usize = 10;

/// What can happen, and how often.
const OPERATIONS: [(Operation, usize); 11] = [
    (Operation::MakeDirectory, 4),
    (Operation::Create, 5),
    (Operation::Write, 3),
    (Operation::Rename, 3),
    (Operation::Move, 4),
    (Operation::Delete, 2),
    (Operation::Share, 7),
    (Operation::ShareToWrite, 4),
    (Operation::Unshare, 5),
    (Operation::Trespass, 1),
    (Operation::LogIn, 1),
];

/// What happens in every third sequence as well: links take time on purpose.
const MORE_OPERATIONS: [(Operation, usize); 6] = [
    (Operation::ShareWithFriends, 2),
    (Operation::UnshareWithFriends, 1),
    (Operation::CreateLink, 8),
    (Operation::WriteThroughLink, 2),
    (Operation::WithdrawLink, 1),
    (Operation::MoveLinked, 3),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    MakeDirectory,
    /// A new file, or another one in place of an old one.
    Create,
    /// More bytes at the end of a file.
    Write,
    Rename,
    /// Into another directory, sometimes over a file.
    Move,
    Delete,
    Share,
    ShareToWrite,
    /// With the group, to read.
    ShareWithFriends,
    /// All access or that to write.
    Unshare,
    /// All access of the group and of everybody in it.
    UnshareWithFriends,
    CreateLink,
    /// By somebody without an account; a link to read refuses it.
    WriteThroughLink,
    WithdrawLink,
    /// What has a link, or something in it, into another writing space of its owner.
    MoveLinked,
    /// Writing what may only be read.
    Trespass,
    /// A session that knows nothing of what happened.
    LogIn,
}

#[test]
fn everybody_sees_what_the_model_says() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seeds: Vec<u64> = match number("PYRGOS_SEED") {
        Some(seed) => vec![seed],
        None => FOUND.into_iter().chain(1000..1000 + number("PYRGOS_SEQUENCES").unwrap_or(SEQUENCES)).collect(),
    };
    let (next, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let mut game = Game::new(*seed);
                    (0..STEPS).for_each(|_| game.step());
                    steps.fetch_add(STEPS as u64, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} sequences, {} steps", seeds.len(), steps.into_inner());
}

struct Dice(Stream);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        (UnwrapErr(&mut self.0).next_u64() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }

    fn name(&mut self) -> &'static str {
        ["a", "b", "c", "d"][self.below(4)]
    }

    fn operation(&mut self, has_more: bool) -> Operation {
        let more = if has_more { &MORE_OPERATIONS[..] } else { &[] };
        let operations = || OPERATIONS.iter().chain(more).copied();
        let mut at = self.below(operations().map(|(_, weight)| weight).sum());
        for (operation, weight) in operations() {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return operation,
            }
        }
        unreachable!("less than the sum of the weights")
    }
}

/// One sequence.
struct Game {
    seed: u64,
    service: Arc<Service>,
    sessions: Vec<TestSession>,
    /// How each user's record names the group of all friends.
    friends: Vec<GroupUid>,
    world: World,
    dice: Dice,
    /// What happened, for whoever reads a failure.
    story: Vec<String>,
    written: usize,
    /// Whose trees the last step changed.
    touched: BTreeSet<User>,
}

/// Tells how to repeat what failed.
impl Drop for Game {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let story = self.story.join("\n  ");
            eprintln!("PYRGOS_SEED={} cargo test -p pyrgos --test sharing_model\n  {story}", self.seed);
        }
    }
}

impl Game {
    fn new(seed: u64) -> Self {
        let (service, sessions) = Friends::prepared().start(seed);
        let dice = Dice(pyrgos_protocol::client::Runtime::rng(&runtime(seed.wrapping_add(1 << 50))));
        let friends = |session: &TestSession| {
            let groups = run(session.groups()).unwrap();
            groups.into_iter().find(|group| group.kind == GroupKind::Friends).expect("the group of friends").uid
        };
        Game {
            seed,
            service,
            friends: sessions.iter().map(friends).collect(),
            sessions,
            world: World::new(USERS.len()),
            dice,
            story: Vec::new(),
            written: 0,
            touched: BTreeSet::new(),
        }
    }

    /// Where an item is for its owner.
    fn path(&self, id: Id) -> RemotePath {
        let user = USERS[self.world.item(id).owner];
        let names = self.world.names(id).into_iter();
        path(&names.fold(format!("/{user}"), |path, name| format!("{path}/{name}")))
    }

    fn content(&mut self) -> Vec<u8> {
        self.written += 1;
        // Some do not fit into their node.
        let len = if self.dice.one_in(12) { 6000 } else { 0 };
        let mut content = format!("content {}", self.written).into_bytes();
        content.resize(content.len().max(len), b'.');
        content
    }

    fn pick_item(&mut self, is_fit: impl Fn(&World, Id) -> bool) -> Option<Id> {
        let fit: Vec<Id> = self.world.items().map(|(id, _)| id).filter(|id| is_fit(&self.world, *id)).collect();
        self.dice.pick(&fit)
    }

    /// A directory that the user may write, in a tree that has room.
    fn pick_directory(&mut self, user: User, room: usize) -> Option<Id> {
        let world = &self.world;
        let is_fit = |id: &Id| world.may_write(user, *id) && world.count(world.item(*id).owner) + room <= MAX_ITEMS;
        let fit: Vec<Id> = world.directories().filter(is_fit).collect();
        self.dice.pick(&fit)
    }

    /// Whether a user may rename, move and remove an item here. What a writer does to things that the owner shares by
    /// themselves is left out: the owner's record of them lies where only the owner writes.
    fn is_takeable(world: &World, user: User, id: Id) -> bool {
        world.may_take(user, id) && (world.item(id).owner == user || !world.has_shares(id))
    }

    fn touch(&mut self, id: Id) {
        self.touched.insert(self.world.item(id).owner);
    }

    /// Does something, and compares everything. What cannot be done now is replaced by something else.
    fn step(&mut self) {
        loop {
            let (operation, user) = (self.dice.operation(self.has_more()), self.dice.below(USERS.len()));
            self.touched = BTreeSet::from([user]);
            if self.perform(operation, user).is_some() {
                self.compare(user);
                break;
            }
        }
    }

    /// Whether there are links and groups.
    fn has_more(&self) -> bool {
        self.seed.is_multiple_of(3)
    }

    /// Compares everybody's view with the model after a step of one of them.
    fn compare(&mut self, actor: User) {
        for user in 0..USERS.len() {
            self.check_own(user);
            self.check_granted(user);
            if self.has_more() && (self.touched.contains(&user) || user == actor) {
                self.check_links(user);
            }
            // Trees of others have not moved since they were last read, and are compared by their listing.
            self.check_received(user, |owner| self.touched.contains(&owner) || user == actor);
        }
        let prober = self.dice.below(USERS.len());
        self.probe(prober);
    }

    fn tell(&mut self, user: User, what: String) {
        self.story.push(format!("{}: {}: {what}", self.story.len(), USERS[user]));
    }

    /// None if there is nothing to do it with.
    fn perform(&mut self, operation: Operation, user: User) -> Option<()> {
        match operation {
            Operation::MakeDirectory => self.make_directory(user),
            Operation::Create => self.create(user),
            Operation::Write => self.write(user),
            Operation::Rename => self.rename(user),
            Operation::Move => self.relocate(user),
            Operation::Delete => self.delete(user),
            Operation::Share => self.share(user),
            Operation::ShareToWrite => self.share_to_write(user),
            Operation::ShareWithFriends => self.share_with_friends(user),
            Operation::Unshare => self.unshare(user),
            Operation::UnshareWithFriends => self.unshare_with_friends(user),
            Operation::CreateLink => self.create_link(user),
            Operation::WriteThroughLink => self.write_through_link(),
            Operation::WithdrawLink => self.withdraw_link(),
            Operation::MoveLinked => self.move_linked(),
            Operation::Trespass => self.trespass(user),
            Operation::LogIn => {
                self.tell(user, "logs in again".to_owned());
                let seed = self.seed.wrapping_mul(1 << 20).wrapping_add(1 << 60) + self.story.len() as u64;
                self.sessions[user] = Friends::prepared().session(&self.service, user, seed);
                Some(())
            }
        }
    }

    fn make_directory(&mut self, user: User) -> Option<()> {
        let parent = self.pick_directory(user, 1)?;
        self.touch(parent);
        let name = self.dice.name();
        let at = self.path(parent).join(name.parse().unwrap());
        self.tell(user, format!("mkdir {at}"));
        let result = run(self.sessions[user].make_directory(&at));
        match self.world.child(parent, name) {
            Some(_) => assert!(matches!(result, Err(ClientError::Exists { .. })), "{result:?}"),
            None => {
                result.unwrap();
                self.world.create(parent, name, None);
            }
        }
        Some(())
    }

    fn create(&mut self, user: User) -> Option<()> {
        let parent = self.pick_directory(user, 1)?;
        self.touch(parent);
        let (name, content) = (self.dice.name(), self.content());
        let at = self.path(parent).join(name.parse().unwrap());
        self.tell(user, format!("put {at}"));
        let result = people::put(&self.sessions[user], &at, &content, IfExists::Replace);
        match self.world.child(parent, name) {
            Some(id) if self.world.item(id).content.is_none() => {
                assert!(matches!(result, Err(ClientError::IsADirectory { .. })), "{result:?}");
            }
            Some(id) => {
                result.unwrap();
                self.world.item_mut(id).content = Some(content);
            }
            None => {
                result.unwrap();
                self.world.create(parent, name, Some(content));
            }
        }
        Some(())
    }

    fn write(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.may_write(user, id) && world.item(id).content.is_some())?;
        self.touch(id);
        let (at, more) = (self.path(id), self.content());
        self.tell(user, format!("append to {at}"));
        run(self.sessions[user].append(&at, &mut Bytes::from(more.clone()), &())).unwrap();
        self.world.item_mut(id).content.as_mut().expect("a file").extend_from_slice(&more);
        Some(())
    }

    fn rename(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| Game::is_takeable(world, user, id))?;
        let parent = self.world.item(id).parent?;
        let name = self.dice.name();
        self.bring(user, id, parent, name)
    }

    fn relocate(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| Game::is_takeable(world, user, id))?;
        let target = self.pick_directory(user, self.world.size(id))?;
        let name = self.dice.name();
        self.bring(user, id, target, name)
    }

    fn bring(&mut self, user: User, id: Id, target: Id, name: &str) -> Option<()> {
        if self.world.upwards(target).any(|above| above == id) || self.world.child(target, name) == Some(id) {
            return None;
        }
        let existing = self.world.child(target, name);
        if existing.is_some_and(|existing| !Game::is_takeable(&self.world, user, existing)) {
            return None;
        }
        self.touch(id);
        self.touch(target);
        let (from, to) = (self.path(id), self.path(target).join(name.parse().unwrap()));
        let if_exists = if self.dice.one_in(2) { IfExists::Replace } else { IfExists::Fail };
        self.tell(user, format!("mv {from} {to} {if_exists:?}"));
        let result = run(self.sessions[user].rename(&from, &to, if_exists));
        let is_file = |id: Id| self.world.item(id).content.is_some();
        if existing.is_some_and(|existing| if_exists != IfExists::Replace || !is_file(existing) || !is_file(id)) {
            // Over a border it is refused where the content is written.
            let refused = matches!(result, Err(ClientError::Exists { .. } | ClientError::IsADirectory { .. }));
            assert!(refused, "{result:?}");
            return Some(());
        }
        result.unwrap();
        self.world.bring(id, target, name);
        Some(())
    }

    fn delete(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| Game::is_takeable(world, user, id))?;
        self.touch(id);
        let at = self.path(id);
        self.tell(user, format!("rm -r {at}"));
        run(self.sessions[user].remove(&at, true)).unwrap();
        self.world.remove(id);
        Some(())
    }

    fn share(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.item(id).owner == user)?;
        let with = (user + 1 + self.dice.below(USERS.len() - 1)) % USERS.len();
        let at = self.path(id);
        self.tell(user, format!("share {at} with {}", USERS[with]));
        let granted = run(self.sessions[user].share(&at, &[name(USERS[with])])).unwrap();
        assert_eq!(self.world.item_mut(id).readers.insert(with), !granted.is_empty(), "granted anew");
        Some(())
    }

    fn share_to_write(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.item(id).owner == user)?;
        let with = (user + 1 + self.dice.below(USERS.len() - 1)) % USERS.len();
        let at = self.path(id);
        self.tell(user, format!("share --write {at} with {}", USERS[with]));
        let granted = run(self.sessions[user].share_to_write(&at, &[name(USERS[with])])).unwrap();
        let item = self.world.item_mut(id);
        item.has_own_space = true;
        assert_eq!(item.writers.insert(with), !granted.is_empty(), "granted anew");
        Some(())
    }

    fn share_with_friends(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.item(id).owner == user)?;
        let at = self.path(id);
        self.tell(user, format!("share {at} with @friends"));
        let granted = run(self.sessions[user].share(&at, &[GroupKind::Friends])).unwrap();
        let was = std::mem::replace(&mut self.world.item_mut(id).is_for_friends, true);
        assert_eq!(!was, !granted.is_empty(), "granted anew");
        Some(())
    }

    fn unshare_with_friends(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.item(id).owner == user && world.item(id).is_shared())?;
        let at = self.path(id);
        self.tell(user, format!("unshare {at} with @friends"));
        let revoked = run(self.sessions[user].unshare(&at, &[GroupKind::Friends], Taken::All)).unwrap();
        assert!(!revoked.from.is_empty() && revoked.dropped.is_empty(), "{revoked:?}");
        let item = self.world.item_mut(id);
        item.is_for_friends = false;
        item.readers.clear();
        item.writers.clear();
        (0..USERS.len()).filter(|other| *other != user).for_each(|other| self.try_old_capabilities(user, other));
        Some(())
    }

    fn unshare(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| world.item(id).owner == user && world.item(id).is_shared())?;
        let from = (user + 1 + self.dice.below(USERS.len() - 1)) % USERS.len();
        let at = self.path(id);
        let taken = if self.dice.one_in(3) { Taken::Writing } else { Taken::All };
        self.tell(user, format!("unshare {at} with {} {taken:?}", USERS[from]));
        let revoked = run(self.sessions[user].unshare(&at, &[name(USERS[from])], taken)).unwrap();
        let item = self.world.item_mut(id);
        let has_lost = item.writers.remove(&from) | (taken == Taken::All && item.readers.remove(&from));
        assert_eq!(has_lost, !revoked.from.is_empty(), "lost access");
        assert!(revoked.dropped.is_empty(), "{:?}", revoked.dropped);
        self.try_old_capabilities(user, from);
        Some(())
    }

    /// Of all capabilities that one user ever handed to another, those of what is shared now open, and no others.
    fn try_old_capabilities(&self, owner: User, to: User) {
        let session = &self.sessions[owner];
        let directory = places::sharing_directory(&name(USERS[to]).into());
        let mut live = HashSet::new();
        for stream in [places::SHARING_READ, places::SHARING_WRITE] {
            let stream = path(&format!("/{}/{directory}/{stream}", USERS[owner]));
            let records = match run(session.read(&stream)) {
                Ok(content) => Records::read(&Bytes::from(content), 0).records,
                Err(ClientError::NotFound { .. }) => continue,
                Err(other) => panic!("{other:?}"),
            };
            live.extend(
                records
                    .into_iter()
                    .map(|record| record.capability)
                    .filter(|cap| self.opens(cap))
                    .map(|cap| cap.map_key),
            );
        }
        let shared = self.world.items().filter(|(_, item)| item.owner == owner && item.is_granted_to(to));
        // The directories of both groups are shared as well.
        assert_eq!(live.len(), shared.count() + 2, "capabilities of {} that open for {}", USERS[owner], USERS[to]);
    }

    /// Whether somebody with a capability and the node's help finds something to open with it in the present state.
    fn opens(&self, cap: &AbsoluteCapability) -> bool {
        let owner = cap.owner.clone();
        let pointer = self.service.get_pointer(GetPointer { owner: owner.clone(), writer: cap.writer.clone() });
        let Some(signed) = pointer.unwrap().filter(|signed| !signed.is_empty()) else { return false };
        let update = PointerUpdate::open(&cap.writer.signing_key().unwrap(), &signed).unwrap();
        let Some(cid) = update.updated().cloned() else { return false };
        let block = self.service.get_block(GetBlock { owner: owner.clone(), cid, bat: None }).unwrap().unwrap();
        let Some(root) = WriterData::from_bytes(&block).unwrap().tree else { return false };
        let bat = cap.bat.clone().map(BatWithId::by_content);
        let caps = vec![ChunkMirrorCap { map_key: cap.map_key.as_bytes().to_vec(), bat }];
        let blocks = self.service.look_up_chunks(LookUpChunks { owner, root, caps }).unwrap();
        let opens = |block: &Bytes| CryptreeNode::from_block(block).is_ok_and(|node| node.open(&cap.base_key).is_ok());
        blocks.iter().any(opens)
    }

    fn trespass(&mut self, user: User) -> Option<()> {
        let id = self.pick_item(|world, id| {
            world.may_read(user, id) && !world.may_write(user, id) && world.item(id).content.is_some()
        })?;
        let at = self.path(id);
        self.tell(user, format!("tries to write {at}"));
        let more = Bytes::from_static(b"what must not get there");
        let result = run(self.sessions[user].append(&at, &mut more.clone(), &()));
        assert!(matches!(result, Err(ClientError::ReadOnly { .. })), "{result:?}");
        let replaced = people::put(&self.sessions[user], &at, &more, IfExists::Replace);
        assert!(matches!(replaced, Err(ClientError::ReadOnly { .. } | ClientError::NotFound { .. })), "{replaced:?}");
        Some(())
    }

    /// The user's own tree.
    fn check_own(&self, user: User) {
        let home = path(&format!("/{}", USERS[user]));
        assert_eq!(walk(&self.sessions[user], &home, ""), self.world.render(user), "what {} has", USERS[user]);
    }

    /// What others shared with the user, through the paths under which it is shown.
    fn check_received(&self, user: User, is_read: impl Fn(User) -> bool) {
        let session = &self.sessions[user];
        let show = |share: &ReceivedShare| {
            let owner = USERS.iter().position(|name| *name == share.path.user().as_str()).expect("one of the three");
            assert_eq!(share.sharers, [name(USERS[owner])], "{}", share.path);
            let entry = &share.entry;
            let content = match is_read(owner) {
                true => walk_entry(session, &share.path, entry),
                false => model::outline(entry.name.as_str(), (!entry.is_directory).then_some(entry.size_bytes)),
            };
            format!("{} {content}{}", share.path, if entry.is_writable { ", writable" } else { "" })
        };
        let expected = |id: Id| {
            let item = self.world.item(id);
            let content = match is_read(item.owner) {
                true => self.world.render(id),
                false => model::outline(&item.name, item.content.as_ref().map(|content| content.len() as u64)),
            };
            format!("{} {content}{}", self.path(id), if item.writers.contains(&user) { ", writable" } else { "" })
        };
        let mut seen: Vec<String> = run(session.shared_with_me()).unwrap().iter().map(show).collect();
        let mut expected: Vec<String> = self.world.shared_with(user).into_iter().map(expected).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "what is shared with {}", USERS[user]);
    }

    /// What the user's own record says of who has what.
    fn check_granted(&self, user: User) {
        let home = path(&format!("/{}", USERS[user]));
        let recipients = |given: Vec<Recipient>| given.into_iter().collect::<BTreeSet<_>>();
        let users = |users: &BTreeSet<User>| -> BTreeSet<Recipient> {
            users.iter().map(|user| name(USERS[*user]).into()).collect()
        };
        let readers = |item: &model::Item| {
            let group = item.is_for_friends.then(|| Recipient::from(self.friends[user].clone()));
            users(&item.readers).into_iter().chain(group).collect()
        };
        // Of what only has links nothing is shared with anybody.
        let is_shared = |item: &SharedItem| !item.shares.readers.is_empty() || !item.shares.writers.is_empty();
        let seen = run(self.sessions[user].shares(&home)).unwrap().into_iter().filter(is_shared);
        let mut seen: Vec<_> = seen
            .map(|item| (item.path.to_string(), recipients(item.shares.readers), recipients(item.shares.writers)))
            .collect();
        let shared = self.world.items().filter(|(_, item)| item.owner == user && item.is_shared());
        let mut expected: Vec<(String, BTreeSet<Recipient>, BTreeSet<Recipient>)> =
            shared.map(|(id, item)| (self.path(id).to_string(), readers(item), users(&item.writers))).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "the record of what {} shares", USERS[user]);
    }

    /// A path of somebody else gives nothing that the user may not read, wherever it leads to.
    fn probe(&mut self, user: User) {
        let foreign = self.world.items().filter(|(_, item)| item.owner != user && item.content.is_some());
        let foreign: Vec<Id> = foreign.map(|(id, _)| id).collect();
        let Some(id) = self.dice.pick(&foreign) else { return };
        let at = self.path(id);
        match run(self.sessions[user].read(&at)) {
            Ok(content) => {
                // Renamed things are still found under their old names.
                let holds = |(id, item): (Id, &model::Item)| {
                    item.content.as_ref() == Some(&content) && self.world.may_read(user, id)
                };
                assert!(self.world.items().any(holds), "{} reads {at}", USERS[user]);
            }
            Err(ClientError::NotFound { .. } | ClientError::IsADirectory { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A directory with everything in it, as a session sees it; what is hidden is left out.
fn walk(session: &TestSession, at: &RemotePath, name: &str) -> String {
    let children = run(session.children(at)).unwrap();
    let directories = children.directories.iter().filter(|entry| !entry.is_hidden);
    let directories = directories.map(|entry| walk(session, &at.join(entry.name.clone()), entry.name.as_str()));
    let files = children.files.iter().filter(|file| !file.entry().is_hidden).map(|file| {
        let mut content = Vec::new();
        run(file.download(None, &mut content, &())).unwrap();
        model::file(file.entry().name.as_str(), &content)
    });
    model::directory(name, directories.chain(files).collect())
}

fn walk_entry(session: &TestSession, at: &RemotePath, entry: &Entry) -> String {
    match entry.is_directory {
        true => walk(session, at, entry.name.as_str()),
        false => model::file(entry.name.as_str(), &run(session.read(at)).unwrap()),
    }
}
