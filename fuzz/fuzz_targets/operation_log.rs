#![no_main]
use pyrgos_protocol::names::OperationLog;
pyrgos_fuzz::structures!(OperationLog);
