//! Commands that look: `ls`, `tree`, `stat`.

use clap::Args;
use pyrgos_protocol::client::{Entry, RemotePath};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, human_size, local_time, printable, utc_time};
use super::readable::{Readable, damaged};
use super::session::{Global, NativeSession, Unlocked, fail};

/// List folders
#[derive(Args, Debug)]
pub struct LsArgs {
    /// What to list: absolute as /alice/notes, or below the home folder [default: the home folder]
    pub(super) paths: Vec<String>,
    /// With kind, size and time of the last change
    #[arg(short)]
    long: bool,
    /// Hidden entries too
    #[arg(short)]
    all: bool,
    /// Sizes in bytes, not rounded
    #[arg(short, long)]
    bytes: bool,
}

/// List folders with everything below them
#[derive(Args, Debug)]
pub struct TreeArgs {
    /// Where to start [default: the home folder]
    path: Option<String>,
    /// Hidden entries too
    #[arg(short)]
    all: bool,
}

/// Show everything that is known of files or folders
#[derive(Args, Debug)]
pub struct StatArgs {
    /// What to show
    #[arg(required = true)]
    paths: Vec<String>,
}

/// Lists folders.
pub async fn list(global: &Global, args: LsArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let texts = if args.paths.is_empty() { vec![String::new()] } else { args.paths.clone() };
    let paths = texts.iter().map(|text| unlocked.path(text)).collect::<Result<Vec<_>, _>>()?;
    let failures = show(&unlocked.session, global.output(), &args, &paths).await?;
    unlocked.close()?;
    Failure::all_or(failures)
}

/// Lists folders of a tree, and gives what of them cannot be read.
pub(super) async fn show<S: Readable>(
    tree: &S,
    output: Output,
    args: &LsArgs,
    paths: &[RemotePath],
) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    for (n, path) in paths.iter().enumerate() {
        let entry = tree.stat(path).await.map_err(fail)?;
        if !entry.is_directory {
            print(output, args, path, &[entry]);
            continue;
        }
        if paths.len() > 1 && !output.json {
            output.line(format!("{}{}:", if n > 0 { "\n" } else { "" }, printable(&path.to_string())), &());
        }
        let listing = tree.listing(path).await.map_err(fail)?;
        failures.extend(listing.unreadable.into_iter().map(|unreadable| damaged(path, unreadable)));
        let shown: Vec<Entry> = listing.entries.into_iter().filter(|entry| args.all || !entry.is_hidden).collect();
        for entry in &shown {
            print(output, args, &path.join(entry.name.clone()), std::slice::from_ref(entry));
        }
    }
    Ok(failures)
}

fn print(output: Output, args: &LsArgs, path: &RemotePath, entries: &[Entry]) {
    for entry in entries {
        let name = printable(entry.name.as_str());
        let slash = if entry.is_directory { "/" } else { "" };
        let text = if args.long {
            let size = if args.bytes { entry.size_bytes.to_string() } else { human_size(entry.size_bytes) };
            let size = if entry.is_directory { "-".to_owned() } else { size };
            let time = local_time(entry.modified.seconds(), entry.modified.nanos());
            format!("{}r{} {size:>12} {time} {name}{slash}", kind(entry), if entry.is_writable { "w" } else { "-" })
        } else {
            format!("{name}{slash}")
        };
        output.line(text, &as_json(path, entry));
    }
}

fn kind(entry: &Entry) -> char {
    if entry.is_directory { 'd' } else { '-' }
}

fn as_json(path: &RemotePath, entry: &Entry) -> Value {
    json!({
        "path": path.to_string(),
        "name": entry.name.as_str(),
        "kind": if entry.is_directory { "directory" } else { "file" },
        "size_bytes": entry.size_bytes,
        "modified": utc_time(entry.modified.seconds(), entry.modified.nanos()),
        "created": utc_time(entry.created.seconds(), entry.created.nanos()),
        "mime_type": entry.mime_type,
        "hidden": entry.is_hidden,
        "writable": entry.is_writable,
    })
}

