//! `/api/v0/…`

use axum::Router;
use axum::http::{HeaderValue, header};
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetBlockSize, GetServerId, GetServerIds, GetStorageProperties, LookUpChunk,
    LookUpChunks, PutBlocks, StartTransaction,
};
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::merkle::block::BlockStoreProperties;

use super::{RouterExt, Shared, endpoint, path, plain};
use crate::service::{Failure, Service};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .call::<GetServerId>(|service, _| current_id(service))
        .call::<GetServerIds>(|service, _| Ok(service.ids().to_vec()))
        // Blocks go through the node.
        .call::<GetStorageProperties>(|_, _| Ok(BlockStoreProperties::default()))
        .call::<StartTransaction>(Service::start_transaction)
        .call::<CloseTransaction>(Service::close_transaction)
        .call::<PutBlocks>(Service::put_blocks)
        .route(&path::<GetBlock>(), endpoint(get_block))
        .call::<GetBlockSize>(Service::block_size)
        .call::<LookUpChunks>(Service::look_up_chunks)
        .call::<LookUpChunk>(|service, LookUpChunk { owner, root, cap }| {
            service.look_up_chunks(LookUpChunks { owner, root, caps: vec![cap] })
        })
}

fn current_id(service: &Service) -> Result<Cid, Failure> {
    service.ids().last().cloned().ok_or(Failure::Damaged("no identity"))
}

/// A block never changes, so caches may keep it (`spec/04` §4.7).
fn get_block(
    service: &Service,
    call: GetBlock,
    _: crate::service::Source,
) -> Result<axum::response::Response, Failure> {
    let tag = format!("\"{}\"", call.cid);
    let block = service.get_block(call)?;
    let is_present = block.is_some();
    let mut response = plain(GetBlock::write(&block));
    if is_present {
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31622400 immutable"));
    }
    Ok(response)
}
