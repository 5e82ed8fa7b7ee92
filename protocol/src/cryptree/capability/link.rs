//! Capabilities as a text, for the fragment of a URL (`spec/03` §5.3).

use bytes::Bytes;
use zeroize::Zeroizing;

use super::AbsoluteCapability;
use crate::cryptree::chunk::MapKey;
use crate::encoding::text::{TextError, base58, from_base58};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::merkle::bat::Bat;

/// Why a text is no capability link. Nothing of the text is repeated, since it holds keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A link has four parts, or five with a write key.
    #[error("a capability link has {0} parts instead of 4 or 5")]
    Parts(usize),
    /// A part is no base58.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A part does not hold what it should.
    #[error("malformed capability link: {0}")]
    Decode(#[from] DecodeError),
}

impl AbsoluteCapability {
    /// The capability as a link: `#owner/writer/mapkey+bat/base key[/base write key]`, each part base58 without
    /// multibase prefix. Who has the text has the capability.
    pub fn to_link(&self) -> Zeroizing<String> {
        let mut label = Zeroizing::new(self.map_key.as_bytes().to_vec());
        if let Some(bat) = &self.bat {
            label.extend_from_slice(&bat.to_secret_bytes());
        }
        let mut link = Zeroizing::new(format!(
            "#{}/{}/{}/{}",
            base58(self.owner.to_bytes()),
            base58(self.writer.to_bytes()),
            *Zeroizing::new(base58(&*label)),
            *Zeroizing::new(base58(&*self.base_key.to_secret_bytes())),
        ));
        if let Some(key) = &self.base_write_key {
            // Into a new allocation of the right size, so that no copy is left behind by growing.
            let key = Zeroizing::new(base58(&*key.to_secret_bytes()));
            link = Zeroizing::new([link.as_str(), key.as_str()].join("/"));
        }
        link
    }

    /// Reads a link; the `#` may be missing.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn from_link(link: &str) -> Result<Self, LinkError> {
        let parts: Vec<&str> = link.strip_prefix('#').unwrap_or(link).split('/').collect();
        if !(4..=5).contains(&parts.len()) {
            return Err(LinkError::Parts(parts.len()));
        }
        let part = |at: usize| from_base58(parts[at]).map(Zeroizing::new);
        let label = part(2)?;
        let Some((map_key, bat)) = label.split_first_chunk() else {
            return Err(DecodeError::invalid("map key", format!("{} bytes instead of 32", label.len())).into());
        };
        let bat = if bat.is_empty() { None } else { Some(read::<Bat>(Zeroizing::new(bat.to_vec()))?) };
        Ok(AbsoluteCapability {
            owner: read(part(0)?)?,
            writer: read(part(1)?)?,
            map_key: MapKey::from_bytes(*map_key),
            bat,
            base_key: read(part(3)?)?,
            base_write_key: if parts.len() == 5 { Some(read(part(4)?)?) } else { None },
        })
    }
}

/// Reads a structure from bytes that are wiped with the last slice of them.
fn read<T: FromCbor>(bytes: Zeroizing<Vec<u8>>) -> Result<T, DecodeError> {
    T::from_cbor(&Value::decode_shared(&Bytes::from_owner(bytes))?)
}
