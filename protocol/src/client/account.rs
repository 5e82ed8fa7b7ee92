//! Getting at an account: signing up, logging in, changing the password, renewing the claim of the name.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::{ClientError, ErrorKind};
use super::first_login::furnish;
use super::keys::SessionKeys;
use super::network::{Network, Repeat};
use super::runtime::{Runtime, millis};
use super::session::Session;
use super::settings::Settings;
use crate::api::bats::{AddBat, GetUserBats};
use crate::api::core::{Decision, GetChain, UpdateChain, proof_data};
use crate::api::login::{GetLogin, SetLogin};
use crate::api::transport::MaybeSend;
use crate::api::{ApiError, Call, CallError, Transport};
use crate::encoding::{Cid, ToCbor};
use crate::keys::{
    CipherError, Owner, ProofOfWork, PublicSigningKey, SignedRequest, SignedTime, SigningPrivateKeyAndPublicHash,
    Writer,
};
use crate::login::second_factor::{FactorType, MultiFactorAuthRequest, MultiFactorAuthResponse};
use crate::login::{
    BlockWrite, DeriveError, EntryPoints, IdentityUpdate, LoginData, LoginResponse, SecretGenerationAlgorithm,
    UserStaticData, UserWithRoot,
};
use crate::merkle::bat::{Bat, BatWithId};
use crate::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use crate::merkle::writer_data::WriterData;
use crate::names::{Chain, Date, Username};

/// The second factors that an answer is looked for.
const FACTORS: [FactorType; 4] = [FactorType::Totp, FactorType::Webauthn, FactorType::BackupCodes, FactorType::Mount];

/// A password, wiped when dropped.
pub type Password = Zeroizing<String>;

/// Answers the question for a second factor.
pub trait SecondFactor: MaybeSend {
    /// The answer, none if there is none.
    fn answer(&self, request: &MultiFactorAuthRequest) -> Option<MultiFactorAuthResponse>;
}

/// There is none.
impl SecondFactor for () {
    fn answer(&self, _: &MultiFactorAuthRequest) -> Option<MultiFactorAuthResponse> {
        None
    }
}

impl<F: Fn(&MultiFactorAuthRequest) -> Option<MultiFactorAuthResponse> + MaybeSend> SecondFactor for F {
    fn answer(&self, request: &MultiFactorAuthRequest) -> Option<MultiFactorAuthResponse> {
        self(request)
    }
}

/// The public side of an account: who the name belongs to, and its identity's state.
struct Identity {
    chain: Chain,
    owner: Owner,
    pointer: PointerUpdate,
    data: WriterData,
}

/// The chain of claims that the node has for a name, not yet verified, with the keys of its owners.
pub(super) async fn fetch_chain<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
) -> Result<(Chain, Vec<(Owner, PublicSigningKey)>), ClientError> {
    let chain = network.call(Repeat::Safely, &GetChain { username: username.clone() }).await?;
    let owner = chain.owner().cloned().ok_or(ClientError::UnknownUser)?;
    let mut keys = Vec::new();
    for link in &chain.0 {
        keys.push((link.owner.clone(), network.signing_key(&owner, &Writer::from(&link.owner)).await?));
    }
    Ok((chain, keys))
}

/// The chain of claims of a name, verified, and the present owner.
pub(super) async fn proven_chain<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
) -> Result<(Chain, Owner), ClientError> {
    let (chain, keys) = fetch_chain(network, username).await?;
    let owner = chain.owner().cloned().ok_or(ClientError::UnknownUser)?;
    let key_of = |owner: &Owner| keys.iter().find(|(known, _)| known == owner).map(|(_, key)| *key);
    chain.verify(username, key_of).map_err(|_| ClientError::ForgedClaim)?;
    Ok((chain, owner))
}

/// Who a name belongs to, proven by its chain of claims.
async fn look_up<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
) -> Result<Identity, ClientError> {
    let (chain, owner) = proven_chain(network, username).await?;
    let writer = Writer::from(&owner);
    let pointer = network.pointer(&owner, &writer).await?.ok_or(ClientError::DeletedUser)?;
    let target = pointer.updated().ok_or(ClientError::DeletedUser)?;
    let data = network.writer_data(&owner, &writer, target).await?;
    Ok(Identity { chain, owner, pointer, data })
}

