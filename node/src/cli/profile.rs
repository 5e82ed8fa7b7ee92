//! Commands about profiles: what users tell about themselves.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pyrgos_protocol::client::{ClientError, profile_path};
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::profile::{ProfileField, UnknownField};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::printable;
use super::session::{Global, Unlocked, fail, username};
use super::social;

/// Most bytes of a picture that are read from a file; the account takes fewer.
const MAX_FILE: u64 = 64 << 20;

fn field(text: &str) -> Result<ProfileField, String> {
    text.parse().map_err(|_: UnknownField| {
        let names: Vec<&str> = ProfileField::ALL.into_iter().map(ProfileField::file_name).collect();
        format!("the fields are {}", names.join(", "))
    })
}

/// What to do with a profile
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "a text here would replace that of the arguments in the help")]
pub enum ProfileCommand {
    Show(ShowArgs),
    Set(SetArgs),
    Unset(UnsetArgs),
    Share(ShareFieldArgs),
    Publish(PublishFieldArgs),
}

/// Show the fields of a profile that you may see
///
/// Pictures are shown by their size; `pyrgos get /NAME/.profile/photo FILE` fetches one.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Whose [default: your own]
    name: Option<String>,
}

/// Set a field of your profile, or change it; nobody sees a new field until you share it
#[derive(Args, Debug)]
pub struct SetArgs {
    /// photo, highres, bio, status, firstname, lastname, phone, email or webroot
    #[arg(value_parser = field)]
    field: ProfileField,
    /// The text
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Take the content from FILE (`-`: standard input), as pictures need it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Remove a field of your profile
#[derive(Args, Debug)]
pub struct UnsetArgs {
    /// Which field
    #[arg(value_parser = field)]
    field: ProfileField,
}

/// Let followers see a field of your profile, now and when it changes
#[derive(Args, Debug)]
pub struct ShareFieldArgs {
    /// Which field
    #[arg(value_parser = field)]
    field: ProfileField,
    /// With whom: a follower, @friends or @followers; may be given several times
    #[arg(long, required = true, value_name = "NAME")]
    with: Vec<String>,
}

/// Let everybody see a field of your profile, the server too, now and when it changes
///
/// `pyrgos unpublish .profile/FIELD` takes it back.
#[derive(Args, Debug)]
pub struct PublishFieldArgs {
    /// Which field
    #[arg(value_parser = field)]
    field: ProfileField,
}

/// Runs a command.
pub async fn run(global: &Global, command: ProfileCommand) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    match command {
        ProfileCommand::Show(args) => show(global, &unlocked, args.name.as_deref()).await?,
        ProfileCommand::Set(args) => set(global, &unlocked, args).await?,
        ProfileCommand::Unset(args) => {
            let name = args.field.file_name();
            match unlocked.session.remove_profile_field(args.field).await.map_err(fail)? {
                true => global.output().line(format!("{name} is removed"), &json!({ "field": name, "set": false })),
                false => return Err(Failure::new(Kind::NotFound, format!("{name} is not set"))),
            }
        }
        ProfileCommand::Share(args) => {
            let path = profile_path(unlocked.session.username(), args.field).map_err(fail)?;
            social::share_path(global, &unlocked, &path, &args.with, false).await.map_err(set_first)?;
        }
        ProfileCommand::Publish(args) => {
            let name = args.field.file_name();
            let path = profile_path(unlocked.session.username(), args.field).map_err(fail)?;
            let is_new = unlocked.session.publish(&path).await.map_err(|error| set_first(fail(error)))?;
            let text = if is_new { "is public now" } else { "was public already" };
            let value = json!({ "field": name, "path": path.to_string(), "public": true, "new": is_new });
            global.output().line(format!("{name} {text}"), &value);
        }
    }
    unlocked.close()
}

fn set_first(failure: Failure) -> Failure {
    match failure.kind {
        Kind::NotFound => failure.hint("set it first: pyrgos profile set"),
        _ => failure,
    }
}

async fn show(global: &Global, unlocked: &Unlocked, name: Option<&str>) -> Result<(), Failure> {
    let name = name.map_or_else(|| Ok(unlocked.session.username().clone()), username)?;
    for (field, content) in unlocked.session.profile(&name).await.map_err(|error| about(&name, error))? {
        let label = field.file_name();
        match field.is_text() {
            true => {
                let text = String::from_utf8_lossy(&content);
                let value = json!({ "username": name.as_str(), "field": label, "text": text });
                global.output().line(format!("{label:<10} {}", printable(&text)), &value);
            }
            false => {
                let path = profile_path(&name, field).map_err(fail)?.to_string();
                let value = json!({
                    "username": name.as_str(), "field": label, "size_bytes": content.len(), "path": path,
                });
                let text = format!("{label:<10} picture of {} bytes at {}", content.len(), printable(&path));
                global.output().line(text, &value);
            }
        }
    }
    Ok(())
}

fn about(name: &Username, error: ClientError) -> Failure {
    fail(error).about(name)
}

async fn set(global: &Global, unlocked: &Unlocked, args: SetArgs) -> Result<(), Failure> {
    let content = match (args.text, args.file) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(file)) => read(&file)?,
        (None, None) => return Err(Failure::new(Kind::Usage, "neither a text nor a file")),
    };
    unlocked.session.set_profile_field(args.field, content).await.map_err(|error| match error {
        ClientError::Limit(why) => Failure::new(Kind::Usage, why),
        error => fail(error),
    })?;
    let name = args.field.file_name();
    global.output().line(format!("{name} is set"), &json!({ "field": name, "set": true }));
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let failure = |error: std::io::Error| Failure::new(Kind::Local, format!("{}: {error}", file.display()));
    let mut content = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(MAX_FILE).read_to_end(&mut content),
        false => std::fs::File::open(file).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content)),
    };
    read.map(|_| content).map_err(failure)
}
