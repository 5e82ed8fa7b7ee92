//! Commands that carry content: `put`, `get`, `cat`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use clap::Args;
use futures_util::{StreamExt, stream};
use pyrgos_protocol::client::{Batch, ClientError, File, IfExists, RemotePath, UploadOptions};
use pyrgos_protocol::cryptree::name::FileName;
use pyrgos_protocol::cryptree::properties::Timestamp;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::{Output, defused, human_size, printable};
use super::progress::Transfer;
use super::readable::{NativeLink, Readable, damaged};
use super::session::{Global, Unlocked, fail};
use super::target::{Target, require_distinct};
use crate::native::files::{LocalSink, LocalSource, StreamSink};
use crate::native::{HttpTransport, NativeRuntime};

/// Files of one `get -r` that are fetched at the same time. Each also fetches its own parts at the same time.
const FILES_AT_ONCE: usize = 8;

/// Store local files or folders
///
/// A file that is there already is replaced; whoever it is shared with keeps access.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// What to store (`-`: standard input), and last the new path or the folder to put it into
    #[arg(required = true, num_args = 2.., value_names = ["LOCAL", "REMOTE"])]
    pub(super) paths: Vec<PathBuf>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Leave files alone that are there already
    #[arg(short, long)]
    pub(super) no_clobber: bool,
    /// Go on with interrupted uploads of large files: only if the local files have not changed since
    #[arg(long)]
    pub(super) resume: bool,
}

/// Fetch files or folders
///
/// A local file is replaced only when the new one is whole and verified.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// What to fetch, and last the local path or folder to put it into [default: the current folder]
    #[arg(required = true, value_names = ["REMOTE", "LOCAL"])]
    pub(super) paths: Vec<String>,
    /// Folders too, with everything below them
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Leave files alone that are there already
    #[arg(short, long)]
    pub(super) no_clobber: bool,
}

/// Write files to standard output
#[derive(Args, Debug)]
pub struct CatArgs {
    /// Files to write, one after another
    #[arg(required = true)]
    pub(super) paths: Vec<String>,
}

pub(super) type NativeBatch<'s> = Batch<'s, HttpTransport, NativeRuntime>;
type NativeFile<'s> = File<'s, HttpTransport, NativeRuntime>;

/// Stores files or folders.
pub async fn put(global: &Global, args: PutArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let output = global.output();
    let Some((last, sources)) = args.paths.split_last() else { return Ok(()) };
    let last = last.to_str().ok_or_else(|| Failure::new(Kind::Usage, "the remote path is not UTF-8"))?;
    let target = Target::find(&unlocked, last, sources.len()).await?;
    let stored =
        store(unlocked.session.batch(), || unlocked.session.take_conflicts(), output, sources, &target, &args).await?;
    unlocked.close()?;
    Failure::all_or(stored)
}

/// Stores files or folders at a target, and gives the failures of single ones. `conflicts` tells which were put beside what
/// somebody else stored at the same time.
pub(super) async fn store(
    batch: NativeBatch<'_>,
    conflicts: impl FnOnce() -> Vec<RemotePath>,
    output: Output,
    sources: &[PathBuf],
    target: &Target,
    args: &PutArgs,
) -> Result<Vec<Failure>, Failure> {
    let mut placed = Vec::new();
    for source in sources {
        placed.push(if source == Path::new("-") { target.path.clone() } else { target.of(remote_name(source)?) });
    }
    require_distinct(&placed)?;
    let mut upload = Upload {
        batch,
        transfer: Transfer::new(output, "put", total(sources, args.recursive)),
        if_exists: if args.no_clobber { IfExists::Skip } else { IfExists::Replace },
        resume: args.resume,
        skipped: Vec::new(),
    };
    let mut stopped = None;
    for (source, to) in sources.iter().zip(&placed) {
        match upload.source(source, to, target.is_folder, args.recursive).await {
            // The others can be stored all the same.
            Err(failure) if matches!(failure.kind, Kind::Local | Kind::Usage) => upload.skipped.push(failure),
            Err(failure) => {
                stopped = Some(failure);
                break;
            }
            Ok(()) => {}
        }
    }
    // Whatever stopped it: what was accepted before is stored.
    let Upload { batch, transfer, mut skipped, .. } = upload;
    let finished = batch.finish().await.map_err(fail);
    transfer.finish();
    let beside: Vec<String> = conflicts().iter().map(ToString::to_string).collect();
    for path in &beside {
        output.note(format!("somebody else stored this file at the same time; yours is {}", printable(path)));
    }
    let count = match (finished, stopped) {
        (Ok(count), None) => count,
        (finished, stopped) => {
            skipped.extend(finished.err().into_iter().chain(stopped));
            return Failure::all_or(skipped).map(|()| Vec::new());
        }
    };
    if output.json {
        output.line(
            "",
            &json!({ "stored_files": count.files, "left_alone": count.skipped, "failed": skipped.len(),
            "stored_beside": beside }),
        );
    } else if count.files + count.skipped > 1 {
        let left = if count.skipped > 0 { format!(", {} left alone", count.skipped) } else { String::new() };
        output.note(format!("{} files stored{left}", count.files));
    }
    Ok(skipped)
}