/// Derives the secrets of a password, on another thread.
pub(super) async fn derive<R: Runtime>(
    runtime: &R,
    algorithm: &SecretGenerationAlgorithm,
    username: &Username,
    password: &Password,
) -> Result<UserWithRoot, ClientError> {
    let (algorithm, username, password) = (algorithm.clone(), username.clone(), password.clone());
    let derived = runtime.compute(move || algorithm.derive_login(&username, &password)).await;
    derived.map_err(|error| match error {
        DeriveError::PasswordIsUsername => ClientError::UnfitPassword("the password must differ from the username"),
        DeriveError::Crypto(error @ pyrgos_crypto::Error::Memory { .. }) => ClientError::Crypto(error),
        other => ClientError::UnfitDerivation(other.to_string()),
    })
}

/// Fetches the login data that belong to a login key.
async fn fetch_login<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
    login: &UserWithRoot,
    second_factor: &impl SecondFactor,
) -> Result<UserStaticData, ClientError> {
    let mut answer = None;
    for _ in 0..2 {
        let auth = SignedTime::sign(millis(network.runtime.now()), &login.login.secret).into();
        let call = GetLogin {
            username: username.as_str().to_owned(),
            reader: login.login.public(),
            auth,
            proxied: false,
            factors: FACTORS.to_vec(),
            answer: answer.take(),
        };
        match network.try_call(Repeat::Safely, &call).await {
            Ok(LoginResponse::LoggedIn(data)) => return Ok(data),
            Ok(LoginResponse::SecondFactor(request)) => {
                answer = Some(second_factor.answer(&request).ok_or(ClientError::SecondFactor)?);
            }
            Err(CallError::Api(ApiError::Refused { message, .. })) if message.contains("Incorrect") => {
                return Err(ClientError::WrongPassword);
            }
            Err(CallError::Api(ApiError::Refused { .. })) if call.answer.is_some() => {
                return Err(ClientError::SecondFactor);
            }
            Err(error) => return Err(ClientError::of_call(GetLogin::PATH, error)),
        }
    }
    Err(ClientError::SecondFactor)
}

/// An account that a password opened.
struct Unlocked {
    identity: Identity,
    algorithm: SecretGenerationAlgorithm,
    signer: SigningPrivateKeyAndPublicHash,
    entry_points: EntryPoints,
    derived: UserWithRoot,
}

async fn unlock<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
    password: &Password,
    second_factor: &impl SecondFactor,
) -> Result<Unlocked, ClientError> {
    let identity = look_up(network, username).await?;
    let algorithm = identity.data.algorithm.clone();
    let algorithm = algorithm.ok_or(ClientError::Inconsistent("an identity without derivation parameters"))?;
    let derived = derive(&network.runtime, &algorithm, username, password).await?;
    let legacy = identity.data.static_data.clone();
    let sealed = match &legacy {
        Some(sealed) => sealed.clone(),
        None => fetch_login(network, username, &derived, second_factor).await?,
    };
    let entry_points = sealed.decrypt(&derived.root).map_err(|error| match error {
        CipherError::Decode(source) => ClientError::Damaged { what: "the login data", source },
        _ if legacy.is_some() => ClientError::WrongPassword,
        // The node has compared the login key, and it comes from the same derivation as the key that fails here.
        _ => ClientError::ForgedLogin,
    })?;
    // The password itself gives the identity of old accounts (`spec/01` §4.7).
    let pair = match (&legacy, &entry_points.identity) {
        (None, Some(pair)) => pair.clone(),
        (None, None) => return Err(ClientError::ForeignIdentity),
        (Some(_), _) => derived.login.clone(),
    };
    let proven = network.signing_key(&identity.owner, &Writer::from(&identity.owner)).await?;
    if pair.public() != proven || identity.data.controller != *identity.owner.key_hash() {
        return Err(ClientError::ForeignIdentity);
    }
    let signer = SigningPrivateKeyAndPublicHash {
        public_key_hash: identity.owner.key_hash().clone(),
        secret: pair.secret.clone(),
    };
    Ok(Unlocked { identity, algorithm, signer, entry_points, derived })
}

/// Proves that a password, with a second factor if there is one, is the account's. Gives the key that signs for it.
pub(super) async fn prove<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    username: &Username,
    password: &Password,
    second_factor: &impl SecondFactor,
) -> Result<SigningPrivateKeyAndPublicHash, ClientError> {
    unlock(network, username, password, second_factor).await.map(|unlocked| unlocked.signer)
}

