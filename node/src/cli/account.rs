//! Commands about the account itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pyrgos_protocol::client::{ClientError, Session, Settings, SignUp};
use pyrgos_protocol::login::second_factor::{
    FactorAnswer, FactorType, MultiFactorAuthRequest, MultiFactorAuthResponse,
};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::human_size;
use super::secret::{self, NewPasswordSource, PasswordSource};
use super::session::{Global, Unlocked, agent, fail, held, sealed, session_name, username};
use crate::agent::message::Selector;
use crate::native::NativeRuntime;

/// Make an account on the server
///
/// The password never leaves this machine: keys are derived from it here, and the server sees public keys and encrypted
/// data only. Nobody can reset it.
#[derive(Args, Debug)]
pub struct SignUpArgs {
    /// Name of the new account: lower case letters, digits and single hyphens, 1 to 32 characters
    username: String,
    #[command(flatten)]
    password: PasswordSource,
    /// Read a sign-up token, as `pyrgos token create` makes it, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Log in; later commands use the session until `logout`
///
/// An agent process holds the unlocked session in memory, never on disk, and forgets it after some idle time.
#[derive(Args, Debug)]
pub struct LoginArgs {
    /// Name of the account
    username: String,
    #[command(flatten)]
    password: PasswordSource,
    /// Read the current code of the second factor, if the account has one, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// Forget the session after this many seconds without a command
    #[arg(long, value_name = "SECONDS", default_value_t = 8 * 60 * 60)]
    idle_secs: u64,
}

/// Forget the session
#[derive(Args, Debug)]
pub struct LogoutArgs {
    /// All sessions, not only the last
    #[arg(long)]
    all: bool,
}

/// Change the password
///
/// Files, friends and other logged-in devices stay as they are.
#[derive(Args, Debug)]
pub struct PasswdArgs {
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    new_password: NewPasswordSource,
    /// Read the current code of the second factor, if the account has one, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

/// Makes an account.
pub async fn sign_up(global: &Global, args: SignUpArgs) -> Result<(), Failure> {
    let transport = global.transport()?;
    let name = pyrgos_protocol::names::Username::new(&args.username)
        .map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let token = args.token_file.as_deref().map(secret::read_file).transpose()?;
    let password = args.password.chosen(&format!("New password for {}: ", args.username))?;
    let account = SignUp { username: name, password, token: token.map(|token| token.to_string()).unwrap_or_default() };
    let server = transport.address().to_owned();
    let session = Session::sign_up(transport, NativeRuntime, Settings::default(), account).await.map_err(fail)?;
    let output = global.output();
    output.line(
        format!("{} exists now on {server}", session.username().as_str()),
        &json!({ "username": session.username().as_str(), "identity": session.identity().to_string(), "server": server }),
    );
    output.note(format!("Log in with: pyrgos login {}", session.username().as_str()));
    Ok(())
}

/// How long a login may take after it is done, to tell the node of mirrors.
const SPREAD_PATIENCE: Duration = Duration::from_secs(2);

/// Logs in and hands the session to the agent.
pub async fn log_in(global: &Global, args: LoginArgs) -> Result<(), Failure> {
    let transport = global.transport()?;
    let name = username(&args.username)?;
    let factor = Factor::new(args.code_file)?;
    let password = args.password.existing(&format!("Password for {}: ", args.username))?;
    let session_name = session_name(&transport, &name);
    let before = held(&session_name)?;
    let session = Session::log_in(transport.clone(), NativeRuntime, Settings::default(), &name, &password, &factor)
        .await
        .map_err(|error| factor.explain(error))?;
    drop(password);
    let idle = Duration::from_secs(args.idle_secs.max(1));
    let mut state = session.state();
    // A session that was held before this login has seen pointers too: a server that went back since is noticed. Other
    // commands may have learned more during the login, which proves nothing against the server.
    if let Some(before) = &before {
        state.require_not_behind(before).map_err(fail)?;
    }
    if let Some(held) = held(&session_name)? {
        state.absorb(&held);
    }
    agent().keep(session_name, sealed(&state), idle)?;
    global.output().line(
        format!("logged in as {} on {}", name.as_str(), transport.address()),
        &json!({ "username": name.as_str(), "identity": session.identity().to_string(), "server": transport.address() }),
    );
    // The node reads from mirrors when homes are away, if it knows of them. It may do without.
    let _ = tokio::time::timeout(SPREAD_PATIENCE, session.spread_mirrors()).await;
    Ok(())
}

/// Forgets sessions.
pub fn log_out(global: &Global, args: &LogoutArgs) -> Result<(), Failure> {
    let agent = agent();
    let selector = global.selector()?;
    let selector = match (args.all, selector == Selector::default()) {
        // Without any flag: the session that other commands would use.
        (false, true) => match agent.list()? {
            Some((names, _)) => names.first().map_or(selector, Selector::only),
            None => selector,
        },
        _ => selector,
    };
    let forgotten = agent.forget(selector)?;
    let text = if forgotten { "logged out" } else { "nobody was logged in" };
    global.output().line(text, &json!({ "logged_out": forgotten }));
    Ok(())
}

/// Says who is logged in.
pub fn who_am_i(global: &Global) -> Result<(), Failure> {
    let selector = global.selector()?;
    let held = agent()
        .list()?
        .map(|(names, locked)| (names.into_iter().filter(|name| selector.matches(name)).collect::<Vec<_>>(), locked));
    let Some((names, locked)) = held.filter(|(names, _)| !names.is_empty()) else {
        return Err(Failure::new(Kind::Login, "not logged in").hint("log in with `pyrgos login NAME`"));
    };
    let output = global.output();
    for (n, name) in names.iter().enumerate() {
        let remark = if n == 0 || names.len() == 1 { "" } else { "  (choose with --user or --server)" };
        output.line(
            format!("{} on {}{remark}", name.username, name.server),
            &json!({ "username": name.username, "server": name.server, "memory_locked": locked, "default": n == 0 }),
        );
    }
    if !locked {
        output.note("The system does not let the agent lock its memory (see `ulimit -l`): it may reach the swap.");
    }
    Ok(())
}

/// Changes the password.
pub async fn change_password(global: &Global, args: PasswdArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let factor = Factor::new(args.code_file)?;
    let old = args.password.existing("Current password: ")?;
    let new = args.new_password.chosen("New password: ")?;
    unlocked.session.change_password(&old, &new, &factor).await.map_err(|error| factor.explain(error))?;
    global.output().line("the password is changed", &json!({ "changed": true }));
    unlocked.close()
}

/// Shows how much space is used.
pub async fn space(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let space = unlocked.session.space().await.map_err(fail)?;
    let free = space.quota_bytes.saturating_sub(space.used_bytes);
    global.output().line(
        format!(
            "{} used of {}, {} free",
            human_size(space.used_bytes),
            human_size(space.quota_bytes),
            human_size(free)
        ),
        &json!({ "used_bytes": space.used_bytes, "quota_bytes": space.quota_bytes, "free_bytes": free }),
    );
    unlocked.close()
}

/// Answers the question for a second factor from a file or at a prompt.
pub(super) struct Factor {
    code: Option<String>,
}

impl Factor {
    pub(super) fn new(file: Option<PathBuf>) -> Result<Self, Failure> {
        let code = file.as_deref().map(secret::read_file).transpose()?;
        Ok(Factor { code: code.map(|code| code.trim().to_owned()) })
    }

    pub(super) fn explain(&self, error: ClientError) -> Failure {
        match error {
            ClientError::SecondFactor => Failure::new(Kind::Login, "the account asks for a second factor")
                .hint("give the current code of the authenticator app with --code-file FILE, or at the prompt"),
            error => fail(error),
        }
    }
}

impl pyrgos_protocol::client::SecondFactor for Factor {
    fn answer(&self, request: &MultiFactorAuthRequest) -> Option<MultiFactorAuthResponse> {
        let code = match &self.code {
            Some(code) => code.clone(),
            None => rpassword::prompt_password("Code of the second factor: ").ok()?.trim().to_owned(),
        };
        // Authenticators show six digits; backup codes are letters and digits.
        let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        let factor = if digits { FactorType::Totp } else { FactorType::BackupCodes };
        let method = request.methods.iter().find(|method| method.factor == factor)?;
        Some(MultiFactorAuthResponse { credential_id: method.credential_id.clone(), answer: FactorAnswer::Code(code) })
    }
}
