//! Commands that change what is there: `mkdir`, `rm`, `mv`, `cp`.

use clap::Args;
use pyrgos_protocol::client::{ClientError, IfExists, RemotePath};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::defused;
use super::progress::Transfer;
use super::session::{Global, Unlocked, fail};
use super::target::{Target, require_distinct};

/// Make folders
#[derive(Args, Debug)]
pub struct MkdirArgs {
    /// Folders to make
    #[arg(required = true)]
    paths: Vec<String>,
    /// Make the folders above too, and do not mind those that are there
    #[arg(short)]
    parents: bool,
}

/// Remove files or folders
#[derive(Args, Debug)]
pub struct RmArgs {
    /// What to remove
    #[arg(required = true)]
    paths: Vec<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    recursive: bool,
    /// Do not mind what is not there
    #[arg(short, long)]
    force: bool,
}

/// Move or rename files or folders
#[derive(Args, Debug)]
pub struct MvArgs {
    /// What to move, and last the new path or the folder to move it into
    #[arg(required = true, num_args = 2.., value_names = ["FROM", "TO"])]
    paths: Vec<String>,
    /// Fail instead of replacing a file
    #[arg(short, long)]
    no_clobber: bool,
}

/// Copy files or folders on the server; the content does not pass through a file of this machine
#[derive(Args, Debug)]
pub struct CpArgs {
    /// What to copy, and last the path of the copy or the folder to put it into
    #[arg(required = true, num_args = 2.., value_names = ["FROM", "TO"])]
    paths: Vec<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    recursive: bool,
    /// Fail instead of replacing a file
    #[arg(short, long)]
    no_clobber: bool,
}

/// Makes folders.
pub async fn make_folders(global: &Global, args: MkdirArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for text in &args.paths {
        let path = unlocked.path(text)?;
        let made = if args.parents {
            unlocked.session.make_directories(&path).await
        } else {
            unlocked.session.make_directory(&path).await
        };
        made.map_err(fail)?;
        done(global, "made", &path);
    }
    unlocked.close()
}

/// Removes files or folders. One that cannot be removed does not keep the others.
pub async fn remove(global: &Global, args: RmArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let mut failures = Vec::new();
    for text in &args.paths {
        match remove_one(&unlocked, &args, text).await {
            Ok(Some(path)) => done(global, "removed", &path),
            Ok(None) => {}
            // No other will fare better.
            Err(failure) if failure.kind == Kind::Unreachable => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    unlocked.close()?;
    Failure::all_or(failures)
}

async fn remove_one(unlocked: &Unlocked, args: &RmArgs, text: &str) -> Result<Option<RemotePath>, Failure> {
    let path = unlocked.path(text)?;
    let removed = match args.recursive {
        true => unlocked.session.remove(&path, true).await,
        false => match unlocked.session.stat(&path).await {
            Ok(entry) if entry.is_directory => {
                return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", defused(text)))
                    .hint("remove it with everything below it by `rm -r`"));
            }
            Ok(_) => unlocked.session.remove(&path, false).await,
            Err(error) => Err(error),
        },
    };
    match removed {
        Err(ClientError::NotFound { .. }) if args.force => Ok(None),
        removed => removed.map(|()| Some(path)).map_err(fail),
    }
}

/// Moves files or folders.
pub async fn move_to(global: &Global, args: MvArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for (from, to) in targets(&unlocked, &args.paths).await? {
        unlocked.session.rename(&from, &to, if_exists(args.no_clobber)).await.map_err(fail)?;
        done(global, "moved to", &to);
    }
    unlocked.close()
}

/// Copies files or folders.
pub async fn copy(global: &Global, args: CpArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for (from, to) in targets(&unlocked, &args.paths).await? {
        let entry = unlocked.session.stat(&from).await.map_err(fail)?;
        if entry.is_directory && !args.recursive {
            return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", defused(&from.to_string())))
                .hint("copy it with everything below it by `cp -r`"));
        }
        let total = (!entry.is_directory).then_some(entry.size_bytes);
        let transfer = Transfer::new(global.output(), "copy", total);
        transfer.at(from.name().as_str());
        unlocked.session.copy(&from, &to, if_exists(args.no_clobber), &transfer).await.map_err(fail)?;
        transfer.finish();
        done(global, "copied to", &to);
    }
    unlocked.close()
}

fn if_exists(no_clobber: bool) -> IfExists {
    if no_clobber { IfExists::Fail } else { IfExists::Replace }
}

fn done(global: &Global, verb: &str, path: &RemotePath) {
    if global.json {
        global.output().line("", &json!({ "done": verb, "path": path.to_string() }));
    }
}

/// Each source with the path that it gets.
async fn targets(unlocked: &Unlocked, paths: &[String]) -> Result<Vec<(RemotePath, RemotePath)>, Failure> {
    let Some((last, sources)) = paths.split_last() else { return Ok(Vec::new()) };
    let target = Target::find(unlocked, last, sources.len()).await?;
    let pairs = sources.iter().map(|source| {
        let source = unlocked.path(source)?;
        let to = target.of(source.name().clone());
        Ok((source, to))
    });
    let pairs = pairs.collect::<Result<Vec<_>, Failure>>()?;
    require_distinct(pairs.iter().map(|(_, to)| to))?;
    Ok(pairs)
}