/// Lists a folder with everything below it.
pub async fn tree(global: &Global, args: TreeArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let output = global.output();
    let path = unlocked.path(args.path.as_deref().unwrap_or_default())?;
    let entry = unlocked.session.stat(&path).await.map_err(fail)?;
    output.line(printable(&path.to_string()), &as_json(&path, &entry));
    let mut counts = Counts::default();
    if entry.is_directory {
        branch(&unlocked.session, output, args.all, path, &mut counts).await?;
    }
    output.note(format!("\n{} folders, {} files, {}", counts.folders, counts.files, human_size(counts.bytes)));
    unlocked.close()?;
    Failure::all_or(counts.unreadable)
}

#[derive(Default)]
struct Counts {
    folders: u64,
    files: u64,
    bytes: u64,
    unreadable: Vec<Failure>,
}

/// Walks without recursion: a tree from somebody else may be deeper than the stack.
async fn branch(
    session: &NativeSession,
    output: Output,
    all: bool,
    top: RemotePath,
    counts: &mut Counts,
) -> Result<(), Failure> {
    // Each level: its entries that are left, last first, and the lines to draw in front of them.
    let children = async |path: &RemotePath, counts: &mut Counts| -> Result<Vec<Entry>, Failure> {
        let listing = session.listing(path).await.map_err(fail)?;
        counts.unreadable.extend(listing.unreadable.into_iter().map(|unreadable| damaged(path, unreadable)));
        Ok(listing.entries.into_iter().filter(|entry| all || !entry.is_hidden).rev().collect())
    };
    let mut levels = vec![(top.clone(), children(&top, counts).await?, String::new())];
    while let Some((folder, left, prefix)) = levels.last_mut() {
        let Some(entry) = left.pop() else {
            levels.pop();
            continue;
        };
        let is_last = left.is_empty();
        let path = folder.join(entry.name.clone());
        let slash = if entry.is_directory { "/" } else { "" };
        let line =
            format!("{prefix}{}{}{slash}", if is_last { "└── " } else { "├── " }, printable(entry.name.as_str()));
        output.line(line, &as_json(&path, &entry));
        if entry.is_directory {
            counts.folders += 1;
            let prefix = format!("{prefix}{}", if is_last { "    " } else { "│   " });
            levels.push((path.clone(), children(&path, counts).await?, prefix));
        } else {
            counts.files += 1;
            counts.bytes = counts.bytes.saturating_add(entry.size_bytes);
        }
    }
    Ok(())
}

/// Shows what is known of files or folders.
pub async fn stat(global: &Global, args: StatArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let paths = args.paths.iter().map(|text| unlocked.path(text)).collect::<Result<Vec<_>, _>>()?;
    describe(&unlocked.session, global.output(), &paths).await?;
    unlocked.close()
}

/// Shows what is known of files or folders of a tree.
pub(super) async fn describe<S: Readable>(tree: &S, output: Output, paths: &[RemotePath]) -> Result<(), Failure> {
    for path in paths {
        let entry = tree.stat(path).await.map_err(fail)?;
        let time = |time: pyrgos_protocol::cryptree::properties::Timestamp| {
            utc_time(time.seconds(), time.nanos()).unwrap_or_else(|| format!("{} s", time.seconds()))
        };
        let mut text = format!("    Path: {}\n", printable(&path.to_string()));
        text += &format!("    Kind: {}\n", if entry.is_directory { "folder" } else { "file" });
        if !entry.is_directory {
            text += &format!("    Size: {} bytes\n    Type: {}\n", entry.size_bytes, printable(&entry.mime_type));
        }
        text += &format!("Modified: {}\n Created: {}\n", time(entry.modified), time(entry.created));
        text += &format!("  Access: {}", if entry.is_writable { "read and write" } else { "read" });
        if entry.is_hidden {
            text += ", hidden";
        }
        output.line(text, &as_json(path, &entry));
    }
    Ok(())
}
