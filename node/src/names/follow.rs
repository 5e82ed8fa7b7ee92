//! Blocks that a node has missed, from any neighbour: `/pyrgos/names/1`.
//!
//! Who asks writes the height of its last block (8 bytes, big endian). The answer is the blocks after it, each its length
//! (4 bytes, big endian) and its bytes, at most [`MAX_BLOCKS`] of them, and four zero bytes at the end. The blocks prove
//! themselves, so that it does not matter who answers.

use std::io;
use std::time::Duration;

use pyrgos_protocol::encoding::{Cid, FromCbor};
use pyrgos_protocol::names::DecidedBlock;
use pyrgos_protocol::names::block::{MAX_BLOCK_BYTES, MAX_CERTIFICATE_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::driver::Driver;
use super::message::Message;
use super::snapshot;
use crate::http::server::stopped;
use crate::p2p::{Host, PeerStream, Peers};

/// The protocol of the streams.
pub const PROTOCOL: &str = "/pyrgos/names/1";
/// Most blocks in an answer.
pub const MAX_BLOCKS: u64 = 256;
/// Most bytes of blocks in an answer, except that one block always fits.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Longest decided block.
const MAX_DECIDED_BYTES: usize = MAX_BLOCK_BYTES + MAX_CERTIFICATE_BYTES;
/// Most answers that are being given.
const MAX_SERVED: usize = 16;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a node asks without a reason.
const EVERY: Duration = Duration::from_secs(15);
/// How often it asks as long as it has heard of nobody.
const FIRST_EVERY: Duration = Duration::from_millis(500);
/// The shortest time between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// How many neighbours are asked when the first do not know more.
const ASKED: usize = 3;

/// Asks neighbours, when there is a hint that blocks were missed and now and then without.
pub(super) async fn fetch(host: Host, driver: Driver, mut hints: mpsc::Receiver<u64>, mut stop: watch::Receiver<bool>) {
    let (mut turn, mut has_answer) = (0_usize, false);
    loop {
        let pause = if has_answer { EVERY } else { FIRST_EVERY };
        let hint = tokio::select! {
            hint = timeout(pause, hints.recv()) => hint.ok().flatten(),
            () = stopped(&mut stop) => return,
        };
        let mut neighbours: Vec<Cid> = host.connected().await.into_iter().collect();
        neighbours.sort_unstable_by_key(Cid::to_bytes);
        for number in 0..ASKED.min(neighbours.len()) {
            turn = turn.wrapping_add(1);
            let node = &neighbours[turn % neighbours.len()];
            let far = async {
                if is_far(&driver, hint)
                    && let Err(error) = snapshot::fetch(&host, &driver, node).await
                {
                    tracing::debug!(%node, %error, "no snapshot of names");
                }
            };
            tokio::select! {
                _ = timeout(snapshot::PATIENCE, far) => {}
                () = stopped(&mut stop) => return,
            }
            tokio::select! {
                answer = timeout(PATIENCE, catch_up(&host, &driver, node)) => match answer {
                    Ok(Ok(news)) => {
                        has_answer = true;
                        if news { break; }
                    }
                    Ok(Err(error)) => tracing::debug!(%node, %error, number, "no blocks of names"),
                    Err(_) => tracing::debug!(%node, "no blocks of names in time"),
                },
                () = stopped(&mut stop) => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Whether all names are less than the blocks that are missing.
fn is_far(driver: &Driver, hint: Option<u64>) -> bool {
    let state = driver.board().look().state.clone();
    let is_behind = hint.is_some_and(|height| height > state.height().saturating_add(MAX_BLOCKS));
    (state.height() == 0 || is_behind) && !driver.is_witness(&state)
}

/// Takes all that a neighbour has. Whether that was anything.
async fn catch_up(host: &Host, driver: &Driver, node: &Cid) -> io::Result<bool> {
    let mut has_news = false;
    loop {
        let before = driver.board().look().state.height();
        let mut stream = host.open(node, PROTOCOL).await.map_err(io::Error::other)?;
        stream.write_all(&before.to_be_bytes()).await?;
        let mut last = before;
        while let Some(decided) = read_block(&mut stream).await? {
            last = decided.block.header.height;
            if !driver.hear(Message::Decided(decided)).await {
                return Ok(has_news);
            }
        }
        // The engine takes them one after the other.
        let mut waited = Duration::ZERO;
        while driver.board().look().state.height() < last && waited < PATIENCE / 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            waited += Duration::from_millis(20);
        }
        if driver.board().look().state.height() <= before {
            return Ok(has_news);
        }
        has_news = true;
    }
}

async fn read_block(stream: &mut PeerStream) -> io::Result<Option<DecidedBlock>> {
    let length = stream.read_u32().await? as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > MAX_DECIDED_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block that is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    DecidedBlock::from_bytes(&bytes).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
                        tracing::debug!(%node, %error, "a neighbour did not get its blocks of names");
                    }
                });
            }
            Some(_) = answers.join_next() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn answer(mut stream: PeerStream, driver: Driver) -> io::Result<()> {
    let after = stream.read_u64().await?;
    let mut sent = 0;
    for height in (1..=MAX_BLOCKS).filter_map(|number| after.checked_add(number)) {
        let keeper = driver.keeper().clone();
        let read = tokio::task::spawn_blocking(move || keeper.block_bytes(height)).await.map_err(io::Error::other)?;
        let Some(block) = read.map_err(io::Error::other)? else { break };
        sent += block.len();
        if sent > MAX_ANSWER_BYTES && sent > block.len() {
            break;
        }
        stream.write_u32(block.len() as u32).await?;
        stream.write_all(&block).await?;
    }
    stream.write_u32(0).await?;
    stream.flush().await?;
    stream.shutdown().await
}
