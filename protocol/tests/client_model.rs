//! Random operations of two devices on one account, compared step by step with a plain tree in memory.
//!
//! A failure prints its seed; `PYRGOS_SEED=… cargo test -p pyrgos-protocol --test client_model` repeats it.

#![allow(clippy::unit_arg, reason = "a step that gives nothing reads best as one expression")]

mod client_support;

use std::collections::BTreeMap;

use bytes::Bytes;
use client_support::*;
use pyrgos_protocol::client::{ClientError, IfExists, RemotePath, UploadOptions};
use rand_core::{Rng, UnwrapErr};

/// Seeds that have found something, and one that has not.
const SEEDS: [u64; 3] = [1, 2, 3];

const STEPS: usize = 120;

#[derive(Clone)]
enum Node {
    Directory(BTreeMap<String, Node>),
    File(Vec<u8>),
}

/// What a call should answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    NotFound,
    Exists,
    NotADirectory,
    IsADirectory,
    NotEmpty,
    IntoItself,
    Home,
    Range,
}

impl Verdict {
    fn of(result: Result<(), ClientError>) -> Self {
        match result {
            Ok(()) => Verdict::Done,
            Err(ClientError::NotFound { .. }) => Verdict::NotFound,
            Err(ClientError::Exists { .. }) => Verdict::Exists,
            Err(ClientError::NotADirectory { .. }) => Verdict::NotADirectory,
            Err(ClientError::IsADirectory { .. }) => Verdict::IsADirectory,
            Err(ClientError::NotEmpty { .. }) => Verdict::NotEmpty,
            Err(ClientError::IntoItself { .. }) => Verdict::IntoItself,
            Err(ClientError::Home) => Verdict::Home,
            Err(ClientError::Range { .. }) => Verdict::Range,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The plain tree.
#[derive(Clone)]
struct Model(Node);

impl Model {
    fn get(&mut self, names: &[String]) -> Result<&mut Node, Verdict> {
        let mut node = &mut self.0;
        for name in names {
            node = match node {
                Node::Directory(children) => children.get_mut(name).ok_or(Verdict::NotFound)?,
                Node::File(_) => return Err(Verdict::NotFound),
            };
        }
        Ok(node)
    }

    fn parent(&mut self, names: &[String]) -> Result<(&mut BTreeMap<String, Node>, String), Verdict> {
        let (name, parent) = names.split_last().ok_or(Verdict::Home)?;
        match self.get(parent)? {
            Node::Directory(children) => Ok((children, name.clone())),
            Node::File(_) => Err(Verdict::NotADirectory),
        }
    }

    fn make_directory(&mut self, at: &[String]) -> Result<(), Verdict> {
        let (children, name) = self.parent(at)?;
        match children.contains_key(&name) {
            true => Err(Verdict::Exists),
            false => Ok(drop(children.insert(name, Node::Directory(BTreeMap::new())))),
        }
    }

    fn put(&mut self, at: &[String], content: Vec<u8>, replace: bool) -> Result<(), Verdict> {
        let (children, name) = self.parent(at)?;
        match children.get(&name) {
            Some(_) if !replace => Err(Verdict::Exists),
            Some(Node::Directory(_)) => Err(Verdict::IsADirectory),
            _ => Ok(drop(children.insert(name, Node::File(content)))),
        }
    }

    fn remove(&mut self, at: &[String], with_children: bool) -> Result<(), Verdict> {
        let (children, name) = self.parent(at)?;
        match children.get(&name).ok_or(Verdict::NotFound)? {
            Node::Directory(below) if !below.is_empty() && !with_children => Err(Verdict::NotEmpty),
            _ => Ok(drop(children.remove(&name))),
        }
    }

    fn rename(&mut self, from: &[String], to: &[String]) -> Result<(), Verdict> {
        if from == to {
            return self.get(from).map(|_| ());
        }
        if to.starts_with(from) {
            return Err(Verdict::IntoItself);
        }
        if from.is_empty() || to.is_empty() {
            return Err(Verdict::Home);
        }
        let (children, name) = self.parent(from)?;
        let moved = children.get(&name).ok_or(Verdict::NotFound)?.clone();
        let (children, target) = self.parent(to)?;
        if children.contains_key(&target) {
            return Err(Verdict::Exists);
        }
        children.insert(target, moved);
        let (children, name) = self.parent(from)?;
        children.remove(&name);
        Ok(())
    }

    fn copy(&mut self, from: &[String], to: &[String]) -> Result<(), Verdict> {
        if to.starts_with(from) {
            return Err(Verdict::IntoItself);
        }
        let copied = self.get(from)?.clone();
        let (children, target) = self.parent(to)?;
        match children.contains_key(&target) {
            true => Err(Verdict::Exists),
            false => Ok(drop(children.insert(target, copied))),
        }
    }

    fn edit(&mut self, at: &[String], edit: impl FnOnce(&mut Vec<u8>) -> Result<(), Verdict>) -> Result<(), Verdict> {
        if at.is_empty() {
            return Err(Verdict::Home);
        }
        let (children, name) = self.parent(at)?;
        match children.get_mut(&name).ok_or(Verdict::NotFound)? {
            Node::Directory(_) => Err(Verdict::IsADirectory),
            Node::File(content) => edit(content),
        }
    }

    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = vec![Vec::new()];
        let mut pending = vec![(Vec::new(), &self.0)];
        while let Some((at, node)) = pending.pop() {
            let Node::Directory(children) = node else { continue };
            for (name, child) in children {
                let path = [at.as_slice(), std::slice::from_ref(name)].concat();
                paths.push(path.clone());
                pending.push((path, child));
            }
        }
        paths
    }
}

struct Dice(runtime::Stream);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        (UnwrapErr(&mut self.0).next_u64() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn name(&mut self) -> String {
        ["a", "b", "c", "d e", "ü", "f.txt"][self.below(6)].to_owned()
    }

    /// A path that often exists, and sometimes does not.
    fn path(&mut self, model: &Model) -> Vec<String> {
        let paths = model.paths();
        let mut path = paths[self.below(paths.len())].clone();
        if self.one_in(3) || path.is_empty() && !self.one_in(10) {
            path.push(self.name());
        }
        path
    }

    fn content(&mut self) -> Vec<u8> {
        let size = match self.below(40) {
            0 => (5 << 20) + self.below(10),
            1..=5 => self.below(20_000),
            6..=9 => 4090 + self.below(20),
            _ => self.below(200),
        };
        content(&self.below(1000).to_string(), size)
    }
}

fn remote(names: &[String]) -> RemotePath {
    let mut text = "/alice".to_owned();
    names.iter().for_each(|name| text.extend(["/", name]));
    text.parse().unwrap()
}

#[test]
fn two_devices_act_like_one_plain_tree() {
    let seeds = match std::env::var("PYRGOS_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => SEEDS.to_vec(),
    };
    for seed in seeds {
        println!("PYRGOS_SEED={seed}");
        check(seed);
    }
}

fn check(seed: u64) {
    let node = TestNode::default();
    let first = sign_up(&node, "alice", seed);
    let second = clone_session(&first, &node, seed + 1000);
    let mut model = Model(Node::Directory(BTreeMap::new()));
    // What every account has.
    for entry in run(first.list(&path("/alice"))).unwrap() {
        run(first.remove(&path(&format!("/alice/{}", entry.name.as_str())), true)).unwrap();
    }
    let mut dice = Dice(pyrgos_protocol::client::Runtime::rng(&runtime(seed + 2000)));
    for step in 0..STEPS {
        let device = if dice.one_in(2) { &first } else { &second };
        let at = dice.path(&model);
        let path = remote(&at);
        let (what, expected, result) = match dice.below(12) {
            0 | 1 => ("mkdir", model.make_directory(&at), run(device.make_directory(&path))),
            2..=4 => {
                let (bytes, replace) = (dice.content(), dice.one_in(2));
                let if_exists = if replace { IfExists::Replace } else { IfExists::Fail };
                let options = UploadOptions { if_exists, ..UploadOptions::default() };
                let mut source = Bytes::from(bytes.clone());
                let result = run(device.upload(&path, &mut source, &options, &())).map(|_| ());
                ("put", model.put(&at, bytes, replace), result)
            }
            5 => {
                let with_children = dice.one_in(3);
                ("rm", model.remove(&at, with_children), run(device.remove(&path, with_children)))
            }
            6 | 7 => {
                let to = dice.path(&model);
                ("mv", model.rename(&at, &to), run(device.rename(&path, &remote(&to), IfExists::Fail)))
            }
            8 => {
                let to = dice.path(&model);
                ("cp", model.copy(&at, &to), run(device.copy(&path, &remote(&to), IfExists::Fail, &())))
            }
            9 => {
                let bytes = dice.content();
                let expected = model.edit(&at, |content| Ok(content.extend_from_slice(&bytes)));
                ("append", expected, run(device.append(&path, &mut Bytes::from(bytes), &())))
            }
            10 => {
                let (bytes, offset) = (dice.content(), dice.below(300));
                let expected = model.edit(&at, |content| {
                    if offset > content.len() {
                        return Err(Verdict::Range);
                    }
                    content.resize(content.len().max(offset + bytes.len()), 0);
                    content[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    Ok(())
                });
                ("write", expected, run(device.write_at(&path, offset as u64, &mut Bytes::from(bytes), &())))
            }
            _ => {
                let size = dice.below(5000);
                let expected = model.edit(&at, |content| Ok(content.truncate(size)));
                ("truncate", expected, run(device.truncate(&path, size as u64)))
            }
        };
        let expected = expected.map_or_else(|verdict| verdict, |()| Verdict::Done);
        assert_eq!(Verdict::of(result), expected, "seed {seed}, step {step}: {what} {path}");
        if step % 10 == 0 {
            compare(&clone_session(&first, &node, seed + 3000 + step as u64), &model);
        }
    }
    compare(&first, &model);
    compare(&second, &model);
    assert_eq!(node.open_transactions(), 0);
    // Nothing is left behind: with all files gone, the tree is that of an empty home directory.
    for name in children(&model) {
        run(first.remove(&remote(&[name]), true)).unwrap();
    }
    assert_eq!(node.labels(first.identity()), 1, "seed {seed}: labels of removed files are still in the tree");
}

fn children(model: &Model) -> Vec<String> {
    let Node::Directory(children) = &model.0 else { panic!("the home directory is a file") };
    children.keys().cloned().collect()
}

/// Compares everything that a device sees with the model.
fn compare(device: &TestSession<'_>, model: &Model) {
    let mut pending = vec![(Vec::new(), &model.0)];
    while let Some((at, node)) = pending.pop() {
        match node {
            Node::File(content) => {
                assert!(run(device.read(&remote(&at))).unwrap() == *content, "{}", remote(&at));
            }
            Node::Directory(children) => {
                let seen = run(device.list(&remote(&at))).unwrap();
                let seen: Vec<&str> = seen.iter().map(|entry| entry.name.as_str()).collect();
                let expected: Vec<&str> = children.keys().map(String::as_str).collect();
                assert_eq!(seen, expected, "{}", remote(&at));
                for (name, child) in children {
                    pending.push(([at.as_slice(), std::slice::from_ref(name)].concat(), child));
                }
            }
        }
    }
}
