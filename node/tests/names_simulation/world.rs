//! A network of engines in virtual time: messages on their way, timers, disks, crashes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use pyrgos::names::engine::{Decision, Engine, Input, Output, Settings, Step, WakeId};
use pyrgos::names::message::Message;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::SecretSigningKey;
use pyrgos_protocol::names::vote::witnesses_sign_bytes;
use pyrgos_protocol::names::{DecidedBlock, Delta, MemoryNames, NetworkId, Operation, State, WitnessSet};

use crate::chance::Chance;
use crate::checks::Checks;
use crate::liar;
use crate::person::{Person, Stage, secret};
use crate::plan::{Defect, Plan, Role};

pub(crate) const START_MILLIS: i64 = 1_790_000_000_000;
/// How often a node asks another one for blocks that it has missed.
const POLL_MILLIS: i64 = 3_000;
/// How often people look.
const LOOK_MILLIS: i64 = 150;
/// By when everything must be decided once the storm is over.
const PATIENCE_MILLIS: i64 = 120_000;

/// A node: what runs, and what is on its disk.
pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) names: MemoryNames,
    pub(crate) role: Role,
    key: SecretSigningKey,
    is_up: bool,
    /// Counts starts, so that timers of an earlier life are not heard.
    life: u32,
    skew_millis: i64,
    journal: Vec<Vec<u8>>,
    state: State,
    chain: Vec<DecidedBlock>,
    asked_millis: i64,
    /// For a twin: which nodes hear it.
    hears_even: Option<bool>,
}

enum Event {
    Deliver(usize, Rc<Message>),
    Wake(usize, u32, WakeId),
    Start(usize),
    Poll(usize),
    Look(usize),
    Split,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    chance: Chance,
    now_millis: i64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(crate) sites: Vec<Site>,
    pub(crate) people: Vec<Person>,
    /// The part of the network that each node is in.
    parts: Vec<usize>,
    network: NetworkId,
    genesis: (State, MemoryNames),
    checks: Checks,
    change: Option<Operation>,
}

impl World {
    pub(crate) fn new(plan: Plan, mut chance: Chance) -> World {
        let network: NetworkId = "simulation".parse().expect("a name");
        let count = plan.roles.len();
        let keys: Vec<SecretSigningKey> = (0..=count).map(|n| secret(&format!("witness {n}"))).collect();
        let set = WitnessSet::new(keys[..count].iter().map(SecretSigningKey::public).collect()).expect("a set");
        let (root, delta) = Delta::of_names(BTreeMap::new()).expect("no names");
        let mut names = MemoryNames::default();
        names.put(delta);
        let state = State::genesis(network.clone(), set, root);
        let mut world = World {
            chance: chance.clone(),
            now_millis: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            sites: Vec::new(),
            people: Vec::new(),
            parts: Vec::new(),
            network,
            genesis: (state, names),
            checks: Checks::default(),
            change: None,
            plan,
        };
        // The last one only follows.
        let roles: Vec<Role> = world.plan.roles.iter().copied().chain([Role::Honest]).collect();
        for (key, role) in keys.iter().zip(roles) {
            let copies: &[Option<bool>] = if role == Role::Twin { &[Some(true), Some(false)] } else { &[None] };
            for hears_even in copies {
                world.add_site(key.clone(), role, *hears_even, chance.within(-2000..2000));
            }
        }
        world.add_people();
        if world.plan.change_of_witnesses {
            world.change = Some(world.change_of_witnesses(&keys));
        }
        if world.plan.partitions {
            world.after(500, Event::Split);
        }
        world
    }

    fn add_site(&mut self, key: SecretSigningKey, role: Role, hears_even: Option<bool>, skew_millis: i64) {
        let (state, names) = self.genesis.clone();
        let engine = Engine::new(Settings::new(self.network.clone(), key.clone()), state.clone());
        let at = self.sites.len();
        self.sites.push(Site {
            engine,
            names,
            role,
            key,
            is_up: true,
            life: 0,
            skew_millis,
            journal: Vec::new(),
            state,
            chain: Vec::new(),
            asked_millis: i64::MIN,
            hears_even,
        });
        self.parts.push(0);
        let first = self.chance.within(0..POLL_MILLIS);
        self.after(first, Event::Poll(at));
    }

