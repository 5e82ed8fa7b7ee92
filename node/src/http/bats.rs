//! `/peergos/v0/bats/…`

use axum::Router;
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};

use super::{RouterExt, Shared};
use crate::service::Service;

pub(super) fn routes() -> Router<Shared> {
    Router::new().call::<GetUserBats>(Service::get_user_bats).call::<AddBat>(Service::add_bat)
}
