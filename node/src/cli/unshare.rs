//! Taking access back: `pyrgos unshare`, `pyrgos followers rm`.

use clap::{Args, Subcommand};
use pyrgos_protocol::client::{Audience, ClientError, OtherAccess, RemotePath, Revoked, Taken};
use pyrgos_protocol::social::shared_with::Access;
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::groups::audience;
use super::output::{Output, printable};
use super::session::{Global, Unlocked, fail, username};

/// Take back what you share
///
/// Keys change for everything in a folder, so that those whom you name read nothing that is written afterwards, and can
/// write no more. What they have read they may have kept. Everybody else goes on without noticing.
#[derive(Args, Debug)]
pub struct UnshareArgs {
    /// What not to share any more
    path: String,
    /// With whom: a follower, @friends or @followers, which are all of them; may be given several times
    #[arg(long, required = true, value_name = "NAME")]
    with: Vec<String>,
    /// Take back writing only: who may read besides keeps that
    #[arg(long)]
    write: bool,
}

/// Show who follows you: those with whom you can share
#[derive(Args, Debug)]
pub struct FollowersArgs {
    #[command(subcommand)]
    command: Option<FollowersCommand>,
}

/// What to do; without it, show them.
#[derive(Subcommand, Debug)]
enum FollowersCommand {
    /// Take back everything that somebody can reach, also in groups, and share nothing with them any more
    ///
    /// They are not told. You still follow them, if you do; see `pyrgos unfollow`.
    Rm {
        /// Whom to remove
        name: String,
    },
}

/// Shows or removes followers.
pub async fn followers(global: &Global, args: FollowersArgs) -> Result<(), Failure> {
    let Some(FollowersCommand::Rm { name }) = args.command else { return super::social::followers(global).await };
    let unlocked = Unlocked::open(global).await?;
    let name = username(&name)?;
    let revoked = unlocked.session.remove_follower(&name).await.map_err(|error| match error {
        ClientError::NotAFollower { .. } => Failure::new(Kind::NotFound, "does not follow you").about(&name),
        error => fail(error),
    })?;
    let text = format!("{name} does not follow you any more");
    global.output().line(text, &json!({ "username": name.as_str(), "removed": true }));
    tell(global.output(), &revoked);
    unlocked.close()
}

/// Takes access back.
pub async fn unshare(global: &Global, args: UnshareArgs) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    let path = unlocked.path(&args.path)?;
    let from = args.with.iter().map(|name| audience(name)).collect::<Result<Vec<_>, _>>()?;
    let taken = if args.write { Taken::Writing } else { Taken::All };
    let revoked = unlocked.session.unshare(&path, &from, taken).await.map_err(|error| match error {
        ClientError::Home => Failure::new(Kind::Usage, "the home folder is never shared"),
        error => fail(error),
    })?;
    for who in from.iter().chain(revoked.from.iter().filter(|who| !from.contains(who))) {
        let is_new = revoked.from.contains(who);
        let text = if is_new { "no longer shared with" } else { "was not shared with" };
        let access = if args.write { "write" } else { "all" };
        let value = json!({ "path": path.to_string(), "with": who.to_string(), "access": access, "taken": is_new });
        global.output().line(format!("{} {text} {who}", printable(&path.to_string())), &value);
    }
    tell(global.output(), &revoked);
    unlocked.close()
}

/// What a person should know of the consequences.
pub(super) fn tell(output: Output, revoked: &Revoked) {
    if !revoked.resent.is_empty() && !revoked.from.is_empty() {
        let names: Vec<String> = revoked.resent.iter().map(Audience::to_string).collect();
        output.note(format!("new keys were sent to {}", names.join(", ")));
    }
    for other in &revoked.other {
        remark(output, other);
    }
    for path in &revoked.dropped {
        output.note(format!("{} led nowhere and is gone", printable(&path.to_string())));
    }
}

fn remark(output: Output, other: &OtherAccess) {
    let OtherAccess { who, path, access, group } = other;
    let (verb, word) = match access {
        Access::Read => ("read", "read"),
        Access::Write => ("change", "write"),
    };
    let through = group.map(|group| format!(", as one of @{}", group.name())).unwrap_or_default();
    let path: &RemotePath = path;
    let text = format!("{who} can still {verb} it: {} is shared with them{through}", printable(&path.to_string()));
    match output.json {
        true => {
            let value: Value = json!({
                "still": who.as_str(),
                "access": word,
                "path": path.to_string(),
                "group": group.map(|group| format!("@{}", group.name())),
            });
            output.line("", &value);
        }
        false => output.note(text),
    }
}
