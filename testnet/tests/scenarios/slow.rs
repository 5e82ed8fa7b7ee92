//! Slow and lossy lines between all nodes.

use std::time::Duration;

use pyrgos_testnet::{Line, Testnet};

use crate::Scenario;
use crate::mirrors::{MIRROR, wait_for_copy};
use crate::names::same_everywhere;

/// The line of every node.
pub(crate) const LINE: Line = Line { delay_millis: 50, loss_percent: 1 };

pub(crate) const SCENARIOS: &[Scenario] = &[("over_slow_and_lossy_lines", over_slow_and_lossy_lines)];

fn over_slow_and_lossy_lines(net: &Testnet) {
    let zoe = net.user("zoe");
    zoe.sign_up(0).ok();
    same_everywhere(net, "zoe");
    let other = net.user("yann");
    other.sign_up(4).ok();
    same_everywhere(net, "yann");
    zoe.log_in(0).ok();
    let token = zoe.at(0, &["mirror", "create"]).ok();
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "1G"], &token).expect("the mirror starts").ok();
    let large: Vec<u8> = (0..1u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    zoe.write("large", &large);
    zoe.at(0, &["put", "large", "/zoe"]).ok();
    std::thread::sleep(Duration::from_secs(2));
    wait_for_copy(net, "zoe");
    zoe.log_in(2).ok();
    let read = zoe.at(2, &["cat", "/zoe/large"]);
    assert!(read.is_ok() && read.bytes() == large, "read through another node: {}", read.is_ok());
    net.kill(0).expect("kill");
    zoe.log_in(MIRROR).ok();
    let read = zoe.at(MIRROR, &["cat", "/zoe/large"]);
    assert!(read.is_ok() && read.bytes() == large, "read at the mirror: {}", read.is_ok());
    assert!(!net.user("yann-2").at(2, &["signup", "yann", "--password-file", "password"]).is_ok());
}
