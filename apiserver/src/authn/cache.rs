//! Verdicts on tokens that are remembered for a while. Tokens themselves are not: a keyed hash stands for each.
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Verdicts kept; more than this drops those that are over, and all if that is not enough.
const SIZE: usize = 8192;

/// What stands for a token and the audiences it was asked about.
pub type Key = [u8; 32];

/// A bounded table of verdicts.
pub struct Verdicts<T> {
    salt: [u8; 32],
    known: Mutex<HashMap<Key, (Instant, T)>>,
}

impl<T> Default for Verdicts<T> {
    fn default() -> Self {
        Self { salt: rand::random(), known: Mutex::default() }
    }
}

impl<T: Clone> Verdicts<T> {
    /// The key of a token for some audiences.
    pub fn key(&self, token: &str, audiences: &[String]) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The verdict, while it holds.
    pub fn get(&self, key: &Key) -> Option<T> {
        let known = self.known.lock();
        known.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, verdict)| verdict.clone())
    }

    /// Remembers a verdict for a while.
    pub fn put(&self, key: Key, verdict: T, hold: Duration) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= SIZE {
            known.retain(|_, (until, _)| *until > now);
            if known.len() >= SIZE {
                known.clear();
            }
        }
        known.insert(key, (now + hold, verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_hold_for_a_while_and_are_bounded() {
        let verdicts = Verdicts::default();
        let long = Duration::from_secs(60);
        let audiences = ["a".to_owned()];
        let key = verdicts.key("t", &audiences);
        assert_ne!(key, verdicts.key("ta", &[]), "the parts are told apart");
        verdicts.put(key, 1, long);
        assert_eq!((verdicts.get(&key), verdicts.get(&verdicts.key("t", &[]))), (Some(1), None));
        verdicts.put(key, 2, Duration::ZERO);
        assert_eq!(verdicts.get(&key), None);
        for n in 0..2 * SIZE {
            verdicts.put(verdicts.key(&n.to_string(), &[]), n, long);
        }
        assert!(verdicts.known.lock().len() <= SIZE);
    }
}
