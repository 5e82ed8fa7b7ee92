#![no_main]
use pyrgos_protocol::api::admin::{ApproveSpaceRequest, GetAllowedSignups, GetPendingSpaceRequests, GetVersion};
pyrgos_fuzz::calls!(ApproveSpaceRequest, GetAllowedSignups, GetPendingSpaceRequests, GetVersion);
