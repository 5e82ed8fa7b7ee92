//! All names at once, for a node that joins or was away for long: `/pyrgos/names-snapshot/1`.
//!
//! Who asks writes the height of its last block (8 bytes, big endian). The answer is the head, its length (4 bytes, big
//! endian) before it, then pages of names, each with its length, and four zero bytes at the end; nothing but these if the
//! answering node is not further. Certificates and the tree's root prove all of it, so that it does not matter who answers.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor};
use pyrgos_protocol::names::snapshot::{MAX_HEAD_BYTES, MAX_PAGE_BYTES};
use pyrgos_protocol::names::{NamesPage, SnapshotHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::driver::Driver;
use super::keeper::{MAX_SNAPSHOT_BYTES, Snapshot};
use crate::http::server::stopped;
use crate::p2p::{Host, PeerStream, Peers};

/// The protocol of the streams.
pub(super) const PROTOCOL: &str = "/pyrgos/names-snapshot/1";
/// How long a whole snapshot may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// How long a part may take, and how long it may take until the node has taken the snapshot.
const PART_PATIENCE: Duration = Duration::from_secs(30);
/// Most answers that are being given: each has all names in memory.
const MAX_SERVED: usize = 2;
/// Names of a page.
const NAMES_OF_PAGE: usize = 256;

/// Takes all names from a neighbour, if it is further.
///
/// # Errors
/// The stream, and whatever the neighbour shows that is not the network's.
pub(super) async fn fetch(host: &Host, driver: &Driver, node: &Cid) -> io::Result<()> {
    let before = driver.board().look().state.clone();
    let mut stream = BufStream::new(host.open(node, PROTOCOL).await.map_err(io::Error::other)?);
    stream.write_u64(before.height()).await?;
    stream.flush().await?;
    let Some(head) = read_part(&mut stream, MAX_HEAD_BYTES).await? else { return Ok(()) };
    let head = SnapshotHead::from_bytes(&head).map_err(invalid)?;
    head.verify(before.network(), driver.first_witnesses()).map_err(invalid)?;
    if head.state.height() <= before.height() {
        return Ok(());
    }
    let (mut names, mut bytes) = (BTreeMap::new(), 0);
    while let Some(page) = read_part(&mut stream, MAX_PAGE_BYTES).await? {
        bytes += page.len();
        if bytes > 2 * MAX_SNAPSHOT_BYTES {
            return Err(invalid("more names than a snapshot holds"));
        }
        names.extend(NamesPage::from_bytes(&page).map_err(invalid)?.0);
    }
    let height = head.state.height();
    let checked = tokio::task::spawn_blocking(move || head.names(names).map(|delta| (head, delta))).await;
    let (head, delta) = checked.map_err(io::Error::other)?.map_err(invalid)?;
    driver.jump(head, delta).await;
    // The engine's thread takes it.
    let taken = async {
        while driver.board().look().state.height() < height {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(timeout(PART_PATIENCE, taken).await?)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn read_part(stream: &mut BufStream<PeerStream>, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let length = timeout(PART_PATIENCE, stream.read_u32()).await?? as usize;
    if length > max_bytes {
        return Err(invalid("a part that is too long"));
    }
    let mut part = Vec::new();
    timeout(PART_PATIENCE, stream.take(length as u64).read_to_end(&mut part)).await??;
    match part.len() {
        0 if length == 0 => Ok(None),
        len if len == length => Ok(Some(part)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Answers neighbours.
pub(super) async fn serve(
    mut incoming: mpsc::Receiver<(Cid, PeerStream)>,
    driver: Driver,
    mut stop: watch::Receiver<bool>,
) {
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            next = incoming.recv(), if answers.len() < MAX_SERVED => {
                let Some((node, stream)) = next else { return };
                let driver = driver.clone();
                answers.spawn(async move {
                    if let Ok(Err(error)) = timeout(PATIENCE, answer(stream, driver)).await {
                        tracing::debug!(%node, %error, "a neighbour did not get the names");
                    }
                });
            }
            Some(_) = answers.join_next() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn answer(stream: PeerStream, driver: Driver) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    let after = timeout(PART_PATIENCE, stream.read_u64()).await??;
    if driver.board().look().state.height() > after {
        let keeper = driver.keeper().clone();
        let read = tokio::task::spawn_blocking(move || keeper.snapshot()).await.map_err(io::Error::other)?;
        if let Some(Snapshot { head, names }) = read.map_err(io::Error::other)? {
            write_part(&mut stream, &head.to_bytes()).await?;
            let mut page = NamesPage::default();
            for name in names {
                page.0.push(name);
                if page.0.len() == NAMES_OF_PAGE {
                    write_page(&mut stream, &std::mem::take(&mut page)).await?;
                }
            }
            write_page(&mut stream, &page).await?;
        }
    }
    timeout(PART_PATIENCE, async {
        stream.write_u32(0).await?;
        stream.flush().await?;
        stream.shutdown().await
    })
    .await?
}

/// In two halves if it is too long.
async fn write_page(stream: &mut BufStream<PeerStream>, page: &NamesPage) -> io::Result<()> {
    let mut pending = vec![page.0.as_slice()];
    while let Some(names) = pending.pop() {
        let bytes = NamesPage(names.to_vec()).to_bytes();
        match names.len() {
            0 => {}
            len if len > 1 && bytes.len() > MAX_PAGE_BYTES => {
                let (first, second) = names.split_at(len / 2);
                pending.extend([second, first]);
            }
            _ => write_part(stream, &bytes).await?,
        }
    }
    Ok(())
}

async fn write_part(stream: &mut BufStream<PeerStream>, part: &[u8]) -> io::Result<()> {
    let length = u32::try_from(part.len()).map_err(io::Error::other)?;
    timeout(PART_PATIENCE, async {
        stream.write_u32(length).await?;
        stream.write_all(part).await
    })
    .await?
}
