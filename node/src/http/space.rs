//! `/peergos/v0/storage/…`

use axum::Router;
use pyrgos_protocol::api::space::{GetPaymentProperties, GetQuota, GetUsage, RequestSpace};

use super::{RouterExt, Shared};
use crate::service::Service;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .call::<GetQuota>(Service::get_quota)
        .call::<GetUsage>(Service::get_usage)
        .call::<RequestSpace>(Service::request_space)
        .call::<GetPaymentProperties>(Service::payment_properties)
}
