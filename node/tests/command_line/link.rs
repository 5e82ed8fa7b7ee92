//! Secret links and published files, made by one and opened by somebody who is not logged in.

use crate::social::Two;
use crate::support::{Machine, Ran, json_lines};

/// Opens a link from a file, in a home where nobody ever logged in.
fn open(machine: &Machine, link: &str, args: &[&str]) -> Ran {
    machine.write("the link", link.as_bytes());
    let output = machine
        .command(&[&["link", "open", "--link-file", "the link"], args].concat())
        .env("HOME", machine.path("stranger"))
        .env("XDG_RUNTIME_DIR", machine.path("stranger"))
        .output()
        .expect("the command starts");
    Ran::new(args, output)
}

fn account() -> Machine {
    let machine = Machine::start();
    machine.user("alice");
    std::fs::create_dir(machine.path("stranger")).expect("a folder");
    machine.write("a.txt", b"first");
    machine.write("b.txt", b"inner");
    machine.ok(&["mkdir", "-p", "docs/folder/inner"]);
    machine.ok(&["put", "a.txt", "docs/folder"]);
    machine.ok(&["put", "b.txt", "docs/folder/inner"]);
    machine
}

#[test]
fn a_link_is_opened_without_an_account() {
    let machine = account();
    let url = machine.ok(&["link", "create", "docs/folder"]);
    let url = url.trim();
    assert!(url.starts_with("http") && url.contains("/secret/z") && url.contains('#'), "{url}");
    assert_eq!(open(&machine, url, &["ls"]).ok(), "a.txt\ninner/\n");
    assert_eq!(open(&machine, url, &["ls", "inner"]).ok(), "b.txt\n");
    assert_eq!(open(&machine, url, &["cat", "a.txt"]).ok(), "first");
    let listed = json_lines(&open(&machine, url, &["--json", "ls"]).ok());
    assert_eq!((&listed[0]["path"], &listed[0]["writable"]), (&"/alice/docs/folder/a.txt".into(), &false.into()));
    open(&machine, url, &["get"]).ok();
    assert_eq!(machine.read("folder/inner/b.txt"), b"inner");
    open(&machine, url, &["get", "a.txt", "fetched"]).ok();
    assert_eq!(machine.read("fetched"), b"first");
    open(&machine, url, &["put", "a.txt"]).fails(2, "read only");
    open(&machine, url, &["ls", "none"]).fails(4, "none");
    open(&machine, url, &["ls", "/alice"]).fails(4, "/alice");
    // From standard input as well; never as an argument.
    let piped = machine.run_with_input(&["link", "open", "--link-file", "-", "cat", "a.txt"], url.as_bytes());
    assert_eq!(piped.ok(), "first");
    let refused = machine.run(&["link", "open", url, "ls"]);
    assert!(!refused.stderr.contains(url.split('#').nth(1).expect("a fragment")), "{}", refused.stderr);
    refused.fails(2, "must not be an argument");
    machine.run(&["link", "open", "ls"]).fails(2, "--link-file");
    open(&machine, &url[..url.len() - 1], &["ls"]).fails(3, "not complete");
    open(&machine, "http://localhost/nothing", &["ls"]).fails(2, "");

    let shown = json_lines(&machine.ok(&["link", "list", "--json"]));
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["path"], "/alice/docs/folder");
    assert!(shown[0]["openings"].as_u64().is_some_and(|count| count >= 9), "{shown:?}");
    assert_eq!(shown[0].get("url"), None, "links are shown on request only");
    let label = shown[0]["label"].to_string();
    assert!(machine.ok(&["link", "list", "docs"]).starts_with(&label));
    assert!(machine.ok(&["link", "list", "--secrets"]).contains(url));
    machine.ok(&["link", "rm", &label]);
    machine.run(&["link", "rm", &label]).fails(4, "no such link");
    open(&machine, url, &["ls"]).fails(4, "withdrawn");
    assert_eq!(machine.ok(&["link", "list"]), "");
    machine.run(&["link", "create", ""]).fails(2, "home folder");
    machine.run(&["link", "create", "none"]).fails(4, "none");
}

#[test]
fn a_link_can_be_limited_and_changed() {
    let machine = account();
    machine.write("extra", b"open sesame\n");
    machine.write("wrong", b"open barley\n");
    let url =
        machine.ok(&["link", "create", "docs/folder/a.txt", "--link-password-file", "extra", "-m", "4", "-e", "1h"]);
    let url = url.trim();
    open(&machine, url, &["cat"]).fails(2, "--link-password-file");
    let with =
        |password: &str, args: &[&str]| open(&machine, url, &[&["--link-password-file", password], args].concat());
    with("wrong", &["cat"]).fails(3, "password");
    assert_eq!(with("extra", &["cat"]).ok(), "first");
    with("extra", &["put", "b.txt"]).fails(2, "read only");
    with("extra", &["cat"]).fails(4, "as often as");
    let shown = json_lines(&machine.ok(&["link", "list", "--json"]));
    let label = shown[0]["label"].to_string();
    assert_eq!((&shown[0]["openings"], &shown[0]["max_openings"]), (&4.into(), &4.into()));
    assert_eq!(shown[0]["password"], true);
    assert!(shown[0]["expires"].is_string());
    machine.ok(&["link", "edit", &label, "-m", "any", "-e", "never", "--no-link-password"]);
    assert_eq!(open(&machine, url, &["cat"]).ok(), "first");
    machine.run(&["link", "edit", &label, "-e", "yesterday"]).fails(2, "no time");
    machine.run(&["link", "edit", &label, "-e", "2001-01-01"]).fails(1, "expired already");
    machine.run(&["link", "edit", "1", "-m", "any"]).fails(4, "no such link");
}

