//! A witness that contradicts itself: two nodes with the key of one, each with a disk of its own, so that neither knows
//! for what the other has voted.

use std::collections::BTreeMap;

use pyrgos_testnet::{NODES, Testnet, WITNESSES};

use crate::Scenario;
use crate::names::same_everywhere;

pub(crate) const SCENARIOS: &[Scenario] =
    &[("a_witness_that_votes_twice_divides_nobody", a_witness_that_votes_twice_divides_nobody)];

const WITNESS: usize = WITNESSES - 1;
const TWIN: usize = 4;
const ROUNDS: usize = 2;

/// Which block the nodes say is the last, and holds it against what they said before about the same height.
fn note_decisions(net: &Testnet, decided: &mut BTreeMap<u64, String>) {
    for node in 0..NODES.len() {
        let shown = net.operator(node, &["--json", "names", "status"]);
        let Ok(status) = serde_json::from_slice::<serde_json::Value>(&shown.bytes()) else { continue };
        let (Some(height), Some(last)) = (status["height"].as_u64(), status["last"].as_str()) else { continue };
        let known = decided.entry(height).or_insert_with(|| last.to_owned());
        assert_eq!(known, last, "{} has another block at height {height}", NODES[node]);
    }
}

fn a_witness_that_votes_twice_divides_nobody(net: &Testnet) {
    net.kill(WITNESS).expect("kill");
    net.kill(TWIN).expect("kill");
    net.save_disk(WITNESS).expect("a copy of the witness");
    net.save_disk(TWIN).expect("a copy of the node whose place its twin takes");
    net.copy_disk(WITNESS, TWIN).expect("a twin");
    net.restart(WITNESS).expect("restart");
    net.restart(TWIN).expect("restart");
    let start = std::time::Instant::now();
    let id = |node| net.operator(node, &["node", "id"]).ok();
    assert_eq!(id(WITNESS), id(TWIN), "they are not the same");

    let mut decided = BTreeMap::new();
    for round in 0..ROUNDS {
        // Each claim at two nodes at once, the twins among them.
        let name = format!("willi-{round}");
        let places = [(WITNESS, TWIN), (0, TWIN)][round % 2];
        let (one, other) = (net.user(&name), net.user(&format!("{name}-too")));
        let won = std::thread::scope(|scope| {
            let there = scope.spawn(|| other.at(places.1, &["signup", &name, "--password-file", "password"]).is_ok());
            [one.sign_up(places.0).is_ok(), there.join().expect("no panic")]
        });
        note_decisions(net, &mut decided);
        println!("  {:?} {name} at {} and {}: {won:?}", start.elapsed(), NODES[places.0], NODES[places.1]);
        // The twins are one node to all others, so that either may be told of the other's claim; never do both get it
        // from different nodes.
        assert!(won != [true, true] || places == (WITNESS, TWIN), "{name} was given twice");
        // With three honest witnesses names go on.
        let honest = net.user(&format!("xenia-{round}"));
        honest.sign_up(round % 3).ok();
        same_everywhere(net, honest.name());
        note_decisions(net, &mut decided);
    }
    for round in 0..ROUNDS {
        let name = format!("willi-{round}");
        let owners: std::collections::BTreeSet<String> =
            (0..NODES.len()).filter_map(|node| crate::names::owner(net, node, &name)).collect();
        assert!(owners.len() <= 1, "{name} has the owners {owners:?}");
    }
    assert!(decided.len() >= ROUNDS, "few decisions were seen: {decided:?}");

    net.kill(TWIN).expect("kill");
    net.restore_disk(TWIN).expect("the node from before");
    net.heal().expect("heal");
    same_everywhere(net, "xenia-0");
}
