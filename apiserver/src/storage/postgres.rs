//! Postgres: any number of servers on one database, through sqlx.
//!
//! One connection writes, a few read, one listens. All servers number their writes under one lock (see
//! [`write`]), so revisions are consecutive and in commit order, whoever writes.
mod heads;
mod listen;
mod read;
mod schema;
mod session;
pub(super) mod transfer;
mod write;

use super::backend::{Backend, BackendError, Extent, LogRow, Outcome, Range, Row, milliseconds, unavailable};
use super::{Group, Revision};
use async_trait::async_trait;
use heads::Heads;
use listen::News;
use session::Address;
pub use session::SETTINGS;
use sqlx::postgres::PgPool;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use write::Writer;

/// The statements that serve requests, by name: tests look at their plans, which hold with [`SETTINGS`].
pub const STATEMENTS: [(&str, &str); 10] = [
    ("extent", read::EXTENT),
    ("get", read::GET),
    ("list", read::LIST),
    ("list_at", read::LIST_AT),
    ("value", read::VALUE),
    ("changes", read::CHANGES),
    ("expired", read::EXPIRED),
    ("heads", write::HEADS),
    ("append", write::APPEND),
    ("compact", write::COMPACT),
];

/// One server's access to the database.
pub struct Postgres {
    writer: Mutex<Writer>,
    readers: PgPool,
    heads: Heads,
    news: Arc<News>,
    stop: CancellationToken,
    _tasks: DropGuard,
}

impl Postgres {
    /// Opens the database at a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=…`,
    /// and creates or migrates its schema `knarr`. A newer one is left as it is.
    pub async fn open(url: &str) -> Result<Self, BackendError> {
        let address = Address::parse(url)?;
        Box::pin(Self::open_at(address)).await
    }

    async fn open_at(address: Address) -> Result<Self, BackendError> {
        schema::check_encoding(&address).await?;
        schema::migrate(&address).await?;
        let id = uuid::Uuid::new_v4().to_string();
        let mut writer = Writer::new(address.clone(), id.clone());
        writer.register().await?;
        let readers = address.pool();
        let (news, stop) = (Arc::new(News::default()), CancellationToken::new());
        let (heads, asking) = Heads::new(readers.clone(), news.clone());
        let listening = listen::listen(address, readers.clone(), news.clone(), id);
        tokio::spawn(stop.clone().run_until_cancelled_owned(asking));
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        let tasks = stop.clone().drop_guard();
        Ok(Self { writer: Mutex::new(writer), readers, heads, news, stop, _tasks: tasks })
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn commit(&self, groups: &[Group]) -> Vec<Outcome> {
        let outcomes = self.writer.lock().await.commit(groups).await;
        let mut applied = outcomes.iter().flatten().flatten();
        if let Some(first) = applied.next() {
            let last = applied.next_back().unwrap_or(first);
            self.news.committed(first.revision.0, last.revision.0);
        }
        outcomes
    }

    async fn extent(&self) -> Result<Extent, BackendError> {
        self.heads.extent().await
    }

    fn exclusive(&self) -> bool {
        false
    }

    async fn notified(&self) {
        self.news.wait().await;
    }

    async fn compact(&self, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
        write::compact(&self.readers, upto, limit).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.writer.lock().await.probe().await
    }

    async fn close(&self) {
        self.stop.cancel();
        self.writer.lock().await.close().await;
        self.readers.close().await;
    }
}
