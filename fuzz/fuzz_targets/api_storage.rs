#![no_main]
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetBlockSize, GetServerId, GetServerIds, GetStorageProperties, LookUpChunk,
    LookUpChunks, PutBlocks, StartTransaction,
};
pyrgos_fuzz::calls!(
    CloseTransaction,
    GetBlock,
    GetBlockSize,
    GetServerId,
    GetServerIds,
    GetStorageProperties,
    LookUpChunk,
    LookUpChunks,
    PutBlocks,
    StartTransaction
);
