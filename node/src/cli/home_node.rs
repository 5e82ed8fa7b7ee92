//! `pyrgos migrate` and `pyrgos promote`: make the node that one is logged in at the home of the account, with the help of
//! the present one or without.

use pyrgos_protocol::client::HomeNode;
use serde_json::json;

use super::failure::Failure;
use super::session::{Global, Unlocked, fail};

/// Moves the account.
pub(super) async fn migrate(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let before = unlocked.session.home_node().await.map_err(fail)?;
    let now = unlocked.session.migrate().await.map_err(fail)?;
    show(global, &before, &now);
    unlocked.close()
}

/// Makes a mirror the home.
pub(super) async fn promote(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let before = unlocked.session.home_node().await.map_err(fail)?;
    let now = unlocked.session.promote().await.map_err(fail)?;
    show(global, &before, &now);
    unlocked.close()
}

fn show(global: &Global, before: &HomeNode, now: &HomeNode) {
    let home = now.home.hash().to_base58();
    let text = match before.is_here() {
        true => format!("this is the home already: {home}"),
        false => format!("the home is now {home}"),
    };
    global.output().line(text, &json!({ "home": home, "before": before.home.hash().to_base58() }));
}
