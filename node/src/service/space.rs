//! What an account uses and may use, and asking for more (`spec/04` §10).

use pyrgos_protocol::api::space::{
    GetPaymentProperties, GetQuota, GetUsage, PaymentProperties, RequestSpace, SpaceRequest,
};
use pyrgos_protocol::keys::signed::{CALL_WINDOW, open_value};
use pyrgos_protocol::keys::{Owner, SignedTime};
use pyrgos_protocol::names::Username;
use pyrgos_store::{Batch, RecordKey};

use super::{Failure, Service};

/// Largest signed request that is kept. A name, a number and a time take two hundred bytes.
const MAX_REQUEST_BYTES: usize = 1024;

impl Service {
    /// Checks the signed time of an account.
    pub(super) fn authorise_owner(&self, owner: &Owner, auth: &[u8]) -> Result<(), Failure> {
        let key = self.key_of(owner, owner.into())?.ok_or_else(|| Failure::refused("No value present: unknown key"))?;
        SignedTime::check(auth, &key, self.now_millis(), CALL_WINDOW)?;
        Ok(())
    }

    pub(super) fn granted(&self, owner: &Owner) -> Result<u64, Failure> {
        let name = || -> Result<String, Failure> {
            Ok(self.parts.names.username(owner)?.map_or_else(|| owner.to_string(), |name| name.to_string()))
        };
        match self.quota(owner)? {
            Some(quota) => Ok(quota),
            None => Err(Failure::refused(format!("No space quota for {}", name()?))),
        }
    }

    /// Bytes that the account may use.
    pub fn get_quota(&self, call: GetQuota) -> Result<u64, Failure> {
        self.authorise_owner(&call.owner, &call.auth)?;
        self.granted(&call.owner)
    }

    /// Bytes that the account uses. The node's own figure counts also what no pointer reaches yet.
    pub fn get_usage(&self, call: GetUsage) -> Result<u64, Failure> {
        self.authorise_owner(&call.owner, &call.auth)?;
        let total = self.total_usage(&call.owner)?;
        let pending = if call.local { self.ledger.pending(&call.owner) } else { 0 };
        Ok(total.saturating_add(pending))
    }

    /// What the account has and pays: nothing, on this node.
    pub fn payment_properties(&self, call: GetPaymentProperties) -> Result<PaymentProperties, Failure> {
        self.authorise_owner(&call.owner, &call.auth)?;
        Ok(PaymentProperties { free_bytes: self.granted(&call.owner)?, ..PaymentProperties::default() })
    }

    /// Leaves a request for space, one for each account, that an administrator may grant.
    pub fn request_space(&self, call: RequestSpace) -> Result<PaymentProperties, Failure> {
        let key = self.key_of(&call.owner, (&call.owner).into())?;
        let key = key.ok_or_else(|| Failure::refused("No value present: unknown key"))?;
        if call.request.len() > MAX_REQUEST_BYTES {
            return Err(Failure::refused("The request for space is too long"));
        }
        let request: SpaceRequest = open_value(&call.request, &key)?;
        let username = self.parts.names.username(&call.owner)?;
        if username.as_ref().map(Username::as_str) != Some(request.username.as_str()) {
            return Err(Failure::refused("The request for space is for another user"));
        }
        let off = self.now_millis().abs_diff(request.millis);
        if u128::from(off) > CALL_WINDOW.as_millis() {
            return Err(Failure::refused("Stale auth time in space request! Is your clock accurate?"));
        }
        let properties = PaymentProperties { free_bytes: self.granted(&call.owner)?, ..PaymentProperties::default() };
        self.write(Batch::new().put(RecordKey::space_request(&request.username), call.request))?;
        Ok(properties)
    }
}
