//! Queries on the reading connections. Each sees one consistent moment of the database.
use super::{BackendError, LogRow, Range, Row, milliseconds, unavailable};
use crate::storage::backend::Reads;
use crate::storage::{Key, Revision};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::time::SystemTime;

/// Live objects of a key range: prefix, end of the prefix, last key, limit.
const LIST: &str = "SELECT o.key, o.revision, c.value FROM objects o JOIN changes c ON c.revision = o.revision \
    WHERE o.key >= ?1 AND o.key < ?2 AND o.key > ?3 ORDER BY o.key LIMIT ?4";

/// The same at revision ?5: what has not changed since, and what the first change since replaced.
const LIST_AT: &str = "SELECT o.key, o.revision, c.value FROM objects o JOIN changes c ON c.revision = o.revision \
    WHERE o.key >= ?1 AND o.key < ?2 AND o.key > ?3 AND o.revision <= ?5 \
    UNION ALL \
    SELECT p.key, p.revision, p.value FROM changes n JOIN changes p ON p.revision = n.prev_revision \
    WHERE n.revision > ?5 AND n.prev_revision <= ?5 AND n.key >= ?1 AND n.key < ?2 AND n.key > ?3 \
    ORDER BY 1 LIMIT ?4";

const CHANGES: &str = "SELECT c.key, c.revision, c.value, p.revision, p.value FROM changes c \
    LEFT JOIN changes p ON p.revision = c.prev_revision WHERE c.revision > ?1 ORDER BY c.revision LIMIT ?2";

const EXPIRED: &str = "SELECT c.key, c.revision, c.value FROM changes c \
    JOIN objects o ON o.key = c.key AND o.revision = c.revision \
    WHERE c.expires <= ?1 ORDER BY c.expires LIMIT ?2";

#[async_trait]
impl Reads for super::Sqlite {
    async fn get(&self, key: &Key) -> Result<Option<Row>, BackendError> {
        let query = "SELECT o.key, o.revision, c.value FROM objects o JOIN changes c ON c.revision = o.revision \
            WHERE o.key = ?1";
        let row = sqlx::query(query)
            .bind(key.0.clone())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| self::row(&row)).transpose()
    }

    async fn list(&self, range: &Range) -> Result<Vec<Row>, BackendError> {
        let query = sqlx::query(LIST).bind(range.prefix.as_str()).bind(end(&range.prefix)).bind(after(range));
        let rows = query.bind(range.limit as i64).fetch(&self.readers).map_err(unavailable);
        rows.and_then(|row| async move { self::row(&row) }).try_collect().await
    }

    async fn list_at(&self, range: &Range, at: Revision) -> Result<Vec<Row>, BackendError> {
        let mut moment = self.readers.begin().await.map_err(unavailable)?;
        check_compacted(&mut moment, at).await?;
        let query =
            sqlx::query(LIST_AT).bind(range.prefix.as_str()).bind(end(&range.prefix)).bind(after(range));
        let query = query.bind(range.limit as i64).bind(at.0 as i64);
        let rows = query.fetch(&mut *moment).map_err(unavailable);
        rows.and_then(|row| async move { self::row(&row) }).try_collect().await
    }

    async fn value(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        let query = sqlx::query("SELECT value FROM changes WHERE revision = ?1").bind(revision.0 as i64);
        let row = query.fetch_optional(&self.readers).await.map_err(unavailable)?;
        Ok(row.map(|row| bytes(&row, 0)).transpose()?.flatten())
    }

    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<LogRow>, BackendError> {
        let mut moment = self.readers.begin().await.map_err(unavailable)?;
        check_compacted(&mut moment, after).await?;
        let query = sqlx::query(CHANGES).bind(after.0 as i64).bind(limit as i64);
        let rows = query.fetch(&mut *moment).map_err(unavailable);
        rows.and_then(|row| async move { log_row(&row) }).try_collect().await
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Row>, BackendError> {
        let query = sqlx::query(EXPIRED).bind(milliseconds(now)).bind(limit as i64);
        let rows = query.fetch(&self.readers).map_err(unavailable);
        rows.and_then(|row| async move { self::row(&row) }).try_collect().await
    }
}

/// The stored compaction point.
pub(super) async fn compacted(connection: &mut SqliteConnection) -> Result<Revision, BackendError> {
    let query = sqlx::query("SELECT value FROM meta WHERE name = 'compacted'");
    let row = query.fetch_one(connection).await.map_err(unavailable)?;
    revision(&row, 0)
}

async fn check_compacted(connection: &mut SqliteConnection, at: Revision) -> Result<(), BackendError> {
    let compacted = compacted(connection).await?;
    if at < compacted { Err(BackendError::Compacted(compacted)) } else { Ok(()) }
}

/// The first key after all that begin with `prefix` (which ends in `/`, and `0` follows `/`).
fn end(prefix: &str) -> String {
    match prefix.strip_suffix('/') {
        Some(stem) => format!("{stem}0"),
        None => format!("{prefix}\u{10ffff}"),
    }
}

fn after(range: &Range) -> String {
    range.after.as_ref().map(|key| key.0.to_string()).unwrap_or_default()
}

fn row(row: &SqliteRow) -> Result<Row, BackendError> {
    Ok(Row { key: key(row)?, revision: revision(row, 1)?, value: bytes(row, 2)?.unwrap_or_default() })
}

fn log_row(row: &SqliteRow) -> Result<LogRow, BackendError> {
    let previous: Option<i64> = row.try_get(3).map_err(unavailable)?;
    let previous = match previous {
        Some(previous) => Some((Revision(previous as u64), bytes(row, 4)?.unwrap_or_default())),
        None => None,
    };
    Ok(LogRow { revision: revision(row, 1)?, key: key(row)?, value: bytes(row, 2)?, previous })
}

fn key(row: &SqliteRow) -> Result<Key, BackendError> {
    row.try_get::<&str, _>(0).map(|key| Key(key.into())).map_err(unavailable)
}

pub(super) fn revision(row: &SqliteRow, column: usize) -> Result<Revision, BackendError> {
    row.try_get_unchecked::<i64, _>(column).map(|n| Revision(n as u64)).map_err(unavailable)
}

/// Text and blobs alike.
fn bytes(row: &SqliteRow, column: usize) -> Result<Option<Bytes>, BackendError> {
    let value: Option<Vec<u8>> = row.try_get_unchecked(column).map_err(unavailable)?;
    Ok(value.map(Bytes::from))
}
