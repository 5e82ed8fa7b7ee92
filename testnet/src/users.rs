//! People at their own machines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::Testnet;

const PASSWORD: &str = "correct horse battery staple";

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    command: String,
    output: io::Result<Output>,
}

impl Ran {
    pub(crate) fn new(args: &[&str], output: io::Result<Output>) -> Self {
        Ran { command: args.join(" "), output }
    }

    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        self.output.as_ref().is_ok_and(|output| output.status.success())
    }

    /// Its standard output, of whatever kind.
    pub fn bytes(&self) -> Vec<u8> {
        self.output.as_ref().map(|output| output.stdout.clone()).unwrap_or_default()
    }

    /// Everything that it printed.
    pub fn text(&self) -> String {
        match &self.output {
            Err(error) => error.to_string(),
            Ok(output) => [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat(),
        }
    }

    /// Its standard output.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.is_ok(), "`pyrgos {}` failed: {}", self.command, self.text());
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// Somebody with a machine of their own.
pub struct User<'a> {
    net: &'a Testnet,
    name: String,
    folder: PathBuf,
}

impl<'a> User<'a> {
    pub(crate) fn new(net: &'a Testnet, name: &str) -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let folder = net.folder().join(name);
        for name in ["home", "run", "work"] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name));
            made.expect("a folder of the test");
        }
        fs::write(folder.join("work/password"), PASSWORD).expect("a file of the test");
        User { net, name: name.to_owned(), folder }
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a file into their folder.
    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.work().join(name), content).expect("a file of the test");
    }

    /// Their folder.
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Runs a command against a node.
    pub fn at(&self, node: usize, args: &[&str]) -> Ran {
        let output = self
            .net
            .client()
            .args(["--server", &self.net.server(node)])
            .args(args)
            .current_dir(self.work())
            .env("HOME", self.folder.join("home"))
            .env("XDG_RUNTIME_DIR", run_folder(&self.folder))
            .output();
        Ran::new(args, output)
    }

    /// Makes their account on a node.
    pub fn sign_up(&self, node: usize) -> Ran {
        self.at(node, &["signup", &self.name, "--password-file", "password"])
    }

    /// Logs in through a node.
    pub fn log_in(&self, node: usize) -> Ran {
        self.at(node, &["login", &self.name, "--password-file", "password"])
    }
}

fn run_folder(folder: &Path) -> PathBuf {
    folder.join("run")
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // Their agent ends with them.
        let _ = self.at(0, &["agent", "--stop"]);
    }
}
