//! Changes of the witness set, as operators make them: one proposes, the others of a quorum sign what is in his file, and
//! the last signature hands it to the network (design §3).

use pyrgos_protocol::encoding::{Cid, DecodeError, FromCbor, ToCbor};
use pyrgos_protocol::keys::{PublicSigningKey, SecretSigningKey};
use pyrgos_protocol::names::vote::witnesses_sign_bytes;
use pyrgos_protocol::names::witness::node_key;
use pyrgos_protocol::names::{Operation, Signatures, State, WitnessError, WitnessSet};

/// A change that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The file holds something else.
    #[error("this is no change of witnesses: {0}")]
    Decode(#[from] DecodeError),
    /// No possible set.
    #[error(transparent)]
    Set(#[from] WitnessError),
    /// Nothing would be different.
    #[error("these are the present witnesses; the change may be decided already")]
    Same,
    /// A node that is to leave is none.
    #[error("{0} is no witness")]
    NoWitness(String),
    /// Only witnesses sign.
    #[error("this node is no witness, so its signature does not count")]
    NotOurs,
    /// A signature for other present witnesses than there are now.
    #[error("a signature in the file is not valid for the present witnesses; begin with a new file")]
    Stale,
}

/// A change and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessChange {
    /// The next witnesses.
    set: WitnessSet,
    signatures: Signatures,
}

impl WitnessChange {
    /// The present witnesses with some nodes more and some fewer. Nobody has signed it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn new(state: &State, add: &[Cid], remove: &[Cid]) -> Result<Self, ChangeError> {
        let key = |node: &Cid| node_key(node).ok_or_else(|| WitnessError::NoKey(node.clone()));
        let remove_keys: Vec<PublicSigningKey> = remove.iter().map(key).collect::<Result<_, _>>()?;
        let present = state.witnesses();
        if let Some((node, _)) = remove.iter().zip(&remove_keys).find(|(_, key)| !present.contains(key)) {
            return Err(ChangeError::NoWitness(node.hash().to_base58()));
        }
        let mut keys: Vec<PublicSigningKey> =
            present.keys().iter().filter(|key| !remove_keys.contains(key)).copied().collect();
        for node in add {
            keys.push(key(node)?);
        }
        let set = WitnessSet::new(keys)?;
        if set == *present {
            return Err(ChangeError::Same);
        }
        Ok(WitnessChange { set, signatures: Signatures::default() })
    }

    /// Reads a change for the present witnesses.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn read(state: &State, bytes: &[u8]) -> Result<Self, ChangeError> {
        let Operation::Witnesses { set, signatures } = Operation::from_bytes(bytes)? else {
            return Err(DecodeError::invalid("change of witnesses", "another operation").into());
        };
        if set == *state.witnesses() {
            return Err(ChangeError::Same);
        }
        let message = witnesses_sign_bytes(state.network(), state.changes(), &set);
        let holds = |(key, signature): (&PublicSigningKey, &[u8; 64])| {
            state.witnesses().contains(key) && key.verify(signature, &message).is_ok()
        };
        let all_hold = signatures.iter().all(holds);
        match all_hold {
            true => Ok(WitnessChange { set, signatures }),
            false => Err(ChangeError::Stale),
        }
    }

    /// Signs it with the key of a present witness.
    ///
    /// # Errors
    /// [`ChangeError::NotOurs`].
    pub fn sign(&mut self, state: &State, key: &SecretSigningKey) -> Result<(), ChangeError> {
        if !state.witnesses().contains(&key.public()) {
            return Err(ChangeError::NotOurs);
        }
        let message = witnesses_sign_bytes(state.network(), state.changes(), &self.set);
        self.signatures.insert(key.public(), key.sign(&message));
        Ok(())
    }

    /// Whether enough have signed.
    pub fn is_complete(&self, state: &State) -> bool {
        self.signatures.len() >= state.witnesses().quorum()
    }

    /// Who has signed.
    pub fn signers(&self) -> impl Iterator<Item = &PublicSigningKey> {
        self.signatures.iter().map(|(key, _)| key)
    }

    /// The next witnesses.
    pub fn set(&self) -> &WitnessSet {
        &self.set
    }

    /// The operation that it is.
    pub fn operation(&self) -> Operation {
        Operation::Witnesses { set: self.set.clone(), signatures: self.signatures.clone() }
    }

    /// Its bytes, for a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.operation().to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::server_id;
    use pyrgos_protocol::names::{Delta, NetworkId};

    #[test]
    fn a_change_is_signed_by_one_after_another() {
        let keys: Vec<SecretSigningKey> = (1..=6).map(|n| SecretSigningKey::from_seed(&[n; 32])).collect();
        let nodes: Vec<Cid> = keys.iter().map(|key| server_id(&key.public())).collect();
        let network: NetworkId = "test".parse().unwrap();
        let (root, _) = Delta::of_names(Default::default()).unwrap();
        let state = State::genesis(network, WitnessSet::of_nodes(&nodes[..4]).unwrap(), root);

        let mut change = WitnessChange::new(&state, &nodes[4..5], &nodes[..1]).unwrap();
        assert_eq!(*change.set(), WitnessSet::of_nodes(&nodes[1..5]).unwrap());
        for (at, key) in keys[..3].iter().enumerate() {
            assert!(!change.is_complete(&state));
            change = WitnessChange::read(&state, &change.to_bytes()).unwrap();
            change.sign(&state, key).unwrap();
            change.sign(&state, key).unwrap();
            assert_eq!(change.signers().count(), at + 1);
        }
        assert!(change.is_complete(&state));

        assert!(matches!(change.sign(&state, &keys[5]), Err(ChangeError::NotOurs)));
        assert!(matches!(WitnessChange::new(&state, &[], &[]), Err(ChangeError::Same)));
        assert!(matches!(WitnessChange::new(&state, &[], &nodes[5..]), Err(ChangeError::NoWitness(_))));
        assert!(matches!(WitnessChange::new(&state, &nodes[..1], &[]), Err(ChangeError::Set(_))));
        assert!(matches!(WitnessChange::new(&state, &[], &nodes[..4]), Err(ChangeError::Set(_))));
        assert!(matches!(WitnessChange::read(&state, b"\xf6"), Err(ChangeError::Decode(_))));
        let mut bytes = change.to_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(matches!(WitnessChange::read(&state, &bytes), Err(ChangeError::Stale)));
        // Signatures for other present witnesses, and for another network.
        let others = WitnessSet::of_nodes(&nodes[2..]).unwrap();
        for (network, witnesses) in [("test", others), ("other", state.witnesses().clone())] {
            let next = State::genesis(network.parse().unwrap(), witnesses, state.root().clone());
            assert!(matches!(WitnessChange::read(&next, &change.to_bytes()), Err(ChangeError::Stale)), "{network}");
        }
    }
}
