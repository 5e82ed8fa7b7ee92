//! People who want names, and a thief.

use pyrgos_crypto::hash::sha256;
use pyrgos_protocol::encoding::{Cid, Codec, Multihash};
use pyrgos_protocol::keys::{SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash};
use pyrgos_protocol::names::{Chain, Date, NameStore, Operation, Username, commitment};

use crate::world::{START_MILLIS, Site};

/// A key that is the same in each run.
pub(crate) fn secret(label: &str) -> SecretSigningKey {
    SecretSigningKey::from_seed(&sha256(label.as_bytes()))
}

fn day() -> Date {
    Date::from_unix_millis(START_MILLIS)
}

/// Somebody who signs up and later renews the claim.
pub(crate) struct Person {
    pub(crate) name: Username,
    pub(crate) chain: Chain,
    owner: SigningPrivateKeyAndPublicHash,
    commit: Operation,
    claim: Operation,
    /// The node that the person talks to.
    pub(crate) site: usize,
    pub(crate) is_thief: bool,
    pub(crate) stage: Stage,
}

/// How far a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Commits,
    Claims,
    Renews,
    Done,
    /// Somebody else has the name.
    Beaten,
}

impl Person {
    pub(crate) fn new(label: &str, name: &str, site: usize) -> Person {
        let name = Username::new(name).expect("a good name");
        let owner = SigningKeyPair::new(secret(label)).signer();
        let chain = Chain::first(&name, &owner, home(), day()).expect("a date");
        let salt = sha256(format!("salt of {label}").as_bytes());
        let commit = Operation::Commit { hash: commitment(&name, &chain, &salt) };
        let claim = Operation::Claim { name: name.clone(), chain: chain.clone(), salt };
        let (is_thief, stage) = (false, Stage::Commits);
        Person { name, chain, owner, commit, claim, site, is_thief, stage }
    }

    fn renewal(&self) -> Chain {
        let later = self.chain.migrated_expiry().expect("a date");
        self.chain.with_last_claim(&self.name, later, home(), &self.owner)
    }

    /// Looks at the site and says what to send there.
    pub(crate) fn act(&mut self, site: &Site) -> Option<Operation> {
        let state = site.engine.state();
        let Operation::Commit { hash } = self.commit else { unreachable!("a person commits") };
        match site.names.chain(&self.name) {
            Ok(Some(chain)) if chain.0[0].owner != self.chain.0[0].owner => self.stage = Stage::Beaten,
            Ok(Some(chain)) if chain == self.renewal() => self.stage = Stage::Done,
            Ok(Some(_)) => self.stage = Stage::Renews,
            _ => match state.claimable_from(&hash) {
                None => self.stage = Stage::Commits,
                Some(from) if from <= state.height() + 1 => self.stage = Stage::Claims,
                Some(_) => return None,
            },
        }
        let wanted = match self.stage {
            Stage::Commits => self.commit.clone(),
            Stage::Claims => self.claim.clone(),
            Stage::Renews if !self.is_thief => {
                Operation::Update { name: self.name.clone(), chain: self.renewal(), proof: None }
            }
            Stage::Renews | Stage::Done | Stage::Beaten => return None,
        };
        (!site.engine.is_waiting_for(&wanted.id())).then_some(wanted)
    }

    /// What the person wants decided first of all.
    pub(crate) fn first_steps(&self) -> [&Operation; 2] {
        [&self.commit, &self.claim]
    }

    pub(crate) fn is_content(&self) -> bool {
        self.is_thief || matches!(self.stage, Stage::Done | Stage::Beaten)
    }
}

fn home() -> Cid {
    let content = [&[0x08, 0x01, 0x12, 0x20][..], secret("a home").public().as_bytes()].concat();
    Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &content).expect("36 bytes"))
}
