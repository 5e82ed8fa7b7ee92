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

    // One name at three nodes at once, the twins among them.
    let mut decided = BTreeMap::new();
    let users = ["willi", "willi-too", "willi-as-well"].map(|folder| net.user(folder));
    let won: Vec<bool> = std::thread::scope(|scope| {
        let claims = users.iter().zip([WITNESS, TWIN, 0]).map(|(user, node)| {
            scope.spawn(move || user.at(node, &["signup", "willi", "--password-file", "password"]).is_ok())
        });
        let claims: Vec<_> = claims.collect();
        // With three honest witnesses names go on meanwhile.
        let honest = net.user("xenia");
        honest.sign_up(1).ok();
        same_everywhere(net, honest.name());
        note_decisions(net, &mut decided);
        claims.into_iter().map(|claim| claim.join().expect("no panic")).collect()
    });
    note_decisions(net, &mut decided);
    println!("  {:?} willi at both twins and an honest witness: {won:?}", start.elapsed());
    // The twins are one node to all others, so that either may be told of the other's claim; never do both get it from
    // different nodes.
    assert!(!(won[2] && (won[0] || won[1])), "willi was given twice: {won:?}");
    let owners: std::collections::BTreeSet<String> =
        (0..NODES.len()).filter_map(|node| crate::names::owner(net, node, "willi")).collect();
    assert!(owners.len() <= 1, "willi has the owners {owners:?}");
    assert!(!decided.is_empty(), "no decision was seen");

    net.kill(TWIN).expect("kill");
    net.restore_disk(TWIN).expect("the node from before");
    net.heal().expect("heal");
    same_everywhere(net, "xenia");
}
