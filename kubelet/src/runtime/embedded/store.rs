//! The images of a host: content-addressed blobs, unpacked layers, and the records that name them.
//!
//! All clusters of a host share one store, each from a process of its own. `busy` is held shared by whoever adds to
//! the store, and exclusively to remove what no record names; `records.json` is replaced whole under `records.lock`.
//! Sources: OCI image specification (`manifest.md`, `config.md`, `layer.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;
use crate::images::name;

pub mod archive;
mod collect;
mod layer;
mod manifest;
mod overlay;
mod unpack;

pub use manifest::{Descriptor, Execution, ImageConfig, Manifest, architecture};
pub use overlay::{mount_layers, mount_overlay, on_own_directory};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Content that is not what its digest says.
    #[error("content has digest {found}, not {expected}")]
    Digest {
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// A manifest, configuration or archive that breaks the specification.
    #[error("{0}")]
    Invalid(String),
    /// A layer that cannot be unpacked.
    #[error("layer {digest}: {source}")]
    Layer {
        /// The layer's blob.
        digest: String,
        /// Why.
        source: io::Error,
    },
    /// The image is not in the store.
    #[error("image {0:?} is not present")]
    Missing(String),
}

/// Result of an operation on the store.
pub type Result<T> = std::result::Result<T, StoreError>;

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    move |source| StoreError::File { path: path.to_owned(), source }
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Digest of its configuration, with `sha256:`.
    pub id: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// Names with tags, whole: `docker.io/library/a:1`.
    pub names: BTreeSet<String>,
    /// Names with digests: `docker.io/library/a@sha256:…`.
    pub digests: BTreeSet<String>,
    /// Identities of the unpacked layers, the lowest first.
    pub layers: Vec<String>,
    /// Digests of the layers' blobs.
    pub blobs: Vec<String>,
    /// Bytes of all blobs.
    pub size: u64,
}

type Records = BTreeMap<String, Record>;

