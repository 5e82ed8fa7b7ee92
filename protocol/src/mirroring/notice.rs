//! Notices: after each commit the home tells all nodes something that only the account's mirrors understand (design §4).
//!
//! A notice says that the account changed, and when. It goes to one of [`SHARDS`] topics, which the token chooses; all
//! notices have the same length, and are encrypted with a key that comes from the token under a random nonce. Who has no
//! token sees that somebody wrote, and cannot tell two owners of one topic apart.

use pyrgos_crypto::hash::hmac_sha256;
use pyrgos_crypto::secretbox::{self, Key, Nonce, OVERHEAD};
use zeroize::Zeroizing;

use crate::merkle::bat::Bat;

/// Topics that notices are spread over.
pub const SHARDS: u8 = 64;

/// Bytes of every notice: nonce, tag, time, and room for what later ones say.
pub const NOTICE_LEN: usize = Nonce::SIZE + OVERHEAD + PLAIN_LEN;

const PLAIN_LEN: usize = 64;

/// That an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When, milliseconds since 1970 UTC by the home's clock.
    pub time_millis: i64,
}

/// The topic of an account's notices.
pub fn topic(token: &Bat) -> String {
    let [first, ..] = hmac_sha256(token.as_bytes(), b"pyrgos notice topic");
    format!("/pyrgos/notices/1/{}", first % SHARDS)
}

fn key(token: &Bat) -> Key {
    let key = Zeroizing::new(hmac_sha256(token.as_bytes(), b"pyrgos notice key"));
    Key::from_bytes(*key)
}

impl Notice {
    /// Encrypts the notice for whoever holds the token. The nonce is random and used once.
    pub fn seal(&self, token: &Bat, nonce: &Nonce) -> Vec<u8> {
        let mut plain = [0; PLAIN_LEN];
        plain[..8].copy_from_slice(&self.time_millis.to_be_bytes());
        let mut sealed = nonce.as_bytes().to_vec();
        sealed.extend(secretbox::seal(&key(token), nonce, &plain));
        sealed
    }

    /// The notice, if it is one of this token's account.
    pub fn open(token: &Bat, sealed: &[u8]) -> Option<Self> {
        if sealed.len() != NOTICE_LEN {
            return None;
        }
        let (nonce, sealed) = sealed.split_at(Nonce::SIZE);
        let plain = secretbox::open(&key(token), &Nonce::from_slice(nonce).ok()?, sealed).ok()?;
        let time_millis = i64::from_be_bytes(*plain.first_chunk()?);
        Some(Notice { time_millis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens_a_notice() {
        let (token, other) = (Bat::from_bytes([1; 32]), Bat::from_bytes([2; 32]));
        let notice = Notice { time_millis: 1_800_000_000_123 };
        let (first, second) =
            (notice.seal(&token, &Nonce::from_bytes([3; 24])), notice.seal(&token, &Nonce::from_bytes([4; 24])));
        assert_eq!((first.len(), second.len()), (NOTICE_LEN, NOTICE_LEN));
        // Nothing is the same in two notices but by chance.
        assert!(first.iter().zip(&second).filter(|(a, b)| a == b).count() < 8);
        assert_eq!(Notice::open(&token, &first), Some(notice));
        assert_eq!(Notice::open(&other, &first), None);
        for at in 0..first.len() {
            let mut damaged = first.clone();
            damaged[at] ^= 1;
            assert_eq!(Notice::open(&token, &damaged), None);
        }
        assert_eq!(Notice::open(&token, &first[1..]), None);
        assert_eq!(Notice::open(&token, &[]), None);
    }

    #[test]
    fn tokens_are_spread_over_the_topics() {
        let topics: std::collections::HashSet<String> =
            (0..2000_u32).map(|n| topic(&Bat::from_bytes(pyrgos_crypto::hash::sha256(&n.to_be_bytes())))).collect();
        assert_eq!(topics.len(), usize::from(SHARDS));
    }
}
