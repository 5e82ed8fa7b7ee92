//! `pyrgos link`: secret links, made and opened.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use pyrgos_protocol::client::{LinkChange, LinkOptions, OpenLink, OwnLink, RemotePath, Settings};
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::links::{LinkLabel, LinkPassword};
use serde_json::json;
use zeroize::Zeroizing;

use super::browse::{self, LsArgs};
use super::change::{self, MvArgs};
use super::failure::{Failure, Kind};
use super::output::{defused, local_time, printable, utc_time};
use super::readable::{NativeLink, Readable};
use super::secret::{LinkPasswordFile, LinkSource, NewLinkPassword};
use super::session::{DEFAULT_SERVER, Global, Unlocked, connect, fail};
use super::target::Target;
use super::transfer::{self, CatArgs, GetArgs, PutArgs};
use crate::native::NativeRuntime;

/// Make, change, withdraw and open links that need no account
///
/// Whoever has a link can open it. It is a secret: it is printed where you ask for it, and never taken as an argument.
#[derive(Subcommand, Debug)]
pub(super) enum LinkCommand {
    Create(CreateArgs),
    List(ListArgs),
    Edit(EditArgs),
    Rm(RmArgs),
    Open(OpenArgs),
}

/// Make a link to a file, or to a folder with everything in it, now and later
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// What it leads to
    path: String,
    /// Let whoever opens it change the folder
    #[arg(short, long)]
    write: bool,
    /// Until when: a duration as 30m, 12h, 7d, 4w, a day as 2026-12-31, or a time as 2026-12-31T12:00:00Z
    #[arg(short, long, value_name = "WHEN")]
    expires: Option<String>,
    /// How often it can be opened
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_openings: Option<u32>,
    #[command(flatten)]
    password: NewLinkPassword,
}

/// Show your links, and how often each was opened
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only those to this file or folder, and to what is in it [default: the home folder]
    path: Option<String>,
    /// Show the links themselves, which are secrets, and their passwords
    #[arg(short, long)]
    secrets: bool,
}

/// Change what a link demands; the link itself stays the same
#[derive(Args, Debug)]
pub(super) struct EditArgs {
    /// The number of the link, as `pyrgos link list` shows it
    label: LinkLabel,
    /// Until when: a duration as 30m, 12h, 7d, 4w, a day, a time, or `never`
    #[arg(short, long, value_name = "WHEN")]
    expires: Option<String>,
    /// How often it can be opened, up to now included, or `any`
    #[arg(short, long, value_name = "N")]
    max_openings: Option<String>,
    /// Demand no additional password any more
    #[arg(long, conflicts_with_all = ["ask_link_password", "link_password_file", "link_password_fd"])]
    no_link_password: bool,
    #[command(flatten)]
    password: NewLinkPassword,
}

/// Withdraw links: nobody can open them any more
///
/// Who has opened one before may have kept what it held. To shut them out as well, unshare the file or folder, which
/// gives it new keys.
#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// The numbers of the links, as `pyrgos link list` shows them
    #[arg(required = true)]
    labels: Vec<LinkLabel>,
}

