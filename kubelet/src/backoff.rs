//! Exponential back-off per key, without a clock of its own.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// First delay before a crashed container is started again, or an image pulled again.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest such delay.
pub const MAX: Duration = Duration::from_secs(300);

/// Delays per key, doubled at each failure from an initial to a maximal one; forgotten when a key stayed
/// well for twice the maximal delay.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(INITIAL, MAX)
    }
}

impl Backoff {
    /// Back-off from `initial` to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, entries: HashMap::new() }
    }

    /// How long `key`, which failed at `failed`, still has to wait; `None` if it may go on.
    /// The second value is the whole delay, for messages.
    pub fn remaining(&self, key: &str, failed: Timestamp, now: Timestamp) -> Option<(Duration, Duration)> {
        let entry = self.entries.get(key).filter(|entry| !self.expired(entry, failed))?;
        let passed = Duration::try_from(now.duration_since(failed)).unwrap_or_default();
        let left = entry.delay.checked_sub(passed).filter(|left| !left.is_zero())?;
        Some((left, entry.delay))
    }

    /// Notes that `key`, which failed at `failed`, is tried again now; the next failure waits longer.
    pub fn advance(&mut self, key: &str, failed: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, failed) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// How long `key` has to wait counted from its last failure, and the whole delay.
    pub fn remaining_since_update(&self, key: &str, now: Timestamp) -> Option<(Duration, Duration)> {
        let updated = self.entries.get(key)?.updated;
        self.remaining(key, updated, now)
    }

    /// Forgets `key`.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn expired(&self, entry: &Entry, failed: Timestamp) -> bool {
        failed.duration_since(entry.updated)
            > SignedDuration::try_from(self.max * 2).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_forgets() {
        let at = |second: i64| Timestamp::from_second(second).expect("time");
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining("a", at(0), at(0)), None, "the first restart is immediate");
        let mut now = 0;
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            backoff.advance("a", at(now), at(now));
            now += 1;
            let (left, whole) = backoff.remaining("a", at(now), at(now)).expect("waits");
            assert_eq!((left.as_secs(), whole.as_secs()), (expected, expected));
            assert_eq!(backoff.remaining("a", at(now), at(now + expected as i64)), None);
            now += expected as i64;
        }
        assert_eq!(backoff.remaining("a", at(now + 601), at(now + 601)), None, "well for ten minutes");
        assert_eq!(backoff.remaining("b", at(0), at(0)), None);
    }
}
