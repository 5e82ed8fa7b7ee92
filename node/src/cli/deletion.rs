//! `pyrgos delete-account`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use pyrgos_protocol::names::Username;
use serde_json::json;

use super::account::Factor;
use super::failure::{Failure, Kind};
use super::secret::PasswordSource;
use super::session::{Global, Unlocked};

/// Delete your account with everything in it, for good
///
/// The server forgets all blocks and keys of the account. Its name stays taken, also for you. What others have fetched
/// from you they keep.
#[derive(Args, Debug)]
pub struct DeleteAccountArgs {
    /// Do not ask; NAME must be the name of the account
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Read the current code of the second factor, if the account has one, from the first line of FILE
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

/// Deletes the account that is logged in.
pub async fn delete_account(global: &Global, args: DeleteAccountArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = unlocked.session.username().clone();
    confirm(&name, unlocked.server(), args.confirm)?;
    let factor = Factor::new(args.code_file)?;
    let password = args.password.existing(&format!("Password for {name}: "))?;
    unlocked.session.delete_account(&password, &factor).await.map_err(|error| factor.explain(error))?;
    let server = unlocked.server().to_owned();
    unlocked.forget()?;
    global.output().line(
        format!("the account {name} on {server} is deleted"),
        &json!({ "username": name.as_str(), "server": server, "deleted": true }),
    );
    Ok(())
}

/// Asks for the name of the account, which nobody types by mistake.
fn confirm(name: &Username, server: &str, given: Option<String>) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given,
        None if std::io::stdin().is_terminal() => {
            let mut terminal = std::io::stderr();
            let asked = write!(
                terminal,
                "This deletes the account {name} on {server} with all its files, for good.\nType its name to go on: "
            );
            let mut line = String::new();
            let read = asked.and_then(|()| terminal.flush()).and_then(|()| std::io::stdin().read_line(&mut line));
            read.map_err(|error| Failure::new(Kind::Local, format!("the terminal: {error}")))?;
            line.trim().to_owned()
        }
        None => {
            return Err(Failure::new(Kind::Usage, "no terminal to ask whether the account shall be deleted")
                .hint(format!("say it with --confirm {name}")));
        }
    };
    match typed == name.as_str() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Usage, "this is not the name of the account: nothing was deleted")
            .hint(format!("the account that is logged in is {name}"))),
    }
}
