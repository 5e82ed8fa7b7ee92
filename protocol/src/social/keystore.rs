//! The keys of others as they were first seen: trust on first use (`spec/05` §3.9).
//!
//! A name that is known is answered from here and never from a server, so that no server can put its own key in the
//! place of a friend's. A new key is taken only with a chain that the old one signed.

use std::collections::BTreeMap;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{Owner, PublicSigningKey};
use crate::names::{Chain, ChainError, Date, MergeError, Username};

/// Why a fetched chain is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TofuError {
    /// The chain is not valid for the name.
    #[error("the chain of keys of {name} is not valid: {cause}")]
    Invalid {
        /// The name that was asked for.
        name: Username,
        /// What is wrong with the chain.
        #[source]
        cause: ChainError,
    },
    /// The chain does not continue the known one: the key of the name was exchanged. A lying server, or an account that
    /// was made anew; only the friend can tell, over another channel.
    #[error("the key of {name} changed without the consent of the old key: {cause}")]
    Changed {
        /// The name that was asked for.
        name: Username,
        /// How the chain differs.
        #[source]
        cause: MergeError,
    },
}

/// The chains of claims that were seen, by name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TofuKeyStore {
    chains: BTreeMap<Username, Chain>,
}

impl TofuKeyStore {
    /// The key of a name, even when its last claim has expired. None for a name that was never seen.
    pub fn owner(&self, name: &Username) -> Option<&Owner> {
        self.chains.get(name)?.owner()
    }

    /// The name that a key owned at last sight.
    pub fn name_of(&self, owner: &Owner) -> Option<&Username> {
        self.chains.iter().find(|(_, chain)| chain.owner() == Some(owner)).map(|(name, _)| name)
    }

    /// The known chain of a name.
    pub fn chain(&self, name: &Username) -> Option<&Chain> {
        self.chains.get(name)
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &Username> {
        self.chains.keys()
    }

    /// Takes in a fetched chain: the first one of a name if it is valid, a later one if it continues the known chain.
    /// Returns whether the store has changed and must be written.
    ///
    /// `key_of` finds the key of an owner, as in [`Chain::verify`].
    ///
    /// # Errors
    /// [`TofuError`]; the store is then unchanged. [`TofuError::Changed`] is to be shown to the user.
    pub fn update(
        &mut self,
        name: &Username,
        fetched: &Chain,
        today: Date,
        key_of: impl Fn(&Owner) -> Option<PublicSigningKey>,
    ) -> Result<bool, TofuError> {
        fetched.verify(name, &key_of).map_err(|cause| TofuError::Invalid { name: name.clone(), cause })?;
        let changed = |cause| TofuError::Changed { name: name.clone(), cause };
        let known = self.chains.get(name).cloned().unwrap_or_default();
        if known.last() == fetched.last() {
            return Ok(false);
        }
        if let Some(last) = known.last() {
            // An expired claim frees no name, even if the server has dropped the history.
            let starts = fetched.0.first().map(|link| &link.owner);
            if last.claim.expiry < today && fetched.0.len() == 1 && starts != Some(&last.owner) {
                return Err(changed(MergeError::Taken));
            }
        }
        let merged = known.merge(fetched, name, &key_of).map_err(changed)?;
        self.chains.insert(name.clone(), merged);
        Ok(true)
    }

    /// Takes over what another copy of the store has seen of names that this one does not know.
    pub fn add_new(&mut self, copy: &TofuKeyStore) {
        for (name, chain) in &copy.chains {
            self.chains.entry(name.clone()).or_insert_with(|| chain.clone());
        }
    }
}

impl ToCbor for TofuKeyStore {
    fn to_cbor(&self) -> Value {
        Value::map(self.chains.iter().map(|(name, chain)| (name.as_str(), chain.to_cbor())))
    }
}

/// Chains are taken as they are: they were verified when they were first seen, and the file is our own.
impl FromCbor for TofuKeyStore {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let entries = value.as_map()?.iter().map(|(name, chain)| {
            let name = Username::existing(name).map_err(|error| DecodeError::invalid("keystore", error.to_string()))?;
            Ok((name, Chain::from_cbor(chain)?))
        });
        Ok(TofuKeyStore { chains: entries.collect::<Result<_, DecodeError>>()? })
    }
}
