//! In-flight limits: so many readers and so many writers at once; more wait a while in a bounded queue, and what does
//! not get a turn is told to come back (429). Long-running requests and `system:masters` are not limited.
use crate::metrics::Metrics;
use knarr_api::status::Status;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns of one kind of requests.
struct Lane {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    gauge: Gauge,
}

/// Both lanes.
pub struct Limits {
    lanes: [Option<Lane>; 2],
}

/// A request's turn; over when dropped.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    gauge: Option<Gauge>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}

impl Limits {
    /// Limits for reads and writes; 0 is no limit.
    pub fn new(reads: usize, writes: usize, metrics: &Metrics) -> Self {
        let lane = |turns: usize, mutating: bool| {
            (turns > 0).then(|| Lane {
                turns: Arc::new(Semaphore::new(turns)),
                waiting: AtomicUsize::new(0),
                // As many may wait as would be worked off within the time they are willing to wait.
                queue: turns.saturating_mul(20),
                gauge: metrics.inflight(mutating).clone(),
            })
        };
        Self { lanes: [lane(reads, false), lane(writes, true)] }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub async fn enter(&self, mutating: bool) -> Result<Turn, Status> {
        let Some(lane) = &self.lanes[usize::from(mutating)] else {
            return Ok(Turn { _permit: None, gauge: None });
        };
        let permit = match lane.turns.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => lane.wait().await,
        };
        let Some(permit) = permit else {
            return Err(Status::too_many_requests("too many requests, please try again later", 1));
        };
        lane.gauge.inc();
        Ok(Turn { _permit: Some(permit), gauge: Some(lane.gauge.clone()) })
    }
}

impl Lane {
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        /// Leaves the queue even when the client goes away meanwhile.
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.waiting);
        if before >= self.queue {
            return None;
        }
        tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns() {
        let metrics = Metrics::default();
        let limits = Limits::new(1, 0, &metrics);
        let first = limits.enter(false).await.unwrap();
        assert_eq!(metrics.inflight(false).get(), 1);
        let mut waiting = Box::pin(limits.enter(false));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        let (second, _unlimited) = (waiting.await.unwrap(), limits.enter(true).await.unwrap());
        let mut queued: Vec<_> = (0..20).map(|_| Box::pin(limits.enter(false))).collect();
        for place in &mut queued {
            assert!(futures::poll!(place.as_mut()).is_pending());
        }
        assert_eq!(limits.enter(false).await.err().unwrap().code, 429);
        drop(second);
    }
}
