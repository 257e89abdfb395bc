//! Queries. Each is one statement, so it sees one consistent moment of the database, the compaction point included.
use super::session::retry;
use super::{BackendError, LogRow, Range, Row, milliseconds};
use crate::storage::backend::{Extent, Reads};
use crate::storage::{Key, Revision};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use std::time::SystemTime;

pub(super) const EXTENT: &str = "SELECT h.revision, c.revision FROM knarr.head h, knarr.compaction c \
    WHERE h.one AND c.one";

pub(super) const GET: &str = "SELECT o.key, o.revision, c.value FROM knarr.objects o \
    JOIN knarr.changes c ON c.revision = o.revision WHERE o.key = $1";

/// Live objects of a key range: prefix, end of the prefix, last key, limit.
pub(super) const LIST: &str = "SELECT o.key, o.revision, c.value FROM knarr.objects o \
    JOIN knarr.changes c ON c.revision = o.revision \
    WHERE o.key >= $1 AND o.key < $2 AND o.key > $3 ORDER BY o.key LIMIT $4";

/// The same at revision $5: what has not changed since, and what the first change since replaced.
pub(super) const LIST_AT: &str = "SELECT p.revision, r.key, r.revision, r.value FROM knarr.compaction p \
    LEFT JOIN LATERAL ( \
        (SELECT o.key, o.revision, c.value FROM knarr.objects o \
            JOIN knarr.changes c ON c.revision = o.revision \
            WHERE o.key >= $1 AND o.key < $2 AND o.key > $3 AND o.revision <= $5 ORDER BY o.key LIMIT $4) \
        UNION ALL \
        (SELECT o.key, o.revision, o.value FROM knarr.changes n \
            JOIN knarr.changes o ON o.revision = n.prev_revision \
            WHERE n.revision > $5 AND n.prev_revision <= $5 AND n.key >= $1 AND n.key < $2 AND n.key > $3 \
            ORDER BY o.key LIMIT $4) \
        ORDER BY 1 LIMIT $4 \
    ) r ON true WHERE p.one ORDER BY r.key";

pub(super) const VALUE: &str = "SELECT value FROM knarr.changes WHERE revision = $1";

/// The log after revision $1, with the head and the compaction point in front of each row.
pub(super) const CHANGES: &str = "SELECT h.revision, p.revision, r.key, r.revision, r.value, r.prev_revision, r.previous \
    FROM knarr.head h CROSS JOIN knarr.compaction p \
    LEFT JOIN LATERAL ( \
        SELECT c.key, c.revision, c.value, o.revision AS prev_revision, o.value AS previous FROM knarr.changes c \
        LEFT JOIN knarr.changes o ON o.revision = c.prev_revision \
        WHERE c.revision > $1 ORDER BY c.revision LIMIT $2 \
    ) r ON true WHERE h.one AND p.one ORDER BY r.revision";

pub(super) const EXPIRED: &str = "SELECT c.key, c.revision, c.value FROM knarr.changes c \
    JOIN knarr.objects o ON o.key = c.key AND o.revision = c.revision \
    WHERE c.expires <= $1 ORDER BY c.expires LIMIT $2";

pub(super) async fn extent(pool: &PgPool) -> Result<Extent, BackendError> {
    retry(|| async {
        let row = sqlx::query(EXTENT).fetch_one(pool).await?;
        Ok(Extent { head: revision(&row, 0)?, compacted: revision(&row, 1)? })
    })
    .await
}

#[async_trait]
impl Reads for super::Postgres {
    async fn get(&self, key: &Key) -> Result<Option<Row>, BackendError> {
        retry(|| async {
            let row = sqlx::query(GET).bind(key.as_str()).fetch_optional(&self.readers).await?;
            row.map(|row| self::row(&row, 0)).transpose()
        })
        .await
    }

    async fn list(&self, range: &Range) -> Result<Vec<Row>, BackendError> {
        let end = end(&range.prefix);
        retry(|| async {
            let query = sqlx::query(LIST).bind(range.prefix.as_str()).bind(&*end).bind(after(range));
            let rows = query.bind(range.limit as i64).fetch_all(&self.readers).await?;
            rows.iter().map(|row| self::row(row, 0)).collect()
        })
        .await
    }

