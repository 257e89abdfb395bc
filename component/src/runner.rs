//! Workers that take keys out of a queue and sync them.

use std::{fmt::Display, future::Future, hash::Hash, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use tokio_util::sync::CancellationToken;

use crate::queue::Queue;

/// When to look at a key again that was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// After this time, whatever happens in between.
    After(Duration),
    /// Soon, later each time in a row.
    RateLimited,
}

/// What a sync returns: nothing more to do, or when to come back. Errors are logged and the key
/// comes back later each time.
pub type SyncResult = anyhow::Result<Option<Requeue>>;

/// Runs `workers` workers until `stop`, then waits for the syncs in progress.
///
/// A panicking sync counts as a failed one.
pub async fn run<T, F, Fut>(
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    stop: CancellationToken,
    sync: F,
) where
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = SyncResult> + Send + 'static,
{
    queue.observe(name);
    let sync = Arc::new(sync);
    let tasks = (0..workers.max(1)).map(|_| tokio::spawn(work(name, queue.clone(), sync.clone())));
    let tasks: Vec<_> = tasks.collect();
    stop.cancelled().await;
    queue.close();
    join_all(tasks).await;
}

async fn work<T, F, Fut>(name: &'static str, queue: Queue<T>, sync: Arc<F>)
where
    T: Clone + Eq + Hash + Display + Send + 'static,
    F: Fn(T) -> Fut + Send + Sync,
    Fut: Future<Output = SyncResult> + Send,
{
    while let Some(key) = queue.next().await {
        // Boxed: a worker that waits should not hold the space of its largest sync.
        let result = AssertUnwindSafe(Box::pin(sync(key.clone()))).catch_unwind().await;
        match result {
            Ok(Ok(None)) => queue.forget(&key),
            Ok(Ok(Some(Requeue::After(delay)))) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Ok(Ok(Some(Requeue::RateLimited))) => queue.add_rate_limited(key.clone()),
            Ok(Err(error)) => {
                report(name, &key, &error);
                queue.add_rate_limited(key.clone());
            }
            Err(_) => {
                tracing::error!(controller = name, %key, "sync panicked");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

/// Lost races are everyday life, everything else is worth a warning.
fn report(name: &str, key: &impl Display, error: &anyhow::Error) {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 409 => {
            tracing::debug!(controller = name, %key, "{error}: {}", status.message);
        }
        Some(kube::Error::Api(status)) => {
            tracing::warn!(controller = name, %key, "sync failed: {error}: {}", status.message);
        }
        _ => tracing::warn!(controller = name, %key, "sync failed: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_come_back() {
        let (queue, stop, calls) = (Queue::new(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        queue.add(7);
        let (done, count) = (stop.clone(), calls.clone());
        run("test", queue, 2, stop, move |_| {
            let (done, call) = (done.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                match call {
                    0 => anyhow::bail!("first"),
                    1 => panic!("second"),
                    2 => Ok(Some(Requeue::After(Duration::from_secs(1)))),
                    _ => {
                        done.cancel();
                        Ok(None)
                    }
                }
            }
        })
        .await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }
}
