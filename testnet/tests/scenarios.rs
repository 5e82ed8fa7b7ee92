//! What must hold whatever breaks: no acknowledged write is lost, a name has one owner and the same everywhere, a mirror
//! equals the home. All scenarios run one after another on one network, which is healed after each.
//!
//! `cargo test --workspace --test scenarios -- PART` runs those whose names contain PART. `PYRGOS_SCENARIOS_SECS` says after
//! how many seconds none is begun any more.

#[path = "scenarios/disks.rs"]
mod disks;
#[path = "scenarios/files.rs"]
mod files;
#[path = "scenarios/mirrors.rs"]
mod mirrors;
#[path = "scenarios/names.rs"]
mod names;
#[path = "scenarios/slow.rs"]
mod slow;
#[path = "scenarios/twins.rs"]
mod twins;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pyrgos_testnet::{Broken, NODES, Testnet};

/// A name and what happens.
type Scenario = (&'static str, fn(&Testnet));

/// What became of all of them.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<&'static str>,
    /// Not begun, for lack of time.
    left: Vec<&'static str>,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |(name, _): &&Scenario| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    // The quick ones first, for those who have set a time.
    let usual: Vec<Scenario> =
        [files::SCENARIOS, mirrors::SCENARIOS, names::SCENARIOS, disks::SCENARIOS, twins::SCENARIOS].concat();
    let usual: Vec<Scenario> = usual.iter().filter(is_wanted).copied().collect();
    let slow: Vec<Scenario> = slow::SCENARIOS.iter().filter(is_wanted).copied().collect();
    let mut outcome = Outcome::default();
    let ran = run(&usual, &slow, &mut outcome);
    let Outcome { passed, failed, left } = outcome;
    println!("{passed} passed, {} failed {failed:?}, {} left out for lack of time {left:?}", failed.len(), left.len());
    match ran {
        Ok(()) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("The test network does not work: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(usual: &[Scenario], slow: &[Scenario], outcome: &mut Outcome) -> Result<(), Broken> {
    let seconds = std::env::var("PYRGOS_SCENARIOS_SECS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_late = || end.is_some_and(|end| Instant::now() > end);
    let mut net = None;
    if !usual.is_empty() {
        let Some(started) = Testnet::start()? else { return Ok(()) };
        for scenario in usual {
            match is_late() {
                true => outcome.left.push(scenario.0),
                false => play(&started, scenario, outcome),
            }
        }
        net = Some(started);
    }
    if is_late() {
        outcome.left.extend(slow.iter().map(|(name, _)| name));
    } else if !slow.is_empty() {
        let slowed = match net.take() {
            Some(net) => net.slow(slow::LINE).map(|()| net).ok(),
            None => None,
        };
        let net = match slowed {
            Some(net) => net,
            // Where the kernel has no netem, cables of our own.
            None => match Testnet::start_in_namespaces()? {
                Ok(net) => net,
                Err(reason) => {
                    println!("SKIPPED: no slow lines here: {reason}");
                    return Ok(());
                }
            },
        };
        net.slow(slow::LINE)?;
        slow.iter().for_each(|scenario| play(&net, scenario, outcome));
    }
    Ok(())
}

/// Plays one scenario and heals the network.
fn play(net: &Testnet, (name, scenario): &Scenario, summary: &mut Outcome) {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        scenario(net);
        net.heal().expect("the network heals");
    }));
    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("scenario {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
    if outcome.is_ok() {
        summary.passed += 1;
    } else {
        summary.failed.push(name);
        for (node, name) in NODES.iter().enumerate() {
            let log = net.log(node);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {name} said last:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        let _ = net.heal();
    }
}
