//! Mirrors fetch over one stream, from several nodes at once, go on after a break, and believe no source.

use std::collections::HashMap;

use pyrgos_protocol::api::links::{GetLinkCounts, LinksOf};
use pyrgos_protocol::client::{LinkOptions, OpenLink};
use pyrgos_protocol::links::address::LinkAddress;
use pyrgos_protocol::mirroring::{DifferencePart, DifferenceRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// How a node gives its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Bytes that are not the block's.
    OtherBytes,
    /// Blocks that nobody asked for, without end.
    Unasked,
    /// In each answer one block that nobody asked for, and no other.
    OneUnasked,
    /// A part that is said to be longer than any can be.
    Long,
    /// The stream breaks after so many blocks, in the middle of the next one.
    Breaks(usize),
    /// It has nothing.
    Empty,
    /// It cannot be reached.
    Away,
}

/// Two nodes that have what the home has, each with its manners.
struct Sources {
    honest: Arc<dyn Peers>,
    home: Cid,
    own: Cid,
    service: Arc<Service>,
    manners: Mutex<HashMap<Cid, Manner>>,
    /// Requests of each, and blocks that went out.
    requests: Arc<AtomicUsize>,
    given: Arc<Mutex<HashMap<Cid, usize>>>,
}

impl Peers for Sources {
    fn request<'a>(&'a self, _: &'a Cid, request: &'a Request) -> Answer<'a, Response> {
        self.honest.request(&self.home, request)
    }

    fn open<'a>(&'a self, node: &'a Cid, protocol: &'static str) -> Answer<'a, PeerStream> {
        Box::pin(async move {
            assert_eq!(protocol, "/pyrgos/sync/1");
            let manner = self.manners.lock().unwrap().get(node).copied().unwrap_or(Manner::Honest);
            if manner == Manner::Away {
                return Err(PeerError::Unreachable { node: node.clone(), reason: "it is away".to_owned() });
            }
            let (ours, theirs) = duplex(1 << 20);
            let (service, own, node) = (self.service.clone(), self.own.clone(), node.clone());
            let (requests, given) = (self.requests.clone(), self.given.clone());
            tokio::spawn(async move {
                // Whoever does not believe this node goes away.
                let _ = give(theirs, service, own, manner, |blocks| {
                    requests.fetch_add(1, Ordering::Relaxed);
                    *given.lock().unwrap().entry(node.clone()).or_default() += blocks;
                })
                .await;
            });
            Ok(Box::new(ours) as PeerStream)
        })
    }
}

async fn give(
    mut stream: DuplexStream,
    service: Arc<Service>,
    asking: Cid,
    manner: Manner,
    count: impl Fn(usize),
) -> std::io::Result<()> {
    loop {
        let mut bytes = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut bytes).await?;
        let request = DifferenceRequest::from_bytes(&bytes).unwrap();
        let mut parts = Vec::new();
        service
            .give_difference(&request, &asking, |part| {
                parts.push(part);
                true
            })
            .unwrap();
        parts.push(DifferencePart::End);
        count(parts.iter().filter(|part| matches!(part, DifferencePart::Block(..))).count());
        for (number, part) in parts.into_iter().enumerate() {
            let part = match (manner, part) {
                (Manner::OtherBytes, DifferencePart::Block(cid, block)) if number == 1 => {
                    let mut block = block.to_vec();
                    block[0] ^= 1;
                    DifferencePart::Block(cid, block.into())
                }
                (Manner::Empty, DifferencePart::Block(cid, _)) => DifferencePart::Absent(cid),
                (_, part) => part,
            };
            let part = match (manner, part) {
                (Manner::OneUnasked, DifferencePart::Block(..)) => {
                    let block = Bytes::from_static(b"nobody asked for this");
                    DifferencePart::Block(Cid::of_raw(&block), block)
                }
                (_, part) => part,
            };
            let bytes = part.to_bytes();
            match manner {
                Manner::Long => stream.write_u32(u32::MAX).await?,
                Manner::Breaks(blocks) if blocks == number => {
                    stream.write_u32(bytes.len() as u32).await?;
                    stream.write_all(&bytes[..bytes.len() / 2]).await?;
                    return Ok(());
                }
                Manner::Unasked => {
                    for block in (0_u32..).map(|n| Bytes::from(n.to_be_bytes().repeat(250_000))) {
                        let part = DifferencePart::Block(Cid::of_raw(&block), block).to_bytes();
                        stream.write_u32(part.len() as u32).await?;
                        stream.write_all(&part).await?;
                    }
                }
                _ => stream.write_u32(bytes.len() as u32).await?,
            }
            stream.write_all(&bytes).await?;
        }
    }
}

