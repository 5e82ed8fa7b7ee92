//! Secrets from a prompt, a file or a descriptor; never from an argument, which every process of the machine can read.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::failure::{Failure, Kind};

/// Longest secret that is read, in bytes.
const MAX_LEN: u64 = 64 * 1024;

/// Where the password comes from; without any of these it is asked for.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from the first line of FILE (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    password_fd: Option<u32>,
}

/// Where the new password comes from; without any of these it is asked for.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct NewPasswordSource {
    /// Read the new password from the first line of FILE (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Read the new password from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    new_password_fd: Option<u32>,
}

/// Where a secret link comes from; without any of these it is asked for.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct LinkSource {
    /// Read the link from the first line of FILE (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
    /// Read the link from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    link_fd: Option<u32>,
}

impl LinkSource {
    /// The text of the link.
    pub fn read(&self) -> Result<Zeroizing<String>, Failure> {
        match given(self.link_file.as_deref(), self.link_fd)? {
            Some(secret) => Ok(secret),
            None => ask("Link: ", "--link-file"),
        }
    }
}

/// Where the password comes from that a link demands besides the link itself.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct LinkPasswordFile {
    /// Read the link's additional password from the first line of FILE (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    link_password_file: Option<PathBuf>,
    /// Read the link's additional password from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    link_password_fd: Option<u32>,
}

impl LinkPasswordFile {
    /// The password, if a file or a descriptor was named.
    pub fn given(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        given(self.link_password_file.as_deref(), self.link_password_fd)
    }

    /// The password of somebody else's link.
    pub fn existing(&self) -> Result<Zeroizing<String>, Failure> {
        match self.given()? {
            Some(secret) => Ok(secret),
            None => ask("Password of the link: ", "--link-password-file"),
        }
    }
}

/// An additional password that the owner of a link chooses now.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct NewLinkPassword {
    /// Ask for a password that must be given besides the link
    #[arg(long)]
    ask_link_password: bool,
    /// Read that password from the first line of FILE (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    link_password_file: Option<PathBuf>,
    /// Read that password from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    link_password_fd: Option<u32>,
}

impl NewLinkPassword {
    /// The password, if there shall be one.
    pub fn chosen(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let secret = given(self.link_password_file.as_deref(), self.link_password_fd)?;
        match secret.is_some() || self.ask_link_password {
            true => chosen(secret, "Password of the link: ", "--link-password-file").map(Some),
            false => Ok(None),
        }
    }
}

impl PasswordSource {
    /// The password of an existing account.
    pub fn existing(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        match given(self.password_file.as_deref(), self.password_fd)? {
            Some(secret) => Ok(secret),
            None => ask(prompt, "--password-file"),
        }
    }

    /// A password that is chosen now; a prompt asks for it twice.
    pub fn chosen(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        chosen(given(self.password_file.as_deref(), self.password_fd)?, prompt, "--password-file")
    }
}

impl NewPasswordSource {
    /// A password that is chosen now; a prompt asks for it twice.
    pub fn chosen(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        chosen(given(self.new_password_file.as_deref(), self.new_password_fd)?, prompt, "--new-password-file")
    }
}

fn chosen(given: Option<Zeroizing<String>>, prompt: &str, flag: &str) -> Result<Zeroizing<String>, Failure> {
    if let Some(secret) = given {
        return Ok(secret);
    }
    let first = ask(prompt, flag)?;
    let second = ask("Once more: ", flag)?;
    if *first != *second {
        return Err(Failure::new(Kind::Usage, "the two passwords differ"));
    }
    Ok(first)
}

fn given(file: Option<&Path>, descriptor: Option<u32>) -> Result<Option<Zeroizing<String>>, Failure> {
    match (file, descriptor) {
        (Some(path), _) if path == Path::new("-") => first_line(std::io::stdin().lock(), "standard input").map(Some),
        (Some(path), _) => read_file(path).map(Some),
        (None, Some(descriptor)) => {
            let path = PathBuf::from(format!("/dev/fd/{descriptor}"));
            let file = File::open(&path)
                .map_err(|error| Failure::new(Kind::Usage, format!("descriptor {descriptor}: {error}")))?;
            first_line(file, &path.display().to_string()).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// The first line of a file that holds a secret.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = File::open(path).map_err(|error| Failure::new(Kind::Usage, format!("{}: {error}", path.display())))?;
    first_line(file, &path.display().to_string())
}

/// The first line of standard input, without an echo in any list of arguments.
///
/// # Errors
/// It cannot be read, or is too long.
pub fn read_input() -> Result<Zeroizing<String>, Failure> {
    first_line(std::io::stdin().lock(), "standard input")
}

fn first_line(source: impl Read, name: &str) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    source
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Kind::Usage, format!("{name}: {error}")))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Failure::new(Kind::Usage, format!("{name} is too long for a password")));
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("the first line of {name} is empty")));
    }
    match std::str::from_utf8(line) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::new(Kind::Usage, format!("{name} is not UTF-8"))),
    }
}

fn ask(prompt: &str, flag: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::new(Kind::Usage, "no terminal to ask for the password").hint(format!("give it with {flag} FILE"))
        );
    }
    match rpassword::prompt_password(prompt) {
        Ok(secret) if secret.is_empty() => Err(Failure::new(Kind::Usage, "an empty password is no password")),
        Ok(secret) => Ok(Zeroizing::new(secret)),
        Err(error) => Err(Failure::new(Kind::Usage, format!("no password was entered: {error}"))
            .hint(format!("give it with {flag} FILE"))),
    }
}
