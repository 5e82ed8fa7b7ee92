//! Commands that change what is there: `mkdir`, `rm`, `mv`, `cp`.

use clap::Args;
use pyrgos_protocol::client::{ClientError, IfExists, RemotePath};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::{Output, defused};
use super::progress::Transfer;
use super::readable::{Changeable, Readable};
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
    pub(super) paths: Vec<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Do not mind what is not there
    #[arg(short, long)]
    pub(super) force: bool,
}

/// Move or rename files or folders
#[derive(Args, Debug)]
pub struct MvArgs {
    /// What to move, and last the new path or the folder to move it into
    #[arg(required = true, num_args = 2.., value_names = ["FROM", "TO"])]
    pub(super) paths: Vec<String>,
    /// Fail instead of replacing a file
    #[arg(short, long)]
    pub(super) no_clobber: bool,
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
        done(global.output(), "made", &path);
    }
    unlocked.close()
}

/// Removes files or folders. One that cannot be removed does not keep the others.
pub async fn remove(global: &Global, args: RmArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let failures = remove_from(&unlocked.session, global.output(), &args, |text| unlocked.path(text)).await?;
    unlocked.close()?;
    Failure::all_or(failures)
}

/// Removes files or folders of a tree, and gives the failures of single ones.
pub(super) async fn remove_from<S: Changeable>(
    tree: &S,
    output: Output,
    args: &RmArgs,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    for text in &args.paths {
        match remove_one(tree, args, text, &path_of).await {
            Ok(Some(path)) => done(output, "removed", &path),
            Ok(None) => {}
            // No other will fare better.
            Err(failure) if failure.kind == Kind::Unreachable => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(failures)
}

async fn remove_one<S: Changeable>(
    tree: &S,
    args: &RmArgs,
    text: &str,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
) -> Result<Option<RemotePath>, Failure> {
    let path = path_of(text)?;
    let removed = match args.recursive {
        true => tree.remove(&path, true).await,
        false => match tree.stat(&path).await {
            Ok(entry) if entry.is_directory => {
                return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", defused(text)))
                    .hint("remove it with everything below it by `rm -r`"));
            }
            Ok(_) => tree.remove(&path, false).await,
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
    move_in(&unlocked.session, global.output(), &args, |text| unlocked.path(text)).await?;
    unlocked.close()
}

/// Moves files or folders of a tree.
pub(super) async fn move_in<S: Changeable>(
    tree: &S,
    output: Output,
    args: &MvArgs,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
) -> Result<(), Failure> {
    for (from, to) in targets(tree, path_of, &args.paths).await? {
        tree.rename(&from, &to, if_exists(args.no_clobber)).await.map_err(fail)?;
        done(output, "moved to", &to);
    }
    Ok(())
}

/// Copies files or folders.
pub async fn copy(global: &Global, args: CpArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for (from, to) in targets(&unlocked.session, |text| unlocked.path(text), &args.paths).await? {
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
        done(global.output(), "copied to", &to);
    }
    unlocked.close()
}

fn if_exists(no_clobber: bool) -> IfExists {
    if no_clobber { IfExists::Fail } else { IfExists::Replace }
}

fn done(output: Output, verb: &str, path: &RemotePath) {
    if output.json {
        output.line("", &json!({ "done": verb, "path": path.to_string() }));
    }
}

/// Each source with the path that it gets.
async fn targets<S: Readable>(
    tree: &S,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
    paths: &[String],
) -> Result<Vec<(RemotePath, RemotePath)>, Failure> {
    let Some((last, sources)) = paths.split_last() else { return Ok(Vec::new()) };
    let target = Target::at(tree, path_of(last)?, last, sources.len()).await?;
    let pairs = sources.iter().map(|source| {
        let source = path_of(source)?;
        let to = target.of(source.name().clone());
        Ok((source, to))
    });
    let pairs = pairs.collect::<Result<Vec<_>, Failure>>()?;
    require_distinct(pairs.iter().map(|(_, to)| to))?;
    Ok(pairs)
}