#[test]
fn a_mirror_fetches_in_one_stream_from_several_sources_and_believes_none() {
    with_room(several_sources);
}

async fn several_sources() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network(folder.path(), 2).await;
    let alice = sign_up(&nodes[0], "alice").await;
    knows(&nodes[1], "alice").await;
    let (home, own) = (nodes[0].service().ids()[0].clone(), nodes[1].service().ids()[0].clone());
    let other = Cid::identity(pyrgos_protocol::encoding::Codec::Libp2pKey, b"another mirror").unwrap();
    let (service, alice_name) = (idle_mirror(&nodes[1], "alice"), name("alice"));
    let token = MirrorToken { username: alice_name.clone(), bat: alice.mirror_token().await.unwrap() };
    let sources = Arc::new(Sources {
        honest: Arc::new(nodes[1].host().unwrap().clone()),
        home: home.clone(),
        own: own.clone(),
        service: nodes[0].service().clone(),
        manners: Mutex::default(),
        requests: Arc::default(),
        given: Arc::default(),
    });
    let copier = Copier::new(sources.clone(), service.clone(), own);
    let behave = |node: &Cid, manner: Manner| sources.manners.lock().unwrap().insert(node.clone(), manner);
    let given = || std::mem::take(&mut *sources.given.lock().unwrap());
    let requests = || sources.requests.swap(0, Ordering::Relaxed);
    let (only_home, both) = ([home.clone()], [home.clone(), other.clone()]);
    let pass = async |from: &[Cid]| copier.pass(&token, from, SystemClock.now_millis()).await;
    let start_again = || {
        service.drop_mirror(&alice_name).unwrap();
        service.keep_mirror(&Mirrored::new(token.clone(), 1 << 30)).unwrap();
        given();
        requests();
    };
    for n in 0..40 {
        put(&alice, &format!("/alice/file-{n}"), Box::leak(vec![n as u8; 400_000].into_boxed_slice())).await;
    }

    // A whole account in one request, then one small change in one more.
    start_again();
    let first = pass(&only_home).await.unwrap();
    assert!(first.blocks > 80 && first.bytes > 16_000_000, "{first:?}");
    assert_eq!(given()[&home] as u64, first.blocks, "nothing twice");
    assert_eq!(requests(), first.pointers, "one request for each tree");
    alice.make_directory(&"/alice/folder".parse().unwrap()).await.unwrap();
    let second = pass(&only_home).await.unwrap();
    assert!((1..20).contains(&second.blocks), "{second:?}");
    assert_eq!(given()[&home] as u64, second.blocks, "only what is new");
    assert_eq!(requests(), second.pointers);

    // Two sources share the work.
    start_again();
    let shared = pass(&both).await.unwrap();
    assert!((first.blocks..=first.blocks + second.blocks).contains(&shared.blocks), "{shared:?}");
    let counts = given();
    assert!(both.iter().all(|node| counts[node] > 5), "{counts:?}");

    // One of them dies in the middle, is away, lies, or has nothing: the other one is enough.
    for manner in [Manner::Breaks(3), Manner::Away, Manner::OtherBytes, Manner::Empty, Manner::Long, Manner::Unasked] {
        start_again();
        behave(&other, manner);
        assert_eq!(pass(&both).await.unwrap().blocks, shared.blocks, "{manner:?}");
        assert_eq!(pass(&both).await.unwrap(), Passed::default());
    }
    behave(&other, Manner::Honest);

    // Alone, a source that lies is named and leaves nothing that counts.
    for (manner, expected) in [
        (Manner::OtherBytes, "gives other bytes for the block"),
        (Manner::Unasked, "gives blocks that nobody asked for"),
        (Manner::Long, "a part of its answer is too long"),
        (Manner::Empty, "lacks the block"),
        (Manner::OneUnasked, "lacks the block"),
    ] {
        start_again();
        behave(&home, manner);
        let error = pass(&only_home).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&home.to_string()), "{manner:?}: {error}");
        assert!(!service.has_copy(alice.identity()).unwrap(), "{manner:?}");
    }

    // A stream that breaks is gone on with: what came is not fetched again.
    start_again();
    let mut passes = 0;
    loop {
        behave(&home, Manner::Breaks(if passes < 3 { 15 } else { usize::MAX }));
        passes += 1;
        match pass(&only_home).await {
            Ok(last) => {
                assert!(last.blocks + 40 < shared.blocks, "{last:?}");
                break;
            }
            Err(error) => assert!(error.to_string().contains("the stream broke"), "{error}"),
        }
    }
    assert_eq!(passes, 4);
    behave(&home, Manner::Honest);
    assert_eq!(pass(&only_home).await.unwrap(), Passed::default());

    // What was copied is the account: with the home away, it is all there.
    for node in nodes {
        node.stop().await;
    }
    let settings = NodeSettings {
        data_dir: Some("/nonexistent".into()),
        listen: Some(([127, 0, 0, 1], 0).into()),
        ..NodeSettings::default()
    };
    let mirror = Daemon::serve(&settings.resolve().unwrap(), service.clone()).await.unwrap();
    let there = log_in(&mirror, "alice").await;
    for n in 0..40 {
        let path = format!("/alice/file-{n}").parse().unwrap();
        assert_eq!(there.read(&path).await.unwrap(), vec![n as u8; 400_000]);
    }
    mirror.stop().await;
}