    fn add_people(&mut self) {
        let honest: Vec<usize> = (0..self.sites.len()).filter(|at| self.sites[*at].role == Role::Honest).collect();
        for number in 0..self.plan.people {
            let site = honest[self.chance.index(honest.len())];
            // Now and then two want the same name.
            let name = format!("name{}", if self.chance.per_mille(250) { 0 } else { number });
            let starts = self.chance.within(0..8_000);
            self.people.push(Person::new(&format!("person {number}"), &name, site));
            self.after(starts, Event::Look(number));
        }
    }

    /// The witness 0 is followed by the node that only followed, if both can be trusted.
    fn change_of_witnesses(&self, keys: &[SecretSigningKey]) -> Operation {
        let state = &self.genesis.0;
        let set = WitnessSet::new(keys[1..].iter().map(SecretSigningKey::public).collect()).expect("a set");
        let message = witnesses_sign_bytes(&self.network, 0, &set);
        let signers = keys.iter().take(state.witnesses().quorum());
        let signatures = signers.map(|key| (key.public(), key.sign(&message))).collect();
        Operation::Witnesses { set, signatures }
    }

    fn after(&mut self, millis: i64, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse((self.now_millis + millis.max(0), self.next_event)));
        self.events.insert(self.next_event, event);
    }

    fn is_storm(&self) -> bool {
        self.now_millis < self.plan.storm_millis
    }

    /// Runs until everybody is content and all honest nodes have the same, or time is up.
    pub(crate) fn run(mut self) -> Result<Report, String> {
        let limit = self.plan.storm_millis + PATIENCE_MILLIS;
        let mut events = 0_u64;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > limit {
                break;
            }
            let storm_before = self.is_storm();
            self.now_millis = at;
            if storm_before && !self.is_storm() {
                self.parts.fill(0);
            }
            events += 1;
            let event = self.events.remove(&number).expect("each event once");
            self.happen(event)?;
            if events.is_multiple_of(16) && !self.is_storm() && self.is_over() {
                break;
            }
        }
        self.checks.at_the_end(&self.sites, &self.people, self.plan.is_calm())?;
        let heights = self.honest().map(|site| site.state.height()).max().unwrap_or_default();
        Ok(Report { heights, events, millis: self.now_millis })
    }

    fn honest(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().filter(|site| site.role == Role::Honest)
    }

    fn is_over(&self) -> bool {
        let mut heights = self.honest().map(|site| (site.is_up, site.state.height()));
        let first = heights.next();
        self.people.iter().all(Person::is_content)
            && heights.all(|one| Some(one) == first)
            && self.honest().all(|site| !site.state.is_waiting())
            && self.change.is_none()
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver(to, message) => self.handle(to, Input::Message((*message).clone())),
            Event::Wake(at, life, id) if self.sites[at].life == life => self.handle(at, Input::Wake(id)),
            Event::Wake(..) => Ok(()),
            Event::Start(at) => self.start(at),
            Event::Poll(at) => {
                self.after(POLL_MILLIS, Event::Poll(at));
                let from = self.chance.index(self.sites.len());
                self.fetch(at, from);
                Ok(())
            }
            Event::Look(number) => self.look(number),
            Event::Split => {
                if self.is_storm() {
                    let count = 1 + self.chance.index(3);
                    self.parts = (0..self.sites.len()).map(|_| self.chance.index(count)).collect();
                    let next = self.chance.within(500..6_000);
                    self.after(next, Event::Split);
                }
                Ok(())
            }
        }
    }

    fn look(&mut self, number: usize) -> Result<(), String> {
        let person = &mut self.people[number];
        let at = person.site;
        let mut wanted = None;
        if self.sites[at].is_up {
            wanted = person.act(&self.sites[at]);
            if matches!(person.stage, Stage::Done | Stage::Beaten) {
                return Ok(());
            }
        }
        self.after(LOOK_MILLIS, Event::Look(number));
        if let Some(change) = self.change.clone().filter(|_| self.sites[at].is_up) {
            if self.sites[at].state.changes() > 0 {
                self.change = None;
            } else if !self.sites[at].engine.is_waiting_for(&change.id()) {
                self.handle(at, Input::Submit(change))?;
            }
        }
        match wanted.filter(|_| self.sites[at].is_up) {
            Some(operation) => self.handle(at, Input::Submit(operation)),
            None => Ok(()),
        }
    }

    /// A thief sees a claim on its way, and wants the name.
    fn tempt(&mut self, operation: &Operation) {
        let Operation::Claim { name, .. } = operation else { return };
        let known = self.people.iter().any(|person| person.is_thief && person.name == *name);
        if !self.plan.thief || known {
            return;
        }
        // The thief is a node's user like others; a lying witness's, if there is one.
        let site = self.sites.iter().position(|site| site.role != Role::Honest && site.role != Role::Silent);
        let number = self.people.len();
        let mut thief = Person::new(&format!("thief {number}"), name.as_str(), site.unwrap_or(0));
        thief.is_thief = true;
        self.people.push(thief);
        self.after(0, Event::Look(number));
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let site = &mut self.sites[at];
        let settings = Settings::new(self.network.clone(), site.key.clone());
        site.engine = Engine::new(settings, site.state.clone());
        site.is_up = true;
        let now = START_MILLIS + self.now_millis + site.skew_millis;
        let journal = site.journal.clone();
        let step = site.engine.recover(&site.names, now, &journal).map_err(|error| format!("node {at}: {error}"))?;
        self.perform(at, step)
    }

    fn crash(&mut self, at: usize) {
        let down = self.chance.within(200..8_000);
        let site = &mut self.sites[at];
        site.is_up = false;
        site.life += 1;
        match self.plan.defect {
            Some(Defect::ForgottenVotes) => site.journal.clear(),
            Some(Defect::LostNames) if !site.chain.is_empty() => {
                (site.state, site.names) = self.genesis.clone();
                site.chain.clear();
            }
            _ => {}
        }
        self.after(down, Event::Start(at));
    }

    fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
        let site = &mut self.sites[at];
        if !site.is_up {
            return Ok(());
        }
        let now = START_MILLIS + self.now_millis + site.skew_millis;
        let step = site.engine.handle(&site.names, now, input);
        self.perform(at, step)
    }

    /// Does what an engine wants, or crashes somewhere between.
    fn perform(&mut self, at: usize, step: Step) -> Result<(), String> {
        let may_crash = self.is_storm() && self.sites[at].role == Role::Honest && self.sites.len() > 2;
        let crashes = may_crash && self.chance.per_mille(self.plan.crashes);
        let mut until = if crashes { self.chance.index(step.outputs.len() + 2) } else { usize::MAX };
        if until == 0 {
            // Some of the records are on the disk, and nobody has heard anything.
            let whole = self.chance.index(step.records.len() + 1);
            self.sites[at].journal.extend(step.records.into_iter().take(whole));
            self.crash(at);
            return Ok(());
        }
        self.sites[at].journal.extend(step.records);
        for output in step.outputs {
            until -= 1;
            if until == 0 {
                break;
            }
            match output {
                Output::Send(message) => self.send(at, message)?,
                Output::Wake(id, after) => {
                    let life = self.sites[at].life;
                    self.after(millis(after), Event::Wake(at, life, id));
                }
                Output::Decided(decision) => self.keep(at, *decision)?,
                Output::Refused(..) => {}
                Output::Behind(_) => {
                    let from = self.chance.index(self.sites.len());
                    self.fetch(at, from);
                }
                Output::Repeat(height) => {
                    let found = self.sites[at].chain.get(height as usize - 1).cloned();
                    if let Some(decided) = found {
                        self.send(at, Message::Decided(decided))?;
                    }
                }
            }
        }
        if crashes {
            self.crash(at);
        }
        Ok(())
    }

    fn keep(&mut self, at: usize, decision: Decision) -> Result<(), String> {
        if self.sites[at].role == Role::Honest {
            self.checks.decided(at, &decision)?;
        }
        let clears = !self.chance.per_mille(200);
        let site = &mut self.sites[at];
        site.names.put(decision.applied.delta);
        site.state = decision.applied.state;
        site.chain.push(decision.decided);
        // A crash may come before the journal is cleared: its records are of the past then.
        if clears {
            site.journal.clear();
        }
        Ok(())
    }

    fn send(&mut self, from: usize, message: Message) -> Result<(), String> {
        let role = self.sites[from].role;
        if role == Role::Silent {
            return Ok(());
        }
        if role == Role::Honest {
            self.checks.sent(from, &message)?;
        }
        let bytes = message.to_bytes();
        if Message::from_bytes(&bytes).as_ref() != Ok(&message) {
            return Err(format!("a message of node {from} does not come back from its bytes: {message:?}"));
        }
        if let Message::Operation(operation) = &message {
            self.tempt(operation);
            if self.plan.defect == Some(Defect::EarlyReveal) {
                let careless =
                    self.people.iter().find(|person| !person.is_thief && person.first_steps()[0] == operation);
                if let Some(claim) = careless.map(|person| person.first_steps()[1].clone()) {
                    self.tempt(&claim);
                }
            }
        }
        let mut message = Rc::new(message);
        if let (Role::Accomplice, Message::Proposal(proposal)) = (role, &*message) {
            let site = &self.sites[from];
            let favoured = liar::favour(proposal, &site.key, &self.network, site, &self.people);
            message = favoured.map_or(message, Rc::new);
        }
        for to in 0..self.sites.len() {
            if to == from || self.sites[from].hears_even.is_some_and(|even| (to % 2 == 0) != even) {
                continue;
            }
            let messages = match role {
                Role::Liar => {
                    let site = &self.sites[from];
                    liar::twist(&message, &site.key, &self.network, site, &mut self.chance)
                        .into_iter()
                        .map(Rc::new)
                        .collect()
                }
                Role::Choosy if self.chance.per_mille(300) => Vec::new(),
                _ => vec![message.clone()],
            };
            for message in messages {
                self.carry(from, to, message);
            }
        }
        Ok(())
    }

    fn carry(&mut self, from: usize, to: usize, message: Rc<Message>) {
        let (shortest, mut longest) = self.plan.delay;
        if self.is_storm() {
            if self.parts[from] != self.parts[to] || self.chance.per_mille(self.plan.loss) {
                return;
            }
        } else {
            longest = longest.min(120);
        }
        let mut delay = self.chance.within(shortest..longest);
        if self.sites[from].role == Role::Choosy {
            delay *= 1 + self.chance.within(0..20);
        }
        self.after(delay, Event::Deliver(to, message));
    }

    /// One node gets the blocks of another one that it does not have.
    fn fetch(&mut self, at: usize, from: usize) {
        let (asking, asked) = (&self.sites[at], &self.sites[from]);
        let is_reached = asked.is_up && asking.is_up && self.parts[at] == self.parts[from];
        let is_early = self.now_millis.saturating_sub(asking.asked_millis) < 200;
        if !is_reached || at == from || asked.role != Role::Honest || is_early {
            return;
        }
        let missing: Vec<DecidedBlock> = asked.chain.iter().skip(asking.chain.len()).take(20).cloned().collect();
        self.sites[at].asked_millis = self.now_millis;
        for (number, decided) in missing.into_iter().enumerate() {
            self.after(20 + number as i64, Event::Deliver(at, Rc::new(Message::Decided(decided))));
        }
    }
}

/// What a history was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) heights: u64,
    pub(crate) events: u64,
    pub(crate) millis: i64,
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

impl Site {
    pub(crate) fn height(&self) -> u64 {
        self.state.height()
    }
}
