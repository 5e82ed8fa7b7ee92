//! The command line's side of the agent.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use super::message::{Request, Response, Selector, SessionName, receive, send};
use super::{AgentError, AgentFolder};

/// Refuses a socket whose other end belongs to another user.
pub(super) fn require_own_peer(stream: &UnixStream) -> Result<(), AgentError> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).map_err(|_| AgentError::Stranger)?;
    if credentials.uid == rustix::process::geteuid() { Ok(()) } else { Err(AgentError::Stranger) }
}

/// How the command line reaches the agent.
#[derive(Clone, Debug)]
pub struct Agent {
    folder: AgentFolder,
}

impl Agent {
    /// The agent of a folder, whether it runs or not.
    pub fn new(folder: AgentFolder) -> Self {
        Agent { folder }
    }

    /// Hands over an unlocked session; starts the agent if none runs.
    pub fn keep(&self, name: SessionName, session: Bytes, idle: Duration) -> Result<(), AgentError> {
        let request = Request::Keep(name, session);
        for _ in 0..3 {
            if let Some(response) = self.ask(&request)? {
                return match response {
                    Response::Done => Ok(()),
                    _ => Err(AgentError::Malformed),
                };
            }
            // None runs, or it ended between our question and its answer.
            self.start(idle)?;
        }
        Err(AgentError::Start("it ends at once".into()))
    }

    /// Brings back what a command learned about its session; nothing happens if the session was forgotten meanwhile.
    pub fn update(&self, name: SessionName, session: Bytes) -> Result<(), AgentError> {
        self.ask(&Request::Update(name, session)).map(drop)
    }

    /// The latest session that matches, if an agent runs and holds one.
    pub fn fetch(&self, selector: Selector) -> Result<Option<(SessionName, Bytes)>, AgentError> {
        match self.ask(&Request::Fetch(selector))? {
            Some(Response::Session(name, session)) => Ok(Some((name, session))),
            Some(Response::Nothing) | None => Ok(None),
            Some(_) => Err(AgentError::Malformed),
        }
    }

    /// Names of the sessions, latest first, and whether all lie in locked memory; none if no agent runs.
    pub fn list(&self) -> Result<Option<(Vec<SessionName>, bool)>, AgentError> {
        match self.ask(&Request::List)? {
            Some(Response::Names(names, locked)) => Ok(Some((names, locked))),
            None => Ok(None),
            Some(_) => Err(AgentError::Malformed),
        }
    }

    /// Forgets the sessions that match; false if there was none.
    pub fn forget(&self, selector: Selector) -> Result<bool, AgentError> {
        match self.ask(&Request::Forget(selector))? {
            Some(Response::Done) => Ok(true),
            Some(Response::Nothing) | None => Ok(false),
            Some(_) => Err(AgentError::Malformed),
        }
    }

    /// Ends the agent; false if none runs.
    pub fn stop(&self) -> Result<bool, AgentError> {
        Ok(self.ask(&Request::Stop)?.is_some())
    }

    /// One question and its answer; none if no agent runs.
    fn ask(&self, request: &Request) -> Result<Option<Response>, AgentError> {
        self.folder.prepare()?;
        let mut stream = match UnixStream::connect(self.folder.socket()) {
            Ok(stream) => stream,
            Err(error) => {
                return match error.kind() {
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Ok(None),
                    _ => Err(self.folder.io(error)),
                };
            }
        };
        require_own_peer(&stream)?;
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&stream, Some(Duration::from_secs(10))).map_err(|error| self.folder.io(error))?;
        }
        send(&mut stream, request)?;
        receive(&mut stream).map(Some)
    }

    /// Starts the process and waits until it is ready. The session travels over the socket afterwards, so no secret is
    /// in its arguments or environment.
    fn start(&self, idle: Duration) -> Result<(), AgentError> {
        let executable = std::env::current_exe().map_err(|error| self.folder.io(error))?;
        let mut child = Command::new(executable)
            .arg("agent")
            .arg("--folder")
            .arg(self.folder.path())
            .arg("--idle-secs")
            .arg(idle.as_secs().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| self.folder.io(error))?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        match (read, line.trim()) {
            (Some(Ok(_)), "ready") => Ok(()),
            _ => {
                let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
                Err(AgentError::Start(status))
            }
        }
    }
}
