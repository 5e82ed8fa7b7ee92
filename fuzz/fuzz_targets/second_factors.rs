#![no_main]
use pyrgos_protocol::login::second_factor::{
    BackupCodes, MultiFactorAuthMethod, MultiFactorAuthRequest, MultiFactorAuthResponse,
};
pyrgos_fuzz::structures!(BackupCodes, MultiFactorAuthMethod, MultiFactorAuthRequest, MultiFactorAuthResponse);