/// The store in a directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Held while something is added, so that it is not removed before a record names it.
pub struct Busy(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl Store {
    /// Opens the store, and makes it if there is none.
    pub fn open(root: &Path) -> Result<Self> {
        for part in ["blobs/sha256", "layers", "tmp", "held"] {
            let path = root.join(part);
            std::fs::create_dir_all(&path).map_err(at(&path))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of all unpacked layers.
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn held_dir(&self) -> PathBuf {
        self.root.join("held")
    }

    fn records_file(&self) -> PathBuf {
        self.root.join("records.json")
    }

    /// Where a blob lies; digests of other kinds than SHA-256 are refused.
    fn blob_path(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| is_hex(hex));
        let hex = hex.ok_or_else(|| StoreError::Invalid(format!("unsupported digest {digest:?}")))?;
        Ok(self.root.join("blobs/sha256").join(hex))
    }

    fn lock(&self, name: &str, kind: FlockArg) -> Result<Flock<File>> {
        let path = self.root.join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        Flock::lock(file, kind).map_err(|(_, errno)| at(&path)(errno.into()))
    }

    /// Keeps what is added from being removed.
    pub fn busy(&self) -> Result<Busy> {
        self.lock("busy", FlockArg::LockShared).map(Busy)
    }

    fn records(&self) -> Result<Records> {
        let path = self.records_file();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| at(&path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Records::new()),
            Err(error) => Err(at(&path)(error)),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Records) -> Result<T>) -> Result<T> {
        let _lock = self.lock("records.lock", FlockArg::LockExclusive)?;
        let mut records = self.records()?;
        let result = change(&mut records)?;
        let bytes =
            serde_json::to_vec_pretty(&records).map_err(|error| StoreError::Invalid(error.to_string()))?;
        write_whole(&self.records_file(), &bytes)?;
        Ok(result)
    }

    /// All images.
    pub fn list(&self) -> Result<Vec<Record>> {
        Ok(self.records()?.into_values().collect())
    }

    /// The image of that name, digest or id.
    pub fn find(&self, image: &str) -> Result<Option<Record>> {
        Ok(position(&self.records()?, image))
    }

    /// Notes that an image is there; a name that another image had moves to this one.
    fn record(&self, new: Record) -> Result<Record> {
        self.change(|records| {
            for other in records.values_mut().filter(|other| other.id != new.id) {
                other.names.retain(|name| !new.names.contains(name));
            }
            // Nothing but its id would lead to an image that has lost its last name.
            records.retain(|id, other| *id == new.id || !other.names.is_empty() || !other.digests.is_empty());
            let mut new = new;
            if let Some(old) = records.remove(&new.id) {
                new.names.extend(old.names);
                new.digests.extend(old.digests);
            }
            records.insert(new.id.clone(), new.clone());
            Ok(new)
        })
    }

    /// Removes a name; with its last one, or by its id, the image goes. What is gone is no error.
    pub fn remove(&self, image: &str) -> Result<()> {
        self.change(|records| {
            let Some(mut record) = position(records, image) else { return Ok(()) };
            let by_id = image.trim_start_matches("sha256:") == record.id.trim_start_matches("sha256:");
            let whole = full_name(image).unwrap_or_default();
            record.names.remove(&whole);
            record.digests.remove(&whole);
            if by_id || record.names.is_empty() {
                records.remove(&record.id);
            } else {
                records.insert(record.id.clone(), record);
            }
            Ok(())
        })?;
        self.collect()
    }

    /// The configuration of an image.
    pub fn config(&self, record: &Record) -> Result<ImageConfig> {
        manifest::parse(&self.read_blob(&record.id)?)
    }

    fn read_blob(&self, digest: &str) -> Result<Vec<u8>> {
        let path = self.blob_path(digest)?;
        let bytes = std::fs::read(&path).map_err(at(&path))?;
        let found = digest_of(&bytes);
        if found == digest {
            Ok(bytes)
        } else {
            Err(StoreError::Digest { expected: digest.to_owned(), found })
        }
    }

    /// A manifest or index that is here.
    pub fn manifest(&self, digest: &str) -> Result<Manifest> {
        manifest::parse(&self.read_blob(digest)?)
    }

    /// Whether a blob is here.
    pub fn has_blob(&self, digest: &str) -> Result<bool> {
        Ok(self.blob_path(digest)?.exists())
    }

    /// A file to collect a blob in.
    pub fn temporary(&self) -> Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.tmp()).map_err(at(&self.tmp()))
    }

    /// Takes over a file as the blob that it is said to be.
    pub fn add_blob(&self, file: tempfile::NamedTempFile, digest: &str) -> Result<()> {
        let path = self.blob_path(digest)?;
        let source = File::open(file.path()).map_err(at(file.path()))?;
        let found = Hashing::new(source).finish().map_err(at(file.path()))?;
        if found != digest {
            return Err(StoreError::Digest { expected: digest.to_owned(), found });
        }
        file.as_file().sync_data().map_err(at(&path))?;
        file.persist(&path).map(drop).map_err(|error| at(&path)(error.error))
    }

    /// Takes over a document, which must have the digest that is expected; answers its digest.
    pub fn add_document(&self, bytes: &[u8], expected: Option<&str>) -> Result<String> {
        let found = digest_of(bytes);
        match expected {
            Some(expected) if expected != found => {
                Err(StoreError::Digest { expected: expected.to_owned(), found })
            }
            _ => self.put_blob(bytes),
        }
    }

    fn put_blob(&self, bytes: &[u8]) -> Result<String> {
        let digest = digest_of(bytes);
        let path = self.blob_path(&digest)?;
        if !path.exists() {
            write_whole(&path, bytes)?;
        }
        Ok(digest)
    }
}

/// The record that a name, digest or id (whole, or its beginning) leads to.
fn position(records: &Records, image: &str) -> Option<Record> {
    let id = image.strip_prefix("sha256:").unwrap_or(image);
    if is_hex(id) {
        return records.get(&format!("sha256:{id}")).cloned();
    }
    let whole = full_name(image)?;
    let named = records.values().find(|one| one.names.contains(&whole) || one.digests.contains(&whole));
    let short = || {
        let hex = id.len() >= 8 && id.chars().all(|c| c.is_ascii_hexdigit());
        hex.then(|| records.values().find(|one| one.id[7..].starts_with(id))).flatten()
    };
    named.or_else(short).cloned()
}

/// A name as records hold it: with registry, and with tag or digest.
pub fn full_name(image: &str) -> Option<String> {
    let parsed = name::parse(image).ok()?;
    let (registry, path) = (&parsed.registry, &parsed.path);
    Some(match (&parsed.digest, &parsed.tag) {
        (Some(digest), _) => format!("{registry}/{path}@{digest}"),
        (None, tag) => format!("{registry}/{path}:{}", tag.as_deref().unwrap_or("latest")),
    })
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

fn digest_text(hash: &[u8]) -> String {
    format!("sha256:{}", hex::text(hash))
}

/// Replaces a file in one step.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        io::Result::Ok(())
    };
    write().map_err(at(path))
}

/// Reads through while the digest of what was read is computed.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    count: u64,
}

impl<R: io::Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    /// Reads to the end and answers the digest of everything.
    fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(digest_text(&self.hash.finalize()))
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
