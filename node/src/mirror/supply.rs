//! Where the blocks of a copy come from: another node, over one stream, or call by call from nodes that do not have it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::storage::GetBlock;
use pyrgos_protocol::encoding::{Cid, ToCbor};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::mirroring::difference::MAX_PART;
use pyrgos_protocol::mirroring::{DifferencePart, DifferenceRequest, MirrorProof, MirrorToken};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::time::timeout;

use super::copy::CopyError;
use super::source::PROTOCOL;
use crate::p2p::{PeerError, PeerStream, Peers};

/// Blocks that are asked for at once by calls. Each is at most 2 MiB.
const IN_FLIGHT: usize = 16;

/// Bytes that are read together.
const BUFFER: usize = 128 << 10;

/// How long the next part may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One node that blocks are fetched from.
pub(super) struct Supply {
    node: Node,
    way: Way,
}

/// Whom to ask, and for whose blocks.
struct Node {
    peers: Arc<dyn Peers>,
    node: Cid,
    owner: Owner,
    token: MirrorToken,
    proof: MirrorProof,
}

enum Way {
    /// Nothing was asked yet, or the stream broke.
    Unknown,
    Stream(Box<BufStream<PeerStream>>),
    Calls,
}

/// What is asked for: see [`DifferenceRequest`].
pub(super) struct Wanted {
    pub(super) base: Vec<Cid>,
    pub(super) blocks: Vec<Cid>,
    pub(super) is_deep: bool,
    pub(super) max_bytes: u64,
}

/// Takes what arrives, hashed.
pub(super) trait Sink {
    /// A block that its name belongs to.
    fn take(&mut self, cid: Cid, block: Bytes) -> impl Future<Output = Result<(), CopyError>> + Send;
}

impl Supply {
    pub(super) fn new(peers: Arc<dyn Peers>, node: Cid, owner: Owner, token: MirrorToken, proof: MirrorProof) -> Self {
        Supply { node: Node { peers, node, owner, token, proof }, way: Way::Unknown }
    }

    pub(super) fn node(&self) -> &Cid {
        &self.node.node
    }

    /// Fetches some of what is wanted: as much as the other node gives in one answer, which may be nothing.
    pub(super) async fn fetch(&mut self, wanted: Wanted, sink: &mut (impl Sink + Send)) -> Result<(), CopyError> {
        if let Way::Unknown = self.way {
            self.way = match self.node.peers.open(&self.node.node, PROTOCOL).await {
                Ok(stream) => Way::Stream(Box::new(BufStream::with_capacity(BUFFER, BUFFER, stream))),
                Err(PeerError::Refused { .. }) => Way::Calls,
                Err(error) => return Err(error.into()),
            };
        }
        match std::mem::replace(&mut self.way, Way::Unknown) {
            Way::Stream(mut stream) => {
                self.node.over_stream(&mut stream, wanted, sink).await?;
                // Not after a failure: the rest of the answer would be read as the next one.
                self.way = Way::Stream(stream);
            }
            _ => {
                self.way = Way::Calls;
                self.node.by_calls(wanted, sink).await?;
            }
        }
        Ok(())
    }
}

impl Node {
    async fn over_stream(
        &self,
        stream: &mut BufStream<PeerStream>,
        wanted: Wanted,
        sink: &mut (impl Sink + Send),
    ) -> Result<(), CopyError> {
        let request = DifferenceRequest {
            proof: self.proof.clone(),
            base: wanted.base,
            wanted: wanted.blocks,
            is_deep: wanted.is_deep,
            max_bytes: wanted.max_bytes,
        };
        let bytes = request.to_bytes();
        let ask = async {
            stream.write_u32(bytes.len() as u32).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        self.in_time(ask).await?;
        loop {
            match self.read_part(stream).await? {
                DifferencePart::Block(cid, block) => {
                    if !cid.matches(&block) {
                        return Err(self.wrong(format!("it gives other bytes for the block {cid}")));
                    }
                    sink.take(cid, block).await?;
                }
                // What does not come is missed by who wanted it.
                DifferencePart::Absent(_) => {}
                DifferencePart::Refused(reason) => {
                    return Err(CopyError::NotGiven { source_node: self.node.clone(), reason });
                }
                DifferencePart::End => return Ok(()),
            }
        }
    }

    async fn read_part(&self, stream: &mut BufStream<PeerStream>) -> Result<DifferencePart, CopyError> {
        let length = self.in_time(stream.read_u32()).await? as usize;
        if length > MAX_PART {
            return Err(self.wrong("a part of its answer is too long".to_owned()));
        }
        let mut bytes = BytesMut::with_capacity(length);
        let mut limited = stream.take(length as u64);
        let read = async {
            while bytes.len() < length {
                if limited.read_buf(&mut bytes).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        };
        self.in_time(read).await?;
        DifferencePart::from_bytes(&bytes.freeze()).map_err(|error| self.wrong(error.to_string()))
    }

    async fn by_calls(&self, wanted: Wanted, sink: &mut (impl Sink + Send)) -> Result<(), CopyError> {
        let fetch = |cid: Cid| {
            let call = GetBlock { owner: self.owner.clone(), cid, bat: Some(self.token.bat.clone()) };
            async move {
                let answer = self.peers.request(&self.node, &call.request()).await?;
                let block = call.read(answer);
                let block = block.map_err(|error| CopyError::Refused { source_node: self.node.clone(), error })?;
                match block {
                    Some(block) if call.cid.matches(&block) => Ok((call.cid, block)),
                    Some(_) => Err(self.wrong(format!("it gives other bytes for the block {}", call.cid))),
                    None => Err(CopyError::Missing { source_node: self.node.clone(), block: call.cid }),
                }
            }
        };
        let mut arriving = stream::iter(wanted.blocks.into_iter().map(fetch)).buffer_unordered(IN_FLIGHT);
        while let Some(arrived) = arriving.next().await {
            let (cid, block) = arrived?;
            sink.take(cid, block).await?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, CopyError> {
        match timeout(PATIENCE, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                let reason = format!("the stream broke: {error}");
                Err(PeerError::Unreachable { node: self.node.clone(), reason }.into())
            }
            Err(_) => Err(PeerError::Timeout { node: self.node.clone() }.into()),
        }
    }

    fn wrong(&self, reason: String) -> CopyError {
        CopyError::Wrong { source_node: self.node.clone(), reason }
    }
}
