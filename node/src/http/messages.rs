//! `/peergos/v0/server-message/…`

use axum::Router;
use pyrgos_protocol::api::message::{GetMessages, SendMessage};

use super::{RouterExt, Shared};
use crate::service::Service;

pub(super) fn routes() -> Router<Shared> {
    Router::new().call::<GetMessages>(Service::get_messages).call::<SendMessage>(Service::send_message)
}
