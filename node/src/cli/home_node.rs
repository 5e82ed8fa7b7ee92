//! `pyrgos promote`: makes the node that one is logged in at, a mirror, the home of the account.

use serde_json::json;

use super::failure::Failure;
use super::session::{Global, Unlocked, fail};

/// Makes the node the home.
pub(super) async fn promote(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let before = unlocked.session.home_node().await.map_err(fail)?;
    let now = unlocked.session.promote().await.map_err(fail)?;
    let home = now.home.hash().to_base58();
    let text = match before.is_here() {
        true => format!("this is the home already: {home}"),
        false => format!("the home is now {home}"),
    };
    global.output().line(text, &json!({ "home": home, "before": before.home.hash().to_base58() }));
    unlocked.close()
}
