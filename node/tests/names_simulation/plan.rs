//! What befalls the witnesses of a history.

use crate::chance::Chance;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Does what the engine says.
    Honest,
    /// Says nothing at all.
    Silent,
    /// Runs the engine, but tells each other witness something else: other votes, other blocks, blocks that are not valid.
    Liar,
    /// Runs the engine twice with one key; each half of the others hears one of the two.
    Twin,
    /// Runs the engine, but says some things late, and some not, or only to some.
    Choosy,
    /// Proposes what a thief wants and nothing of those who are to be robbed.
    Accomplice,
}

/// A defect that is put into the world to see the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The journal is gone after a crash: a witness forgets what it has voted.
    ForgottenVotes,
    /// One witness more lies than the rules allow, which is what a quorum that is too small amounts to.
    SmallQuorum,
    /// Decided names are not kept: a crash loses them.
    LostNames,
    /// People tell their claims together with the commitment, as if no claim had to wait for its commitment.
    EarlyReveal,
}

/// The conditions of a history.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) roles: Vec<Role>,
    /// Longest and shortest time of a message on its way, in milliseconds.
    pub(crate) delay: (i64, i64),
    /// Messages of a thousand that get lost.
    pub(crate) loss: u64,
    /// Steps of an honest witness of a thousand in which it crashes.
    pub(crate) crashes: u64,
    /// Whether the network falls apart now and then.
    pub(crate) partitions: bool,
    /// When all that ends, in milliseconds from the start.
    pub(crate) storm_millis: i64,
    pub(crate) people: usize,
    /// Whether somebody takes up each name that is revealed.
    pub(crate) thief: bool,
    /// Whether a witness is replaced by the node that only follows.
    pub(crate) change_of_witnesses: bool,
    pub(crate) defect: Option<Defect>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(chance: &mut Chance) -> Plan {
        let count = [1, 4, 4, 4, 4, 4, 7][chance.index(7)];
        let faulty = (count - 1) / 3;
        let mut roles = vec![Role::Honest; count];
        let liars = chance.index(faulty + 1).max(chance.index(faulty + 1));
        for _ in 0..liars {
            let at = chance.index(count);
            roles[at] = [Role::Silent, Role::Liar, Role::Twin, Role::Choosy, Role::Accomplice][chance.index(5)];
        }
        let calm = chance.per_mille(400);
        Plan {
            roles,
            delay: if calm { (5, 120) } else { (5, [100, 400, 1500][chance.index(3)]) },
            loss: if calm { 0 } else { [0, 20, 150][chance.index(3)] },
            crashes: if calm { 0 } else { [0, 5, 20][chance.index(3)] },
            partitions: !calm && chance.per_mille(500),
            storm_millis: if calm { 0 } else { chance.within(5_000..25_000) },
            people: 1 + chance.index(3),
            thief: chance.per_mille(500),
            change_of_witnesses: count > 1 && chance.per_mille(200),
            defect: None,
        }
    }

    /// Whether honest witnesses hear each other in time, always.
    pub(crate) fn is_calm(&self) -> bool {
        self.storm_millis == 0
    }

    /// Conditions under which a defect shows.
    pub(crate) fn with(defect: Defect, chance: &mut Chance) -> Plan {
        let mut plan = Plan { roles: vec![Role::Honest; 4], defect: Some(defect), ..Plan::of(chance) };
        match defect {
            Defect::ForgottenVotes => {
                (plan.crashes, plan.loss, plan.storm_millis, plan.delay) = (40, 100, 20_000, (5, 800));
            }
            Defect::SmallQuorum => {
                plan.roles = vec![Role::Honest, Role::Twin, Role::Twin, Role::Honest];
                (plan.partitions, plan.storm_millis, plan.crashes) = (true, 20_000, 0);
            }
            Defect::LostNames => (plan.crashes, plan.storm_millis) = (20, 20_000),
            Defect::EarlyReveal => {
                (plan.thief, plan.storm_millis, plan.loss, plan.crashes, plan.partitions) = (true, 0, 0, 0, false);
                (plan.people, plan.delay) = (3, (5, 120));
                plan.roles[1] = Role::Accomplice;
            }
        }
        plan
    }
}
