//! Accounts that tests make by hand, so that every part of a sign-up can be wrong on purpose.

use bytes::Bytes;
use pyrgos::service::clock::{EntropyRng, SystemEntropy};
use pyrgos_protocol::api::bats::AddBat;
use pyrgos_protocol::api::core::SignUp;
use pyrgos_protocol::api::login::{AccountAuth, GetLogin};
use pyrgos_protocol::api::storage::PutBlocks;
use pyrgos_protocol::api::{Call, mutable::SetPointer};
use pyrgos_protocol::encoding::{Cid, Codec, ToCbor};
use pyrgos_protocol::keys::{
    KeyHash, Owner, ProofOfWork, SecretSigningKey, SignedRequest, SignedTime, SigningPrivateKeyAndPublicHash,
    SymmetricKey, Writer,
};
use pyrgos_protocol::login::second_factor::FactorType;
use pyrgos_protocol::login::{BlockWrite, EntryPoints, LoginData, UserStaticData};
use pyrgos_protocol::merkle::bat::{Bat, BatWithId};
use pyrgos_protocol::merkle::block::{BlockWriteGroup, SignedBlock};
use pyrgos_protocol::merkle::champ;
use pyrgos_protocol::merkle::pointer::{PointerUpdate, SignedPointerUpdate};
use pyrgos_protocol::merkle::writer_data::WriterData;
use pyrgos_protocol::names::sign_up::{AuthorisedBat, AuthorisedLogin, Operation};
use pyrgos_protocol::names::{Chain, Date, OperationLog, Username};

use super::Node;

/// A key pair from a text.
pub fn signer(seed: &str) -> SigningPrivateKeyAndPublicHash {
    let mut bytes = [0; 32];
    bytes[..seed.len()].copy_from_slice(seed.as_bytes());
    let secret = SecretSigningKey::from_seed(&bytes);
    SigningPrivateKeyAndPublicHash { public_key_hash: KeyHash::of_signing_key(&secret.public()), secret }
}

/// Everything of one account.
pub struct Account {
    pub username: Username,
    pub identity: SigningPrivateKeyAndPublicHash,
    pub login: SecretSigningKey,
    pub bat: BatWithId,
    /// The identity's first writer data.
    pub data: Bytes,
    /// The pointer's last move.
    pub pointer: PointerUpdate,
}

impl Account {
    pub fn new(name: &str) -> Account {
        let identity = signer(name);
        let data = Bytes::from(WriterData::new(identity.public_key_hash.clone()).to_bytes());
        Account {
            username: Username::new(name).unwrap(),
            login: signer(&format!("{name} login")).secret,
            bat: BatWithId::mirror(Bat::from_bytes([name.len() as u8; 32])),
            pointer: PointerUpdate::first(Cid::of_cbor(&data)),
            data,
            identity,
        }
    }

    pub fn owner(&self) -> Owner {
        Owner::new(self.identity.public_key_hash.clone())
    }

    pub fn writer(&self) -> Writer {
        self.identity.writer()
    }

    pub fn login_data(&self, reader: &SecretSigningKey) -> LoginData {
        let rng = &mut EntropyRng(&SystemEntropy);
        let points = EntryPoints { version: EntryPoints::VERSION, entries: Vec::new(), boxing: None, identity: None };
        LoginData {
            username: self.username.clone(),
            entry_points: UserStaticData::encrypt(&points, &SymmetricKey::generate(rng), rng),
            authorised_reader: reader.public(),
            identity_update: None,
        }
    }

    /// A sign-up that the node takes.
    pub fn sign_up(&self, node: &Node) -> SignUp {
        let now = super::now(node);
        let claim = Chain::first(&self.username, &self.identity, node.id.clone(), Date::from_unix_millis(now)).unwrap();
        let mut log = OperationLog::default();
        for (_, block) in champ::empty().blocks {
            log.push_block(BlockWrite::sign(block, false, &self.identity));
        }
        log.push_block(BlockWrite::sign(self.data.clone(), false, &self.identity));
        let signed = self.pointer.sign(&self.identity.secret);
        log.operations.push(Operation::Pointer(SignedPointerUpdate { writer: self.writer(), signed }));
        let data = self.login_data(&self.login);
        let auth = data.authorise(&self.identity.secret).to_vec().into();
        log.login = Some(AuthorisedLogin { data, auth });
        let auth = SignedRequest::sign(AddBat::PATH, now, &self.identity.secret).into();
        log.mirror_bat = Some(AuthorisedBat { bat: self.bat.clone(), auth });
        SignUp { username: self.username.clone(), claim, log, proof: ProofOfWork::first_try(), token: String::new() }
    }

    /// Makes the account.
    pub fn create(name: &str, node: &Node) -> Account {
        let account = Account::new(name);
        let decision = node.call(&account.sign_up(node)).unwrap();
        assert_eq!(decision, pyrgos_protocol::api::core::Decision::Accepted);
        account
    }

    pub fn auth<C: Call>(&self, node: &Node) -> AccountAuth {
        let auth = SignedRequest::sign(C::PATH, super::now(node), &self.identity.secret).into();
        AccountAuth { username: self.username.to_string(), auth }
    }

    pub fn signed_time(&self, node: &Node) -> Bytes {
        SignedTime::sign(super::now(node), &self.identity.secret).into()
    }

    pub fn get_login(&self, node: &Node, reader: &SecretSigningKey) -> GetLogin {
        GetLogin {
            username: self.username.to_string(),
            reader: reader.public(),
            auth: SignedTime::sign(super::now(node), reader).into(),
            proxied: false,
            factors: vec![FactorType::Totp, FactorType::BackupCodes],
            answer: None,
        }
    }

    /// Blocks of the identity, ready to be put.
    pub fn put(&self, codec: Codec, blocks: &[&[u8]]) -> PutBlocks {
        put(&self.owner(), &self.identity, codec, blocks)
    }

    /// Moves the identity's pointer to a block, or deletes it.
    pub fn set_pointer(&self, target: Option<Cid>) -> SetPointer {
        let update = self.pointer.next(target).unwrap();
        SetPointer { owner: self.owner(), writer: self.writer(), update: update.sign(&self.identity.secret) }
    }

    /// As [`Account::set_pointer`], and remembers it.
    pub fn move_to(&mut self, node: &Node, target: Option<Cid>) {
        assert!(node.call(&self.set_pointer(target.clone())).unwrap());
        self.pointer = self.pointer.next(target).unwrap();
    }
}

/// Blocks of a writer, ready to be put.
pub fn put(owner: &Owner, writer: &SigningPrivateKeyAndPublicHash, codec: Codec, blocks: &[&[u8]]) -> PutBlocks {
    let sign = |block: &&[u8]| SignedBlock::sign(&writer.secret, Bytes::copy_from_slice(block));
    PutBlocks {
        owner: owner.clone(),
        writer: writer.writer(),
        transaction: "test-transaction".parse().unwrap(),
        codec,
        group: BlockWriteGroup { blocks: blocks.iter().map(sign).collect() },
    }
}
