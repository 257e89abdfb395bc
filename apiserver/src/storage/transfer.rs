//! All live objects out of a database and into another one: what backups are made of, the same for every backend.
//!
//! An export is one moment of the database, taken while others write. An import is one transaction. It continues at a
//! revision far beyond the exported one, and all before it counts as compacted: whoever remembers a revision that was
//! given away after the backup lists again instead of mistaking a new object for an old one.
use super::backend::BackendError;
use super::{Key, Revision, postgres, sqlite};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;

/// Revisions left out after an import; more than were given away between a backup and its restore.
const JUMP: u64 = 1_000_000_000;

/// Rows read or written at once.
pub(super) const PAGE: usize = 500;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The directory of a SQLite database.
    Sqlite(PathBuf),
    /// The URL of a Postgres database.
    Postgres(String),
}

/// A live object as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lives.
    pub key: Key,
    /// The revision of its last write, which it keeps.
    pub revision: Revision,
    /// End of its time to live, in milliseconds since 1970.
    pub expires: Option<i64>,
    /// Its bytes.
    pub value: Bytes,
}

/// Why an export or import failed; an import has then changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The database.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The other end.
    #[error(transparent)]
    Other(#[from] io::Error),
    /// There is something already where the import should go.
    #[error("the database already holds a cluster's state")]
    Occupied,
}

impl Place {
    /// Gives every live object to `each`, in key order; returns the revision of the moment.
    ///
    /// # Errors
    /// A database that cannot be read, or what `each` says.
    pub async fn export(
        &self,
        each: &mut dyn FnMut(Record) -> io::Result<()>,
    ) -> Result<Revision, TransferError> {
        match self {
            Self::Sqlite(directory) => Box::pin(sqlite::transfer::export(directory, each)).await,
            Self::Postgres(url) => Box::pin(postgres::transfer::export(url, each)).await,
        }
    }

    /// Bytes that the database takes on disk; 0 where there is none yet.
    ///
    /// # Errors
    /// A database that cannot be asked, a directory that cannot be read.
    pub async fn size(&self) -> Result<u64, TransferError> {
        match self {
            Self::Sqlite(directory) => {
                let entries = std::fs::read_dir(directory).map_err(TransferError::from)?;
                let sizes =
                    entries.map(|entry| entry.and_then(|entry| entry.metadata()).map(|file| file.len()));
                Ok(sizes.sum::<io::Result<u64>>()?)
            }
            Self::Postgres(url) => Box::pin(postgres::transfer::size(url)).await,
        }
    }

    /// Puts objects exported at revision `head` into a database that holds none, or instead of all that it holds if
    /// `replace`; returns the revision it continues from.
    ///
    /// # Errors
    /// A database that is not empty or cannot be written, or what `records` says.
    pub async fn import(
        &self,
        head: Revision,
        records: &mut dyn Iterator<Item = io::Result<Record>>,
        replace: bool,
    ) -> Result<Revision, TransferError> {
        match self {
            Self::Sqlite(directory) => {
                Box::pin(sqlite::transfer::import(directory, head, records, replace)).await
            }
            Self::Postgres(url) => Box::pin(postgres::transfer::import(url, head, records, replace)).await,
        }
    }
}

/// The revision after an import over a database whose head was `present`.
pub(super) fn continuation(exported: Revision, present: Revision) -> Revision {
    Revision(exported.0.max(present.0) + JUMP)
}

/// The next records, at most a page and about 16 MiB; none at the end.
pub(super) fn page(records: &mut dyn Iterator<Item = io::Result<Record>>) -> io::Result<Option<Vec<Record>>> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < PAGE && bytes < 16 << 20 {
        let Some(record) = records.next().transpose()? else { break };
        bytes += record.value.len();
        page.push(record);
    }
    Ok((!page.is_empty()).then_some(page))
}
