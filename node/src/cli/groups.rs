//! Commands about groups: all friends or all followers as one audience.

use pyrgos_protocol::client::Audience;
use pyrgos_protocol::names::Username;
use pyrgos_protocol::social::Recipient;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::session::{Global, Unlocked, fail};

/// A text as somebody with whom things are shared.
pub fn audience(text: &str) -> Result<Audience, Failure> {
    text.parse().map_err(|error: pyrgos_protocol::client::AudienceError| Failure::new(Kind::Usage, error.to_string()))
}

/// Those with whom something is shared, as they are written on the command line. Groups are looked up if there are any;
/// one that this program does not know keeps the name that the record gives it.
pub async fn names(unlocked: &Unlocked, recipients: &[&[Recipient]]) -> Result<Vec<Vec<String>>, Failure> {
    let has_groups = recipients.iter().any(|list| list.iter().any(|one| matches!(one, Recipient::Group(_))));
    let groups = match has_groups {
        true => unlocked.session.groups().await.map_err(fail)?,
        false => Vec::new(),
    };
    let name = |recipient: &Recipient| match recipient {
        Recipient::User(name) => name.to_string(),
        Recipient::Group(uid) => match groups.iter().find(|group| group.uid == *uid) {
            Some(group) => Audience::from(group.kind).to_string(),
            None => uid.to_string(),
        },
    };
    Ok(recipients.iter().map(|list| list.iter().map(name).collect()).collect())
}

/// Shows the groups and who is in them.
pub async fn groups(global: &Global) -> Result<(), Failure> {
    let unlocked = Unlocked::open(global).await?;
    for group in unlocked.session.groups().await.map_err(fail)? {
        let members: Vec<&str> = group.members.iter().map(Username::as_str).collect();
        let name = Audience::from(group.kind).to_string();
        let text = if members.is_empty() { "nobody".to_owned() } else { members.join(", ") };
        global.output().line(format!("{name}  {text}"), &json!({ "group": name, "members": members }));
    }
    unlocked.close()
}
