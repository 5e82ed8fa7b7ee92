//! Where the nodes were that this one was connected with, on disk: a node that comes back finds its network again although
//! those of its bootstrap list are gone.
//!
//! One address a line, each with the identifier of the node that was there. Nothing depends on it: what cannot be read is
//! left out, and a node that cannot write it does without.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::Address;

/// Most addresses that are kept, and longest one, in bytes.
pub(super) const MAX_KEPT: usize = 512;
const MAX_ADDRESS: usize = 512;

/// The addresses in a file; none if there is no file.
pub(super) fn read(path: &Path) -> Vec<Address> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take((MAX_KEPT * MAX_ADDRESS) as u64).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot read {}", path.display()),
    }
    let text = String::from_utf8_lossy(&text);
    let addresses = text.lines().filter(|line| line.len() <= MAX_ADDRESS).filter_map(|line| line.parse().ok());
    addresses.filter(|address: &Address| address.peer().is_some()).take(MAX_KEPT).collect()
}

/// Replaces the file. A crash leaves the old one.
pub(super) fn write(path: &Path, addresses: &[Address]) -> io::Result<()> {
    let lines = addresses.iter().map(|address| address.to_string()).filter(|line| line.len() <= MAX_ADDRESS);
    let text: String = lines.take(MAX_KEPT).map(|line| line + "\n").collect();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "12D3KooWLdJAwPtyQ5RFnr9wGXsQzpf3P2SeqFbYkqbfVehLu4Ns";

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        assert_eq!(read(&path), []);
        let addresses: Vec<Address> =
            (0..600).map(|port| format!("/ip4/127.0.0.1/tcp/{port}/p2p/{NODE}").parse().unwrap()).collect();
        write(&path, &addresses).unwrap();
        assert_eq!(read(&path), addresses[..MAX_KEPT]);

        let mut text = b"\xff\xfe\n/ip4/127.0.0.1/tcp/1\nnonsense\n".to_vec();
        text.extend(format!("{}\n{}\n", "/".repeat(10_000), addresses[3]).bytes());
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path), addresses[3..4]);
        fs::write(&path, vec![b'\n'; 10 << 20]).unwrap();
        assert_eq!(read(&path), []);
    }
}
