//! The network file: which network a node is part of, and whom it asks first (design §3).

use std::path::{Path, PathBuf};
use std::{fs, io};

use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::names::NetworkId;
use pyrgos_protocol::names::vote::NetworkIdError;
use serde::Deserialize;

use super::Address;

/// Longest network file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A network, as `network.toml` says:
///
/// ```toml
/// network-id = "example"
/// bootstrap = ["/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…"]
/// witnesses = ["12D3KooW…"]
/// quorum = 1
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// What keeps the messages of two networks apart.
    pub id: NetworkId,
    /// Nodes that newcomers ask first.
    pub bootstrap: Vec<Address>,
    /// Nodes that decide about names, in the order of the file. Empty in a network without names of its own.
    pub witnesses: Vec<Cid>,
}

/// A network file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The file system refused.
    #[error("cannot read the network file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("the network file {} is malformed: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    network_id: String,
    #[serde(default)]
    bootstrap: Vec<Address>,
    #[serde(default)]
    witnesses: Vec<String>,
    quorum: Option<usize>,
}

/// How many of so many witnesses must agree: more than two thirds.
pub fn quorum(witnesses: usize) -> usize {
    witnesses * 2 / 3 + 1
}

impl Network {
    /// Reads a network file.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn from_file(path: &Path) -> Result<Self, NetworkError> {
        let read = |source| NetworkError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(read)?.len() > MAX_FILE {
            return Err(NetworkError::Malformed { path: path.to_owned(), message: "it is too long".to_owned() });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Network::parse(&text).map_err(|message| NetworkError::Malformed { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let id = file.network_id.parse().map_err(|error: NetworkIdError| format!("network-id: {error}"))?;
        if let Some(address) = file.bootstrap.iter().find(|address| address.node().is_none()) {
            return Err(format!("the bootstrap address {address} does not end with /p2p/ and the node that is there"));
        }
        let mut witnesses = Vec::with_capacity(file.witnesses.len());
        for text in file.witnesses {
            let witness = Cid::from_server_id(&text).ok().filter(|node| super::address::peer_id(node).is_some());
            let witness = witness.ok_or_else(|| format!("the witness `{text}` is no identifier of a node"))?;
            if witnesses.contains(&witness) {
                return Err(format!("the witness {text} is there twice"));
            }
            witnesses.push(witness);
        }
        // The quorum follows from the number of witnesses; who writes it down wants to be told of a mistake in the list.
        match file.quorum {
            Some(said) if said != quorum(witnesses.len()) => {
                Err(format!("of {} witnesses {} must agree, not {said}", witnesses.len(), quorum(witnesses.len())))
            }
            _ => Ok(Network { id, bootstrap: file.bootstrap, witnesses }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "12D3KooWLdJAwPtyQ5RFnr9wGXsQzpf3P2SeqFbYkqbfVehLu4Ns";

    #[test]
    fn a_network_file_is_read() {
        let text = format!(
            "network-id = \"test-1\"\nbootstrap = [\"/ip4/127.0.0.1/tcp/1/p2p/{NODE}\"]\nwitnesses = [\"{NODE}\"]\nquorum = 1\n"
        );
        let network = Network::parse(&text).unwrap();
        assert_eq!((network.id.as_str(), network.bootstrap.len()), ("test-1", 1));
        assert_eq!(network.witnesses, [Cid::from_server_id(NODE).unwrap()]);
        assert_eq!(Network::parse("network-id = \"a\"").unwrap().witnesses, []);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "network-id"),
            ("network-id = \"a b\"", "network-id"),
            ("network-id = \"Capital\"", "a–z"),
            ("network-id = \"a\"\nbootstrap = [\"/ip4/1.2.3.4/tcp/1\"]", "/p2p/"),
            ("network-id = \"a\"\nwitnesses = [\"bafk\"]", "no identifier"),
            (&format!("network-id = \"a\"\nwitnesses = [\"{NODE}\", \"{NODE}\"]"), "twice"),
            (&format!("network-id = \"a\"\nwitnesses = [\"{NODE}\"]\nquorum = 2"), "must agree"),
            ("network-id = \"a\"\nother = 1", "other"),
        ];
        for (text, named) in cases {
            let message = Network::parse(text).unwrap_err();
            assert!(message.contains(named), "{text}: {message}");
        }
    }

    #[test]
    fn the_quorum_is_more_than_two_thirds() {
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(quorum), [1, 2, 3, 3, 4, 5, 5]);
    }
}
