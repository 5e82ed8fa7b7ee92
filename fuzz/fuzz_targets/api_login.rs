#![no_main]
use pyrgos_protocol::api::login::{
    AddMount, AddTotp, DeleteSecondFactor, EnableMount, EnableTotp, GenerateBackupCodes, GetLogin, ListSecondFactors,
    SetLogin,
};
pyrgos_fuzz::calls!(
    AddMount,
    AddTotp,
    DeleteSecondFactor,
    EnableMount,
    EnableTotp,
    GenerateBackupCodes,
    GetLogin,
    ListSecondFactors,
    SetLogin
);