impl<T: Transport, R: Runtime> Session<T, R> {
    /// The account's mirror token, its newest one: whoever has it can fetch all blocks of the account, still encrypted,
    /// and so keep a copy of it (`spec/02` §8, `spec/06` §7.1). An account without one gets one.
    ///
    /// # Errors
    /// Whatever the node does.
    pub async fn mirror_token(&self) -> Result<BatWithId, ClientError> {
        mirror_bat(&self.core().network, self.keys()).await
    }

    /// Logs in with a name and a password.
    ///
    /// Directories that every account has are made if they are absent, and the claim of the name is renewed when less
    /// than a month of it is left.
    ///
    /// # Errors
    /// [`ClientError::UnknownUser`], [`ClientError::WrongPassword`], [`ClientError::SecondFactor`], and everything by
    /// which a node shows that it cannot be trusted.
    pub async fn log_in(
        transport: T,
        runtime: R,
        settings: Settings,
        username: &Username,
        password: &Password,
        second_factor: &impl SecondFactor,
    ) -> Result<Self, ClientError> {
        let network = Network::new(transport, runtime, settings);
        let unlocked = unlock(&network, username, password, second_factor).await?;
        let Unlocked { identity, signer, entry_points, derived, .. } = unlocked;
        let home = entry_points.entries.iter().find(|entry| entry.owner_name == *username);
        let home = home.ok_or(ClientError::Inconsistent("login data without the home directory"))?;
        // Survives a change of the identity (`spec/03` §6.3).
        let home = crate::cryptree::capability::AbsoluteCapability {
            owner: identity.owner.clone(),
            ..home.capability.clone()
        };
        let mut keys = SessionKeys {
            username: username.clone(),
            owner: identity.owner.clone(),
            identity: signer,
            boxing: entry_points.boxing.clone().or(derived.legacy_boxing.clone()),
            home,
            mirror_bat: None,
        };
        keys.mirror_bat = Some(mirror_bat(&network, &keys).await?);
        match renew_claim(&network, &keys, &identity.chain).await {
            // Nobody enforces the end of a claim (`spec/06` §1.6), and the next login tries again: a node that does not
            // renew now must not keep anybody from their files.
            Err(error) if error.kind() != ErrorKind::Untrustworthy => {}
            renewed => renewed?,
        }
        let session = Session::new(network, keys);
        furnish(session.core()).await?;
        Ok(session)
    }

    /// Leaves the sealed data that a login needs with the node of this session, which mirrors the account, so that one can
    /// log in there when the home is gone. Homes that know mirrors give them by themselves; existing ones do not.
    ///
    /// # Errors
    /// [`ClientError::WrongPassword`]; [`ClientError::SecondFactor`] if the account has one, which the mirror would not
    /// ask for.
    pub async fn copy_login(&self, password: &Password) -> Result<(), ClientError> {
        let (network, username) = (&self.core().network, self.username());
        let identity = look_up(network, username).await?;
        let algorithm = identity.data.algorithm.clone();
        let algorithm = algorithm.ok_or(ClientError::Inconsistent("an identity without derivation parameters"))?;
        if identity.data.static_data.is_some() {
            // Accounts of the old kind have them in a block.
            return Ok(());
        }
        let derived = derive(&network.runtime, &algorithm, username, password).await?;
        let sealed = fetch_login(network, username, &derived, &()).await?;
        sealed.decrypt(&derived.root).map_err(|_| ClientError::ForgedLogin)?;
        let login = LoginData {
            username: username.clone(),
            entry_points: sealed,
            authorised_reader: derived.login.public(),
            identity_update: None,
        };
        let auth = Bytes::copy_from_slice(&login.authorise(&self.keys().identity.secret));
        let call = SetLogin { username: username.as_str().to_owned(), data: login, auth, local: true };
        match network.call(Repeat::Safely, &call).await? {
            true => Ok(()),
            false => Err(ClientError::Conflict),
        }
    }

