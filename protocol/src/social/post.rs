//! Posts, and the references with which posts and chats name files (`spec/05` §9).

use std::fmt;

use pyrgos_crypto::hash::sha256;

use crate::cryptree::AbsoluteCapability;
use crate::encoding::{Cid, DecodeError, FromCbor, Map, Multihash, ToCbor, Value};
use crate::names::{Date, Username};

/// Marks the file's type (mime type `application/vnd.peergos-social-post`).
const MARK: i64 = 17;

/// SHA-256 of a file's content, or of a post without its comments. In CBOR a link that holds a bare multihash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of some bytes.
    pub fn of(content: &[u8]) -> Self {
        ContentHash(sha256(content))
    }

    fn cid(&self) -> Cid {
        let hash = Multihash::new(Multihash::SHA2_256, &self.0).expect("32 bytes are a SHA-256");
        Cid::from_bytes(&hash.to_bytes()).expect("a bare multihash of SHA-256 is a CID of version 0")
    }
}

/// As base58 of the multihash, `Qm…`.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cid().fmt(f)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ToCbor for ContentHash {
    fn to_cbor(&self) -> Value {
        Value::Link(self.cid())
    }
}

impl FromCbor for ContentHash {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let cid = value.as_link()?;
        match cid.hash().digest().try_into() {
            Ok(digest) if cid.is_version_0() => Ok(ContentHash(digest)),
            _ => Err(DecodeError::invalid("content hash", "not a bare SHA-256")),
        }
    }
}

/// A file that a post or a message is about: `{p: path, c: capability, h: content hash}`. `Debug` shows no path.
#[derive(Clone, PartialEq, Eq)]
pub struct FileRef {
    path: String,
    /// Opens the file.
    pub capability: AbsoluteCapability,
    /// What was in it when it was referred to.
    pub content_hash: ContentHash,
}

/// A path that leads out of where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path with `..` in it")]
pub struct PathClimbs;

impl FileRef {
    /// A reference to the file at a path, which begins with the owner's name, with or without a slash in front.
    ///
    /// # Errors
    /// [`PathClimbs`].
    pub fn new(path: String, capability: AbsoluteCapability, content_hash: ContentHash) -> Result<Self, PathClimbs> {
        if path.split('/').any(|name| name == "..") {
            return Err(PathClimbs);
        }
        Ok(FileRef { path, capability, content_hash })
    }

    /// Where the file was.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Debug for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRef").field("content_hash", &self.content_hash).finish_non_exhaustive()
    }
}

impl ToCbor for FileRef {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("p", Value::text(&self.path)),
            ("c", self.capability.to_cbor()),
            ("h", self.content_hash.to_cbor()),
        ])
    }
}

impl FromCbor for FileRef {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("FileRef")?;
        FileRef::new(fields.text("p")?.to_owned(), fields.get("c")?, fields.get("h")?)
            .map_err(|error| DecodeError::invalid("FileRef", error.to_string()))
    }
}

/// A part of what a post or a message says. `Debug` shows no text.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A file: `{t: "Ref", r: FileRef}`.
    File(Box<FileRef>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::Text(_) => "Text",
            Content::File(_) => "File",
        })
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.to_owned())
    }
}

impl ToCbor for Content {
    fn to_cbor(&self) -> Value {
        match self {
            Content::Text(text) => Value::text(text),
            Content::File(file) => Value::map([("t", Value::text("Ref")), ("r", file.to_cbor())]),
        }
    }
}

impl FromCbor for Content {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        if let Value::Text(text) = value {
            return Ok(Content::Text(text.clone()));
        }
        let fields = value.fields("content")?;
        match fields.text("t")? {
            "Ref" => Ok(Content::File(Box::new(fields.get("r")?))),
            _ => Err(DecodeError::invalid("content", "of an unknown type")),
        }
    }
}

/// Who a post is meant for. It becomes visible by sharing its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostAudience {
    /// Nobody but the author.
    Author,
    /// Who follows the author and is followed by him.
    Friends,
    /// Who follows the author.
    Followers,
    /// Everybody.
    Public,
}