/// Replaces the file that a link leads to.
pub(super) async fn replace(link: &NativeLink, output: Output, source: &Path, no_clobber: bool) -> Result<(), Failure> {
    let if_exists = if no_clobber { IfExists::Skip } else { IfExists::Replace };
    let transfer = Transfer::new(output, "put", total(std::slice::from_ref(&source.to_owned()), false));
    transfer.at(link.root().name().as_str());
    let stored = if source == Path::new("-") {
        let options = UploadOptions { if_exists, ..UploadOptions::default() };
        link.upload(link.root(), &mut LocalSource::stream(std::io::stdin()), &options, &transfer).await
    } else {
        if source.is_dir() {
            return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", source.display()))
                .hint("the link leads to a single file"));
        }
        let mut content = LocalSource::open(source).map_err(|error| local(source, &error))?;
        let options = UploadOptions { if_exists, modified: modified(source), ..UploadOptions::default() };
        link.upload(link.root(), &mut content, &options, &transfer).await
    };
    transfer.finish();
    let stored = match stored {
        Err(ClientError::Local(error)) => return Err(local(source, &error)),
        stored => stored.map_err(fail)?,
    };
    if output.json {
        let left = u64::from(!stored);
        output.line(
            "",
            &json!({ "stored_files": u64::from(stored), "left_alone": left, "failed": 0,
            "stored_beside": [] }),
        );
    }
    Ok(())
}

struct Upload<'s> {
    batch: NativeBatch<'s>,
    transfer: Transfer,
    if_exists: IfExists,
    resume: bool,
    skipped: Vec<Failure>,
}

impl Upload<'_> {
    fn options(&self, modified: Option<Timestamp>) -> UploadOptions {
        UploadOptions {
            if_exists: self.if_exists,
            modified,
            resume: self.resume && modified.is_some(),
            ..UploadOptions::default()
        }
    }

    async fn source(
        &mut self,
        source: &Path,
        to: &RemotePath,
        into_folder: bool,
        recursive: bool,
    ) -> Result<(), Failure> {
        if source == Path::new("-") {
            return self.standard_input(to, into_folder).await;
        }
        let metadata = fs::metadata(source).map_err(|error| local(source, &error))?;
        match (metadata.is_dir(), recursive) {
            (true, true) => self.folder(source, to).await,
            (true, false) => Err(Failure::new(Kind::Usage, format!("{}: this is a folder", source.display()))
                .hint("store it with everything below it by `put -r`")),
            (false, _) => self.file(source, to).await,
        }
    }

    async fn standard_input(&mut self, target: &RemotePath, is_folder: bool) -> Result<(), Failure> {
        if is_folder {
            return Err(Failure::new(Kind::Usage, "standard input needs the path of a file to become"));
        }
        let mut source = LocalSource::stream(std::io::stdin());
        let options = self.options(None);
        self.batch.put(target, &mut source, &options, &self.transfer).await.map_err(fail)
    }

    async fn file(&mut self, source: &Path, to: &RemotePath) -> Result<(), Failure> {
        self.transfer.at(to.name().as_str());
        let mut content = LocalSource::open(source).map_err(|error| local(source, &error))?;
        let options = self.options(modified(source));
        match self.batch.put(to, &mut content, &options, &self.transfer).await {
            Err(ClientError::Local(error)) => Err(local(source, &error)),
            stored => stored.map_err(fail),
        }
    }

    /// A folder with everything below it, without recursion and without following links.
    async fn folder(&mut self, source: &Path, to: &RemotePath) -> Result<(), Failure> {
        let mut pending = vec![(source.to_owned(), to.clone())];
        while let Some((folder, to)) = pending.pop() {
            self.batch.make_directory(&to).await.map_err(fail)?;
            let mut entries = match read_folder(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.skipped.push(local(&folder, &error));
                    continue;
                }
            };
            entries.sort();
            for path in entries {
                let kind = match fs::symlink_metadata(&path) {
                    Ok(metadata) => metadata.file_type(),
                    Err(error) => {
                        self.skipped.push(local(&path, &error));
                        continue;
                    }
                };
                let name = match remote_name(&path) {
                    Ok(name) => name,
                    Err(failure) => {
                        self.skipped.push(failure);
                        continue;
                    }
                };
                let to = to.join(name);
                if kind.is_dir() {
                    pending.push((path, to));
                } else if kind.is_file() {
                    match self.file(&path, &to).await {
                        Err(failure) if failure.kind == Kind::Local => self.skipped.push(failure),
                        stored => stored?,
                    }
                } else {
                    let text = format!("{}: neither a file nor a folder, left out", path.display());
                    self.skipped.push(Failure::new(Kind::Local, text));
                }
            }
        }
        Ok(())
    }
}