    /// Changes the password. Identity, files and friends stay; other sessions stay logged in.
    ///
    /// # Errors
    /// [`ClientError::WrongPassword`] if the old one is wrong, [`ClientError::UnfitPassword`] if the new one may not be
    /// used, [`ClientError::Conflict`] if another device changed the identity's state meanwhile; then the old password
    /// stays.
    pub async fn change_password(
        &self,
        old: &Password,
        new: &Password,
        second_factor: &impl SecondFactor,
    ) -> Result<(), ClientError> {
        if old == new {
            return Err(ClientError::UnfitPassword("the new password is the old one"));
        }
        super::sign_up::check_length(new)?;
        let network = &self.core().network;
        let username = self.username();
        let unlocked = unlock(network, username, old, second_factor).await?;
        if unlocked.identity.data.static_data.is_some() {
            return Err(ClientError::Limit("changing the password of an account of the old kind is not supported yet"));
        }
        let algorithm = unlocked.algorithm.with_new_salt(&mut network.runtime.rng());
        let algorithm = algorithm.map_err(|error| ClientError::UnfitDerivation(error.to_string()))?;
        let derived = derive(&network.runtime, &algorithm, username, new).await?;
        let entry_points = EntryPoints { version: EntryPoints::VERSION, ..unlocked.entry_points };
        let signer = &unlocked.signer;
        let data = WriterData { algorithm: Some(algorithm), ..unlocked.identity.data };
        let block = Bytes::from(data.to_bytes());
        let update = unlocked.identity.pointer.next(Some(Cid::of_cbor(&block)));
        let update = update.map_err(ClientError::damaged("the identity's pointer"))?;
        let signed = update.sign(&signer.secret);
        let login = LoginData {
            username: username.clone(),
            entry_points: UserStaticData::encrypt(&entry_points, &derived.root, &mut network.runtime.rng()),
            authorised_reader: derived.login.public(),
            identity_update: Some(IdentityUpdate {
                block: BlockWrite::sign(block, false, signer),
                pointer: SignedPointerUpdate { writer: signer.writer(), signed: signed.clone() },
            }),
        };
        let auth = Bytes::copy_from_slice(&login.authorise(&signer.secret));
        let call = SetLogin { username: username.as_str().to_owned(), data: login, auth, local: false };
        match network.try_call(Repeat::Safely, &call).await {
            Ok(true) => {}
            Ok(false) => return Err(ClientError::Conflict),
            // An earlier attempt arrived although its answer did not.
            Err(CallError::Api(ApiError::PointerCas(cas))) if cas.existing.as_ref() == update.updated() => {}
            Err(CallError::Api(ApiError::PointerCas(_))) => return Err(ClientError::Conflict),
            Err(error) => return Err(ClientError::of_call(SetLogin::PATH, error)),
        }
        network.observe(&signer.writer(), &signer.secret.public(), &signed)?;
        Ok(())
    }
}

/// The account's mirror token: the last that the node keeps, else a new one.
pub(super) async fn mirror_bat<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    keys: &SessionKeys,
) -> Result<BatWithId, ClientError> {
    let username = keys.username.as_str().to_owned();
    let auth = |path| SignedRequest::sign(path, millis(network.runtime.now()), &keys.identity.secret).into();
    let call = GetUserBats { username: username.clone(), auth: auth(GetUserBats::PATH) };
    if let Some(bat) = network.call(Repeat::Safely, &call).await?.pop() {
        return Ok(bat);
    }
    let bat = BatWithId::mirror(Bat::from_bytes(pyrgos_crypto::random::random_bytes(&mut network.runtime.rng())));
    let call = AddBat { username, bat: bat.clone(), auth: auth(AddBat::PATH) };
    network.call(Repeat::Safely, &call).await?;
    Ok(bat)
}

/// Renews the claim of the name if it ends soon (`spec/06` §1.6).
async fn renew_claim<T: Transport, R: Runtime>(
    network: &Network<T, R>,
    keys: &SessionKeys,
    chain: &Chain,
) -> Result<(), ClientError> {
    let today = Date::from_unix_millis(millis(network.runtime.now()));
    if !chain.needs_renewal(today) {
        return Ok(());
    }
    let home = chain.home().ok_or(ClientError::ForgedClaim)?.clone();
    let expiry = chain.renewed_expiry(today).map_err(|_| ClientError::ForgedClaim)?;
    let renewed = chain.with_last_claim(&keys.username, expiry, home, &keys.identity);
    let update = Chain(renewed.0.last().cloned().into_iter().collect());
    let mut call =
        UpdateChain { username: keys.username.clone(), update, proof: ProofOfWork::first_try(), token: String::new() };
    if let Decision::WorkNeeded(difficulty) = network.call(Repeat::Safely, &call).await? {
        let data = proof_data(&call.update);
        let solved = network.runtime.compute(move || ProofOfWork::solve(&data, difficulty)).await;
        call.proof = solved?;
        network.call(Repeat::Safely, &call).await?;
    }
    Ok(())
}
