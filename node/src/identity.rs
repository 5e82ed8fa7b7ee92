//! The node's own key, which names it in claims and to peers (`spec/04` §4.1).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyrgos_protocol::encoding::{Cid, Codec, Multihash, text};
use pyrgos_protocol::keys::{PublicSigningKey, SecretSigningKey};
use zeroize::Zeroizing;

use crate::service::clock::Entropy;

/// Protobuf head of an Ed25519 public key as libp2p writes it: type 1, then 32 bytes.
const LIBP2P_ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

const FILE: &str = "identity.key";

/// The key cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The key file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not a key of this node: 64 hexadecimal digits are expected", .0.display())]
    Malformed(PathBuf),
    /// Others may read the file.
    #[error("{} can be read by others; set its mode to 0600", .0.display())]
    Exposed(PathBuf),
}

/// The identifier of the node that holds a key: CIDv1, libp2p-key, identity multihash.
pub fn server_id(key: &PublicSigningKey) -> Cid {
    let content = [LIBP2P_ED25519.as_slice(), key.as_bytes()].concat();
    // 36 bytes are within what an identity hash may hold.
    Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &content).expect("36 bytes fit an identity hash"))
}

/// Reads the node's key from its data directory, or makes it there on the first start.
///
/// # Errors
/// [`IdentityError`]; a damaged file is never replaced, since a new key would orphan all accounts.
pub fn load_or_create(data_dir: &Path, entropy: &dyn Entropy) -> Result<SecretSigningKey, IdentityError> {
    let path = data_dir.join(FILE);
    let io = |action, source| IdentityError::Io { action, path: path.clone(), source };
    match File::open(&path) {
        Ok(file) => read(file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; 32]);
            entropy.fill(seed.as_mut());
            let digits = Zeroizing::new(format!("{}\n", text::hex(seed.as_ref())));
            write(data_dir, &path, digits.as_bytes()).map_err(|source| io("write", source))?;
            Ok(SecretSigningKey::from_seed(&seed))
        }
        Err(source) => Err(io("open", source)),
    }
}

fn read(file: File, path: &Path) -> Result<SecretSigningKey, IdentityError> {
    use std::os::unix::fs::MetadataExt;
    let io = |action, source| IdentityError::Io { action, path: path.to_owned(), source };
    if file.metadata().map_err(|source| io("read", source))?.mode() & 0o077 != 0 {
        return Err(IdentityError::Exposed(path.to_owned()));
    }
    let mut digits = Zeroizing::new(String::new());
    file.take(128).read_to_string(&mut digits).map_err(|source| io("read", source))?;
    let bytes = text::from_hex(digits.trim()).map(Zeroizing::new).ok();
    let seed: Option<Zeroizing<[u8; 32]>> =
        bytes.and_then(|bytes| bytes.as_slice().try_into().ok().map(Zeroizing::new));
    seed.map(|seed| SecretSigningKey::from_seed(&seed)).ok_or_else(|| IdentityError::Malformed(path.to_owned()))
}

/// Writes beside and renames, so that a crash leaves either no key or a whole one.
fn write(data_dir: &Path, path: &Path, digits: &[u8]) -> io::Result<()> {
    let beside = data_dir.join(format!("{FILE}.new"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(digits)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::SystemEntropy;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path(), &SystemEntropy).unwrap();
        let second = load_or_create(dir.path(), &SystemEntropy).unwrap();
        assert_eq!(first.as_bytes(), second.as_bytes());
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(dir.path(), &SystemEntropy), Err(IdentityError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc").unwrap();
        assert!(matches!(load_or_create(dir.path(), &SystemEntropy), Err(IdentityError::Malformed(_))));
    }

    #[test]
    fn the_identifier_has_the_usual_form() {
        let id = server_id(&SecretSigningKey::from_seed(&[7; 32]).public());
        assert!(id.hash().to_base58().starts_with("12D3KooW"));
        assert_eq!(id.to_bytes()[..8], [0x01, 0x72, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);
    }
}
