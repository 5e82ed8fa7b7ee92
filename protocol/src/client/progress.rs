//! Telling how far a transfer is.

/// Hears of each piece of a transfer as it is done. Called from the task that transfers: be quick.
pub trait Progress: Send + Sync {
    /// `bytes` more bytes of content were stored or delivered.
    fn advance(&self, bytes: u64);
}

/// Nobody listens.
impl Progress for () {
    fn advance(&self, _: u64) {}
}

impl<F: Fn(u64) + Send + Sync> Progress for F {
    fn advance(&self, bytes: u64) {
        self(bytes);
    }
}
