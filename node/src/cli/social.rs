//! Commands about other people: following, and sharing with them.

use std::io::IsTerminal;

use clap::Args;
use pyrgos_protocol::client::{ClientError, Contact, Followed, Received, RemotePath};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, text};
use pyrgos_protocol::keys::FingerPrint;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Answer;
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::groups::{audience, names};
use super::output::printable;
use super::session::{Global, Unlocked, fail, username};

/// Ask somebody to let you follow them, so that they can share with you
///
/// They see the request with `pyrgos requests` and answer it. Until then they are neither your follower nor your friend.
#[derive(Args, Debug)]
pub struct FollowArgs {
    /// Whom to follow
    name: String,
}

/// Let somebody follow you who asked to, so that you can share with them
#[derive(Args, Debug)]
pub struct AcceptArgs {
    /// Who asked
    name: String,
    /// Follow them too
    #[arg(short, long)]
    follow_back: bool,
}

/// Refuse somebody who asked to follow you
#[derive(Args, Debug)]
pub struct DenyArgs {
    /// Who asked
    name: String,
}

/// Stop following somebody; they are not told
#[derive(Args, Debug)]
pub struct UnfollowArgs {
    /// Whom to follow no longer
    name: String,
}

/// Show numbers to compare with somebody, to be sure that nobody is between you
///
/// The other person sees the same numbers with `pyrgos verify` and your name. Compare them in person or over the phone,
/// never through this server. In a terminal there is also a code that the other person can scan.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// With whom
    name: String,
    /// Note that the numbers were compared and are the same
    #[arg(long)]
    same: bool,
    /// Show the code to scan even if this is no terminal
    #[arg(long)]
    qr: bool,
    /// Compare with the text of the code on the other person's screen, and note it if it belongs to yours
    #[arg(long, value_name = "TEXT", conflicts_with = "same")]
    scanned: Option<String>,
}

/// Let followers read a file, or a folder with everything in it, now and later
#[derive(Args, Debug)]
pub struct ShareArgs {
    /// What to share
    path: String,
    /// With whom: a follower, @friends or @followers, which are all of them, now and later; may be given several times
    #[arg(long, required = true, value_name = "NAME")]
    with: Vec<String>,
    /// Let them change it too: everything in a folder, but not its own name or place
    #[arg(long, short)]
    write: bool,
}

/// Show what you share and with whom
#[derive(Args, Debug)]
pub struct SharesArgs {
    /// Only this file or folder, and what is in it [default: the home folder]
    path: Option<String>,
}

/// A failure about a person.
fn about(name: &Username) -> impl Fn(ClientError) -> Failure {
    move |error| {
        let kind = match &error {
            ClientError::NoRequest | ClientError::NotFollowed => Some(Kind::NotFound),
            ClientError::AlreadyFollowed => Some(Kind::Conflict),
            ClientError::ForgedRequest => Some(Kind::Untrustworthy),
            ClientError::Oneself => Some(Kind::Usage),
            _ => None,
        };
        let failure = fail(error);
        Failure { kind: kind.unwrap_or(failure.kind), ..failure }.about(name)
    }
}

/// Asks somebody.
pub async fn follow(global: &Global, args: FollowArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(&args.name)?;
    let (text, asked) = match unlocked.session.follow(&name).await.map_err(about(&name))? {
        Followed::Again => (format!("following {name} again"), false),
        _ => (format!("asked {name}; wait until they accept"), true),
    };
    global.output().line(text, &json!({ "username": name.as_str(), "asked": asked }));
    unlocked.close()
}

/// Shows who asks.
pub async fn requests(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for name in unlocked.session.follow_requests().await.map_err(fail)? {
        global.output().line(name.as_str(), &json!({ "username": name.as_str() }));
    }
    unlocked.close()
}

