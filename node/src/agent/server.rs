//! The agent process: one thread, one connection at a time, sessions in locked memory.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use pyrgos_crypto::locked::LockedBytes;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::message::{Request, Response, SessionName, receive, send};
use super::{AgentError, AgentFolder};

/// How long one peer may take to send a request or to take an answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// Most sessions that are held; the oldest is forgotten for a new one.
const MAX_SESSIONS: usize = 32;

/// Runs the agent until it is told to stop, holds no session any more, or was idle for `idle`.
///
/// Prints `ready` once the socket accepts connections. Returns at once, without an error, if an agent runs already.
pub fn run(folder: &AgentFolder, idle: Duration) -> Result<(), AgentError> {
    harden();
    folder.prepare()?;
    let Some(_lock) = folder.lock()? else {
        announce();
        return Ok(());
    };
    let socket = folder.socket();
    // Left by an agent that was killed: the lock proves that nobody listens there.
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(folder.io(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&socket).map_err(|error| folder.io(error))?;
    announce();
    let outcome = serve(&listener, folder, idle);
    let _ = fs::remove_file(&socket);
    outcome
}

/// No core dumps, no `ptrace` by other processes of the user, files for the owner alone, a session of its own.
fn harden() {
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    crate::native::protect_memory();
}

fn announce() {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}

struct Held {
    name: SessionName,
    session: LockedBytes,
}

fn serve(listener: &UnixListener, folder: &AgentFolder, idle: Duration) -> Result<(), AgentError> {
    // Latest last.
    let mut sessions: Vec<Held> = Vec::new();
    let mut last_used = Instant::now();
    loop {
        let left = idle.saturating_sub(last_used.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        if !readable(listener, left).map_err(|error| folder.io(error))? {
            continue;
        }
        let (mut stream, _) = listener.accept().map_err(|error| folder.io(error))?;
        match answer(&mut stream, &mut sessions) {
            Ok(Step::Continue) => last_used = Instant::now(),
            Ok(Step::Stop) => return Ok(()),
            // A stranger or a broken request: it does not count as use, and it does not end the agent.
            Err(_) => {}
        }
    }
}

fn readable(listener: &UnixListener, timeout: Duration) -> Result<bool, std::io::Error> {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

enum Step {
    Continue,
    Stop,
}

fn answer(stream: &mut UnixStream, sessions: &mut Vec<Held>) -> Result<Step, AgentError> {
    super::client::require_own_peer(stream)?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(stream, Some(PEER_TIMEOUT)).map_err(|_| AgentError::Malformed)?;
    }
    let request = receive::<Request>(stream)?;
    let held = |sessions: &[Held], name: &SessionName| sessions.iter().position(|held| held.name == *name);
    let mut step = Step::Continue;
    let response = match request {
        Request::Keep(name, session) => {
            if let Some(at) = held(sessions, &name) {
                sessions.remove(at);
            } else if sessions.len() == MAX_SESSIONS {
                sessions.remove(0);
            }
            sessions.push(Held { name, session: LockedBytes::copy_of(&session) });
            Response::Done
        }
        Request::Update(name, session) => match held(sessions, &name) {
            Some(at) => {
                sessions[at].session = LockedBytes::copy_of(&session);
                Response::Done
            }
            None => Response::Nothing,
        },
        Request::Fetch(selector) => match sessions.iter().rev().find(|held| selector.matches(&held.name)) {
            Some(held) => {
                let copy = zeroize::Zeroizing::new(held.session.to_vec());
                Response::Session(held.name.clone(), bytes::Bytes::from_owner(copy))
            }
            None => Response::Nothing,
        },
        Request::List => {
            let names = sessions.iter().rev().map(|held| held.name.clone()).collect();
            Response::Names(names, sessions.iter().all(|held| held.session.is_locked()))
        }
        Request::Forget(selector) => {
            let before = sessions.len();
            sessions.retain(|held| !selector.matches(&held.name));
            // An agent with nothing to hold has no reason to live.
            if sessions.is_empty() {
                step = Step::Stop;
            }
            if sessions.len() < before { Response::Done } else { Response::Nothing }
        }
        Request::Stop => {
            step = Step::Stop;
            Response::Done
        }
    };
    send(stream, &response)?;
    Ok(step)
}
