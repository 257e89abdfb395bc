//! Fair turns for those who read, modify and write one key.
use super::Key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// A queue for every key that somebody holds or waits for.
#[derive(Default)]
pub(super) struct Locks {
    queues: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

/// The turn of one writer of a key; ends when dropped.
pub struct KeyLock {
    locks: Arc<Locks>,
    key: Key,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits for the turn; turns come in the order of asking.
    pub async fn lock(self: &Arc<Self>, key: &Key) -> KeyLock {
        let queue = self.queues.lock().entry(key.clone()).or_default().clone();
        // Made before waiting, so that one who gives up waiting cleans up as well.
        let mut lock = KeyLock { locks: self.clone(), key: key.clone(), turn: None };
        lock.turn = Some(queue.lock_owned().await);
        lock
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        self.turn = None;
        let mut queues = self.locks.queues.lock();
        // Waiters and holders own the queue too; the last one removes it.
        if queues.get(&self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn turns_come_in_order_and_leave_nothing() {
        let locks = Arc::new(Locks::default());
        let key = Key::new("core/pods", "ns", "a");
        let first = locks.lock(&key).await;
        let mut second = Box::pin(locks.lock(&key));
        let mut third = Box::pin(locks.lock(&key));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(locks.lock(&Key::new("core/pods", "ns", "b")).await);
        drop(first);
        assert!((&mut third).now_or_never().is_none());
        drop(second.await);
        drop(third.await);
        let mut given_up = Box::pin(locks.lock(&key));
        let held = (&mut given_up).now_or_never();
        drop((held, given_up));
        assert!(locks.queues.lock().is_empty());
    }
}
