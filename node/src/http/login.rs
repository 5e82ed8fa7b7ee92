//! `/peergos/v0/login/…`

use axum::Router;
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::login::{
    AddMount, AddTotp, DeleteSecondFactor, EnableMount, EnableTotp, GenerateBackupCodes, GetLogin, ListSecondFactors,
    SetLogin,
};

use super::{RouterExt, Shared, endpoint, path, plain};
use crate::service::{Service, Source};

pub(super) fn routes() -> Router<Shared> {
    let get_login = |service: &Service, call: GetLogin, source: Source| {
        Ok(plain(GetLogin::write(&service.get_login(call, source)?)))
    };
    Router::new()
        .route(&path::<GetLogin>(), endpoint(get_login))
        .call::<SetLogin>(Service::set_login)
        .call::<ListSecondFactors>(Service::list_second_factors)
        .call::<AddTotp>(Service::add_totp)
        .call::<EnableTotp>(Service::enable_totp)
        .call::<AddMount>(Service::add_mount)
        .call::<EnableMount>(Service::enable_mount)
        .call::<GenerateBackupCodes>(Service::generate_backup_codes)
        .call::<DeleteSecondFactor>(Service::delete_second_factor)
}
