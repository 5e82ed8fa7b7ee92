//! Disks that are nearly full: a file system in memory, of a size that changes, in place of a node's own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Broken, Testnet, run};

/// One such disk. It ends when this is dropped.
pub(crate) struct SmallDisk {
    node: usize,
    path: PathBuf,
}

impl SmallDisk {
    fn mount(node: usize, path: PathBuf, room_bytes: u64) -> Result<Self, Broken> {
        let folder = std::fs::metadata(&path).map_err(|error| Broken(format!("{}: {error}", path.display())))?;
        let owner = format!("uid={},gid={},mode={:o}", folder.uid(), folder.gid(), folder.mode() & 0o7777);
        let options = format!("size={},{owner}", used(&path)? + room_bytes);
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path))?;
        Ok(SmallDisk { node, path })
    }

    fn set_room(&self, room_bytes: u64) -> Result<(), Broken> {
        let size = format!("remount,size={}", used(&self.path)? + room_bytes);
        run(Command::new("mount").args(["-o", &size]).arg(&self.path)).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while a process still has files there.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

/// What the files of a folder take, in bytes.
fn used(path: &Path) -> Result<u64, Broken> {
    let told = run(Command::new("du").args(["--summarize", "--block-size=1"]).arg(path))?;
    let number = told.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| Broken(format!("du told {told}")))
}

impl Testnet {
    /// Moves what a killed node has to a disk that has room for so many bytes more.
    ///
    /// # Errors
    /// Nothing can be mounted here.
    pub fn put_on_small_disk(&self, node: usize, room_bytes: u64) -> Result<(), Broken> {
        let mut hosts = self.hosts();
        hosts.save_disk(node)?;
        self.small_disks().push(SmallDisk::mount(node, hosts.disk(node)?, room_bytes)?);
        hosts.restore_disk(node, node)
    }

    /// Makes the small disk of a node, whether it runs or not, so large that there is room for so many bytes more.
    ///
    /// # Errors
    /// It has no such disk.
    pub fn set_room(&self, node: usize, room_bytes: u64) -> Result<(), Broken> {
        let disks = self.small_disks();
        let disk = disks.iter().find(|disk| disk.node == node);
        disk.ok_or_else(|| Broken("no small disk".to_owned()))?.set_room(room_bytes)
    }

    /// Moves what a killed node has back to its own disk.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn put_on_own_disk(&self, node: usize) -> Result<(), Broken> {
        let mut hosts = self.hosts();
        hosts.save_disk(node)?;
        self.small_disks().retain(|disk| disk.node != node);
        hosts.restore_disk(node, node)
    }
}
