//! The writing connection: commits, compaction, and recovery from a failed transaction.
use super::schema::{self, primary_code};
use super::{BackendError, Extent, Outcome, read, unavailable};
use crate::storage::backend::Applied;
use crate::storage::decide::{Plan, Planned, decide};
use crate::storage::{CommitError, Group, Key, Revision};
use futures::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Row};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// SQLite primary result codes after which nothing was written: busy, locked, read-only, full, cannot open.
const REFUSED: [i32; 5] = [5, 6, 8, 13, 14];

/// Rows of one INSERT at most; longer batches take several within one transaction.
const INSERT_ROWS: usize = 256;

/// One step of compaction, from one revision to another: every row passed removes the one it replaced, and itself if
/// it is a deletion.
fn compaction(from: u64, to: u64) -> String {
    let passed = format!("revision > {from} AND revision <= {to}");
    format!(
        "BEGIN IMMEDIATE; \
        DELETE FROM changes WHERE revision IN (SELECT prev_revision FROM changes WHERE {passed}); \
        DELETE FROM changes WHERE {passed} AND value IS NULL; \
        UPDATE meta SET value = {to} WHERE name = 'compacted'; \
        COMMIT"
    )
}

/// The only writer of the database.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    path: PathBuf,
    /// Taken while a statement runs: if that fails or is cancelled, the next use opens anew and reloads.
    connection: Option<SqliteConnection>,
    /// Revisions of all live keys.
    heads: HashMap<Key, Revision>,
    extent: Extent,
    /// INSERT statements by the binary logarithm of their rows.
    inserts: Vec<Arc<str>>,
    closed: bool,
}

impl Writer {
    /// Opens the database, creates the schema in an empty one, and loads the live keys.
    pub async fn open(options: SqliteConnectOptions, path: &Path) -> Result<Self, BackendError> {
        let extent = Extent { head: Revision(0), compacted: Revision(0) };
        let inserts = (0..=INSERT_ROWS.ilog2()).map(|exponent| insert(1 << exponent)).collect();
        let path = path.to_owned();
        let heads = HashMap::new();
        let mut writer = Self { options, path, connection: None, heads, extent, inserts, closed: false };
        writer.connection = Some(writer.connect().await?);
        Ok(writer)
    }

    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The outcomes, and the bytes written.
    pub async fn commit(&mut self, groups: &[Group]) -> (Vec<Outcome>, usize) {
        let mut connection = match self.ready().await {
            Ok(connection) => connection,
            Err(error) => {
                let error = CommitError::Unavailable(error.to_string());
                return (groups.iter().map(|_| Err(error.clone())).collect(), 0);
            }
        };
        let plan = decide(groups, self.extent.head, |key| self.heads.get(key).copied());
        let written = match append(&mut connection, &plan.rows, &self.inserts).await {
            Ok(()) => Ok(()),
            Err(error) => self.resolve(&mut connection, &plan, &error).await,
        };
        match written {
            Ok(()) => {
                self.connection = Some(connection);
                let bytes = plan.rows.iter().map(|row| 64 + row.value.map_or(0, bytes::Bytes::len)).sum();
                (self.applied(plan), bytes)
            }
            Err(error) => {
                tracing::error!(%error, "a transaction failed");
                (plan.fail(&error), 0)
            }
        }
    }

    pub async fn compact(&mut self, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
        let from = self.extent.compacted;
        // The head row stays, so that its revision is never given away again.
        let last = self.extent.head.0.saturating_sub(1).min(upto.0).min(from.0 + limit as u64);
        if last <= from.0 {
            return Ok(from);
        }
        let mut connection = self.ready().await?;
        let step = AssertSqlSafe(compaction(from.0, last));
        sqlx::raw_sql(step).execute(&mut connection).await.map_err(unavailable)?;
        self.connection = Some(connection);
        self.extent.compacted = Revision(last);
        Ok(self.extent.compacted)
    }

    pub async fn probe(&mut self) -> Result<(), BackendError> {
        let mut connection = self.ready().await?;
        // As large as many objects: on a full disk a small write may still find room in the log.
        for statement in ["zeroblob(65536)", "0"] {
            let probe = format!("UPDATE meta SET value = {statement} WHERE name = 'probe'");
            sqlx::query(AssertSqlSafe(probe)).execute(&mut connection).await.map_err(unavailable)?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    pub async fn close(&mut self) {
        self.closed = true;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly; the next start recovers it");
        }
    }

    /// The connection, opened anew if the last use did not give it back.
    async fn ready(&mut self) -> Result<SqliteConnection, BackendError> {
        if self.closed {
            return Err(unavailable("the database is closed"));
        }
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        }
    }