fn read_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn local(path: &Path, error: &std::io::Error) -> Failure {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull { Kind::Space } else { Kind::Local };
    Failure::new(kind, format!("{}: {error}", path.display()))
}

fn remote_name(path: &Path) -> Result<FileName, Failure> {
    // `put .` and `put ..` mean the folder by its real name.
    let named = path.file_name().map(OsStr::to_owned);
    let named = named.or_else(|| fs::canonicalize(path).ok()?.file_name().map(OsStr::to_owned));
    let name = named.as_deref().and_then(OsStr::to_str);
    let name = name.ok_or_else(|| Failure::new(Kind::Local, format!("{}: the name is not UTF-8", path.display())))?;
    FileName::new(name).map_err(|error| Failure::new(Kind::Local, format!("{}: {error}", path.display())))
}

fn modified(path: &Path) -> Option<Timestamp> {
    let time = fs::metadata(path).ok()?.modified().ok()?;
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::new(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos()),
        Err(before) => {
            // Nanoseconds count forward from the second before.
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => Timestamp::new(-seconds, 0),
                nanos => Timestamp::new(-seconds - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

/// Bytes of all files, for the progress bar; none if that is not known.
fn total(sources: &[PathBuf], recursive: bool) -> Option<u64> {
    let mut total = 0;
    let mut pending = sources.to_vec();
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).ok()?;
        if metadata.is_dir() && recursive {
            pending.extend(read_folder(&path).ok()?);
        } else if metadata.is_file() {
            total += metadata.len();
        }
    }
    Some(total)
}

/// Fetches files or folders.
pub async fn get(global: &Global, args: GetArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let failures = fetch(&unlocked.session, global.output(), &args, |text| unlocked.path(text)).await?;
    unlocked.close()?;
    Failure::all_or(failures)
}

/// Fetches files or folders of a tree, and gives what in them cannot be read.
pub(super) async fn fetch<S: Readable>(
    tree: &S,
    output: Output,
    args: &GetArgs,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
) -> Result<Vec<Failure>, Failure> {
    let (sources, last) = match args.paths.split_last() {
        Some((last, sources)) if !sources.is_empty() => (sources, PathBuf::from(last)),
        _ => (&args.paths[..], PathBuf::from(".")),
    };
    if sources.len() > 1 && !last.is_dir() {
        return Err(Failure::new(Kind::Usage, format!("{}: this is no folder", last.display())));
    }
    let mut fetched = Fetched::default();
    for source in sources {
        let path = path_of(source)?;
        let entry = tree.stat(&path).await.map_err(fail)?;
        let to = if last.is_dir() { last.join(entry.name.as_str()) } else { last.clone() };
        let download = Download { tree, no_clobber: args.no_clobber };
        match (entry.is_directory, args.recursive) {
            (true, true) => download.folder(output, &path, &to, &mut fetched).await?,
            (true, false) => {
                return Err(Failure::new(Kind::Usage, format!("{}: this is a folder", defused(source)))
                    .hint("fetch it with everything below it by `get -r`"));
            }
            (false, _) => {
                let transfer = Transfer::new(output, "get", Some(entry.size_bytes));
                let file = tree.file(&path).await.map_err(fail)?;
                fetched.add(download.file(&file, &to, &transfer).await?, entry.size_bytes);
            }
        }
    }
    if output.json {
        output.line(
            "",
            &json!({ "fetched_files": fetched.files, "bytes": fetched.bytes, "left_alone": fetched.left,
            "failed": fetched.unreadable.len() }),
        );
    } else if fetched.files > 1 {
        output.note(format!("{} files, {}", fetched.files, human_size(fetched.bytes)));
    }
    Ok(fetched.unreadable)
}

#[derive(Default)]
struct Fetched {
    files: u64,
    bytes: u64,
    left: u64,
    unreadable: Vec<Failure>,
}

impl Fetched {
    fn add(&mut self, was_fetched: bool, bytes: u64) {
        if was_fetched {
            self.files += 1;
            self.bytes += bytes;
        } else {
            self.left += 1;
        }
    }
}

struct Download<'s, S> {
    tree: &'s S,
    no_clobber: bool,
}

