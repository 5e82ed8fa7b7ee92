#![no_main]
use pyrgos_protocol::merkle::bat::{BatWithId, BlockAuth, BlockMirrorCap, ChunkMirrorCap, SignedRequest};
pyrgos_fuzz::structures!(BatWithId, BlockAuth, BlockMirrorCap, ChunkMirrorCap, SignedRequest);
