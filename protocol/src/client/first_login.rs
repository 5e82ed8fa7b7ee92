//! What the first login adds to an account (`spec/03` §6.1), for it and for accounts where it is missing.

use super::commit::Transaction;
use super::core::{Core, on_current_state};
use super::edit::{FileMeta, IfExists, Place};
use super::error::ClientError;
use super::item::Item;
use super::path::RemotePath;
use super::runtime::Runtime;
use super::seal::{SealedContent, mime_type, seal};
use super::view::View;
use crate::api::Transport;
use crate::cryptree::fragments::Plaintext;
use crate::cryptree::home::{CAPABILITY_CACHE, KEYSTORE, OUTBOUND, TRANSACTIONS, WORLD, empty_keystore};
use crate::cryptree::name::FileName;
use crate::keys::SymmetricKey;

/// Makes the hidden files and directories that every account has, where they are absent.
pub(crate) async fn furnish<T: Transport, R: Runtime>(core: &Core<T, R>) -> Result<(), ClientError> {
    let complete = on_current_state!(core, |view| is_furnished(view).await)?;
    if complete {
        return Ok(());
    }
    let transaction = Transaction::default();
    let result = on_current_state!(core, |view| {
        add_what_is_missing(view).await?;
        view.commit(&transaction).await
    });
    transaction.close(&core.network).await;
    result
}

fn name(text: &str) -> Result<FileName, ClientError> {
    FileName::new(text).map_err(|_| ClientError::Inconsistent("the name of a file that every account has"))
}

async fn is_furnished<T: Transport, R: Runtime>(view: &mut View<'_, T, R>) -> Result<bool, ClientError> {
    let home = view.home().await?;
    let state = view.directory(&home).await?;
    for part in [KEYSTORE, TRANSACTIONS, CAPABILITY_CACHE] {
        if state.entry(&name(part)?).is_none() {
            return Ok(false);
        }
    }
    let Some(cache) = view.child(&home, &name(CAPABILITY_CACHE)?).await? else { return Ok(false) };
    let state = view.directory(&cache).await?;
    Ok(state.entry(&name(WORLD)?).is_some() && state.entry(&name(OUTBOUND)?).is_some())
}

async fn add_what_is_missing<T: Transport, R: Runtime>(view: &mut View<'_, T, R>) -> Result<(), ClientError> {
    let home = view.home().await?;
    let home_path = RemotePath::home(name(view.core.tree.username.as_str())?);
    directory(view, &home, &home_path, TRANSACTIONS).await?;
    let (cache, cache_path) = directory(view, &home, &home_path, CAPABILITY_CACHE).await?;
    directory(view, &cache, &cache_path, WORLD).await?;
    directory(view, &cache, &cache_path, OUTBOUND).await?;

    let keystore = name(KEYSTORE)?;
    let path = home_path.join(keystore.clone());
    let runtime = view.core.network.runtime.clone();
    let (mut rng, now) = (runtime.rng(), runtime.now());
    let data_key = SymmetricKey::generate(&mut rng);
    let bytes = empty_keystore();
    let sealed = seal(Plaintext::chunk_of(&bytes), &data_key, view.mirror_in(&home).as_ref(), &mut rng);
    let meta = FileMeta {
        size_bytes: bytes.len() as u64,
        mime_type: mime_type(&bytes, KEYSTORE),
        created: now,
        modified: now,
        is_hidden: true,
        thumbnail: None,
    };
    let content = SealedContent { data_key, chunks: vec![sealed] };
    let place = Place { parent: &home, name: &keystore, path: &path };
    view.put_file(&place, &meta, &content, IfExists::Skip).await?;
    Ok(())
}

async fn directory<T: Transport, R: Runtime>(
    view: &mut View<'_, T, R>,
    parent: &Item,
    parent_path: &RemotePath,
    text: &str,
) -> Result<(Item, RemotePath), ClientError> {
    let name = name(text)?;
    let path = parent_path.join(name.clone());
    let item = view.require_directory(&Place { parent, name: &name, path: &path }, true).await?;
    Ok((item, path))
}
