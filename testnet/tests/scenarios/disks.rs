//! Disks: full, or with an old backup on them.

use pyrgos_testnet::{Testnet, within};

use crate::Scenario;
use crate::mirrors::{HOME, MIRROR, PATIENCE, mirrored, wait_for_copy};
use crate::names::same_everywhere;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("the_disk_of_a_mirror_is_full", the_disk_of_a_mirror_is_full),
    ("a_home_that_rolls_back_is_refused_and_named", a_home_that_rolls_back_is_refused_and_named),
];

/// What a node leaves free for everything that is not blocks, and some megabytes for blocks.
const LITTLE_ROOM: u64 = (64 + 12) << 20;
const ROOM: u64 = 256 << 20;

/// More than there is room for.
const LARGE: usize = 40 << 20;

/// Why a mirror says that its copy fails.
fn failure(net: &Testnet, name: &str) -> Option<String> {
    mirrored(net, name)?["failure"].as_str().map(str::to_owned)
}

fn the_disk_of_a_mirror_is_full(net: &Testnet) {
    let tilda = net.user("tilda");
    tilda.sign_up(HOME).ok();
    same_everywhere(net, "tilda");
    tilda.log_in(HOME).ok();
    tilda.write("note", b"before");
    tilda.at(HOME, &["put", "note", "/tilda"]).ok();
    let token = tilda.at(HOME, &["mirror", "create"]).ok();
    net.kill(MIRROR).expect("kill");
    net.put_on_small_disk(MIRROR, LITTLE_ROOM).expect("a small disk");
    net.restart(MIRROR).expect("restart");
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "1G"], &token).expect("the mirror starts").ok();
    wait_for_copy(net, "tilda");

    // Neither compressible nor the same twice.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let large: Vec<u8> = (0..LARGE).map(|_| random()).collect();
    tilda.write("large", &large);
    tilda.at(HOME, &["put", "large", "/tilda"]).ok();
    let told = within(PATIENCE, || failure(net, "tilda").is_some_and(|text| text.contains("disk is full")));
    assert!(told.is_ok(), "the mirror says {:?}", mirrored(net, "tilda"));
    let shown = net.operator(MIRROR, &["mirror", "status"]).ok();
    assert!(shown.contains("FAILS") && shown.contains("disk is full"), "{shown}");
    assert!(net.log(MIRROR).contains("disk is full"), "the log does not say it");

    // Names still come, and what was copied is there.
    net.user("ulla").sign_up(0).ok();
    same_everywhere(net, "ulla");
    net.kill(HOME).expect("kill");
    tilda.log_in(MIRROR).ok();
    assert_eq!(tilda.at(MIRROR, &["cat", "/tilda/note"]).ok(), "before");
    net.restart(HOME).expect("restart");

    net.set_room(MIRROR, ROOM).expect("room");
    wait_for_copy(net, "tilda");
    net.kill(HOME).expect("kill");
    tilda.log_in(MIRROR).ok();
    let read = tilda.at(MIRROR, &["cat", "/tilda/large"]);
    assert!(read.is_ok() && read.bytes() == large, "the copy is not what the home had");
    net.kill(MIRROR).expect("kill");
    net.put_on_own_disk(MIRROR).expect("the disk from before");
    net.heal().expect("heal");
}

fn a_home_that_rolls_back_is_refused_and_named(net: &Testnet) {
    let vera = net.user("vera");
    vera.sign_up(HOME).ok();
    same_everywhere(net, "vera");
    vera.log_in(HOME).ok();
    let put = |text: &str| {
        vera.write("note", text.as_bytes());
        vera.at(HOME, &["put", "note", &format!("/vera/{text}")]).ok();
    };
    put("early");
    let token = vera.at(HOME, &["mirror", "create"]).ok();
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "1G"], &token).expect("the mirror starts").ok();
    net.kill(HOME).expect("kill");
    net.save_disk(HOME).expect("a backup");
    net.restart(HOME).expect("restart");
    put("late");
    // A mirror that has not come back yet to a home which was started again may miss what it tells. With another limit it
    // begins anew, instead of waiting for its minute.
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "2G"], &token).expect("the mirror goes on").ok();
    let is_there = within(PATIENCE, || {
        let mine = vera.at(HOME, &["--json", "mirror", "status", "--mine"]).text();
        mine.contains("\"is_current\":true")
    });
    is_there.expect("the mirror asks for the newest");
    wait_for_copy(net, "vera");
    // Another node has seen the newest state, too.
    let seen = within(PATIENCE, || vera.log_in(0).is_ok() && vera.at(0, &["cat", "/vera/late"]).text() == "late");
    seen.expect("another node passes on what the home has, once it knows that it was started again");
    let home = net.operator(HOME, &["node", "id"]).ok();
    let names_home = |text: &str| home.lines().any(|id| text.contains(id));

    net.kill(HOME).expect("kill");
    net.restore_disk(HOME).expect("the old backup");
    net.restart(HOME).expect("restart");

    net.operator_told(MIRROR, &["mirror", "add", "--limit", "3G"], &token).expect("the mirror goes on").ok();
    let told =
        within(PATIENCE, || failure(net, "vera").is_some_and(|text| text.contains("older") && names_home(&text)));
    assert!(told.is_ok(), "the mirror says {:?}", mirrored(net, "vera"));
    assert!(net.log(MIRROR).lines().any(|line| line.contains("older") && names_home(line)), "the log does not say it");

    // Who has seen nothing yet is told by the node in between.
    let elsewhere = net.user("vera-elsewhere");
    let refused = within(PATIENCE, || {
        let tried = elsewhere.at(0, &["login", "vera", "--password-file", "password"]);
        let tried = if tried.is_ok() { elsewhere.at(0, &["ls", "/vera"]) } else { tried };
        assert!(!tried.is_ok() || tried.text().contains("late"), "the old state was shown: {}", tried.text());
        tried.text().contains("older") && names_home(&tried.text())
    });
    refused.expect("the node in between names the home");

    // Nothing is lost at the mirror, which becomes the home.
    vera.log_in(MIRROR).ok();
    assert_eq!(vera.at(MIRROR, &["cat", "/vera/late"]).ok(), "late");
    vera.at(MIRROR, &["promote"]).ok();
    vera.write("note", b"on");
    vera.at(MIRROR, &["put", "note", "/vera/on"]).ok();
    let seen = within(PATIENCE, || {
        vera.log_in(HOME).is_ok()
            && vera.at(HOME, &["cat", "/vera/late"]).text() == "late"
            && vera.at(HOME, &["cat", "/vera/on"]).text() == "on"
    });
    seen.expect("the old home passes calls on");
    same_everywhere(net, "vera");
}
