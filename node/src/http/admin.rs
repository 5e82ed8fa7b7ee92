//! `/peergos/v0/admin/…`

use axum::Router;
use pyrgos_protocol::api::admin::{
    ApproveSpaceRequest, GetAllowedSignups, GetPendingSpaceRequests, GetVersion, JoinWaitlist,
};

use super::{RouterExt, Shared};
use crate::service::Service;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .call::<GetVersion>(|service, _| Ok(service.version()))
        .call::<GetAllowedSignups>(|service, _| service.allowed_signups())
        .call::<JoinWaitlist>(Service::join_waitlist)
        .call::<GetPendingSpaceRequests>(Service::pending_space_requests)
        .call::<ApproveSpaceRequest>(Service::approve_space_request)
}
