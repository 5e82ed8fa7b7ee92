//! The mutable Merkle layer: blocks and the tokens that guard them, signed pointers, writer data, the CHAMP and commits
//! of several writers (`spec/02`).

pub mod bat;
pub mod block;
pub mod champ;
pub mod commit;
pub mod ownership;
pub mod pointer;
pub mod public;
pub mod resolution;
pub mod writer_data;

pub use bat::{Bat, BatId, BatWithId, BlockMirrorCap, ChunkMirrorCap};
pub use champ::{BlockSource, Champ, KeyHashing};
pub use pointer::{CasFailure, MultiWriterCommit, PointerMemory, PointerUpdate, SignedPointerUpdate};
pub use writer_data::WriterData;