async fn answer(global: &Global, name: &str, answer: Answer, text: &str) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(name)?;
    unlocked.session.answer(&name, answer).await.map_err(about(&name))?;
    let value = json!({
        "username": name.as_str(),
        "accepted": answer.accepts(),
        "followed_back": answer.reciprocates(),
    });
    global.output().line(format!("{name} {text}"), &value);
    unlocked.close()
}

/// Accepts a request.
pub async fn accept(global: &Global, args: AcceptArgs) -> Result<(), Failure> {
    match args.follow_back {
        true => answer(global, &args.name, Answer::AcceptAndReciprocate, "follows you, and you follow them").await,
        false => answer(global, &args.name, Answer::Accept, "follows you").await,
    }
}

/// Refuses a request.
pub async fn deny(global: &Global, args: DenyArgs) -> Result<(), Failure> {
    answer(global, &args.name, Answer::Deny, "was refused").await
}

/// Stops following.
pub async fn unfollow(global: &Global, args: UnfollowArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(&args.name)?;
    unlocked.session.unfollow(&name).await.map_err(about(&name))?;
    global.output().line(format!("{name} is no longer followed"), &json!({ "username": name.as_str() }));
    unlocked.close()
}

fn relation(contact: &Contact) -> &'static str {
    match (contact.is_followed, contact.is_follower, contact.is_asked) {
        (true, true, _) => "friend",
        (true, false, _) => "followed",
        (false, true, _) => "follower",
        (false, false, true) => "asked",
        (false, false, false) => "none",
    }
}

async fn print_contacts(global: &Global, is_shown: impl Fn(&Contact) -> bool) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for contact in unlocked.session.contacts().await.map_err(fail)?.iter().filter(|contact| is_shown(contact)) {
        let verified = if contact.is_verified { ", verified" } else { "" };
        let value = json!({
            "username": contact.username.as_str(),
            "relation": relation(contact),
            "follows_you": contact.is_follower,
            "followed": contact.is_followed,
            "verified": contact.is_verified,
        });
        global.output().line(format!("{} ({}{verified})", contact.username, relation(contact)), &value);
    }
    unlocked.close()
}

/// Shows all with whom the user has to do.
pub async fn friends(global: &Global) -> Result<(), Failure> {
    print_contacts(global, |_| true).await
}

/// Shows those with whom the user can share.
pub async fn followers(global: &Global) -> Result<(), Failure> {
    print_contacts(global, |contact| contact.is_follower).await
}

/// Shows the numbers to compare.
pub async fn verify(global: &Global, args: VerifyArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let name = username(&args.name)?;
    let ours = unlocked.session.fingerprint(&name).await.map_err(about(&name))?;
    let is_same = match &args.scanned {
        Some(scanned) => {
            require_match(&ours, scanned).map_err(|failure| failure.about(&name))?;
            true
        }
        None => args.same,
    };
    if is_same {
        unlocked.session.set_verified(&name).await.map_err(about(&name))?;
    }
    let digits = ours.digits();
    let groups: Vec<&str> =
        digits.as_bytes().chunks(5).map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    let mut text = groups.chunks(4).map(|row| row.join(" ")).collect::<Vec<_>>().join("\n");
    let code = text::hex(ours.to_bytes());
    if args.qr || (std::io::stdout().is_terminal() && !is_same) {
        text = format!("{}\n{text}", qr_code(&code)?);
    }
    let value = json!({ "username": name.as_str(), "digits": digits, "code": code, "noted_as_same": is_same });
    global.output().line(text, &value);
    if is_same {
        global.output().note(format!("{name} is noted as verified"));
    }
    unlocked.close()
}

/// A text as a QR code of half blocks, dark on light whatever colours the terminal has.
fn qr_code(text: &str) -> Result<String, Failure> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L)
        .map_err(|error| Failure::new(Kind::Other, format!("no QR code can be made: {error}")))?;
    // Terminals mostly write light on dark, so what is printed is the light part.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// The text of the code that the other person's screen shows must be the other side of ours.
