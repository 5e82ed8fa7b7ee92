//! Blocks for mirrors: `/pyrgos/sync/1` (design §4).
//!
//! Who asks writes a [`DifferenceRequest`], its length before it (4 bytes, big endian). The answer is
//! [`DifferencePart`]s, each with its length, up to the one that ends it; then the next request may follow. Blocks are
//! read while those before them are on their way; who reads slowly holds up nobody but itself.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyrgos_protocol::encoding::{Cid, FromCbor};
use pyrgos_protocol::mirroring::difference::MAX_REQUEST;
use pyrgos_protocol::mirroring::{DifferencePart, DifferenceRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::server::stopped;
use crate::p2p::PeerStream;
use crate::service::Service;

/// The protocol of the streams.
pub const PROTOCOL: &str = "/pyrgos/sync/1";

/// Most streams that are served, and most of one node.
const MAX_SERVED: usize = 32;
const MAX_SERVED_OF_NODE: usize = 8;

/// Parts that are read ahead. Each is at most 2 MiB.
const AHEAD: usize = 16;

/// Bytes that are sent together.
const BUFFER: usize = 128 << 10;

/// How long the other side may take to read a part or to ask for more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves what other nodes ask for.
pub async fn serve(
    service: Arc<Service>,
    mut incoming: mpsc::Receiver<(Cid, PeerStream)>,
    mut stop: watch::Receiver<bool>,
) {
    let open: Arc<Mutex<HashMap<Cid, usize>>> = Arc::default();
    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            next = incoming.recv(), if served.len() < MAX_SERVED => {
                let Some((node, stream)) = next else { return };
                // Dropping the stream closes it.
                let Some(counted) = Counted::new(&open, &node) else { continue };
                let service = service.clone();
                served.spawn(async move {
                    if let Err(error) = answer(stream, service, &node).await {
                        tracing::debug!(%node, %error, "a mirror did not get its blocks");
                    }
                    drop(counted);
                });
            }
            Some(_) = served.join_next() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// A stream of a node; it counts until this is dropped.
struct Counted(Arc<Mutex<HashMap<Cid, usize>>>, Cid);

impl Counted {
    fn new(open: &Arc<Mutex<HashMap<Cid, usize>>>, node: &Cid) -> Option<Self> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node.clone()).or_default();
        if *count >= MAX_SERVED_OF_NODE {
            return None;
        }
        *count += 1;
        Some(Counted(open.clone(), node.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

async fn answer(stream: PeerStream, service: Arc<Service>, node: &Cid) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(BUFFER, stream);
    while let Some(request) = read_request(&mut stream).await? {
        let (parts, mut ready) = mpsc::channel(AHEAD);
        let (service, asking) = (service.clone(), node.clone());
        let reading = tokio::task::spawn_blocking(move || {
            service.give_difference(&request, &asking, |part| parts.blocking_send(part).is_ok())
        });
        loop {
            let part = match ready.try_recv() {
                Ok(part) => part,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
                // What is there goes out before more is waited for.
                Err(mpsc::error::TryRecvError::Empty) => {
                    timeout(PATIENCE, stream.flush()).await??;
                    match ready.recv().await {
                        Some(part) => part,
                        None => break,
                    }
                }
            };
            timeout(PATIENCE, write_part(&mut stream, &part)).await??;
        }
        let last = match reading.await.map_err(io::Error::other)? {
            Ok(()) => DifferencePart::End,
            Err(failure) => DifferencePart::Refused(failure.into_api().message()),
        };
        timeout(PATIENCE, async {
            write_part(&mut stream, &last).await?;
            stream.flush().await
        })
        .await??;
    }
    Ok(())
}

/// None if no more is asked for.
async fn read_request(stream: &mut BufWriter<PeerStream>) -> io::Result<Option<DifferenceRequest>> {
    let length = match timeout(PATIENCE, stream.read_u32()).await? {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if length > MAX_REQUEST {
        return Err(invalid("a request that is too long".to_owned()));
    }
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await??;
    DifferenceRequest::from_bytes(&bytes).map(Some).map_err(|error| invalid(error.to_string()))
}

async fn write_part(stream: &mut BufWriter<PeerStream>, part: &DifferencePart) -> io::Result<()> {
    // A block's bytes are not copied.
    let (head, block) = match part {
        DifferencePart::Block(cid, block) => (DifferencePart::head_of_block(cid), &block[..]),
        part => (part.to_bytes(), &[][..]),
    };
    let length = u32::try_from(head.len() + block.len()).map_err(io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(&head).await?;
    stream.write_all(block).await
}
