//! A friend reads on when the home of what was shared dies: from a mirror that its owner told of.

use super::*;

#[test]
fn a_friend_reads_from_a_mirror_when_the_home_is_away() {
    with_room(a_friend_reads_on);
}

async fn a_friend_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = network(folder.path(), 3).await;
    let (alice, bob) = (sign_up(&nodes[1], "alice").await, sign_up(&nodes[0], "bob").await);
    for node in &nodes {
        knows(node, "alice").await;
        knows(node, "bob").await;
    }
    bob.follow(&name("alice")).await.unwrap();
    alice.follow_requests().await.unwrap();
    alice.answer(&name("bob"), Reply::AcceptAndReciprocate).await.unwrap();
    bob.follow_requests().await.unwrap();
    let content: &'static [u8] = Box::leak((0..700_000_u32).map(|n| (n % 241) as u8).collect());
    put(&alice, "/alice/file", content).await;
    alice.share(&"/alice/file".parse().unwrap(), &[name("bob")]).await.unwrap();
    assert_eq!(bob.read(&"/alice/file".parse().unwrap()).await.unwrap(), content);

    // Nobody has heard of a mirror yet.
    assert_eq!(bob.spread_mirrors().await.unwrap(), 0);
    let mirror = nodes[2].service().ids()[0].clone();
    alice.announce_mirrors(std::slice::from_ref(&mirror)).await.unwrap();
    assert_eq!(alice.mirrors().await.unwrap().announced, Some(vec![mirror.clone()]));
    let token = MirrorToken { username: name("alice"), bat: alice.mirror_token().await.unwrap() };
    nodes[2].service().keep_mirror(&Mirrored::new(token.clone(), 1 << 30)).unwrap();
    let copier = Copier::new(Arc::new(nodes[2].host().unwrap().clone()), nodes[2].service().clone(), mirror.clone());
    let home = nodes[1].service().ids()[0].clone();
    copier.pass(&token, std::slice::from_ref(&home), SystemClock.now_millis()).await.unwrap();
    // The home has seen who asked, and the mirror has the list.
    let report = alice.mirrors().await.unwrap().report;
    assert!(matches!(&report.seen[..], [seen] if seen.node == mirror && seen.is_current), "{report:?}");
    assert!(nodes[2].service().mirror_list(&name("alice")).unwrap().is_some());
    assert_eq!(bob.spread_mirrors().await.unwrap(), 1, "the friend's node has it too");
    assert_eq!(bob.spread_mirrors().await.unwrap(), 0, "once");

    // What the owner did not sign is no list.
    let forged = TellMirrors { username: name("alice"), signed: Bytes::from(vec![7; 200]) };
    assert!(transport(&nodes[0]).send(forged.request()).await.unwrap().status >= 400);

    nodes.remove(1).stop().await;
    let start = Instant::now();
    assert_eq!(bob.read(&"/alice/file".parse().unwrap()).await.unwrap(), content);
    println!("a friend read on after {:?}", start.elapsed());
    let again = log_in(&nodes[0], "bob").await;
    assert_eq!(again.read(&"/alice/file".parse().unwrap()).await.unwrap(), content);
    // The owner logs in where there is no copy.
    let alice = log_in(&nodes[0], "alice").await;
    assert_eq!(alice.read(&"/alice/file".parse().unwrap()).await.unwrap(), content);
    let error = alice.make_directory(&"/alice/folder".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("The home of this account"), "{error}");
    for node in nodes {
        node.stop().await;
    }
}