fn require_match(ours: &FingerPrint, scanned: &str) -> Result<(), Failure> {
    let bytes = text::from_hex(scanned.trim()).ok().map(bytes::Bytes::from);
    let theirs = bytes.and_then(|bytes| FingerPrint::from_bytes(&bytes).ok());
    let theirs =
        theirs.ok_or_else(|| Failure::new(Kind::Usage, "this is not the text of a code of `pyrgos verify`"))?;
    match ours.matches(&theirs) {
        true => Ok(()),
        false => Err(Failure::new(Kind::Untrustworthy, "the codes do not belong together").hint(
            "either this is the code of somebody else, or the server shows each of you another key than the true one",
        )),
    }
}

/// Shares.
pub async fn share(global: &Global, args: ShareArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(&args.path)?;
    share_path(global, &unlocked, &path, &args.with, args.write).await?;
    unlocked.close()
}

/// Lets others read something, or change it, and says who can now.
pub async fn share_path(
    global: &Global,
    unlocked: &Unlocked,
    path: &RemotePath,
    with: &[String],
    is_write: bool,
) -> Result<(), Failure> {
    let mut names = with.iter().map(|name| audience(name)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let granted = match is_write {
        true => unlocked.session.share_to_write(path, &names).await,
        false => unlocked.session.share(path, &names).await,
    };
    let granted = granted.map_err(|error| match &error {
        ClientError::NotAFollower { name } => about(&name.clone())(error),
        ClientError::Home => Failure::new(Kind::Usage, "the home folder cannot be shared").hint("share a folder in it"),
        _ => fail(error),
    })?;
    for name in &names {
        let is_new = granted.contains(name);
        let (access, done) = if is_write { ("write", "written") } else { ("read", "read") };
        let text = if is_new { format!("can now be {done} by") } else { format!("could already be {done} by") };
        let value = json!({ "path": path.to_string(), "with": name.to_string(), "access": access, "new": is_new });
        global.output().line(format!("{} {text} {name}", printable(&path.to_string())), &value);
    }
    Ok(())
}

/// Shows what is shared with whom.
pub async fn shares(global: &Global, args: SharesArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(args.path.as_deref().unwrap_or_default())?;
    let items = unlocked.session.shares(&path).await.map_err(fail)?;
    let lists: Vec<_> = items.iter().flat_map(|item| [&item.shares.readers[..], &item.shares.writers[..]]).collect();
    let mut names = names(&unlocked, &lists).await?.into_iter();
    for item in items {
        let (readers, writers) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let mut text = printable(&item.path.to_string());
        for (what, names) in [("read by", &readers), ("written by", &writers)] {
            if !names.is_empty() {
                text += &format!("  {what} {}", names.join(", "));
            }
        }
        let links = item.shares.links.len();
        if links > 0 {
            text += &format!("  links: {links}");
        }
        let value: Value = json!({
            "path": item.path.to_string(),
            "readers": readers,
            "writers": writers,
            "links": links,
        });
        global.output().line(text, &value);
    }
    unlocked.close()
}

/// Shows what others share with the user.
pub async fn shared_with_me(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let Received { shares, failures, .. } = unlocked.session.received().await.map_err(fail)?;
    for received in shares {
        let sharers: Vec<&str> = received.sharers.iter().map(Username::as_str).collect();
        let path: &RemotePath = &received.path;
        let slash = if received.entry.is_directory { "/" } else { "" };
        let is_writable = received.entry.is_writable;
        let access = if is_writable { "  to write" } else { "" };
        let text = format!("{}{slash}  from {}{access}", printable(&path.to_string()), sharers.join(", "));
        let value = json!({
            "path": path.to_string(),
            "from": sharers,
            "kind": if received.entry.is_directory { "directory" } else { "file" },
            "size_bytes": received.entry.size_bytes,
            "access": if is_writable { "write" } else { "read" },
        });
        global.output().line(text, &value);
    }
    unlocked.close()?;
    Failure::all_or(failures.into_iter().map(|failure| fail(failure.error).about(failure.friend)).collect())
}