/// Look at what a link leads to, fetch it, or change it where the link allows that; without an account
///
/// The link is asked for, or comes from a file: other users of this machine can read the arguments of every command, and
/// shells remember them. The server is the one in the link, or else --server. Paths are those in the folder that the link
/// leads to; a link to a file needs none. A server counts each command as one opening.
#[derive(Args, Debug)]
pub(super) struct OpenArgs {
    #[command(flatten)]
    link: LinkSource,
    #[command(flatten)]
    password: LinkPasswordFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the folder, or folders in it
    Ls(LsArgs),
    /// Fetch files or folders; without a path, everything
    Get(LinkGetArgs),
    /// Write files to standard output; without a path, the one that the link leads to
    Cat(LinkCatArgs),
    /// Show everything that is known of files or folders; without a path, of what the link leads to
    Stat(LinkStatArgs),
    /// Store local files or folders, where the link allows it; the content of a file that the link leads to
    Put(LinkPutArgs),
    /// Move or rename files or folders, where the link allows it
    #[command(visible_alias = "rename")]
    Mv(MvArgs),
    /// Remove files or folders, where the link allows it
    Rm(change::RmArgs),
    /// What is no command may be a link, which has no place here.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

#[derive(Args, Debug)]
struct LinkGetArgs {
    /// What to fetch, and last the local path or folder to put it into [default: everything, into the current folder]
    #[arg(value_names = ["REMOTE", "LOCAL"])]
    paths: Vec<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    recursive: bool,
    /// Leave files alone that are there already
    #[arg(short, long)]
    no_clobber: bool,
}

#[derive(Args, Debug)]
struct LinkCatArgs {
    /// Files to write, one after another
    paths: Vec<String>,
}

#[derive(Args, Debug)]
struct LinkStatArgs {
    /// What to show
    paths: Vec<String>,
}

#[derive(Args, Debug)]
struct LinkPutArgs {
    /// What to store (`-`: standard input)
    #[arg(required = true, value_name = "LOCAL")]
    sources: Vec<PathBuf>,
    /// The new path, or the folder to put it into [default: the folder that the link leads to]
    #[arg(short, long, value_name = "REMOTE")]
    to: Option<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    recursive: bool,
    /// Leave files alone that are there already
    #[arg(short, long)]
    no_clobber: bool,
}

/// Runs one of the commands.
pub(super) async fn run(global: &Global, command: LinkCommand) -> Result<(), Failure> {
    match command {
        LinkCommand::Create(args) => create(global, args).await,
        LinkCommand::List(args) => list(global, args).await,
        LinkCommand::Edit(args) => edit(global, args).await,
        LinkCommand::Rm(args) => remove(global, args).await,
        LinkCommand::Open(args) => open(global, args).await,
    }
}

/// A time in seconds since 1970, from a duration from now on, a day or a time.
fn moment(text: &str) -> Result<i64, Failure> {
    let unknown = || {
        Failure::new(Kind::Usage, format!("`{}` is no time", defused(text)))
            .hint("write a duration as 30m, 12h, 7d, 4w, a day as 2026-12-31, or a time as 2026-12-31T12:00:00Z")
    };
    let units = [('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    if let Some((unit, seconds)) = units.iter().find(|(unit, _)| text.ends_with(*unit))
        && let Ok(number) = text.trim_end_matches(*unit).parse::<u32>()
    {
        return Ok(jiff::Timestamp::now().as_second().saturating_add(i64::from(number) * seconds));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_second());
    }
    let day: jiff::civil::Date = text.parse().map_err(|_| unknown())?;
    let midnight = TimeZone::system().to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| unknown())?;
    Ok(midnight.as_second())
}

fn password(text: Zeroizing<String>) -> LinkPassword {
    LinkPassword::new(text.as_str())
}

async fn create(global: &Global, args: CreateArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(&args.path)?;
    let options = LinkOptions {
        is_writable: args.write,
        expiry_secs: args.expires.as_deref().map(moment).transpose()?,
        max_openings: args.max_openings,
        password: args.password.chosen()?.map(password),
        opens_at_once: false,
    };
    let link = unlocked.session.create_link(&path, &options).await.map_err(of_own)?;
    let url = unlocked.session.link_url(&link).await.map_err(fail)?;
    let value = json!({
        "path": path.to_string(),
        "label": link.label.number(),
        "url": url.as_str(),
        "writable": options.is_writable,
        "expires": options.expiry_secs.and_then(|secs| utc_time(secs, 0)),
        "max_openings": options.max_openings,
        "password": options.password.is_some(),
    });
    global.output().line(url.as_str(), &value);
    unlocked.close()
}

fn of_own(error: pyrgos_protocol::client::ClientError) -> Failure {
    match error {
        pyrgos_protocol::client::ClientError::Home => {
            Failure::new(Kind::Usage, "there is no link to the home folder").hint("make one to a folder in it")
        }
        error => fail(error),
    }
}

async fn list(global: &Global, args: ListArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(args.path.as_deref().unwrap_or_default())?;
    for own in unlocked.session.links(&path).await.map_err(fail)? {
        let mut text = line_of(&own);
        let mut value = json!({
            "path": own.path.to_string(),
            "label": own.link.label.number(),
            "writable": own.is_writable,
            "expires": own.expiry_secs.and_then(|secs| utc_time(secs, 0)),
            "openings": own.openings,
            "max_openings": own.max_openings,
            "last_opened": own.last_opened_secs.and_then(|secs| utc_time(secs, 0)),
            "password": !own.password.is_empty(),
        });
        if args.secrets {
            let url = unlocked.session.link_url(&own.link).await.map_err(fail)?;
            text += &format!("\n  {}", url.as_str());
            value["url"] = json!(url.as_str());
            if !own.password.is_empty() {
                text += &format!("\n  password: {}", printable(own.password.as_str()));
                value["password_text"] = json!(own.password.as_str());
            }
        }
        global.output().line(text, &value);
    }
    unlocked.close()
}

fn line_of(own: &OwnLink) -> String {
    let mut text = format!("{:<10}  {}", own.link.label, printable(&own.path.to_string()));
    text += if own.is_writable { "  read and write" } else { "  read" };
    match (own.openings, own.max_openings) {
        (Some(openings), Some(max)) => text += &format!("  opened {openings} of {max} times"),
        (Some(openings), None) => text += &format!("  opened {openings} times"),
        (None, Some(max)) => text += &format!("  at most {max} openings"),
        (None, None) => {}
    }
    if let Some(expiry) = own.expiry_secs {
        text += &format!("  until {}", local_time(expiry, 0));
    }
    if !own.password.is_empty() {
        text += "  with a password";
    }
    text
}

async fn edit(global: &Global, args: EditArgs) -> Result<(), Failure> {
    let expiry_secs = match args.expires.as_deref() {
        None => None,
        Some("never") => Some(None),
        Some(when) => Some(Some(moment(when)?)),
    };
    let max_openings =
        match args.max_openings.as_deref() {
            None => None,
            Some("any") => Some(None),
            Some(number) => Some(Some(number.parse().map_err(|_| {
                Failure::new(Kind::Usage, format!("`{}` is neither a number nor `any`", defused(number)))
            })?)),
        };
    let unlocked = Unlocked::open(global).await?;
    let chosen = args.password.chosen()?.map(password);
    let change = LinkChange {
        expiry_secs,
        max_openings,
        password: chosen.or_else(|| args.no_link_password.then(|| LinkPassword::new(""))),
        opens_at_once: None,
    };
    unlocked.session.change_link(args.label, &change).await.map_err(fail)?;
    global.output().line(format!("link {} was changed", args.label), &json!({ "label": args.label.number() }));
    unlocked.close()
}

async fn remove(global: &Global, args: RmArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for label in args.labels {
        let path = unlocked.session.withdraw_link(label).await.map_err(|error| fail(error).about(label))?;
        let value = json!({ "label": label.number(), "path": path.to_string(), "withdrawn": true });
        global.output().line(format!("link {label} to {} was withdrawn", printable(&path.to_string())), &value);
    }
    unlocked.close()
}

/// What a path in a link means: absolute as its owner writes it, else below what the link leads to.
fn path_in(root: &RemotePath, text: &str) -> Result<RemotePath, Failure> {
    let absolute = match (text.starts_with('/'), text.trim_matches('/')) {
        (true, _) => text.trim_end_matches('/').to_owned(),
        (false, "" | ".") => return Ok(root.clone()),
        (false, parts) => format!("{root}/{parts}"),
    };
    absolute.parse().map_err(|error: pyrgos_protocol::client::PathError| {
        Failure::new(Kind::Usage, format!("`{}`: {error}", defused(text)))
    })
}

async fn open_link(global: &Global, args: &OpenArgs) -> Result<NativeLink, Failure> {
    let text = args.link.read()?;
    let address = LinkAddress::parse(&text).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let server = address.server.as_deref().or(global.server.as_deref()).unwrap_or(DEFAULT_SERVER);
    let transport = connect(server)?;
    let asked = || args.password.existing();
    // A failure to ask says more than that there is no password.
    let failure = std::sync::Mutex::new(None);
    let source = || match asked() {
        Ok(text) => Some(password(text)),
        Err(error) => {
            *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            None
        }
    };
    let opened = OpenLink::open(transport, NativeRuntime, Settings::default(), &address, &source).await;
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => opened.map_err(fail),
    }
}