    async fn list_at(&self, range: &Range, at: Revision) -> Result<Vec<Row>, BackendError> {
        let end = end(&range.prefix);
        let found = retry(|| async {
            let query = sqlx::query(LIST_AT).bind(range.prefix.as_str()).bind(&*end).bind(after(range));
            let rows = query.bind(range.limit as i64).bind(at.0 as i64).fetch_all(&self.readers).await?;
            let compacted = rows.first().map_or(Ok(Revision(0)), |row| revision(row, 0))?;
            if at < compacted {
                return Ok(Err(compacted));
            }
            let present =
                rows.iter().filter(|row| row.try_get::<Option<i64>, _>(2).is_ok_and(|r| r.is_some()));
            present.map(|row| self::row(row, 1)).collect::<Result<Vec<_>, _>>().map(Ok)
        });
        found.await?.map_err(BackendError::Compacted)
    }

    async fn value(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        retry(|| async {
            let row = sqlx::query(VALUE).bind(revision.0 as i64).fetch_optional(&self.readers).await?;
            Ok(row.map(|row| bytes(&row, 0)).transpose()?.flatten())
        })
        .await
    }

    /// Rows of the log. A revision beyond the head, after a failover that lost writes, is answered like a
    /// compacted one: what was read there never happened.
    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<LogRow>, BackendError> {
        self.news.asked_after(after.0);
        let (extent, rows) = retry(|| async {
            let query = sqlx::query(CHANGES).bind(after.0 as i64).bind(limit as i64);
            let rows = query.fetch_all(&self.readers).await?;
            let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            let extent = Extent { head: revision(first, 0)?, compacted: revision(first, 1)? };
            let present =
                rows.iter().filter(|row| row.try_get::<Option<i64>, _>(3).is_ok_and(|r| r.is_some()));
            Ok((extent, present.map(log_row).collect::<Result<Vec<_>, _>>()?))
        })
        .await?;
        if after < extent.compacted {
            return Err(BackendError::Compacted(extent.compacted));
        }
        if after > extent.head {
            return Err(BackendError::Compacted(extent.head));
        }
        Ok(rows)
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Row>, BackendError> {
        retry(|| async {
            let query = sqlx::query(EXPIRED).bind(milliseconds(now)).bind(limit as i64);
            query.fetch_all(&self.readers).await?.iter().map(|row| self::row(row, 0)).collect()
        })
        .await
    }
}

/// The first key after all that begin with `prefix` (which ends in `/`, and `0` follows `/`).
fn end(prefix: &str) -> String {
    match prefix.strip_suffix('/') {
        Some(stem) => format!("{stem}0"),
        None => format!("{prefix}\u{10ffff}"),
    }
}

fn after(range: &Range) -> &str {
    range.after.as_ref().map(Key::as_str).unwrap_or_default()
}

/// Key, revision and value from column `at` on.
fn row(row: &PgRow, at: usize) -> Result<Row, sqlx::Error> {
    let value = bytes(row, at + 2)?.unwrap_or_default();
    Ok(Row { key: key(row, at)?, revision: revision(row, at + 1)?, value })
}

fn log_row(row: &PgRow) -> Result<LogRow, sqlx::Error> {
    let previous: Option<i64> = row.try_get(5)?;
    let previous = match previous {
        Some(previous) => Some((Revision(previous as u64), bytes(row, 6)?.unwrap_or_default())),
        None => None,
    };
    Ok(LogRow { revision: revision(row, 3)?, key: key(row, 2)?, value: bytes(row, 4)?, previous })
}

fn key(row: &PgRow, column: usize) -> Result<Key, sqlx::Error> {
    row.try_get::<&str, _>(column).map(|key| Key(key.into()))
}

pub(super) fn revision(row: &PgRow, column: usize) -> Result<Revision, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|n| Revision(n as u64))
}

fn bytes(row: &PgRow, column: usize) -> Result<Option<Bytes>, sqlx::Error> {
    let value: Option<&[u8]> = row.try_get(column)?;
    Ok(value.map(Bytes::copy_from_slice))
}
