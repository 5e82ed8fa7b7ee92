//! Making an account: everything about it is prepared here and sent in one request, which the node takes or refuses as a
//! whole (`spec/03` §6.1, `spec/06` §1.8).

use bytes::Bytes;
use pyrgos_crypto::random::{CryptoRng, random_bytes};

use super::account::{Password, derive};
use super::error::ClientError;
use super::first_login::furnish;
use super::keys::SessionKeys;
use super::network::{Network, Repeat};
use super::runtime::{Runtime, millis};
use super::session::Session;
use super::settings::Settings;
use crate::api::core::{Decision, SignUp as SignUpCall, proof_data};
use crate::api::storage::GetServerId;
use crate::api::{ApiError, Call, CallError, Transport};
use crate::cryptree::home::NewHome;
use crate::cryptree::name::FileName;
use crate::encoding::{Cid, ToCbor, Value};
use crate::keys::{
    BoxingKeyPair, Owner, OwnerProof, ProofOfWork, SignedRequest, SigningKeyPair, SigningPrivateKeyAndPublicHash,
    Writer,
};
use crate::login::{BlockWrite, EntryPoint, EntryPoints, LoginData, SecretGenerationAlgorithm, UserStaticData};
use crate::merkle::bat::{Bat, BatWithId};
use crate::merkle::champ::{self, ChampError, KeyHashing};
use crate::merkle::ownership::owned_keys;
use crate::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use crate::merkle::writer_data::WriterData;
use crate::names::sign_up::{AuthorisedBat, AuthorisedLogin, Operation, OperationLog};
use crate::names::{Chain, Date, Username};

/// The fewest characters of a password.
const MIN_PASSWORD: usize = 8;

/// Refuses a password that is too short to be chosen now.
pub(super) fn check_length(password: &Password) -> Result<(), ClientError> {
    match password.chars().count() < MIN_PASSWORD {
        true => Err(ClientError::UnfitPassword("the password has fewer than 8 characters")),
        false => Ok(()),
    }
}

/// What a new account is made of.
pub struct SignUp {
    /// The name.
    pub username: Username,
    /// The password.
    pub password: Password,
    /// What the node's operator gave; empty where sign-ups are open.
    pub token: String,
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// Makes an account and logs in to it.
    ///
    /// # Errors
    /// [`ClientError::NameTaken`], [`ClientError::SignUpRefused`], [`ClientError::UnfitPassword`].
    pub async fn sign_up(transport: T, runtime: R, settings: Settings, account: SignUp) -> Result<Self, ClientError> {
        check_length(&account.password)?;
        let network = Network::new(transport, runtime, settings);
        let home = network.call(Repeat::Safely, &GetServerId).await?;
        let runtime = &network.runtime;
        let algorithm = SecretGenerationAlgorithm::generate(&mut runtime.rng());
        let derived = derive(runtime, &algorithm, &account.username, &account.password).await?;

        let (username, mut rng, now) = (account.username.clone(), runtime.rng(), runtime.now());
        let work = move || NewAccount::prepare(&username, algorithm, &derived, now, &mut rng);
        let new = runtime.compute(work).await?;
        let today = Date::from_unix_millis(millis(now));
        let chain = Chain::first(&account.username, &new.keys.identity, home, today);
        let chain = chain.map_err(|_| ClientError::Limit("the clock is beyond the calendar"))?;
        let mut call = SignUpCall {
            username: account.username.clone(),
            claim: chain,
            log: new.log,
            proof: ProofOfWork::first_try(),
            token: account.token,
        };
        if let Some(difficulty) = send(&network, &call).await? {
            let data = proof_data(&call.claim);
            call.proof = network.runtime.compute(move || ProofOfWork::solve(&data, difficulty)).await?;
            if send(&network, &call).await?.is_some() {
                return Err(ClientError::SignUpRefused("the server wants more work than it asked for".into()));
            }
        }
        for (writer, signed) in new.pointers {
            let key = network.signing_key(&new.keys.owner, &writer).await?;
            network.observe(&writer, &key, &signed)?;
        }
        let session = Session::new(network, new.keys);
        furnish(session.core()).await?;
        Ok(session)
    }
}

/// Sends a sign-up; the difficulty that the node demands, if it wants work first.
async fn send<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    call: &SignUpCall,
) -> Result<Option<u32>, ClientError> {
    match network.try_call(Repeat::Unseen, call).await {
        Ok(Decision::Accepted) => Ok(None),
        Ok(Decision::WorkNeeded(difficulty)) => Ok(Some(difficulty)),
        Err(CallError::Api(ApiError::Refused { message, .. })) if message.contains("already exists") => {
            Err(ClientError::NameTaken)
        }
        Err(CallError::Api(ApiError::Refused { message, .. })) => Err(ClientError::SignUpRefused(message)),
        Err(error) => Err(ClientError::of_call(SignUpCall::PATH, error)),
    }
}

