//! The schema, its version, and the steps from older ones.
use super::session::{Address, retry};
use super::{BackendError, unavailable};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

/// Each step leads from the version of its position to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// The version of the schema that this program writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Advisory lock of those who create or migrate the schema: "Knarr" and a number.
const LOCK: i64 = 0x004b_6e61_7272_0001;

/// Refuses a newer schema, and creates or migrates an older one; servers that start at once take turns.
pub(super) async fn migrate(address: &Address) -> Result<(), BackendError> {
    let found = retry(|| async {
        let mut connection = address.connect("migrate").await?;
        let found = step(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    });
    match found.await? {
        VERSION => Ok(()),
        found => Err(BackendError::Newer { path: address.name().into(), found, supported: VERSION }),
    }
}

/// The version afterwards; a newer one is left as it is.
async fn step(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let found = version(connection).await?;
    if found >= VERSION {
        return Ok(found);
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    let found = version(&mut transaction).await?;
    if found < VERSION {
        let create = "CREATE SCHEMA IF NOT EXISTS knarr; \
            CREATE TABLE IF NOT EXISTS knarr.schema (one boolean PRIMARY KEY DEFAULT true CHECK (one), \
                version bigint NOT NULL); \
            INSERT INTO knarr.schema (version) VALUES (0) ON CONFLICT DO NOTHING";
        sqlx::raw_sql(create).execute(&mut *transaction).await?;
        for script in &MIGRATIONS[usize::try_from(found).unwrap_or_default()..] {
            sqlx::raw_sql(AssertSqlSafe(*script)).execute(&mut *transaction).await?;
        }
        sqlx::query("UPDATE knarr.schema SET version = $1").bind(VERSION).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(found.max(VERSION))
}

/// 0 for an empty database.
async fn version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    // Reads the catalog itself: `to_regclass` may answer from a cache that is older than the lock just taken.
    let exists = sqlx::query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'knarr' AND tablename = 'schema')",
    );
    if !exists.fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    let row = sqlx::query("SELECT version FROM knarr.schema").fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| row.try_get(0))
}

/// The server keeps text as UTF-8, as keys are.
pub(super) async fn check_encoding(address: &Address) -> Result<(), BackendError> {
    let encoding = retry(|| async {
        let mut connection = address.connect("check").await?;
        let row = sqlx::query("SHOW server_encoding").fetch_one(&mut connection).await?;
        connection.close().await?;
        row.try_get::<String, _>(0)
    });
    match encoding.await?.as_str() {
        "UTF8" | "SQL_ASCII" => Ok(()),
        other => Err(unavailable(format!("{}: its encoding is {other}, not UTF8", address.name()))),
    }
}
