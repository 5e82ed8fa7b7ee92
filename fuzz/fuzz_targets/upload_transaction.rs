#![no_main]
use pyrgos_protocol::cryptree::transaction::{ResumeRecord, UploadTransaction};
pyrgos_fuzz::structures!(ResumeRecord, UploadTransaction);
