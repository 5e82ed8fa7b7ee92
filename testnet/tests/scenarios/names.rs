//! Names: who owns one, whatever happens to those who decide.

use std::time::Duration;

use pyrgos_testnet::{NODES, Testnet, WITNESSES, within};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_name_of_one_node_is_known_on_all", a_name_of_one_node_is_known_on_all),
    ("one_name_claimed_at_two_nodes_has_one_owner", one_name_claimed_at_two_nodes_has_one_owner),
    ("a_witness_dies_and_comes_back", a_witness_dies_and_comes_back),
    ("without_a_quorum_nothing_is_promised", without_a_quorum_nothing_is_promised),
    ("a_node_that_was_away_catches_up", a_node_that_was_away_catches_up),
    ("all_nodes_die_at_once", all_nodes_die_at_once),
];

/// Until a name that was decided is known everywhere.
const SPREAD: Duration = Duration::from_secs(30);

/// The owner of a name as a node tells it.
pub(crate) fn owner(net: &Testnet, node: usize, name: &str) -> Option<String> {
    let shown = net.operator(node, &["--json", "names", "show", name]);
    let value: serde_json::Value = serde_json::from_slice(&shown.bytes()).ok()?;
    Some(value.get("owner")?.as_str()?.to_owned())
}

/// Waits until all nodes tell the same owner of a name, and gives it.
#[track_caller]
pub(crate) fn same_everywhere(net: &Testnet, name: &str) -> String {
    let mut owners = Vec::new();
    let agreed = within(SPREAD, || {
        owners = (0..NODES.len()).map(|node| owner(net, node, name)).collect();
        owners[0].is_some() && owners.iter().all(|owner| *owner == owners[0])
    });
    assert!(agreed.is_ok(), "{name} has these owners: {owners:?}");
    owners.swap_remove(0).expect("an owner")
}

fn a_name_of_one_node_is_known_on_all(net: &Testnet) {
    let anna = net.user("anna");
    anna.sign_up(0).ok();
    same_everywhere(net, "anna");
    for node in 1..NODES.len() {
        assert!(!net.user("anna-2").at(node, &["signup", "anna", "--password-file", "password"]).is_ok());
    }
    anna.log_in(0).ok();
}

fn one_name_claimed_at_two_nodes_has_one_owner(net: &Testnet) {
    let (one, other) = (net.user("carla"), net.user("carla-2"));
    let ran = std::thread::scope(|scope| {
        let there = scope.spawn(|| other.at(1, &["signup", "carla", "--password-file", "password"]).is_ok());
        let here = one.sign_up(0).is_ok();
        [here, there.join().expect("no panic")]
    });
    same_everywhere(net, "carla");
    assert_eq!(ran.iter().filter(|won| **won).count(), 1, "exactly one got the name: {ran:?}");
}

fn a_witness_dies_and_comes_back(net: &Testnet) {
    net.kill(2).expect("kill");
    net.user("dora").sign_up(0).ok();
    net.user("emil").sign_up(4).ok();
    net.restart(2).expect("restart");
    same_everywhere(net, "dora");
    same_everywhere(net, "emil");
}

fn without_a_quorum_nothing_is_promised(net: &Testnet) {
    net.cut(2).expect("cut");
    net.cut(3).expect("cut");
    // Neither half decides.
    let refused = std::thread::scope(|scope| {
        let other = scope.spawn(|| net.user("fritz-2").at(3, &["signup", "fritz", "--password-file", "password"]));
        [net.user("fritz").sign_up(0), other.join().expect("no panic")]
    });
    for refused in refused {
        assert!(!refused.is_ok(), "two of {WITNESSES} witnesses decided: {}", refused.text());
    }
    assert!(owner(net, 0, "fritz").is_none(), "a name without a decision");
    net.heal().expect("heal");
    // Whoever asks again is served; what was under way when the network broke may have been decided for the first.
    let again = within(Duration::from_secs(90), || net.user("fritz").sign_up(0).is_ok());
    let first = again.is_ok();
    assert!(first || owner(net, 0, "fritz").is_some(), "nobody can have the name after healing");
    same_everywhere(net, "fritz");
    net.user("gerda").sign_up(3).ok();
    same_everywhere(net, "gerda");
}

fn a_node_that_was_away_catches_up(net: &Testnet) {
    net.kill(4).expect("kill");
    for name in ["hans", "ida", "jakob"] {
        net.user(name).sign_up(1).ok();
    }
    net.restart(4).expect("restart");
    for name in ["hans", "ida", "jakob"] {
        same_everywhere(net, name);
    }
}

fn all_nodes_die_at_once(net: &Testnet) {
    let karl = net.user("karl");
    karl.sign_up(2).ok();
    karl.log_in(2).ok();
    karl.write("note", b"kept");
    karl.at(2, &["put", "note", "/karl"]).ok();
    for node in 0..NODES.len() {
        net.kill(node).expect("kill");
    }
    for node in 0..NODES.len() {
        net.start_only(node).expect("start");
    }
    net.heal().expect("all answer");
    let karl = net.user("karl");
    karl.log_in(2).ok();
    assert_eq!(karl.at(2, &["cat", "/karl/note"]).ok(), "kept");
    same_everywhere(net, "karl");
    net.user("lena").sign_up(0).ok();
}
