//! Accounts that move to another node: what the present home does (`spec/06` §8).
//!
//! The claim of an account is public and so is the chain that it stands in. So nothing is handed out for a chain: only the
//! node that the owner has named in a newer claim is answered, and its connection proves that it is that node.

use pyrgos_protocol::api::ApiError;
use pyrgos_protocol::api::core::{Decision, MigrateUser};
use pyrgos_protocol::encoding::FromCbor;
use pyrgos_protocol::keys::{Owner, ProofOfWork, Writer};
use pyrgos_protocol::login::LoginData;
use pyrgos_protocol::merkle::pointer::SignedPointerUpdate;
use pyrgos_protocol::migration::{LinkOpenings, UserSnapshot};
use pyrgos_protocol::names::{Chain, Username};
use pyrgos_protocol::social::BlindFollowRequest;
use pyrgos_store::{RecordKey, Records};

use super::names::alone;
use super::{Failure, Service, Source};

impl Service {
    /// Shows everything that is kept of an account beside its blocks to the node that shall be its home, and with
    /// [`MigrateUser::commit`] lets it go: the claim takes effect, and nothing is written here any more. What was written
    /// until then is in the answer.
    ///
    /// The same call again, after the claim took effect, answers the same: a home whose connection broke fetches the rest.
    pub fn migrate_user(&self, call: MigrateUser, source: Source) -> Result<UserSnapshot, Failure> {
        let MigrateUser { username, chain, current_home, counts_after_secs, commit, .. } = call;
        if !self.policy.ids.contains(&current_home) {
            return Err(Failure::refused(format!("This is not the node {current_home}")));
        }
        let stored = self.parts.names.chain(&username)?;
        let owner = stored.owner().ok_or_else(|| Failure::refused("No value present: unknown user"))?;
        // Whoever moves pointers waits, and then learns that the home is elsewhere.
        let _lock = self.lock_owner(owner);
        let stored = self.parts.names.chain(&username)?;
        self.admit_migration(&username, &stored, &chain, &source)?;
        if commit && stored != chain {
            match self.parts.names.claim(&username, &chain, &ProofOfWork::first_try(), &mut alone)? {
                Decision::Accepted => {}
                Decision::WorkNeeded(_) => return Err(Failure::refused("This chain is too long to move without work")),
            }
        }
        self.snapshot(&username, owner, counts_after_secs)
    }

    fn admit_migration(
        &self,
        username: &Username,
        stored: &Chain,
        chain: &Chain,
        source: &Source,
    ) -> Result<(), Failure> {
        let no = |reason: &str| Failure::refused(format!("Cannot move {username}: {reason}"));
        let home = chain.home().ok_or_else(|| no("the claim names no home"))?;
        if *source != Source::Peer(home.clone()) {
            return Err(ApiError::Unauthorised.into());
        }
        if self.policy.ids.contains(home) {
            return Err(no("the claim names this node"));
        }
        if chain == stored {
            return Ok(());
        }
        if !stored.home().is_some_and(|home| self.policy.ids.contains(home)) {
            return Err(no("its home is another node"));
        }
        let (Some(new), Some(present)) = (chain.last(), stored.last()) else { return Err(no("there is no claim")) };
        if new.claim.expiry <= present.claim.expiry {
            return Err(no("the claim is not newer"));
        }
        match self.parts.names.examine(username, chain, &ProofOfWork::first_try())? {
            Decision::Accepted => Ok(()),
            Decision::WorkNeeded(_) => Err(no("the chain is too long to move without work")),
        }
    }

    /// Everything that is kept of an account beside its blocks.
    pub(super) fn snapshot(
        &self,
        username: &Username,
        owner: &Owner,
        counts_after_secs: i64,
    ) -> Result<UserSnapshot, Failure> {
        let mut writers = self.known_writers(owner)?;
        writers.insert(Writer::from(owner));
        let mut pointers = Vec::new();
        for writer in writers {
            if let Some(signed) = self.parts.records.read(&RecordKey::pointer(owner, &writer))? {
                pointers.push(SignedPointerUpdate { writer, signed });
            }
        }
        let request = |bytes: bytes::Bytes| {
            BlindFollowRequest::from_bytes(&bytes).map_err(|_| Failure::Damaged("follow request"))
        };
        let login = self.login_data(username)?;
        Ok(UserSnapshot {
            username: username.clone(),
            owner: owner.clone(),
            pointers,
            follow_requests: self.waiting_requests(owner)?.into_iter().map(request).collect::<Result<_, _>>()?,
            bats: self.bats(username.as_str())?,
            login,
            link_counts: LinkOpenings::all_of(&self.counts_after(owner, counts_after_secs)?),
        })
    }

    /// The login data that are kept of an account here.
    pub fn login_data(&self, username: &Username) -> Result<Option<LoginData>, Failure> {
        Ok(self.login_row(username)?.map(|row| row.into_data(username.clone())))
    }

    /// Refuses what only the home of an account does.
    pub(super) fn require_home(&self, owner: &Owner) -> Result<(), Failure> {
        let Some(username) = self.parts.names.username(owner)? else { return Ok(()) };
        let chain = self.parts.names.chain(&username)?;
        match chain.home() {
            Some(home) if !self.policy.ids.contains(home) => Err(Failure::refused("Please use your home server")),
            _ => Ok(()),
        }
    }
}

impl super::login::LoginRow {
    fn into_data(self, username: Username) -> LoginData {
        let super::login::LoginRow { reader, data } = self;
        LoginData { username, entry_points: data, authorised_reader: reader, identity_update: None }
    }
}
