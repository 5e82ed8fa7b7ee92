#![no_main]
use pyrgos_protocol::api::space::{GetPaymentProperties, GetQuota, GetUsage, RequestSpace};
pyrgos_fuzz::calls!(GetPaymentProperties, GetQuota, GetUsage, RequestSpace);