/// A home of another kind: it has none of our own calls and streams.
struct Existing(Arc<dyn Peers>);

impl Peers for Existing {
    fn request<'a>(&'a self, node: &'a Cid, request: &'a Request) -> Answer<'a, Response> {
        match request.path.contains("/pyrgos/") {
            true => Box::pin(async { Ok(Response { status: 404, trailer: None, body: Bytes::new() }) }),
            false => self.0.request(node, request),
        }
    }

    fn open<'a>(&'a self, node: &'a Cid, _: &'static str) -> Answer<'a, PeerStream> {
        Box::pin(async move { Err(PeerError::Refused { node: node.clone(), reason: "not spoken".to_owned() }) })
    }
}

#[test]
fn a_mirror_copies_from_a_home_of_another_kind() {
    with_room(another_kind);
}

async fn another_kind() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = network(folder.path(), 2).await;
    let alice = sign_up(&nodes[0], "alice").await;
    knows(&nodes[1], "alice").await;
    let (home, own) = (nodes[0].service().ids()[0].clone(), nodes[1].service().ids()[0].clone());
    let service = idle_mirror(&nodes[1], "alice");
    let token = MirrorToken { username: name("alice"), bat: alice.mirror_token().await.unwrap() };
    service.keep_mirror(&Mirrored::new(token.clone(), 1 << 30)).unwrap();
    let honest: Arc<dyn Peers> = Arc::new(nodes[1].host().unwrap().clone());
    let copier = Copier::new(Arc::new(Existing(honest.clone())), service.clone(), own.clone());
    let pass = async |copier: &Copier| {
        copier.pass(&token, std::slice::from_ref(&home), SystemClock.now_millis()).await.unwrap()
    };
    put(&alice, "/alice/file", &[7; 700_000]).await;
    // A writer of its own, below the account's.
    alice.make_directory(&"/alice/ours".parse().unwrap()).await.unwrap();
    alice
        .share_to_write(&"/alice/ours".parse().unwrap(), &[pyrgos_protocol::social::group::GroupKind::Friends])
        .await
        .unwrap();
    put(&alice, "/alice/ours/file", &[8; 700_000]).await;
    let first = pass(&copier).await;
    assert!(first.pointers >= 3 && first.bytes > 1_400_000, "{first:?}");
    assert_eq!(pass(&copier).await, Passed::default());
    // Nothing is missing that a home of our kind would have given, but login data and how often links were opened.
    let link = alice.create_link(&"/alice/file".parse().unwrap(), &LinkOptions::default()).await.unwrap();
    let address = LinkAddress::parse(&link.to_url("localhost:8000")).unwrap();
    OpenLink::open(transport(&nodes[0]), NativeRuntime, Settings::default(), &address, &()).await.unwrap();
    pass(&copier).await;
    let counts = || {
        let call =
            GetLinkCounts { owner: LinksOf::Identity(alice.identity().clone()), after_secs: 0, bat: token.bat.clone() };
        service.link_counts(call).unwrap().0.iter().map(|counted| counted.count).collect::<Vec<_>>()
    };
    assert_eq!((service.login_data(&name("alice")).unwrap(), counts()), (None, Vec::new()));
    let ours = Copier::new(honest, service.clone(), own);
    assert_eq!(pass(&ours).await, Passed::default());
    assert!(service.login_data(&name("alice")).unwrap().is_some());
    assert_eq!(counts(), [1]);
    // They stay when the home has none to give.
    assert_eq!(pass(&copier).await, Passed::default());
    assert!(service.login_data(&name("alice")).unwrap().is_some());
    assert_eq!(counts(), [1]);
    for node in nodes {
        node.stop().await;
    }
}
