//! Background work: forgetting old history and removing objects whose time to live is over.
use super::encryption::Encryption;
use super::store::{Store, WriteFacts};
use super::{CommitError, Group, Revision};
use futures::future::join_all;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// Revisions forgotten in one transaction.
const STEP: usize = 256;

/// Expired objects removed at once.
const EXPIRE: usize = 128;

/// Times at which revisions were reached, to know which one lies a given time back.
#[derive(Debug, Default)]
struct Clock {
    reached: VecDeque<(Instant, Revision)>,
}

impl Clock {
    /// Notes the newest revision; returns the newest one that is at least `history` old.
    fn tick(&mut self, now: Instant, head: Revision, history: Duration) -> Option<Revision> {
        if self.reached.back().is_none_or(|(_, revision)| *revision < head) {
            self.reached.push_back((now, head));
        }
        let mut old = None;
        while let Some((at, revision)) = self.reached.front()
            && now.duration_since(*at) >= history
        {
            old = Some(*revision);
            self.reached.pop_front();
        }
        old
    }
}

/// Forgets what is older than the history, in small steps, for ever.
pub(super) async fn compact(store: Store) {
    let history = store.options().history;
    let interval = (history / 10).clamp(Duration::from_millis(10), Duration::from_secs(30));
    let mut clock = Clock::default();
    let mut target = Revision(0);
    loop {
        target = clock.tick(Instant::now(), store.revision(), history).unwrap_or(target).max(target);
        if let Err(error) = compact_to(&store, target).await {
            tracing::warn!(%error, "compaction failed; it goes on later");
        }
        sleep(interval).await;
    }
}

async fn compact_to(store: &Store, target: Revision) -> Result<(), super::BackendError> {
    let mut before = store.compacted();
    while before < target {
        let reached = store.backend().compact(target, STEP).await?;
        store.set_compacted(reached);
        if reached == before {
            break;
        }
        before = reached;
        // A small step, then a pause as long as a few commits: writers never wait for more than one step.
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Removes expired objects, for ever.
pub(super) async fn expire(store: Store) {
    loop {
        sleep(store.options().expiry_interval).await;
        while let Some(removed) = expire_some(&store).await
            && removed == EXPIRE
        {}
    }
}

/// One round; the number of objects found, none if the database failed.
async fn expire_some(store: &Store) -> Option<usize> {
    let rows = match store.backend().expired(SystemTime::now(), EXPIRE).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(%error, "expired objects cannot be read");
            return None;
        }
    };
    let found = rows.len();
    let removals = rows.into_iter().filter_map(|row| {
        let resource = store.resource(row.key.resource())?;
        let previous = resource.stored(row.key.clone(), row.revision, &row.value).ok();
        let facts = vec![WriteFacts { index: None, previous }];
        Some(store.commit_with(Group::remove(row.key, row.revision), facts))
    });
    for removed in join_all(removals).await {
        match removed {
            // Written again meanwhile: it lives longer.
            Ok(_) | Err(CommitError::Guard { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "an expired object cannot be removed");
                return None;
            }
        }
    }
    Some(found)
}

/// Loads again what could not be decrypted, whenever that may have become possible. Watches of those resources end.
pub(super) async fn recover(store: Store, encryption: Arc<Encryption>) {
    loop {
        encryption.changed().await;
        for name in encryption.ledger.troubled() {
            let Some(resource) = store.resource(&name) else { continue };
            if let Err(error) = store.register(vec![resource]).await {
                tracing::error!(%error, resource = name, "what could not be decrypted cannot be loaded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_knows_what_is_old() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        let mut tick = |seconds, head| {
            let now = start + Duration::from_secs(seconds);
            clock.tick(now, Revision(head), Duration::from_secs(300)).map(|r| r.0)
        };
        assert_eq!(tick(0, 5), None);
        assert_eq!(tick(100, 9), None);
        assert_eq!(tick(299, 9), None);
        assert_eq!(tick(300, 9), Some(5));
        assert_eq!(tick(301, 20), None);
        assert_eq!(tick(700, 20), Some(20));
    }
}
