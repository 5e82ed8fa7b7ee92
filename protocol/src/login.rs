//! From a username and a password to an account: derivation, login data, second factors (`spec/01` §4).
//!
//! The password gives a login key, which asks the home server for the login data, and a root key, which opens them.
//! What is inside, the [`EntryPoints`], is the account: identity key, boxing key and the way to the home directory.

mod algorithm;
mod block_write;
mod data;
mod entry;
pub mod second_factor;

pub use algorithm::{DeriveError, ScryptAlgorithm, SecretGenerationAlgorithm, UserWithRoot};
pub use block_write::BlockWrite;
pub use data::{IdentityUpdate, LoginData, LoginResponse, MAX_LOGIN_DATA_BYTES};
pub use entry::{EntryPoint, EntryPoints, USER_STATIC_DATA_BLOCK, UserStaticData};
