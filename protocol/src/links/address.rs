//! Links as they stand in web addresses (`spec/05` §7.1, §7.9, §8.2).

use zeroize::Zeroizing;

use super::secret::{SecretLink, SecretLinkError};
use crate::cryptree::AbsoluteCapability;
use crate::cryptree::capability::link::LinkError;

/// Longest address that is read, in bytes.
const MAX_ADDRESS: usize = 64 * 1024;

/// What a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// A secret link, whose capability the owner's server hands out.
    Secret(SecretLink),
    /// The capability itself, in links of old clients and of published files.
    Capability(Box<AbsoluteCapability>),
}

/// A link with what stands around it.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkAddress {
    /// What it leads to.
    pub target: LinkTarget,
    /// Scheme and host, such as `https://example.org`, if the text was a whole web address.
    pub server: Option<String>,
    /// The path to show first, below or above the target. Whoever made the link wrote it; it proves nothing.
    pub path: Option<String>,
    /// Whether a file is to be opened at once.
    pub opens_at_once: bool,
}

/// Says nothing of the path, which is made of names.
impl std::fmt::Debug for LinkAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkAddress").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Why a text is no link. Nothing of the text is repeated, since it holds secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Longer than any link.
    #[error("a link has at most {MAX_ADDRESS} bytes")]
    TooLong,
    /// A secret link that is malformed.
    #[error(transparent)]
    Secret(#[from] SecretLinkError),
    /// A capability link that is malformed.
    #[error(transparent)]
    Capability(#[from] LinkError),
    /// The fragment is JSON, but not that of a link.
    #[error("the fragment of the address holds no link")]
    Fragment,
}

impl LinkAddress {
    /// Reads a link in any form: `secret/…#…`, a capability link `#…/…`, the JSON in the fragment of older addresses,
    /// each with or without a server in front.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let (server, link) = split_server(text);
        let link = link.trim_start_matches('/');
        let mut address = match link.strip_prefix('#') {
            // No path in front of the fragment: the capability is in it.
            Some(fragment) => of_fragment(fragment)?,
            None if link.contains('#') => of_secret_link(link)?,
            None => of_fragment(link)?,
        };
        address.server = server;
        Ok(address)
    }
}

/// Scheme and host, and what follows them.
fn split_server(text: &str) -> (Option<String>, &str) {
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme)) else {
        return (None, text);
    };
    let end = rest.find(['/', '#']).unwrap_or(rest.len());
    (Some(format!("{scheme}://{}", &rest[..end])), &rest[end..])
}

fn of_secret_link(link: &str) -> Result<LinkAddress, AddressError> {
    let target = LinkTarget::Secret(link.parse()?);
    let parameters = link.split_once('#').and_then(|(_, fragment)| fragment.split_once('?')).map_or("", |(_, all)| all);
    Ok(with_parameters(target, parameters))
}

fn of_fragment(fragment: &str) -> Result<LinkAddress, AddressError> {
    // Browsers show quotes and braces in a fragment percent-encoded.
    let decoded = percent_decode(fragment).filter(|text| text.starts_with('{'));
    if let Some(json) = decoded {
        return of_json(&json);
    }
    let (link, parameters) = fragment.split_once('?').unwrap_or((fragment, ""));
    Ok(with_parameters(capability(link)?, parameters))
}

fn capability(link: &str) -> Result<LinkTarget, AddressError> {
    Ok(LinkTarget::Capability(Box::new(AbsoluteCapability::from_link(link)?)))
}

/// `{"secretLink":true,"path":…,"open":true,"link":"#…"}`, whose link may be of either kind.
fn of_json(json: &str) -> Result<LinkAddress, AddressError> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|_| AddressError::Fragment)?;
    let link = value["link"].as_str().ok_or(AddressError::Fragment)?;
    let target = match link.starts_with('#') || !link.contains('#') {
        true => capability(link)?,
        false => LinkTarget::Secret(link.parse()?),
    };
    // Encoded once more by browsers that show the whole fragment encoded.
    let path = value["path"].as_str().and_then(|path| match path.contains('/') {
        true => Some(path.to_owned()),
        false => percent_decode(path).map(|path| path.to_string()),
    });
    Ok(LinkAddress { target, server: None, path, opens_at_once: value["open"] == true })
}

fn with_parameters(target: LinkTarget, parameters: &str) -> LinkAddress {
    let mut address = LinkAddress { target, server: None, path: None, opens_at_once: false };
    for parameter in parameters.split('&') {
        match parameter.split_once('=') {
            Some(("open", "true")) => address.opens_at_once = true,
            Some(("path", path)) => address.path = percent_decode(path).map(|path| path.to_string()),
            _ => {}
        }
    }
    address
}

/// What a server answers for `/public/<user>/<path>`: the address of the viewer with the link to the published file in
/// its fragment, which browsers keep (`spec/05` §8.2). `path` begins with `/<user>`.
pub fn redirect(path: &str, opens_at_once: bool, capability: &AbsoluteCapability) -> Zeroizing<String> {
    let open = if opens_at_once { "%2c\"open\":true" } else { "" };
    let link = capability.read_only().to_link();
    let path = form_encode(path);
    Zeroizing::new(format!("/#{{\"secretLink\":true%2c\"path\":\"{path}\"{open}%2c\"link\":\"{}\"}}", link.as_str()))
}

/// The encoding of web forms, as the reference's server writes it.
fn form_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Decodes `%xx`; none if a `%` begins nothing or the bytes are no text.
fn percent_decode(text: &str) -> Option<Zeroizing<String>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    std::str::from_utf8(&out).ok().map(|text| Zeroizing::new(text.to_owned()))
}
