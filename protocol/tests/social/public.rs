//! `05-public.json`: publishing, looking up and taking back, and what a server answers. The tree itself is replayed in
//! `02-public-inodes.json`.

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor};
use pyrgos_protocol::links::address::{LinkAddress, LinkTarget, redirect};
use pyrgos_protocol::merkle::champ::{self, MemoryBlocks};
use pyrgos_protocol::merkle::public::{InodeCap, PublicChanged, PublicError, PublicFiles, Published};
use pyrgos_protocol::social::profile::{self, ProfileField};
use serde_json::Value;

use crate::files::{capability, structure};
use crate::support::{Cases, bytes, int, text};

/// Published files in memory.
struct Site {
    files: PublicFiles,
    blocks: MemoryBlocks,
}

impl Site {
    fn empty() -> Self {
        let mut blocks = MemoryBlocks::default();
        blocks.extend(champ::empty().blocks);
        Site { files: PublicFiles::empty(), blocks }
    }

    fn take(&mut self, changed: PublicChanged) {
        self.blocks.extend(changed.blocks);
        self.files = changed.files;
        structure::<PublicFiles>(&self.files.to_bytes());
    }

    fn publish(&mut self, path: &str, cap: &pyrgos_protocol::cryptree::AbsoluteCapability) {
        let changed = self.files.publish(&self.blocks, path, cap).now_or_never().unwrap().unwrap();
        self.take(changed);
    }

    fn withdraw(&mut self, path: &str) {
        let changed = self.files.withdraw(&self.blocks, path).now_or_never().unwrap().unwrap();
        self.take(changed);
    }

    fn lookup(&self, path: &str) -> Option<Published> {
        self.files.lookup(&self.blocks, path).now_or_never().unwrap().unwrap()
    }

    fn list(&self, path: &str) -> Option<Vec<InodeCap>> {
        self.files.list(&self.blocks, path).now_or_never().unwrap().unwrap()
    }
}

#[test]
fn publishing() {
    let mut cases = Cases::of("05-public");
    let data = cases.value("data");
    assert!(data["public_root_before"].is_null());
    let mut site = Site::empty();
    let is = |site: &Site, state: &Value| {
        let block = site.files.to_bytes();
        let cid = Cid::of_cbor(&block);
        assert_eq!(cid.to_string(), text(&state["public_data"], "cid"));
        assert_eq!(hex::encode(block), text(&state["public_data"], "block"));
        assert_eq!(site.files.inode_count, int(state, "inode_count"));
        assert_eq!(site.files.root.to_string(), text(&state["champ_root"], "cid"));
        assert_eq!(hex::encode(site.blocks.get(&site.files.root).unwrap()), text(&state["champ_root"], "block"));
    };
    let file = capability(&data["1_cap"]);
    site.publish("/dave05/notes/one.txt", &file);
    is(&site, &data["1_after_publishing_file"]);

    let below = &data["2_cap_for_descendant_path_is_ancestor_cap"];
    let directory = capability(&below["cap"]);
    site.publish("/dave05/site", &directory);
    is(&site, &data["2_after_publishing_dir"]);
    let found = site.lookup(&format!("/{}", text(below, "path"))).unwrap();
    assert_eq!((found.child.capability.as_ref(), found.remaining_path.as_str()), (Some(&directory), "img/a.txt"));
    for listing in data["2_listing"].as_array().unwrap() {
        let found: Vec<Value> =
            site.list(&format!("/{}", text(listing, "dir"))).unwrap_or_default().iter().map(child).collect();
        assert_eq!(Value::Array(found), listing["children"]);
    }

    // The same again changes nothing.
    let before = site.files.clone();
    site.publish("/dave05/site", &directory);
    assert_eq!(site.files, before);
    let home = site.files.publish(&site.blocks, "/dave05", &directory).now_or_never().unwrap();
    assert_eq!(home, Err(PublicError::Home));

    // The capabilities of the web site come out of the recorded state.
    let state = &data["4_webroot"]["state"];
    let mut recorded =
        Site { files: structure(&bytes(&state["public_data"], "block")), blocks: MemoryBlocks::default() };
    recorded.blocks.put(Codec::DagCbor, Bytes::from(bytes(&state["champ_root"], "block")));
    for path in ["/dave05/web", "/dave05/.profile/webroot"] {
        let cap = recorded.lookup(path).unwrap().child.capability.unwrap();
        site.publish(path, &cap);
    }
    is(&site, state);

    redirects(&data, &site);
    site.withdraw("/dave05/notes/one.txt");
    is(&site, &data["6_after_unpublish"]["state"]);
    assert_eq!(site.lookup("/dave05/notes/one.txt"), None);
    profile_files(&data);
    // Four states, four listings, five redirects, a look-up, the same again, a home directory, the profile.
    cases.count(17);
    cases.leave("3_anonymous_read, 5_gateway_*", "reading and serving wait");
    cases.finish();
}

