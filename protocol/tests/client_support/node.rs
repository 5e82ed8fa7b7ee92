//! The smallest honest node: maps in memory, the checks that a client can meet, and a count of calls.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::FutureExt;
use pyrgos_protocol::api::bats::{AddBat, GetUserBats};
use pyrgos_protocol::api::core::{Decision, GetChain, SignUp, UpdateChain, proof_data};
use pyrgos_protocol::api::login::{GetLogin, SetLogin};
use pyrgos_protocol::api::mutable::{GetPointer, SetPointers};
use pyrgos_protocol::api::space::{GetQuota, GetUsage};
use pyrgos_protocol::api::storage::{
    CloseTransaction, GetBlock, GetServerId, LookUpChunks, PutBlocks, StartTransaction,
};
use pyrgos_protocol::api::{ApiError, Call, Request, Response, Transport, TransportError};
use pyrgos_protocol::encoding::{Cid, Codec, FromCbor, Multihash, ToCbor, Value};
use pyrgos_protocol::keys::{Owner, SigningPrivateKeyAndPublicHash, Writer};
use pyrgos_protocol::login::{LoginResponse, UserStaticData};
use pyrgos_protocol::merkle::WriterData;
use pyrgos_protocol::merkle::bat::prefix::block_bats;
use pyrgos_protocol::merkle::bat::{BatWithId, ReadCheck};
use pyrgos_protocol::merkle::block::check_signature;
use pyrgos_protocol::merkle::champ::{BlockSource, Champ, Change, KeyHashing};
use pyrgos_protocol::merkle::pointer::{PointerRefused, PointerUpdate, admit, admit_target};
use pyrgos_protocol::names::sign_up::Operation;
use pyrgos_protocol::names::{Chain, Username};

use super::runtime::now;

#[derive(Default)]
struct State {
    blocks: HashMap<(Owner, Cid), Bytes>,
    pointers: HashMap<Writer, Bytes>,
    chains: BTreeMap<Username, Chain>,
    logins: HashMap<String, (Vec<u8>, UserStaticData)>,
    bats: HashMap<String, Vec<BatWithId>>,
    open: HashSet<String>,
    started: u64,
    calls: Vec<String>,
    difficulty: u32,
}

impl State {
    /// What a writer signed last, and its data.
    fn writer_data(&self, owner: &Owner, writer: &Writer) -> (PointerUpdate, WriterData) {
        let update = PointerUpdate::open(&writer.signing_key().unwrap(), &self.pointers[writer]).unwrap();
        let block = &self.blocks[&(owner.clone(), update.updated().unwrap().clone())];
        let data = WriterData::from_bytes(block).unwrap();
        (update, data)
    }
}

/// See the module.
#[derive(Default)]
pub struct TestNode {
    state: Mutex<State>,
}

impl Transport for TestNode {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.lock().calls.push(request.path.clone());
        Ok(self.answer(&request))
    }
}

struct Blocks<'s>(&'s State, &'s Owner);

impl BlockSource for Blocks<'_> {
    type Error = std::convert::Infallible;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, Self::Error> {
        Ok(self.0.blocks.get(&(self.1.clone(), cid.clone())).cloned())
    }
}

