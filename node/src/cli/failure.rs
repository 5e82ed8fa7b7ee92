//! Errors as a person, a script and a program see them: one line, an exit code, the same fields as JSON.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::output::defused;

/// What kind of failure it is. Each has its exit code, which stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something that fits nowhere else.
    Other,
    /// The command was called in a way that cannot work.
    Usage,
    /// Not logged in, or a wrong username or password.
    Login,
    /// No such file, folder, user.
    NotFound,
    /// It exists already, is not empty, or somebody changed it at the same time.
    Conflict,
    /// The server could not be reached or is busy; trying again may help.
    Unreachable,
    /// The server answered something that is provably wrong.
    Untrustworthy,
    /// No space left for the account, or on the local disk.
    Space,
    /// The local file system refused.
    Local,
}

/// All exit codes, for the help text.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not logged in or wrong password, 4 not found, 5 exists already or \
changed meanwhile, 6 server unreachable or busy (try again), 7 the server answered something provably wrong, \
8 no space, 9 local file error";

impl Kind {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::Login => 3,
            Kind::NotFound => 4,
            Kind::Conflict => 5,
            Kind::Unreachable => 6,
            Kind::Untrustworthy => 7,
            Kind::Space => 8,
            Kind::Local => 9,
        }
    }
}

/// What failed, why, and what to try.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What failed and why. Never holds a secret.
    pub message: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same command may work if it is tried again.
    pub retry: bool,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), hint: None, retry: kind == Kind::Unreachable }
    }

    /// Adds what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the name of the thing that failed in front.
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Ends a command that went on after failures: all but the last are told here, the last is its outcome.
    pub fn all_or(mut failures: Vec<Failure>) -> Result<(), Failure> {
        let Some(last) = failures.pop() else { return Ok(()) };
        failures.iter().for_each(|failure| eprintln!("pyrgos: {}", defused(&failure.message)));
        Err(last)
    }

    /// Prints the failure to standard error and gives the exit code. Texts of a server are in it: they must not steer the
    /// terminal.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            let text = serde_json::json!({ "error": self, "exit_code": self.kind.code() });
            eprintln!("{text}");
        } else {
            eprintln!("pyrgos: {}", defused(&self.message));
            if let Some(hint) = &self.hint {
                eprintln!("  {}", defused(hint));
            }
        }
        ExitCode::from(self.kind.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::agent::AgentError> for Failure {
    fn from(error: crate::agent::AgentError) -> Self {
        Failure::new(Kind::Other, error.to_string())
    }
}
