//! Export beside a running server, and import into a new directory.
use super::lock::DirectoryLock;
use super::{FILE, schema, unavailable};
use crate::storage::backend::BackendError;
use crate::storage::transfer::{PAGE, Record, TransferError, continuation, page};
use crate::storage::{Key, Revision};
use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use std::io;
use std::path::Path;

const HEAD: &str = "SELECT max((SELECT coalesce(max(revision), 0) FROM changes), \
    (SELECT value FROM meta WHERE name = 'compacted'))";

const OBJECTS: &str = "SELECT o.key, o.revision, c.expires, c.value FROM objects o \
    JOIN changes c ON c.revision = o.revision WHERE o.key > ?1 ORDER BY o.key LIMIT ?2";

/// Needs no lock: readers see one moment of the write-ahead log while the server writes on.
pub(in crate::storage) async fn export(
    directory: &Path,
    each: &mut dyn FnMut(Record) -> io::Result<()>,
) -> Result<Revision, TransferError> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Err(unavailable(format!("there is no database in {}", directory.display())).into());
    }
    schema::check(&path).await?;
    let options = SqliteConnectOptions::new().filename(&path).pragma("query_only", "1");
    let mut connection = options.connect().await.map_err(unavailable)?;
    let mut moment = connection.begin().await.map_err(unavailable)?;
    let head = sqlx::query(HEAD).fetch_one(&mut *moment).await.map_err(unavailable)?;
    let head = super::read::revision(&head, 0)?;
    let mut after = String::new();
    loop {
        let query = sqlx::query(OBJECTS).bind(&after).bind(PAGE as i64);
        let rows = query.fetch_all(&mut *moment).await.map_err(unavailable)?;
        for row in &rows {
            let key: &str = row.try_get(0).map_err(unavailable)?;
            after = key.to_owned();
            let value: Option<Vec<u8>> = row.try_get_unchecked(3).map_err(unavailable)?;
            each(Record {
                key: Key(key.into()),
                revision: super::read::revision(row, 1)?,
                expires: row.try_get(2).map_err(unavailable)?,
                value: value.map(Bytes::from).unwrap_or_default(),
            })?;
        }
        if rows.len() < PAGE {
            return Ok(head);
        }
    }
}

/// A database that exists is never written over: removing its directory is up to the user.
pub(in crate::storage) async fn import(
    directory: &Path,
    head: Revision,
    records: &mut dyn Iterator<Item = io::Result<Record>>,
    replace: bool,
) -> Result<Revision, TransferError> {
    let _lock = DirectoryLock::take(directory)?;
    let path = directory.join(FILE);
    if path.exists() && !replace {
        return Err(TransferError::Occupied);
    }
    let new = directory.join("state.db.restored");
    remove(&new)?;
    let options = SqliteConnectOptions::new()
        .filename(&new)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await.map_err(unavailable)?;
    let written = fill(&mut connection, &new, head, records).await;
    let closed = connection.close().await;
    let reached = match written {
        Ok(reached) => reached,
        Err(error) => {
            remove(&new)?;
            return Err(error);
        }
    };
    closed.map_err(unavailable)?;
    // A log of the old file must not be applied to the new one.
    for log in ["state.db-wal", "state.db-shm"] {
        remove(&directory.join(log))?;
    }
    std::fs::rename(&new, &path)?;
    std::fs::File::open(directory)?.sync_all()?;
    Ok(reached)
}

async fn fill(
    connection: &mut SqliteConnection,
    path: &Path,
    head: Revision,
    records: &mut dyn Iterator<Item = io::Result<Record>>,
) -> Result<Revision, TransferError> {
    schema::create(connection, path).await?;
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    while let Some(page) = page(records)? {
        for record in page {
            let insert = "INSERT INTO changes (revision, key, value, expires) VALUES (?1, ?2, ?3, ?4)";
            let query = sqlx::query(insert).bind(record.revision.0 as i64).bind(record.key.as_str());
            let query = match std::str::from_utf8(&record.value) {
                Ok(text) => query.bind(text),
                Err(_) => query.bind(&record.value[..]),
            };
            query.bind(record.expires).execute(&mut *transaction).await.map_err(unavailable)?;
        }
    }
    let reached = continuation(head, Revision(0));
    let update = sqlx::query("UPDATE meta SET value = ?1 WHERE name = 'compacted'").bind(reached.0 as i64);
    update.execute(&mut *transaction).await.map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(reached)
}

fn remove(path: &Path) -> Result<(), BackendError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(error)),
        _ => Ok(()),
    }
}