fn child(entry: &InodeCap) -> Value {
    serde_json::json!({
        "inode": entry.inode.number, "name": entry.inode.name, "has_cap": entry.capability.is_some(),
    })
}

fn redirects(data: &Value, site: &Site) {
    let mut seen = 0;
    for (key, answer) in data.as_object().unwrap() {
        let Some(request) = key.strip_prefix("http GET /public") else { continue };
        let (path, opens) = match request.split_once("?open=true") {
            Some((path, _)) => (path, true),
            None => (request, false),
        };
        seen += 1;
        let found = site.lookup(path).and_then(|found| found.child.capability);
        let Some(location) = answer["location"].as_str() else {
            assert!(found.is_none(), "{path}");
            continue;
        };
        let cap = found.expect("published");
        assert_eq!(redirect(path, opens, &cap).as_str(), location);
        let address = LinkAddress::parse(location).unwrap();
        assert_eq!(address.target, LinkTarget::Capability(Box::new(cap)));
        assert_eq!((address.path.as_deref(), address.opens_at_once), (Some(path), opens));
    }
    assert_eq!(seen, 5);
}

fn profile_files(data: &Value) {
    let files = data["7_profile_files"].as_array().unwrap();
    for file in files.iter().chain([&data["4_webroot"]["profile_file"]]) {
        let (directory, name) = text(file, "path").rsplit_once('/').unwrap();
        assert_eq!(directory, format!("/dave05/{}", profile::DIRECTORY));
        let field: ProfileField = name.parse().expect("a field");
        assert_eq!(field.file_name(), name);
        assert_eq!(field.is_text(), name != "photo");
        assert!(!field.is_text() || String::from_utf8(bytes(file, "content")).is_ok());
    }
    assert!("ids".parse::<ProfileField>().is_err());
    let names: std::collections::BTreeSet<_> = ProfileField::ALL.map(ProfileField::file_name).into();
    assert_eq!(names.len(), ProfileField::ALL.len());
}

#[test]
fn large_directories_grow_and_shrink() {
    let data = crate::support::load("05-public");
    let cap = capability(&data["data"]["1_cap"]);
    let other = capability(&data["data"]["2_cap_for_descendant_path_is_ancestor_cap"]["cap"]);
    let mut site = Site::empty();
    let names: Vec<String> = (0..120).map(|number| format!("/a/many/{number}")).collect();
    for name in &names {
        site.publish(name, &cap);
    }
    assert_eq!(site.list("/a/many").unwrap().len(), names.len());
    assert_eq!((site.list("/a/none"), site.list("/").unwrap().len()), (None, 1));
    let inode = site.lookup(&names[7]).unwrap().child.inode;
    site.publish(&names[7], &other);
    assert_eq!(site.lookup(&names[7]).unwrap().child, InodeCap { inode, capability: Some(other) });
    for (at, name) in names.iter().enumerate() {
        site.withdraw(name);
        assert!(site.lookup(name).is_none());
        assert_eq!(site.list("/a/many").map_or(0, |list| list.len()), names.len() - at - 1);
    }
    assert_eq!(site.lookup("/a/many"), None);
}

#[test]
fn no_write_key_becomes_public() {
    let writable = capability(&crate::support::load("05-sharing")["steps"]["8_revoke_write"]["old_cap"]);
    assert!(writable.is_writable());
    let mut site = Site::empty();
    site.publish("/a/d", &writable);
    assert_eq!(site.lookup("/a/d").unwrap().child.capability, Some(writable.read_only()));
    let key = *writable.base_write_key.unwrap().key.as_bytes();
    assert!(site.blocks.iter().all(|(_, block)| !block.windows(32).any(|part| part == key)));
}
