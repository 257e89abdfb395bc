//! SQLite: one process, one directory, one file, through sqlx.
//!
//! One connection writes, in WAL mode with `synchronous=FULL`, so that a commit is durable when it returns; a second
//! one checkpoints, and a few more read. The directory is locked for life, which makes the writer's picture of the
//! live keys (`heads`) exact: guards are decided without a query.
mod checkpoint;
mod lock;
mod read;
mod schema;
pub(super) mod transfer;
mod wal;
mod write;

use super::backend::{Backend, BackendError, Extent, LogRow, Outcome, Range, Row, milliseconds, unavailable};
use super::{Group, Revision};
use async_trait::async_trait;
use checkpoint::Checkpointer;
use lock::DirectoryLock;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;
use write::Writer;

/// Name of the database file in its directory.
const FILE: &str = "state.db";

/// Connections for reading at most; each is a thread.
const READERS: u32 = 3;

/// The database of one server.
pub struct Sqlite {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    checkpointer: Checkpointer,
    path: PathBuf,
    /// Held for life; after the connections, so that it is released last.
    _lock: DirectoryLock,
    _temporary: Option<TempDir>,
}

impl Sqlite {
    /// Opens the database in a directory, creating both where they are missing. A database that is locked, newer or
    /// damaged is left as it is.
    pub async fn open(directory: &Path) -> Result<Self, BackendError> {
        Self::open_with(directory, SqliteSynchronous::Full, None).await
    }

    /// Looks whether the database in a directory could be opened, without opening it for writing: it is missing, or
    /// ours and neither newer nor damaged as far as its first page tells.
    pub async fn check(directory: &Path) -> Result<(), BackendError> {
        schema::check(&directory.join(FILE)).await
    }

    /// A database in a temporary directory, gone when dropped: for tests and clusters that need not survive. Writes
    /// are acknowledged without waiting for the disk.
    pub async fn ephemeral() -> Result<Self, BackendError> {
        let directory = tempfile::Builder::new().prefix("knarr-").tempdir().map_err(unavailable)?;
        let path = directory.path().to_owned();
        Self::open_with(&path, SqliteSynchronous::Off, Some(directory)).await
    }

    async fn open_with(
        directory: &Path,
        synchronous: SqliteSynchronous,
        temporary: Option<TempDir>,
    ) -> Result<Self, BackendError> {
        let lock = DirectoryLock::take(directory)?;
        let path = directory.join(FILE);
        schema::check(&path).await?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(Duration::from_secs(5))
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", "67108864");
        let writer = Writer::open(options.clone().statement_cache_capacity(32), &path).await?;
        if synchronous == SqliteSynchronous::Full {
            wal::preallocate(&path).map_err(unavailable)?;
        }
        let writer = Arc::new(Mutex::new(writer));
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(options.clone().create_if_missing(false).pragma("query_only", "1"));
        let checkpointer = Checkpointer::start(options.create_if_missing(false), &writer);
        Ok(Self { writer, readers, checkpointer, path, _lock: lock, _temporary: temporary })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn commit(&self, groups: &[Group]) -> Vec<Outcome> {
        let mut writer = self.writer.lock().await;
        let (outcomes, bytes) = writer.commit(groups).await;
        drop(writer);
        self.checkpointer.written(bytes);
        outcomes
    }

    async fn extent(&self) -> Result<Extent, BackendError> {
        Ok(self.writer.lock().await.extent())
    }

    fn exclusive(&self) -> bool {
        true
    }

    async fn notified(&self) {
        std::future::pending().await
    }

    async fn compact(&self, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
        let reached = self.writer.lock().await.compact(upto, limit).await?;
        self.checkpointer.written(0);
        Ok(reached)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.writer.lock().await.probe().await
    }

    async fn close(&self) {
        self.checkpointer.stop().await;
        self.readers.close().await;
        self.writer.lock().await.close().await;
    }
}