    async fn connect(&mut self) -> Result<SqliteConnection, BackendError> {
        let mut connection = self.options.connect().await.map_err(|e| schema::opening(&self.path, &e))?;
        schema::create(&mut connection, &self.path).await?;
        self.heads.clear();
        let mut rows = sqlx::query("SELECT key, revision FROM objects").fetch(&mut connection);
        while let Some(row) = rows.try_next().await.map_err(|e| schema::opening(&self.path, &e))? {
            let key: &str = row.try_get(0).map_err(unavailable)?;
            self.heads.insert(Key(key.into()), read::revision(&row, 1)?);
        }
        drop(rows);
        let compacted = read::compacted(&mut connection).await?;
        let head = newest(&mut connection).await.map_err(unavailable)?.max(compacted);
        self.extent = Extent { head, compacted };
        Ok(connection)
    }

    /// Finds out what became of a failed transaction.
    async fn resolve(
        &self,
        connection: &mut SqliteConnection,
        plan: &Plan<'_>,
        error: &sqlx::Error,
    ) -> Result<(), CommitError> {
        // Fails where SQLite has rolled back by itself.
        let rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
        tracing::debug!(?rolled_back, "rolled back");
        match landed(connection, plan.rows.last()).await {
            Ok(true) => Ok(()),
            Ok(false) if primary_code(error).is_some_and(|code| REFUSED.contains(&code)) => {
                Err(CommitError::Unavailable(error.to_string()))
            }
            // A commit record whose fsync failed may come back after a crash.
            _ => Err(CommitError::Unknown(error.to_string())),
        }
    }

    fn applied(&mut self, plan: Plan<'_>) -> Vec<Outcome> {
        for Planned { key, applied: Applied { revision, .. }, value, .. } in plan.rows {
            self.extent.head = revision;
            match value {
                Some(_) => self.heads.insert((*key).clone(), revision),
                None => self.heads.remove(key),
            };
        }
        plan.outcomes
    }
}

/// Appends rows as one transaction: a single INSERT is its own.
async fn append(
    connection: &mut SqliteConnection,
    rows: &[Planned<'_>],
    inserts: &[Arc<str>],
) -> Result<(), sqlx::Error> {
    let several = rows.len() > INSERT_ROWS;
    if several {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    }
    for rows in rows.chunks(INSERT_ROWS) {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * 5, 0);
        for row in rows {
            bind(&mut arguments, row).map_err(sqlx::Error::Encode)?;
        }
        let statement = inserts[rows.len().next_power_of_two().ilog2() as usize].clone();
        sqlx::query_with(AssertSqlSafe(statement), arguments).execute(&mut *connection).await?;
    }
    if several {
        sqlx::query("COMMIT").execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind(arguments: &mut SqliteArguments, row: &Planned<'_>) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(row.applied.revision.0 as i64)?;
    arguments.add(row.key.0.clone())?;
    arguments.add(row.applied.previous.map(|revision| revision.0 as i64))?;
    match row.value.map(|value| (value, std::str::from_utf8(value))) {
        Some((_, Ok(text))) => arguments.add(text)?,
        Some((value, Err(_))) => arguments.add(&value[..])?,
        None => arguments.add(None::<&str>)?,
    }
    arguments.add(row.expires.map(super::milliseconds))
}

/// An INSERT of up to `rows` rows; those left unbound are null and skipped, so that few statements serve all sizes.
fn insert(rows: usize) -> Arc<str> {
    let values = vec!["(?,?,?,?,?)"; rows].join(",");
    let statement = format!(
        "INSERT INTO changes (revision, key, prev_revision, value, expires) \
        SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"
    );
    statement.into()
}

/// Whether a row is the newest of the log.
async fn landed(connection: &mut SqliteConnection, row: Option<&Planned<'_>>) -> Result<bool, sqlx::Error> {
    let Some(row) = row else { return Ok(true) };
    let query = sqlx::query("SELECT key, revision FROM changes ORDER BY revision DESC LIMIT 1");
    let Some(newest) = query.fetch_optional(connection).await? else { return Ok(false) };
    let (key, revision): (&str, i64) = (newest.try_get(0)?, newest.try_get(1)?);
    Ok(key == row.key.as_str() && revision as u64 == row.applied.revision.0)
}

/// The newest revision in the log.
async fn newest(connection: &mut SqliteConnection) -> Result<Revision, sqlx::Error> {
    let row = sqlx::query("SELECT coalesce(max(revision), 0) FROM changes").fetch_one(connection).await?;
    Ok(Revision(row.try_get_unchecked::<i64, _>(0)? as u64))
}
