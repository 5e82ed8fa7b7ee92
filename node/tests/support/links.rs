//! Secret links that tests put into an account's state.

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::api::links::OpenSecretLink;
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::CipherText;
use pyrgos_protocol::links::sealed::HASHING;
use pyrgos_protocol::links::{EncryptedCapability, LinkLabel, SecretLinkTarget};
use pyrgos_protocol::merkle::bat::BatId;
use pyrgos_protocol::merkle::champ::{Champ, Change, MemoryBlocks, Node as TreeNode, Slot};
use pyrgos_protocol::merkle::writer_data::WriterData;

use super::account::Account;

pub fn label(number: u32) -> LinkLabel {
    LinkLabel::new(number).unwrap()
}

/// What a link holds. The node cannot tell a cipher text from any other bytes.
pub fn target(text: &str, expiry_secs: Option<i64>, max_retrievals: Option<i64>) -> SecretLinkTarget {
    let sealed = Value::List(vec![Value::bytes(vec![7; 24]), Value::bytes(text.as_bytes())]);
    let sealed = CipherText::from_cbor(&sealed).unwrap();
    let capability = EncryptedCapability { sealed, has_user_password: false };
    SecretLinkTarget { capability, expiry_secs, max_retrievals }
}

pub fn open(account: &Account, number: u32) -> OpenSecretLink {
    OpenSecretLink { owner: account.owner(), label: label(number) }
}

/// The identity's writer data with these links, and every block that belongs to them.
pub fn state(account: &Account, links: &[(u32, SecretLinkTarget)], bat_below: bool) -> (Cid, Vec<Bytes>) {
    let bat = account.bat.id().clone();
    let mut memory = MemoryBlocks::default();
    let (empty, block) = Champ::new(&memory, HASHING).with_root_bat(bat.clone()).empty();
    memory.put(Codec::DagCbor, block);
    let changes: Vec<Change> =
        links.iter().map(|(number, target)| SecretLinkTarget::put(label(*number), None, target.to_block().0)).collect();
    let champ = Champ::new(&memory, HASHING).with_root_bat(bat.clone());
    let changed = champ.apply(&empty, &changes).now_or_never().unwrap().unwrap();
    let mut tree = MemoryBlocks::default();
    tree.extend(changed.blocks);
    let mut blocks = Vec::new();
    let root = if bat_below {
        guard_all(&tree, &changed.root, &bat, &mut blocks)
    } else {
        blocks.extend(tree.iter().map(|(_, block)| block.clone()));
        changed.root
    };
    blocks.extend(links.iter().map(|(_, target)| target.to_block().1));
    let data = WriterData { links: Some(root), ..WriterData::new(account.identity.public_key_hash.clone()) };
    let data = Bytes::from(data.to_bytes());
    blocks.push(data.clone());
    (Cid::of_cbor(&data), blocks)
}

/// The tree as other clients write it: with the token on every node (`spec/02` §8.8).
fn guard_all(tree: &MemoryBlocks, cid: &Cid, bat: &BatId, blocks: &mut Vec<Bytes>) -> Cid {
    let mut node = TreeNode::from_bytes(tree.get(cid).unwrap()).unwrap();
    for slot in &mut node.slots {
        if let Slot::Child(child) = slot {
            *child = guard_all(tree, child, bat, blocks);
        }
    }
    node.bat = Some(bat.clone());
    let (cid, block) = node.to_block();
    blocks.push(block);
    cid
}