impl TestNode {
    /// A node that demands this much work for new names.
    pub fn demanding(difficulty: u32) -> Self {
        TestNode { state: Mutex::new(State { difficulty, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The paths of all calls since the last time this was asked.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Transactions that were not closed.
    pub fn open_transactions(&self) -> usize {
        self.lock().open.len()
    }

    /// The address of this node.
    pub fn id(&self) -> Cid {
        let key = [&[8, 1, 18, 32][..], &[7; 32]].concat();
        Cid::new(Codec::Libp2pKey, Multihash::new(Multihash::IDENTITY, &key).unwrap())
    }

    /// Everything that the node keeps, for comparisons.
    pub fn pointers(&self) -> HashMap<Writer, Bytes> {
        self.lock().pointers.clone()
    }

    /// Puts pointers back, as a node that lost its newest data would.
    pub fn restore_pointers(&self, pointers: HashMap<Writer, Bytes>) {
        self.lock().pointers = pointers;
    }

    /// How many labels the trees of all writers of an account hold together.
    pub fn labels(&self, owner: &Owner) -> usize {
        let state = self.lock();
        let mut labels = 0;
        for (writer, signed) in &state.pointers {
            let update = PointerUpdate::open(&writer.signing_key().unwrap(), signed).unwrap();
            let Some(block) = update.updated().and_then(|cid| state.blocks.get(&(owner.clone(), cid.clone()))) else {
                continue;
            };
            let data = WriterData::from_bytes(block).unwrap();
            if let Some(tree) = data.tree {
                let champ = Champ::new(Blocks(&state, owner), KeyHashing::Identity);
                let mut entries = champ.entries(&tree);
                while entries.next().now_or_never().unwrap().unwrap().is_some() {
                    labels += 1;
                }
            }
        }
        labels
    }

    /// The nodes of one writing space by their labels.
    pub fn space(&self, owner: &Owner, writer: &Writer) -> BTreeMap<Bytes, Cid> {
        let state = self.lock();
        let (_, data) = state.writer_data(owner, writer);
        let champ = Champ::new(Blocks(&state, owner), KeyHashing::Identity);
        let mut entries = champ.entries(data.tree.as_ref().unwrap());
        let mut nodes = BTreeMap::new();
        while let Some(entry) = entries.next().now_or_never().unwrap().unwrap() {
            nodes.insert(entry.key, entry.value.as_link().unwrap().clone());
        }
        nodes
    }

    /// A block that is there.
    pub fn block(&self, owner: &Owner, cid: &Cid) -> Bytes {
        self.lock().blocks[&(owner.clone(), cid.clone())].clone()
    }

    /// Puts a block under a label of a space, whatever it holds, as whoever may write there can.
    pub fn replace_node(&self, owner: &Owner, signer: &SigningPrivateKeyAndPublicHash, label: &Bytes, node: Bytes) {
        let mut state = self.lock();
        let (pointer, mut data) = state.writer_data(owner, &signer.writer());
        let (cid, root) = (Cid::of_cbor(&node), data.tree.clone().unwrap());
        let champ = Champ::new(Blocks(&state, owner), KeyHashing::Identity);
        let old = champ.get(&root, label).now_or_never().unwrap().unwrap();
        let change = Change::put(label.clone(), old, Value::Link(cid.clone()));
        let changed = champ.apply(&root, &[change]).now_or_never().unwrap().unwrap();
        data.tree = Some(changed.root);
        let written = Bytes::from(data.to_bytes());
        let updated = Cid::of_cbor(&written);
        for (cid, block) in changed.blocks.into_iter().chain([(cid, node), (updated.clone(), written)]) {
            state.blocks.insert((owner.clone(), cid), block);
        }
        let signed = pointer.next(Some(updated)).unwrap().sign(&signer.secret);
        state.pointers.insert(signer.writer(), signed);
    }

    /// Replaces a user's chain of claims.
    pub fn set_chain(&self, username: &Username, chain: Chain) {
        self.lock().chains.insert(username.clone(), chain);
    }

    pub fn chain(&self, username: &Username) -> Chain {
        self.lock().chains.get(username).cloned().unwrap_or_default()
    }

    /// Adds a block of a recording.
    pub fn insert_block(&self, owner: &Owner, cid: Cid, block: Bytes) {
        assert!(cid.matches(&block));
        self.lock().blocks.insert((owner.clone(), cid), block);
    }

    /// Adds a pointer of a recording.
    pub fn insert_pointer(&self, writer: Writer, signed: Bytes) {
        self.lock().pointers.insert(writer, signed);
    }

    /// Adds a mirror token.
    pub fn insert_bat(&self, username: &str, bat: BatWithId) {
        self.lock().bats.entry(username.into()).or_default().push(bat);
    }

    /// Adds login data.
    pub fn insert_login(&self, username: &str, reader: Vec<u8>, data: UserStaticData) {
        self.lock().logins.insert(username.into(), (reader, data));
    }

    fn answer(&self, request: &Request) -> Response {
        let mut state = self.lock();
        let state = &mut *state;
        macro_rules! serve {
            ($($call:ident => $method:expr;)*) => {
                match request.path.as_str() {
                    $($call::PATH => {
                        let method: fn(&TestNode, &mut State, $call) -> Result<<$call as Call>::Output, ApiError> = $method;
                        match $call::parse(request).and_then(|call| method(self, state, call)) {
                            Ok(output) => Response::ok($call::write(&output)),
                            Err(error) => error.into(),
                        }
                    })*
                    other => panic!("the client called {other}"),
                }
            };
        }
        serve! {
            GetServerId => |node, _, _| Ok(node.id());
            StartTransaction => |_, state, _| {
                state.started += 1;
                let id = format!("transaction-{}", state.started);
                state.open.insert(id.clone());
                id.parse()
            };
            CloseTransaction => |_, state, call| {
                assert!(state.open.remove(call.transaction.as_str()), "a transaction was closed twice");
                Ok(())
            };
            PutBlocks => put_blocks;
            GetBlock => |_, state, call| read(state, &call.owner, &call.cid, call.bat.as_ref());
            LookUpChunks => look_up;
            GetPointer => |_, state, call| Ok(state.pointers.get(&call.writer).cloned());
            SetPointers => |_, state, call| {
                let updates = &call.commit.updates;
                for update in updates {
                    admit_one(state, &call.owner, &update.writer, &update.signed)?;
                }
                call.commit.check_writers().map_err(refused)?;
                for update in updates {
                    state.pointers.insert(update.writer.clone(), update.signed.clone());
                }
                Ok(true)
            };
            GetChain => |_, state, call| Ok(state.chains.get(&call.username).cloned().unwrap_or_default());
            SignUp => sign_up;
            UpdateChain => |_, state, call| {
                let old = state.chains.get(&call.username).cloned().unwrap_or_default();
                let merged = old.merge(&call.update, &call.username, Owner::signing_key);
                state.chains.insert(call.username, merged.map_err(|error| ApiError::refused(error.to_string()))?);
                Ok(Decision::Accepted)
            };
            GetLogin => |_, state, call| match state.logins.get(&call.username) {
                Some((reader, data)) if *reader == call.reader.to_bytes() => Ok(LoginResponse::LoggedIn(data.clone())),
                _ => Err(ApiError::refused("Incorrect username or password")),
            };
            SetLogin => |_, state, call| {
                let name = call.data.username.clone();
                let identity = state.chains[&name].owner().unwrap().clone();
                call.data.verify(&call.auth, &identity.signing_key().unwrap()).expect("authorised login data");
                if let Some(update) = &call.data.identity_update {
                    let block = update.block.block.clone();
                    state.blocks.insert((identity.clone(), update.block.cid()), block);
                    admit_one(state, &identity, &update.pointer.writer, &update.pointer.signed)?;
                    state.pointers.insert(update.pointer.writer.clone(), update.pointer.signed.clone());
                }
                let row = (call.data.authorised_reader.to_bytes(), call.data.entry_points);
                state.logins.insert(name.as_str().into(), row);
                Ok(true)
            };
            GetUserBats => |_, state, call| Ok(state.bats.get(&call.username).cloned().unwrap_or_default());
            AddBat => |_, state, call| {
                state.bats.entry(call.username).or_default().push(call.bat);
                Ok(true)
            };
            GetUsage => |_, state, call| {
                let own = state.blocks.iter().filter(|((owner, _), _)| *owner == call.owner);
                Ok(own.map(|(_, block)| block.len() as u64).sum())
            };
            GetQuota => |_, _, _| Ok(1 << 30);
        }
    }
}

fn refused(error: PointerRefused) -> ApiError {
    match error {
        PointerRefused::Cas(cas) => ApiError::PointerCas(cas),
        other => ApiError::refused(other.to_string()),
    }
}

fn admit_one(state: &State, owner: &Owner, writer: &Writer, signed: &Bytes) -> Result<PointerUpdate, ApiError> {
    let key = writer.signing_key().expect("an inline key");
    let stored = state.pointers.get(writer).map(|stored| stored.as_ref());
    let update = admit(stored, &key, signed).map_err(refused)?;
    let target = update.updated().and_then(|cid| state.blocks.get(&(owner.clone(), cid.clone())));
    admit_target(&update, writer, target).map_err(refused)?;
    Ok(update)
}

fn put_blocks(_: &TestNode, state: &mut State, call: PutBlocks) -> Result<Vec<Cid>, ApiError> {
    assert!(state.open.contains(call.transaction.as_str()), "a put outside of its transaction");
    assert!(!call.group.blocks.is_empty());
    let total: usize = call.group.blocks.iter().map(|signed| signed.block.len()).sum();
    assert!(total <= 1_048_676, "{total} bytes in one call");
    let key = call.writer.signing_key().expect("an inline key");
    let mut cids = Vec::new();
    for signed in call.group.blocks {
        check_signature(&key, &signed.block, &signed.signature).expect("a valid signature");
        let cid = Cid::of_block(call.codec, &signed.block);
        state.blocks.insert((call.owner.clone(), cid.clone()), signed.block);
        cids.push(cid);
    }
    Ok(cids)
}

fn read(state: &State, owner: &Owner, cid: &Cid, bat: Option<&BatWithId>) -> Result<Option<Bytes>, ApiError> {
    let Some(block) = state.blocks.get(&(owner.clone(), cid.clone())) else { return Ok(None) };
    let bats = block_bats(cid.codec(), block).expect("readable tokens");
    let check = ReadCheck { cid, bats: &bats, instance: None };
    check.by_bat(bat).map_err(|_| ApiError::Unauthorised)?;
    Ok(Some(block.clone()))
}

fn look_up(_: &TestNode, state: &mut State, call: LookUpChunks) -> Result<Vec<Bytes>, ApiError> {
    let champ = Champ::new(Blocks(state, &call.owner), KeyHashing::Identity);
    let mut blocks: BTreeMap<Cid, Bytes> = BTreeMap::new();
    for cap in &call.caps {
        let found = champ.lookup(&call.root, &cap.map_key).now_or_never().unwrap().expect("a well formed tree");
        blocks.extend(found.nodes);
        if let Some(value) = found.value {
            let cid = value.as_link().unwrap();
            let block = read(state, &call.owner, cid, cap.bat.as_ref())?.expect("a block that the tree has");
            blocks.insert(cid.clone(), block);
        }
    }
    Ok(blocks.into_values().collect())
}

fn sign_up(node: &TestNode, state: &mut State, call: SignUp) -> Result<Decision, ApiError> {
    if !call.proof.proves(&proof_data(&call.claim), state.difficulty) {
        return Ok(Decision::WorkNeeded(state.difficulty));
    }
    if state.chains.contains_key(&call.username) {
        return Err(ApiError::refused("User already exists: Invalid key change attempt!"));
    }
    let millis = now().seconds() * 1000;
    let owner = call.log.verify(&call.username, &call.claim, millis).expect("a valid sign-up");
    assert_eq!(call.claim.home(), Some(&node.id()));
    for operation in &call.log.operations {
        match operation {
            Operation::Block(write) => {
                state.blocks.insert((owner.clone(), write.cid()), write.block.clone());
            }
            Operation::Pointer(write) => {
                admit_one(state, &owner, &write.writer, &write.signed).expect("a valid first pointer");
                state.pointers.insert(write.writer.clone(), write.signed.clone());
            }
        }
    }
    let login = call.log.login.expect("login data").data;
    let row = (login.authorised_reader.to_bytes(), login.entry_points);
    let name = call.username.as_str().to_owned();
    state.logins.insert(name.clone(), row);
    state.bats.insert(name, vec![call.log.mirror_bat.expect("a mirror token").bat]);
    state.chains.insert(call.username, call.claim);
    Ok(Decision::Accepted)
}