impl PostAudience {
    const ALL: [PostAudience; 4] =
        [PostAudience::Author, PostAudience::Friends, PostAudience::Followers, PostAudience::Public];

    fn name(self) -> &'static str {
        match self {
            PostAudience::Author => "Author",
            PostAudience::Friends => "Friends",
            PostAudience::Followers => "Followers",
            PostAudience::Public => "Public",
        }
    }
}

/// A post, or a comment on another: list `[17, map]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocialPost {
    /// Who wrote it.
    pub author: Username,
    /// What it says.
    pub body: Vec<Content>,
    /// When, seconds since 1970. The reference takes local time for UTC.
    pub time_secs: i64,
    /// Who it is meant for.
    pub audience: PostAudience,
    /// The post that it comments on.
    pub parent: Option<FileRef>,
    /// What it said before it was changed, oldest first.
    pub earlier: Vec<SocialPost>,
    /// The comments on it that the author has taken up.
    pub comments: Vec<FileRef>,
}

impl SocialPost {
    /// A new post.
    pub fn new(author: Username, body: Vec<Content>, time_secs: i64, audience: PostAudience) -> Self {
        SocialPost { author, body, time_secs, audience, parent: None, earlier: Vec::new(), comments: Vec::new() }
    }

    /// A comment on a post, for whom that was meant for.
    pub fn comment(&self, on: FileRef, author: Username, body: Vec<Content>, time_secs: i64) -> Self {
        SocialPost { parent: Some(on), ..SocialPost::new(author, body, time_secs, self.audience) }
    }

    /// The post with another body. What it said before stays in it, without the comments of that time.
    pub fn edit(mut self, body: Vec<Content>, time_secs: i64) -> Self {
        let mut earlier = std::mem::take(&mut self.earlier);
        earlier.push(SocialPost { comments: Vec::new(), ..self.clone() });
        SocialPost { body, time_secs, earlier, ..self }
    }

    /// What comments refer to: it stays the same when comments are taken up, and changes with the body.
    pub fn content_hash(&self) -> ContentHash {
        let bare = SocialPost { comments: Vec::new(), ..self.clone() };
        ContentHash::of(&bare.to_bytes())
    }

    /// The directory of the post below the author's home: `.posts/2026/1`. Posts in it are named `<uuid>.cbor`.
    pub fn directory(&self) -> String {
        let date = Date::from_unix_millis(self.time_secs.saturating_mul(1000));
        format!("{POSTS}/{}/{}", date.year(), date.month())
    }
}

/// Below the home directory: our posts. Hidden.
pub const POSTS: &str = ".posts";

impl ToCbor for SocialPost {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("a", self.author.to_cbor());
        map.insert("b", Value::list(&self.body));
        map.insert("t", Value::Int(self.time_secs));
        map.insert("s", Value::text(self.audience.name()));
        if let Some(parent) = &self.parent {
            map.insert("p", parent.to_cbor());
        }
        if !self.earlier.is_empty() {
            map.insert("v", Value::list(&self.earlier));
        }
        if !self.comments.is_empty() {
            map.insert("d", Value::list(&self.comments));
        }
        Value::List(vec![Value::Int(MARK), Value::Map(map)])
    }
}

impl FromCbor for SocialPost {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let invalid = |reason: &str| DecodeError::invalid("SocialPost", reason);
        let elements = value.elements("SocialPost", 2)?;
        if elements[0].as_int()? != MARK {
            return Err(invalid("a file of another type"));
        }
        let fields = elements[1].fields("SocialPost")?;
        let audience = fields.text("s")?;
        let audience = PostAudience::ALL.into_iter().find(|known| known.name() == audience);
        Ok(SocialPost {
            author: fields.get("a")?,
            body: fields.required("b")?.as_list_of()?,
            time_secs: fields.int("t")?,
            audience: audience.ok_or_else(|| invalid("for an unknown audience"))?,
            parent: fields.get_optional("p")?,
            earlier: fields.optional("v").map(Value::as_list_of).transpose()?.unwrap_or_default(),
            comments: fields.optional("d").map(Value::as_list_of).transpose()?.unwrap_or_default(),
        })
    }
}
