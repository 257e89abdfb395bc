//! Export and import, both while servers run: after an import they load everything anew.
use super::session::{Address, PATIENCE};
use super::{read, schema, unavailable};
use crate::storage::backend::BackendError;
use crate::storage::transfer::{PAGE, Record, TransferError, continuation, page};
use crate::storage::{Key, Revision};
use bytes::Bytes;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use std::io;

const OBJECTS: &str = "SELECT o.key, o.revision, c.expires, c.value FROM knarr.objects o \
    JOIN knarr.changes c ON c.revision = o.revision WHERE o.key > $1 ORDER BY o.key LIMIT $2";

const INSERT: &str = "WITH rows AS ( \
        INSERT INTO knarr.changes (revision, key, value, expires) \
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[]) \
    ) INSERT INTO knarr.objects (key, revision) SELECT * FROM unnest($2::text[], $1::bigint[])";

pub(in crate::storage) async fn export(
    url: &str,
    each: &mut dyn FnMut(Record) -> io::Result<()>,
) -> Result<Revision, TransferError> {
    let address = Address::parse(url)?;
    schema::migrate(&address).await?;
    let mut connection = address.connect("backup").await.map_err(unavailable)?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    connection.execute(begin).await.map_err(unavailable)?;
    let head = sqlx::query("SELECT revision FROM knarr.head WHERE one").fetch_one(&mut connection).await;
    let head = read::revision(&head.map_err(unavailable)?, 0).map_err(unavailable)?;
    let mut after = String::new();
    loop {
        let query = sqlx::query(OBJECTS).bind(&after).bind(PAGE as i64);
        let rows = query.fetch_all(&mut connection).await.map_err(unavailable)?;
        for row in &rows {
            let record = record(row).map_err(unavailable)?;
            after = record.key.as_str().to_owned();
            each(record)?;
        }
        if rows.len() < PAGE {
            connection.close().await.map_err(unavailable)?;
            return Ok(head);
        }
    }
}

pub(in crate::storage) async fn size(url: &str) -> Result<u64, TransferError> {
    let mut connection = Address::parse(url)?.connect("size").await.map_err(unavailable)?;
    let query = sqlx::query("SELECT pg_database_size(current_database())");
    let row = query.fetch_one(&mut connection).await.map_err(unavailable)?;
    let size: i64 = row.try_get(0).map_err(unavailable)?;
    connection.close().await.map_err(unavailable)?;
    Ok(size.unsigned_abs())
}

fn record(row: &sqlx::postgres::PgRow) -> Result<Record, sqlx::Error> {
    let value: Option<&[u8]> = row.try_get(3)?;
    Ok(Record {
        key: Key(row.try_get::<&str, _>(0)?.into()),
        revision: read::revision(row, 1)?,
        expires: row.try_get(2)?,
        value: value.map(Bytes::copy_from_slice).unwrap_or_default(),
    })
}

pub(in crate::storage) async fn import(
    url: &str,
    head: Revision,
    records: &mut dyn Iterator<Item = io::Result<Record>>,
    replace: bool,
) -> Result<Revision, TransferError> {
    let address = Address::parse(url)?;
    schema::check_encoding(&address).await?;
    schema::migrate(&address).await?;
    let mut connection = address.connect("restore").await.map_err(unavailable)?;
    let patience = format!("SET lock_timeout = '{}s'", PATIENCE.as_secs());
    connection.execute(sqlx::AssertSqlSafe(patience)).await.map_err(unavailable)?;
    // Dropping the connection early rolls everything back.
    connection.execute("BEGIN").await.map_err(unavailable)?;
    let present = sqlx::query("SELECT revision FROM knarr.head WHERE one FOR UPDATE");
    let present = present.fetch_one(&mut connection).await.map_err(unavailable)?;
    let present = read::revision(&present, 0).map_err(unavailable)?;
    if present > Revision(1) && !replace {
        return Err(TransferError::Occupied);
    }
    connection.execute("DELETE FROM knarr.objects; DELETE FROM knarr.changes").await.map_err(unavailable)?;
    while let Some(page) = page(records)? {
        insert(&mut connection, &page).await?;
    }
    let reached = continuation(head, present);
    for statement in [
        "UPDATE knarr.compaction SET revision = $1 WHERE one",
        "UPDATE knarr.head SET revision = $1 WHERE one RETURNING pg_notify('knarr', 'restore ' || $1::bigint)",
    ] {
        let query = sqlx::query(statement).bind(reached.0 as i64);
        query.execute(&mut connection).await.map_err(unavailable)?;
    }
    connection.execute("COMMIT").await.map_err(unavailable)?;
    connection.close().await.map_err(unavailable)?;
    Ok(reached)
}

async fn insert(connection: &mut PgConnection, page: &[Record]) -> Result<(), BackendError> {
    let query = sqlx::query(INSERT)
        .bind(page.iter().map(|record| record.revision.0 as i64).collect::<Vec<_>>())
        .bind(page.iter().map(|record| record.key.as_str()).collect::<Vec<_>>())
        .bind(page.iter().map(|record| &record.value[..]).collect::<Vec<_>>())
        .bind(page.iter().map(|record| record.expires).collect::<Vec<_>>());
    query.execute(connection).await.map(drop).map_err(unavailable)
}
