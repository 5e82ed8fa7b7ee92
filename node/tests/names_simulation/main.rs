//! The consensus about names in a simulation: real engines, the real core and the real rules; virtual time, disks and
//! network, all by chance under a seed.
//!
//! A failure prints its seed; `PYRGOS_SEED=… cargo test -p pyrgos --test names_simulation` repeats it, and the seed then
//! belongs in [`SEEDS`]. `PYRGOS_HISTORIES=100000` runs more of them.

mod chance;
mod checks;
mod liar;
mod person;
mod plan;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chance::Chance;
use plan::{Defect, Plan};
use world::{Report, World};

/// Seeds that found something.
const SEEDS: &[u64] = &[];

/// Histories of a usual run.
const HISTORIES: u64 = 1000;

fn history(seed: u64) -> Result<Report, String> {
    let mut chance = Chance::new(seed);
    let plan = Plan::of(&mut chance);
    World::new(plan.clone(), chance).run().map_err(|cause| format!("{cause}\n  {plan:?}"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn names_stay_unique_and_are_decided_whatever_befalls_the_witnesses() {
    let seeds: Vec<u64> = match number("PYRGOS_SEED") {
        Some(seed) => vec![seed],
        None => SEEDS.iter().copied().chain(1..=number("PYRGOS_HISTORIES").unwrap_or(HISTORIES)).collect(),
    };
    let (next, failures, sum) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    match history(*seed) {
                        Ok(report) => {
                            let mut sum = sum.lock().expect("no panic");
                            sum.heights += report.heights;
                            sum.events += report.events;
                            sum.millis += report.millis;
                        }
                        Err(cause) => failures.lock().expect("no panic").push((*seed, cause)),
                    }
                }
            });
        }
    });
    let (failures, sum) = (failures.into_inner().expect("no panic"), sum.into_inner().expect("no panic"));
    println!(
        "{} histories, {} blocks, {} events, {} s of virtual time",
        seeds.len(),
        sum.heights,
        sum.events,
        sum.millis / 1000
    );
    for (seed, cause) in failures.iter().take(5) {
        eprintln!("PYRGOS_SEED={seed} cargo test -p pyrgos --test names_simulation\n  {cause}");
    }
    assert!(failures.is_empty(), "{} of {} histories failed", failures.len(), seeds.len());
}

/// Some history with the defect must fail with one of these words.
fn finds(defect: Defect, expected: &str) {
    let mut causes = Vec::new();
    for seed in 1..200 {
        let mut chance = Chance::new(seed);
        let plan = Plan::with(defect, &mut chance);
        if let Err(cause) = World::new(plan, chance).run() {
            if cause.contains(expected) {
                return;
            }
            causes.push(cause);
        }
    }
    panic!("the simulation does not find {defect:?}; other causes: {causes:?}");
}

#[test]
fn forgotten_votes_are_found() {
    finds(Defect::ForgottenVotes, "voted twice");
}

#[test]
fn a_quorum_that_is_too_small_is_found() {
    finds(Defect::SmallQuorum, "two decisions");
}

#[test]
fn lost_names_are_found() {
    finds(Defect::LostNames, "");
}

#[test]
fn claims_that_are_revealed_too_early_are_stolen() {
    finds(Defect::EarlyReveal, "stolen");
}
