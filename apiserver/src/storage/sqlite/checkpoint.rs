//! Checkpoints on a connection of their own, so that writers never wait for one.
//!
//! A PASSIVE checkpoint copies what it can while others write; under a steady load it never catches up and the log
//! would grow without end. So once the log is long, the rest, by then little, is copied while the writer holds still.
use super::write::Writer;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bytes of values after which a checkpoint is due.
const DUE: usize = 8 << 20;

/// What a commit adds to the log beside its values: pages it changes.
const PAGES: usize = 16 << 10;

/// Frames (pages of 4 KiB) of log from which on it is worth holding the writer to copy the rest.
const LONG: i64 = 4096;

/// The checkpoint task.
pub(super) struct Checkpointer {
    signal: Arc<Signal>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    bytes: AtomicUsize,
    due: Notify,
}

impl Checkpointer {
    /// Starts the task; its connection opens with the first checkpoint.
    pub fn start(options: SqliteConnectOptions, writer: &Arc<Mutex<Writer>>) -> Self {
        let (signal, stop) = (Arc::new(Signal::default()), CancellationToken::new());
        let task = run(options, writer.clone(), signal.clone());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(task).await;
        });
        Self { signal, stop, task: Mutex::new(Some(task)) }
    }

    /// A transaction of so many bytes is committed.
    pub fn written(&self, bytes: usize) {
        let before = self.signal.bytes.fetch_add(bytes + PAGES, Ordering::Relaxed);
        if before < DUE && before + bytes + PAGES >= DUE {
            self.signal.due.notify_one();
        }
    }

    /// Ends the task and waits for it.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the checkpoint task failed");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(options: SqliteConnectOptions, writer: Arc<Mutex<Writer>>, signal: Arc<Signal>) {
    let mut connection = None;
    loop {
        signal.due.notified().await;
        if let Err(error) = round(&options, &mut connection, &writer, &signal).await {
            tracing::warn!(%error, "a checkpoint failed; the next one does its work");
            connection = None;
        }
    }
}

async fn round(
    options: &SqliteConnectOptions,
    connection: &mut Option<SqliteConnection>,
    writer: &Mutex<Writer>,
    signal: &Signal,
) -> Result<(), sqlx::Error> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => options.connect().await?,
    };
    signal.bytes.store(0, Ordering::Relaxed);
    let mut frames = passive(&mut open).await?;
    if frames.log > LONG && frames.copied < frames.log {
        frames = passive(&mut open).await?;
        tracing::debug!(
            left = frames.log - frames.copied,
            "copying the rest of the log with the writer held"
        );
        let held = writer.lock().await;
        passive(&mut open).await?;
        drop(held);
    }
    *connection = Some(open);
    Ok(())
}

/// What a checkpoint reports.
struct Frames {
    log: i64,
    copied: i64,
}

async fn passive(connection: &mut SqliteConnection) -> Result<Frames, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    Ok(Frames { log: row.try_get_unchecked(1)?, copied: row.try_get_unchecked(2)? })
}
