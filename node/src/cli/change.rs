//! Commands that change what is there: `mkdir`, `rm`, `mv`, `cp`.

use clap::Args;
use pyrgos_protocol::client::{ClientError, IfExists, RemotePath};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::defused;
use super::progress::Transfer;
use super::session::{Global, Unlocked, fail};

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

/// Removes files or folders.
pub async fn remove(global: &Global, args: RmArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for text in &args.paths {
        let path = unlocked.path(text)?;
        if !args.recursive {
            match unlocked.session.stat(&path).await {
                Ok(entry) if entry.is_directory => {
                    return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", defused(text)))
                        .hint("remove it with everything below it by `rm -r`"));
                }
                Err(ClientError::NotFound { .. }) if args.force => continue,
                Err(error) => return Err(fail(error)),
                Ok(_) => {}
            }
        }
        match unlocked.session.remove(&path, args.recursive).await {
            Err(ClientError::NotFound { .. }) if args.force => continue,
            removed => removed.map_err(fail)?,
        }
        done(global, "removed", &path);
    }
    unlocked.close()
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

/// Where each source goes: into the last path if that is a folder, else that is the new path itself, as with `cp`.
async fn targets(unlocked: &Unlocked, paths: &[String]) -> Result<Vec<(RemotePath, RemotePath)>, Failure> {
    let Some((last, sources)) = paths.split_last() else { return Ok(Vec::new()) };
    let target = unlocked.path(last)?;
    let is_folder = match unlocked.session.stat(&target).await {
        Ok(entry) => entry.is_directory,
        Err(ClientError::NotFound { .. }) if !last.ends_with('/') && sources.len() == 1 => false,
        Err(error) => return Err(fail(error)),
    };
    if !is_folder && sources.len() > 1 {
        return Err(Failure::new(Kind::Usage, format!("{}: this is no folder", defused(last))));
    }
    sources
        .iter()
        .map(|source| {
            let source = unlocked.path(source)?;
            let target = if is_folder { target.join(source.name().clone()) } else { target.clone() };
            Ok((source, target))
        })
        .collect()
}