impl<S: Readable> Download<'_, S> {
    /// Fetches one file; false if one is there and shall stay.
    async fn file(&self, file: &NativeFile<'_>, to: &Path, transfer: &Transfer) -> Result<bool, Failure> {
        if self.no_clobber && to.exists() {
            return Ok(false);
        }
        if to.is_dir() {
            return Err(Failure::new(Kind::Local, format!("{}: a folder is in the way", to.display())));
        }
        let entry = file.entry();
        transfer.at(entry.name.as_str());
        // Through a link to what it means, as `cp` does.
        let resolved = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
        let to = resolved.as_path();
        if fs::metadata(to).is_ok_and(|there| !there.is_file()) {
            return Err(Failure::new(Kind::Local, format!("{}: this is no regular file", to.display()))
                .hint("write the content there by `pyrgos cat`"));
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut sink = LocalSink::beside(folder).map_err(|error| local(to, &error))?;
        match file.download(None, &mut sink, transfer).await {
            Err(ClientError::Local(error)) => return Err(local(to, &error)),
            fetched => fetched.map_err(fail)?,
        };
        let modified = (entry.modified.seconds(), entry.modified.nanos());
        sink.finish(to, modified).map_err(|error| local(to, &error))?;
        Ok(true)
    }

    /// Fetches a folder with everything below it.
    async fn folder(&self, output: Output, path: &RemotePath, to: &Path, fetched: &mut Fetched) -> Result<(), Failure> {
        let transfer = Transfer::new(output, "get", None);
        let mut pending = vec![(path.clone(), to.to_owned())];
        while let Some((path, to)) = pending.pop() {
            match fs::create_dir(&to) {
                Err(_) if to.is_dir() => {}
                made => made.map_err(|error| local(&to, &error))?,
            }
            let children = self.tree.children(&path).await.map_err(fail)?;
            fetched.unreadable.extend(children.unreadable.into_iter().map(|unreadable| damaged(&path, unreadable)));
            pending.extend(children.directories.into_iter().map(|entry| {
                let to = to.join(entry.name.as_str());
                (path.join(entry.name), to)
            }));
            let mut downloads = stream::iter(children.files.into_iter().map(|file| {
                let (to, transfer) = (to.join(file.entry().name.as_str()), &transfer);
                async move {
                    self.file(&file, &to, transfer).await.map(|was_fetched| (was_fetched, file.entry().size_bytes))
                }
            }))
            .buffer_unordered(FILES_AT_ONCE);
            while let Some(done) = downloads.next().await {
                let (was_fetched, bytes) = done?;
                fetched.add(was_fetched, bytes);
            }
        }
        Ok(())
    }
}

/// Writes files to standard output.
pub async fn cat(global: &Global, args: CatArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    write_out(&unlocked.session, &args, |text| unlocked.path(text)).await?;
    unlocked.close()
}

/// Writes files of a tree to standard output.
pub(super) async fn write_out<S: Readable>(
    tree: &S,
    args: &CatArgs,
    path_of: impl Fn(&str) -> Result<RemotePath, Failure>,
) -> Result<(), Failure> {
    for text in &args.paths {
        let path = path_of(text)?;
        let mut sink = StreamSink(std::io::stdout());
        let file = tree.file(&path).await.map_err(fail)?;
        match file.download(None, &mut sink, &()).await {
            // The reader has seen enough (`| head`).
            Err(ClientError::Local(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written.map_err(fail)?,
        };
    }
    Ok(())
}
