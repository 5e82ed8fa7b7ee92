//! Accounts between nodes: what goes through any of them, and what is left when the home dies.

use std::time::Duration;

use pyrgos_testnet::{NODES, Testnet, within};

use crate::Scenario;
use crate::names::same_everywhere;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("signed_up_on_one_logged_in_on_another", signed_up_on_one_logged_in_on_another),
    ("friends_on_two_nodes_share", friends_on_two_nodes_share),
    ("a_mirror_stands_in_for_a_killed_home", a_mirror_stands_in_for_a_killed_home),
];

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const HOME: usize = 4;
pub(crate) const MIRROR: usize = 5;

fn signed_up_on_one_logged_in_on_another(net: &Testnet) {
    let nora = net.user("nora");
    nora.sign_up(0).ok();
    same_everywhere(net, "nora");
    nora.write("note", b"from elsewhere");
    for node in 1..NODES.len() {
        nora.log_in(node).ok();
        nora.at(node, &["put", "note", &format!("/nora/note-{node}")]).ok();
    }
    nora.log_in(0).ok();
    for node in 1..NODES.len() {
        assert_eq!(nora.at(0, &["cat", &format!("/nora/note-{node}")]).ok(), "from elsewhere");
    }
}

fn friends_on_two_nodes_share(net: &Testnet) {
    let (oskar, paul) = (net.user("oskar"), net.user("paul"));
    oskar.sign_up(1).ok();
    paul.sign_up(HOME).ok();
    same_everywhere(net, "oskar");
    same_everywhere(net, "paul");
    oskar.log_in(1).ok();
    paul.log_in(HOME).ok();
    paul.at(HOME, &["follow", "oskar"]).ok();
    oskar.at(1, &["accept", "paul", "--follow-back"]).ok();
    oskar.write("recipe", b"flour, water, salt");
    oskar.at(1, &["put", "recipe", "/oskar"]).ok();
    oskar.at(1, &["share", "recipe", "--with", "paul"]).ok();
    assert_eq!(paul.at(HOME, &["cat", "/oskar/recipe"]).ok(), "flour, water, salt");
}

/// How the copy of an account stands at the mirror.
pub(crate) fn mirrored(net: &Testnet, name: &str) -> Option<serde_json::Value> {
    let shown = net.operator(MIRROR, &["--json", "mirror", "status"]);
    let text = String::from_utf8(shown.bytes()).ok()?;
    let all = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    all.into_iter().find(|status| status["username"] == name)
}

/// Waits until the mirror has all that it knows of.
#[track_caller]
pub(crate) fn wait_for_copy(net: &Testnet, name: &str) {
    let copied = within(PATIENCE, || {
        mirrored(net, name).is_some_and(|status| {
            status["verified_millis"].is_number() && status["behind_millis"] == 0 && status["failure"].is_null()
        })
    });
    assert!(copied.is_ok(), "the mirror says {:?}", mirrored(net, name));
}

fn a_mirror_stands_in_for_a_killed_home(net: &Testnet) {
    let rosa = net.user("rosa");
    rosa.sign_up(HOME).ok();
    same_everywhere(net, "rosa");
    rosa.log_in(HOME).ok();
    let token = rosa.at(HOME, &["mirror", "create"]).ok();
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "1G"], &token).expect("the mirror starts").ok();
    for number in 0..5 {
        rosa.write("note", format!("number {number}").as_bytes());
        rosa.at(HOME, &["put", "note", &format!("/rosa/note-{number}")]).ok();
    }
    wait_for_copy(net, "rosa");
    // What was acknowledged reaches the mirror within seconds; then the home dies.
    std::thread::sleep(Duration::from_secs(2));
    net.kill(HOME).expect("kill");
    rosa.log_in(MIRROR).ok();
    for number in 0..5 {
        assert_eq!(rosa.at(MIRROR, &["cat", &format!("/rosa/note-{number}")]).ok(), format!("number {number}"));
    }
    rosa.at(MIRROR, &["promote"]).ok();
    rosa.write("late", b"written at the mirror");
    rosa.at(MIRROR, &["put", "late", "/rosa/late"]).ok();
    // The old home comes back and steps aside: through it one sees what was written since.
    net.restart(HOME).expect("restart");
    let seen = within(PATIENCE, || {
        rosa.log_in(HOME).is_ok() && rosa.at(HOME, &["cat", "/rosa/late"]).text().contains("written at the mirror")
    });
    seen.expect("the old home passes calls on");
    same_everywhere(net, "rosa");
}