/// An account that no node knows yet.
struct NewAccount {
    keys: SessionKeys,
    log: OperationLog,
    pointers: Vec<(Writer, Bytes)>,
}

impl NewAccount {
    fn prepare(
        username: &Username,
        algorithm: SecretGenerationAlgorithm,
        derived: &crate::login::UserWithRoot,
        now: crate::cryptree::properties::Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ClientError> {
        let pair = SigningKeyPair::generate(rng);
        let boxing = BoxingKeyPair::generate_hybrid(rng);
        let identity = pair.signer();
        let owner = Owner::new(identity.public_key_hash.clone());
        let mirror = BatWithId::mirror(Bat::from_bytes(random_bytes(rng)));
        let home_signer = SigningKeyPair::generate(rng).signer();
        let mut log = OperationLog::default();
        let mut pointers = Vec::new();

        // The identity: owns the writer of the home directory, and names the boxing key.
        let proof = OwnerProof::sign(&identity.public_key_hash, &home_signer);
        let owned = owned_keys([(&home_signer.writer(), Cid::of_cbor(&proof.to_bytes()))]).map_err(champ_error)?;
        let boxing_block = Bytes::from(boxing.public().to_bytes());
        push(&mut log, proof.to_bytes(), &identity);
        log.push_block(BlockWrite::sign(boxing_block, false, &identity));
        owned.blocks.into_iter().for_each(|(_, block)| log.push_block(BlockWrite::sign(block, false, &identity)));
        let mut data = WriterData::new(identity.public_key_hash.clone());
        data.owned = Some(owned.root);
        data.inbound = Some(boxing.public().key_hash());
        data.algorithm = Some(algorithm);
        commit(&mut log, &mut pointers, &data, &identity)?;

        // The home directory and what is in it.
        let name = FileName::new(username.as_str()).map_err(|_| ClientError::InvalidUsername)?;
        let home =
            NewHome::build(&owner, name, &home_signer, mirror.id(), now, rng).map_err(super::item::node_error)?;
        let mut labels = Vec::new();
        for node in &home.nodes {
            let (cid, block) = node.node.to_block();
            log.push_block(BlockWrite::sign(block, false, &home_signer));
            labels.push((node.map_key.as_bytes().to_vec(), Value::Link(cid)));
            for fragment in &node.fragments {
                log.push_block(BlockWrite::sign(fragment.to_block(), true, &home_signer));
            }
        }
        let tree = champ::build(KeyHashing::Identity, labels).map_err(champ_error)?;
        for (_, block) in tree.blocks.into_iter().chain(champ::empty().blocks) {
            log.push_block(BlockWrite::sign(block, false, &home_signer));
        }
        let mut data = WriterData::new(home_signer.public_key_hash.clone());
        data.tree = Some(tree.root);
        commit(&mut log, &mut pointers, &data, &home_signer)?;

        let entry = EntryPoint { capability: home.cap.clone(), owner_name: username.clone() };
        let entry_points = EntryPoints::new(vec![entry], boxing.clone(), pair);
        let login = LoginData {
            username: username.clone(),
            entry_points: UserStaticData::encrypt(&entry_points, &derived.root, rng),
            authorised_reader: derived.login.public(),
            identity_update: None,
        };
        let auth = Bytes::copy_from_slice(&login.authorise(&identity.secret));
        log.login = Some(AuthorisedLogin { data: login, auth });
        let auth = SignedRequest::sign(crate::names::sign_up::ADD_BAT_PATH, millis(now), &identity.secret).into();
        log.mirror_bat = Some(AuthorisedBat { bat: mirror.clone(), auth });
        let keys = SessionKeys {
            username: username.clone(),
            owner,
            identity,
            boxing: Some(boxing),
            home: home.cap,
            mirror_bat: Some(mirror),
        };
        Ok(NewAccount { keys, log, pointers })
    }
}

fn champ_error(_: ChampError<std::convert::Infallible>) -> ClientError {
    ClientError::Limit("too many equal keys in one tree")
}

fn push(log: &mut OperationLog, block: Vec<u8>, signer: &SigningPrivateKeyAndPublicHash) {
    log.push_block(BlockWrite::sign(block.into(), false, signer));
}

/// Logs the first state of a writer.
fn commit(
    log: &mut OperationLog,
    pointers: &mut Vec<(Writer, Bytes)>,
    data: &WriterData,
    signer: &SigningPrivateKeyAndPublicHash,
) -> Result<(), ClientError> {
    let block = data.to_bytes();
    let signed = PointerUpdate::first(Cid::of_cbor(&block)).sign(&signer.secret);
    push(log, block, signer);
    let writer = signer.writer();
    log.operations.push(Operation::Pointer(SignedPointerUpdate { writer: writer.clone(), signed: signed.clone() }));
    pointers.push((writer, signed));
    Ok(())
}