#[test]
fn a_link_to_write_lets_a_stranger_store_files() {
    let machine = account();
    let url = machine.ok(&["link", "create", "--write", "docs/folder"]);
    let url = url.trim();
    machine.write("mine/deep/c.txt", b"of a guest");
    open(&machine, url, &["put", "-r", "mine"]).ok();
    open(&machine, url, &["put", "b.txt", "--to", "a.txt"]).ok();
    assert_eq!(machine.ok(&["cat", "docs/folder/mine/deep/c.txt"]), "of a guest");
    assert_eq!(machine.ok(&["cat", "docs/folder/a.txt"]), "inner");
    open(&machine, url, &["put", "b.txt", "--to", "/alice/docs/beside"]).fails(4, "");
    assert_eq!(machine.ok(&["ls", "docs"]), "folder/\n");
}

#[test]
fn a_link_to_write_lets_a_stranger_tidy_up() {
    let machine = account();
    let url = machine.ok(&["link", "create", "--write", "docs/folder"]);
    let url = url.trim();
    let stat = open(&machine, url, &["stat", "a.txt"]).ok();
    assert!(stat.contains("/alice/docs/folder/a.txt") && stat.contains("5 bytes"), "{stat}");
    assert!(open(&machine, url, &["stat"]).ok().contains("Kind: folder"));
    open(&machine, url, &["mv", "a.txt", "renamed.txt"]).ok();
    open(&machine, url, &["rename", "renamed.txt", "inner"]).ok();
    assert_eq!(machine.ok(&["ls", "docs/folder/inner"]), "b.txt\nrenamed.txt\n");
    open(&machine, url, &["mv", "-n", "inner/b.txt", "inner/renamed.txt"]).fails(5, "exists");
    open(&machine, url, &["rm", "inner"]).fails(2, "rm -r");
    open(&machine, url, &["rm", "none"]).fails(4, "none");
    open(&machine, url, &["rm", "-f", "none", "inner/b.txt"]).ok();
    assert_eq!(machine.ok(&["ls", "docs/folder/inner"]), "renamed.txt\n");
    open(&machine, url, &["rm", "-r", "inner"]).ok();
    assert_eq!(machine.ok(&["ls", "docs/folder"]), "");
    open(&machine, url, &["rm", "-r", ""]).fails(1, "not change it");
    // A link that only reads.
    machine.ok(&["put", "a.txt", "docs/folder"]);
    let url = machine.ok(&["link", "create", "docs/folder"]);
    open(&machine, url.trim(), &["rm", "a.txt"]).fails(1, "not change it");
    open(&machine, url.trim(), &["mv", "a.txt", "b.txt"]).fails(1, "not change it");
    assert_eq!(machine.ok(&["ls", "docs/folder"]), "a.txt\n");
}

#[test]
fn a_link_to_write_one_file_takes_its_content() {
    let machine = account();
    let url = machine.ok(&["link", "create", "--write", "docs/folder/a.txt"]);
    let url = url.trim();
    open(&machine, url, &["put", "b.txt"]).ok();
    assert_eq!(machine.ok(&["cat", "docs/folder/a.txt"]), "inner");
    assert_eq!(open(&machine, url, &["cat"]).ok(), "inner");
    let stored = json_lines(&open(&machine, url, &["--json", "put", "-n", "a.txt"]).ok());
    assert_eq!((&stored[0]["stored_files"], &stored[0]["left_alone"]), (&0.into(), &1.into()));
    open(&machine, url, &["put", "a.txt", "b.txt"]).fails(2, "single file");
    open(&machine, url, &["put", "a.txt", "--to", "/alice/docs/folder/other"]).fails(2, "single file");
    assert_eq!(machine.ok(&["ls", "docs/folder"]), "a.txt\ninner/\n");
}

#[test]
fn published_files_are_public_until_they_are_taken_back() {
    let two = Two::start();
    two.machine.write("a.txt", b"for all");
    two.alice(&["mkdir", "site"]).ok();
    two.alice(&["put", "a.txt", "site"]).ok();
    let public = two.alice(&["publish", "site"]).ok();
    let url = format!("{}/public/alice/site", two.machine.site());
    assert_eq!(public, format!("/alice/site  {url}\n"));
    assert_eq!(two.alice(&["publish"]).ok(), public);
    assert_eq!(two.bob(&["publish"]).ok(), "");
    two.bob(&["publish", "/alice/site"]).fails(1, "somebody else");
    two.alice(&["publish", ""]).fails(2, "home folder");
    two.alice(&["unpublish", "site"]).ok();
    two.alice(&["unpublish", "site"]).fails(4, "not published");
    assert_eq!(two.alice(&["publish"]).ok(), "");
    assert_eq!(two.alice(&["cat", "site/a.txt"]).ok(), "for all");
}
