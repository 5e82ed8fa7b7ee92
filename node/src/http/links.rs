//! `/api/v0/link…`

use axum::Router;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::links::{GetLinkCounts, GetLinkHost, OpenSecretLink};

use super::{RouterExt, Shared, endpoint, path, plain};
use crate::service::Service;

/// `host` stands in new links.
pub(super) fn routes(host: String) -> Router<Shared> {
    let link_host = move |_: &Service, _: GetLinkHost, _| Ok(plain(GetLinkHost::write(&host)));
    Router::new()
        .call::<OpenSecretLink>(Service::open_link)
        .route(&path::<GetLinkHost>(), endpoint(link_host))
        .call::<GetLinkCounts>(Service::link_counts)
}
