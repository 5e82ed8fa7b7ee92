//! Files: at home, whatever happens to it.

use std::time::Duration;

use pyrgos_testnet::{Testnet, within};

use crate::Scenario;

pub(crate) const SCENARIOS: &[Scenario] =
    &[("a_home_that_dies_loses_nothing_acknowledged", a_home_that_dies_loses_nothing_acknowledged)];

fn a_home_that_dies_loses_nothing_acknowledged(net: &Testnet) {
    let olga = net.user("olga");
    olga.sign_up(1).ok();
    olga.log_in(1).ok();
    for number in 0..5 {
        let name = format!("file-{number}");
        olga.write(&name, format!("content {number}").as_bytes());
        olga.at(1, &["put", &name, "/olga"]).ok();
        net.kill(1).expect("kill");
        net.start_only(1).expect("start");
        let read = within(Duration::from_secs(60), || {
            olga.at(1, &["cat", &format!("/olga/{name}")]).text() == format!("content {number}")
        });
        assert!(read.is_ok(), "{name} is gone");
    }
}
