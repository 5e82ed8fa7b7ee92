//! `/peergos/v0/core/…`

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::core::{GetChain, GetPublicKey, GetUsername, GetUsernames, MigrateUser, SignUp, UpdateChain};
use pyrgos_protocol::api::mirror::{
    GetMirrorList, GetMirrorSnapshot, GetMirrors, GetUserSnapshots, StartMirror, StartPaidMirror, TellMirrors,
};

use super::{RouterExt, Shared, endpoint, path, plain};
use crate::service::{Failure, Service, Source};

pub(super) fn routes() -> Router<Shared> {
    let usernames = path::<GetUsernames>();
    Router::new()
        .call::<GetPublicKey>(Service::public_key)
        .call::<GetChain>(Service::chain)
        .call::<GetUsername>(Service::username)
        .call::<SignUp>(Service::sign_up)
        .call::<UpdateChain>(Service::update_chain)
        .route(&path::<MigrateUser>(), endpoint(migrate_user))
        .call::<StartMirror>(Service::start_mirror)
        .call::<StartPaidMirror>(Service::start_paid_mirror)
        .call::<GetUserSnapshots>(Service::user_snapshots)
        .call::<GetMirrors>(Service::mirrors)
        .call::<TellMirrors>(Service::tell_mirrors)
        .route(&path::<GetMirrorSnapshot>(), endpoint(mirror_snapshot))
        .route(&path::<GetMirrorList>(), endpoint(mirror_list))
        .route(&usernames, endpoint(get_usernames))
        .route(&format!("{usernames}{{prefix}}"), endpoint(get_usernames))
}

/// The one answer that has a type, and is compressed whatever the client takes.
fn get_usernames(service: &Service, call: GetUsernames, _: Source) -> Result<Response, Failure> {
    let mut response = plain(GetUsernames::write(&service.usernames(call)?));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn mirror_snapshot(service: &Service, call: GetMirrorSnapshot, source: Source) -> Result<Response, Failure> {
    Ok(plain(GetMirrorSnapshot::write(&service.mirror_snapshot(call, source)?)))
}

fn mirror_list(service: &Service, call: GetMirrorList, source: Source) -> Result<Response, Failure> {
    Ok(plain(GetMirrorList::write(&service.mirror_list_for(call, source)?)))
}

fn migrate_user(service: &Service, call: MigrateUser, source: Source) -> Result<Response, Failure> {
    Ok(plain(MigrateUser::write(&service.migrate_user(call, source)?)))
}
