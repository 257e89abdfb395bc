//! Learns that other servers have committed: by notification, and by looking now and then.
use super::read;
use super::session::{Address, Pause};
use sqlx::postgres::{PgListener, PgNotification, PgPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// The channel; [`super::write`] notifies on it.
pub(super) const CHANNEL: &str = "knarr";

/// How often the head is looked at in case a notification was lost.
const LOOK: Duration = Duration::from_secs(1);

/// What the store knows of the log, and whether there may be more.
#[derive(Default)]
pub(super) struct News {
    more: Notify,
    /// The revision up to which the store knows everything, as far as can be told from what it asks for.
    known: AtomicU64,
}

impl News {
    /// Waits until there may be more.
    pub async fn wait(&self) {
        self.more.notified().await;
    }

    /// The store asks for what comes after this revision: it knows everything before.
    pub fn asked_after(&self, revision: u64) {
        self.known.store(revision, Ordering::Relaxed);
    }

    /// The store has committed these revisions itself.
    pub fn committed(&self, first: u64, last: u64) {
        // Fails if another server committed in between: then there is more to read.
        let _ = self.known.compare_exchange(first - 1, last, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn tell(&self) {
        self.more.notify_one();
    }

    /// The head was read.
    pub fn compare(&self, head: u64) {
        // Lower, too: after a failover that lost writes.
        if self.known.load(Ordering::Relaxed) != head {
            self.tell();
        }
    }
}

/// Listens for ever. `writer` is this server's name in notifications: its own commits are no news.
pub(super) async fn listen(address: Address, readers: PgPool, news: Arc<News>, writer: String) {
    let looking = look(readers, news.clone());
    let hearing = hear(address, news, writer);
    futures::future::join(looking, hearing).await;
}

async fn look(readers: PgPool, news: Arc<News>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match read::extent(&readers).await {
            Ok(extent) => news.compare(extent.head.0),
            Err(error) => tracing::warn!(%error, "the head of the log cannot be read"),
        }
    }
}

async fn hear(address: Address, news: Arc<News>, writer: String) {
    let pool = address.listening();
    let mut pause = Pause::default();
    loop {
        match subscribe(&pool).await {
            Ok(mut listener) => {
                pause = Pause::default();
                // What was committed while nobody listened.
                news.tell();
                loop {
                    match listener.try_recv().await {
                        Ok(Some(notification)) if own(&notification, &writer) => {}
                        Ok(Some(_)) => news.tell(),
                        Ok(None) => {
                            tracing::info!("the connection for notifications was lost and made again");
                            news.tell();
                        }
                        Err(error) => {
                            tracing::warn!(%error, "notifications cannot be received; looking instead");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen for notifications"),
        }
        pause.wait().await;
    }
}

async fn subscribe(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// The payload is the writer's name and the revision.
fn own(notification: &PgNotification, writer: &str) -> bool {
    notification.payload().split(' ').next() == Some(writer)
}
