#![no_main]
use pyrgos_protocol::merkle::bat::{BatWithId, BlockAuth, BlockMirrorCap, ChunkMirrorCap};
pyrgos_fuzz::structures!(BatWithId, BlockAuth, BlockMirrorCap, ChunkMirrorCap);
