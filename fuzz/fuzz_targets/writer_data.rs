#![no_main]
use pyrgos_protocol::merkle::writer_data::{CommittedWriterData, Snapshot, WriterData};
pyrgos_fuzz::structures!(CommittedWriterData, Snapshot, WriterData);
