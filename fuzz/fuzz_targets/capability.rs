#![no_main]
use pyrgos_protocol::cryptree::capability::{
    AbsoluteCapability, CapabilityWithPath, NamedAbsoluteCapability, NamedRelativeCapability,
};
pyrgos_fuzz::structures!(AbsoluteCapability, CapabilityWithPath, NamedAbsoluteCapability, NamedRelativeCapability);
