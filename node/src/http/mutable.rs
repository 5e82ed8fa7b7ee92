//! `/peergos/v0/mutable/…`

use axum::Router;
use pyrgos_protocol::api::mutable::{GetPointer, SetPointer, SetPointers};

use super::{RouterExt, Shared};
use crate::service::Service;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .call::<GetPointer>(Service::get_pointer)
        .call::<SetPointer>(Service::set_pointer)
        .call::<SetPointers>(Service::set_pointers)
}