async fn open(global: &Global, args: OpenArgs) -> Result<(), Failure> {
    if let Action::Other(words) = &args.action {
        let is_link = words.first().is_some_and(|word| word.contains('#') || word.contains("://"));
        return Err(match is_link {
            true => Failure::new(Kind::Usage, "a link is a secret and must not be an argument")
                .hint("leave it out and be asked for it, or give it with --link-file FILE"),
            false => Failure::new(Kind::Usage, "what to do with the link is one of ls, stat, get, cat, put, mv and rm"),
        });
    }
    let link = open_link(global, &args).await?;
    let (output, root) = (global.output(), link.root().clone());
    let path_of = |text: &str| path_in(&root, text);
    match args.action {
        Action::Ls(args) => {
            let texts = if args.paths.is_empty() { vec![String::new()] } else { args.paths.clone() };
            let paths = texts.iter().map(|text| path_of(text)).collect::<Result<Vec<_>, _>>()?;
            Failure::all_or(browse::show(&link, output, &args, &paths).await?)
        }
        Action::Get(args) => {
            let everything = args.paths.is_empty();
            let paths = if everything { vec![String::new()] } else { args.paths };
            let recursive = args.recursive || everything;
            let args = GetArgs { paths, recursive, no_clobber: args.no_clobber };
            Failure::all_or(transfer::fetch(&link, output, &args, path_of).await?)
        }
        Action::Cat(args) => {
            let paths = if args.paths.is_empty() { vec![String::new()] } else { args.paths };
            transfer::write_out(&link, &CatArgs { paths }, path_of).await
        }
        Action::Stat(args) => {
            let texts = if args.paths.is_empty() { vec![String::new()] } else { args.paths };
            let paths = texts.iter().map(|text| path_of(text)).collect::<Result<Vec<_>, _>>()?;
            browse::describe(&link, output, &paths).await
        }
        Action::Put(args) => put(global, &link, args).await,
        Action::Mv(args) => change::move_in(&link, output, &args, path_of).await,
        Action::Rm(args) => Failure::all_or(change::remove_from(&link, output, &args, path_of).await?),
        Action::Other(_) => Ok(()),
    }
}

async fn put(global: &Global, link: &NativeLink, args: LinkPutArgs) -> Result<(), Failure> {
    let text = args.to.as_deref().unwrap_or_default();
    let path = path_in(link.root(), text)?;
    let entry = Readable::stat(link, link.root()).await.map_err(fail)?;
    if !entry.is_writable {
        return Err(Failure::new(Kind::Usage, "the link allows to read only")
            .hint("ask its owner for one that allows to write"));
    }
    if !entry.is_directory {
        let [source] = &args.sources[..] else {
            return Err(Failure::new(Kind::Usage, "the link leads to a single file").hint("store one file only"));
        };
        if path != *link.root() {
            return Err(Failure::new(Kind::Usage, "the link leads to a single file").hint("leave --to out"));
        }
        return transfer::replace(link, global.output(), source, args.no_clobber).await;
    }
    let target = Target::at(link, path, text, args.sources.len()).await?;
    let put = PutArgs { paths: Vec::new(), recursive: args.recursive, no_clobber: args.no_clobber, resume: false };
    Failure::all_or(
        transfer::store(link.batch(), || link.take_conflicts(), global.output(), &args.sources, &target, &put).await?,
    )
}
