//! The schema and its version.
use super::{BackendError, unavailable};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use std::path::Path;

/// `PRAGMA application_id`: "Knar".
const APPLICATION: i64 = 0x4b6e_6172;

/// `PRAGMA user_version` of the schema this program writes.
pub(super) const VERSION: i64 = 1;

/// SQLite primary result codes: damaged, not a database.
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;

/// Looks at an existing file without changing it: ours, and not newer than we are.
pub(super) async fn check(path: &Path) -> Result<(), BackendError> {
    match std::fs::metadata(path) {
        Ok(file) if file.len() > 0 => {}
        _ => return Ok(()),
    }
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.map_err(|e| opening(path, &e))?;
    let found = versions(&mut connection).await.map_err(|e| opening(path, &e));
    let closed = connection.close().await;
    let (application, version) = found?;
    closed.map_err(unavailable)?;
    if application != APPLICATION {
        return Err(BackendError::Corrupt {
            path: path.to_owned(),
            reason: format!("application id {application:#x} is not ours"),
        });
    }
    if version > VERSION {
        return Err(BackendError::Newer { path: path.to_owned(), found: version, supported: VERSION });
    }
    Ok(())
}

/// Creates the schema in an empty database, as one transaction.
pub(super) async fn create(connection: &mut SqliteConnection, path: &Path) -> Result<(), BackendError> {
    let (application, _) = versions(connection).await.map_err(|e| opening(path, &e))?;
    if application == APPLICATION {
        return Ok(());
    }
    let script = format!(
        "BEGIN IMMEDIATE; {}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT",
        include_str!("schema.sql")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(connection).await.map_err(|e| opening(path, &e))?;
    Ok(())
}

async fn versions(connection: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    // Reading a table's page proves that this is a database: the pragmas alone read only the header.
    sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await?;
    let application: i64 =
        sqlx::query("PRAGMA application_id").fetch_one(&mut *connection).await?.try_get(0)?;
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await?.try_get(0)?;
    Ok((application, version))
}

/// An error of opening, told apart from damage.
pub(super) fn opening(path: &Path, error: &sqlx::Error) -> BackendError {
    match primary_code(error) {
        Some(CORRUPT | NOT_A_DATABASE) => {
            BackendError::Corrupt { path: path.to_owned(), reason: error.to_string() }
        }
        _ => unavailable(format!("{}: {error}", path.display())),
    }
}

/// SQLite's primary result code.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}
