//! From the command line to an unlocked session: which server, which user, what a path means.

use bytes::Bytes;
use clap::Args;
use pyrgos_protocol::client::{ClientError, ErrorKind, RemotePath, Session, SessionState, Settings};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value};
use pyrgos_protocol::names::Username;
use zeroize::Zeroizing;

use super::failure::{Failure, Kind};
use super::output::{Output, defused};
use crate::agent::AgentFolder;
use crate::agent::client::Agent;
use crate::agent::message::{Selector, SessionName};
use crate::native::{HttpTransport, NativeRuntime};

/// Where a node listens unless something else is said.
pub const DEFAULT_SERVER: &str = "http://localhost:8000";

/// A session over HTTP.
pub type NativeSession = Session<HttpTransport, NativeRuntime>;

/// Flags that every client command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Address of the server [default: that of the last login, else http://localhost:8000]
    #[arg(long, global = true, env = "PYRGOS_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Which of several users that are logged in [default: the last login]
    #[arg(long, global = true, env = "PYRGOS_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Print JSON, one value a line; failures too, on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress bars, no remarks
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Global {
    /// How results are printed.
    pub fn output(&self) -> Output {
        Output { json: self.json, quiet: self.quiet }
    }

    /// The server of a command that needs no session.
    pub fn transport(&self) -> Result<HttpTransport, Failure> {
        connect(self.server.as_deref().unwrap_or(DEFAULT_SERVER))
    }

    /// Which sessions the flags mean.
    pub fn selector(&self) -> Result<Selector, Failure> {
        let server = self.server.as_deref().map(connect).transpose()?;
        Ok(Selector { server: server.map(|server| server.address().to_owned()), username: self.user.clone() })
    }
}

/// The agent of this user.
pub fn agent() -> Agent {
    Agent::new(AgentFolder::of_this_user())
}

/// The server at an address.
pub fn connect(address: &str) -> Result<HttpTransport, Failure> {
    HttpTransport::new(address).map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}

/// A text as the name of an account.
pub fn username(text: &str) -> Result<Username, Failure> {
    Username::existing(text).map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}

/// A name as the agent knows it.
pub fn session_name(transport: &HttpTransport, username: &Username) -> SessionName {
    SessionName { server: transport.address().to_owned(), username: username.as_str().to_owned() }
}

/// The session's secrets as bytes that are wiped.
pub fn sealed(state: &SessionState) -> Bytes {
    Bytes::from_owner(Zeroizing::new(state.to_bytes()))
}

/// The state that an agent holds; none if it is of another version.
fn state_of(bytes: &Bytes) -> Option<SessionState> {
    SessionState::from_cbor(&Value::decode_shared(bytes).ok()?).ok()
}

/// What the agent holds under a name.
pub fn held(name: &SessionName) -> Result<Option<SessionState>, Failure> {
    Ok(agent().fetch(Selector::only(name))?.and_then(|(_, bytes)| state_of(&bytes)))
}

/// A session that a command works with.
pub struct Unlocked {
    /// The session.
    pub session: NativeSession,
    name: SessionName,
    closed: bool,
}

impl Unlocked {
    /// Fetches the session from the agent.
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        let Some((name, bytes)) = agent().fetch(global.selector()?)? else {
            return Err(Failure::new(Kind::Login, "not logged in").hint("log in with `pyrgos login NAME`"));
        };
        let state = state_of(&bytes).ok_or_else(|| {
            Failure::new(Kind::Login, "the agent's session is of another version").hint("log in again")
        })?;
        let transport = connect(&name.server)?;
        let session = Session::resume(transport, NativeRuntime, Settings::default(), state).await.map_err(fail)?;
        Ok(Unlocked { session, name, closed: false })
    }

    /// Ends the command's work with the session.
    pub fn close(mut self) -> Result<(), Failure> {
        self.closed = true;
        self.remember()
    }

    /// Ends the command's work, and forgets the session: its account is no more.
    pub fn forget(mut self) -> Result<(), Failure> {
        self.closed = true;
        agent().forget(Selector::only(&self.name))?;
        Ok(())
    }

    /// Gives what the session learned back to the agent: the newest pointers, by which later commands notice a server
    /// that goes back in time. Another command may have learned more meanwhile, which stays.
    fn remember(&self) -> Result<(), Failure> {
        let mut state = self.session.state();
        if let Some(held) = held(&self.name)? {
            state.absorb(&held);
        }
        Ok(agent().update(self.name.clone(), sealed(&state))?)
    }

    /// Base URL of the server.
    pub fn server(&self) -> &str {
        &self.name.server
    }

    /// What a path on the command line means: absolute with a leading slash, else below the home directory.
    pub fn path(&self, text: &str) -> Result<RemotePath, Failure> {
        let home = self.session.home().map_err(fail)?;
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/");
        let absolute = match (text.starts_with('/'), parts.is_empty()) {
            (true, false) => format!("/{parts}"),
            (false, false) => format!("{home}/{parts}"),
            (false, true) => return Ok(home),
            (true, true) => {
                return Err(Failure::new(Kind::Usage, "`/` is no folder of anybody").hint(format!("yours is {home}")));
            }
        };
        absolute.parse().map_err(|error: pyrgos_protocol::client::PathError| {
            Failure::new(Kind::Usage, format!("`{}`: {error}", defused(text)))
        })
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        // Commands that fail have learned something too. If the agent has gone meanwhile, nobody is left to tell.
        if !self.closed {
            let _ = self.remember();
        }
    }
}

/// A failure of the client as the command line tells it.
pub fn fail(error: ClientError) -> Failure {
    let kind = match &error {
        ClientError::NotFound { .. }
        | ClientError::DeadLink
        | ClientError::LinkExpired
        | ClientError::LinkUsedUp
        | ClientError::LinkWithdrawn
        | ClientError::NoSuchLink
        | ClientError::NotPublished
        | ClientError::UnknownUser
        | ClientError::DeletedUser => Kind::NotFound,
        ClientError::Exists { .. } | ClientError::NotEmpty { .. } | ClientError::NameTaken => Kind::Conflict,
        ClientError::Refused { source, .. } if !source.is_transient() => Kind::Other,
        ClientError::SignUpRefused(_) => Kind::Other,
        ClientError::Local(source) if source.kind() == std::io::ErrorKind::StorageFull => Kind::Space,
        error => match error.kind() {
            ErrorKind::Authentication => Kind::Login,
            ErrorKind::Conflict => Kind::Conflict,
            ErrorKind::Node => Kind::Unreachable,
            ErrorKind::Quota => Kind::Space,
            ErrorKind::Untrustworthy => Kind::Untrustworthy,
            ErrorKind::Local => Kind::Local,
            ErrorKind::Usage | ErrorKind::Damaged => Kind::Other,
            _ => Kind::Other,
        },
    };
    let mut failure = Failure::new(kind, error.to_string()).hint(error.guidance());
    failure.retry = error.may_retry();
    match path_of(&error) {
        Some(path) => failure.about(defused(&path.to_string())),
        None => failure,
    }
}

fn path_of(error: &ClientError) -> Option<&RemotePath> {
    match error {
        ClientError::NotFound { path }
        | ClientError::Exists { path }
        | ClientError::NotADirectory { path }
        | ClientError::IsADirectory { path }
        | ClientError::NotEmpty { path }
        | ClientError::IntoItself { path }
        | ClientError::NotOwner { path }
        | ClientError::Changed { path }
        | ClientError::ReadOnly { path } => Some(path),
        _ => None,
    }
}
