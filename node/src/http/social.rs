//! `/peergos/v0/social/…`

use axum::Router;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::social::{GetFollowRequests, RemoveFollowRequest, SendFollowRequest};

use super::{RouterExt, Shared, endpoint, path, plain};
use crate::service::{Service, Source};

pub(super) fn routes() -> Router<Shared> {
    let send = |service: &Service, call: SendFollowRequest, source: Source| {
        Ok(plain(SendFollowRequest::write(&service.send_follow_request(call, source)?)))
    };
    Router::new()
        .route(&path::<SendFollowRequest>(), endpoint(send))
        .call::<GetFollowRequests>(Service::get_follow_requests)
        .call::<RemoveFollowRequest>(Service::remove_follow_request)
}
