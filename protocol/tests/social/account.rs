//! `03-account.json`: what the account published.

use futures_util::FutureExt;
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor};
use pyrgos_protocol::merkle::champ::MemoryBlocks;
use pyrgos_protocol::merkle::public::PublicFiles;

use crate::files::structure;
use crate::support::{bytes, int, load, text};

#[test]
fn public_inodes() {
    let file = load("03-account");
    let mut blocks = MemoryBlocks::default();
    for block in file["blocks"].as_object().unwrap().values() {
        blocks.put(Codec::DagCbor, hex::decode(block.as_str().unwrap()).unwrap().into());
    }
    let record = &file["publicInodes"];
    let files: PublicFiles = structure(&bytes(record, "cbor"));
    assert_eq!(Cid::of_cbor(&files.to_bytes()).to_string(), text(record, "publicDataBlock"));
    assert_eq!(files.inode_count, int(record, "inodeCount"));
    assert_eq!(files.root.to_string(), text(record, "champRoot"));
    let lookups = record["lookups"].as_array().unwrap();
    for case in lookups {
        let found = files.lookup(&blocks, text(case, "path")).now_or_never().unwrap().unwrap();
        let Some(inode_cap) = case["inodeCap"].as_str() else {
            assert_eq!(found, None, "{case}");
            continue;
        };
        let found = found.expect("published");
        assert_eq!(hex::encode(found.child.to_bytes()), inode_cap);
        assert_eq!(found.child.inode.number, int(case, "inode"));
        assert_eq!(found.child.inode.name, text(case, "inodeName"));
        assert_eq!(found.remaining_path, case["remainingPath"].as_str().unwrap_or_default());
        if case["cap"].is_object() {
            assert_eq!(found.child.capability.unwrap().to_bytes(), bytes(&case["cap"], "cbor"));
        } else {
            assert_eq!(found.child.capability, None);
        }
    }
    println!("03-account.json: publicInodes: {} cases", lookups.len());
}
