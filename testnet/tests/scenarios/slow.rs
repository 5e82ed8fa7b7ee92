//! Slow and lossy lines between all nodes.

use pyrgos_testnet::{Line, Testnet};

use crate::Scenario;
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
    assert!(!net.user("yann-2").at(2, &["signup", "yann", "--password-file", "password"]).is_ok());
}
