//! Slow and lossy lines between all nodes. `PYRGOS_SLOW_COMMITS=500` also measures how far a mirror is behind so many times.

use std::time::{Duration, Instant};

use pyrgos_testnet::{Line, Testnet};

use crate::Scenario;
use crate::mirrors::{MIRROR, PATIENCE, mirrored, wait_for_copy};
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
    let commits = std::env::var("PYRGOS_SLOW_COMMITS").ok().and_then(|text| text.parse().ok());
    if let Some(commits) = commits {
        measure_lag(net, commits);
        measure_first_copy(net, &token);
    }
    zoe.log_in(2).ok();
    let read = zoe.at(2, &["cat", "/zoe/large"]);
    assert!(read.is_ok() && read.bytes() == large, "read through another node: {}", read.is_ok());
    if commits.is_some() {
        zoe.log_in(MIRROR).ok();
    }
    net.kill(0).expect("kill");
    if commits.is_some() {
        let start = Instant::now();
        while !zoe.at(MIRROR, &["cat", "/zoe/large"]).is_ok() {
            assert!(start.elapsed() < PATIENCE, "nobody reads any more");
        }
        println!("  killed home to first read over {LINE:?}: {:?}", start.elapsed());
    }
    zoe.log_in(MIRROR).ok();
    let read = zoe.at(MIRROR, &["cat", "/zoe/large"]);
    assert!(read.is_ok() && read.bytes() == large, "read at the mirror: {}", read.is_ok());
    assert!(!net.user("yann-2").at(2, &["signup", "yann", "--password-file", "password"]).is_ok());
}

/// From an acknowledged commit at the home until the mirror has it, both as commands tell.
fn measure_lag(net: &Testnet, commits: usize) {
    let zoe = net.user("zoe");
    let fetched = || mirrored(net, "zoe").and_then(|status| status["fetched_blocks"].as_u64()).unwrap_or_default();
    zoe.at(0, &["mkdir", "/zoe/one"]).ok();
    std::thread::sleep(Duration::from_secs(3));
    let mut times = Vec::with_capacity(commits);
    for number in 0..commits {
        let (from, to) = if number % 2 == 0 { ("/zoe/one", "/zoe/other") } else { ("/zoe/other", "/zoe/one") };
        let before = fetched();
        zoe.at(0, &["mv", from, to]).ok();
        let start = Instant::now();
        while fetched() == before {
            assert!(start.elapsed() < PATIENCE, "the mirror does not follow");
        }
        times.push(start.elapsed());
    }
    times.sort();
    let [median, p99] = [commits / 2, commits * 99 / 100].map(|at| times.get(at).copied().unwrap_or_default());
    println!("  commit to mirror over {LINE:?}, {commits} times: median {median:?}, p99 {p99:?}");
}

/// A copy from the beginning.
fn measure_first_copy(net: &Testnet, token: &str) {
    net.operator(MIRROR, &["mirror", "rm", "zoe"]).ok();
    let start = Instant::now();
    net.operator_told(MIRROR, &["mirror", "add", "--limit", "1G"], token).expect("the mirror starts").ok();
    wait_for_copy(net, "zoe");
    let bytes = mirrored(net, "zoe").and_then(|status| status["used_bytes"].as_u64()).unwrap_or_default();
    println!("  first mirror of {bytes} bytes over {LINE:?}: {:?}", start.elapsed());
}
