//! Where a node's images lie, for whoever has the archives: containerd's store, Docker's, or the embedded runtime's.
//!
//! The CRI can neither import nor export, so containerd's own `ctr` does it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::runtime::choose::EMBEDDED;
use crate::runtime::cri::{CriRuntime, socket_path};
use crate::runtime::docker::{self, Engine};
use crate::runtime::embedded::store::{Record, Store, StoreError};
use crate::runtime::types::Image;
use crate::runtime::{Runtime, RuntimeError};

/// Why something could not be done with images.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The archive cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `ctr` could not be started.
    #[error("ctr (a part of containerd) cannot be run: {0}")]
    Program(std::io::Error),
    /// `ctr` refused.
    #[error("ctr: {0}")]
    Refused(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The container runtime refused.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Result of an operation on images.
pub type Result<T> = std::result::Result<T, PlaceError>;

/// Where images lie.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the containerd at this endpoint, a path or a `unix://` URL.
    Containerd(String),
    /// In a Docker Engine.
    Docker(Engine),
    /// In the embedded runtime's store in this directory.
    Store(PathBuf),
}

impl Place {
    /// The place that belongs to a runtime's endpoint.
    pub fn of(endpoint: &str, store: &Path) -> Self {
        if endpoint == EMBEDDED {
            Self::Store(store.to_owned())
        } else if let Some(socket) = docker::socket(endpoint) {
            Self::Docker(Engine::new(&socket))
        } else {
            Self::Containerd(endpoint.to_owned())
        }
    }

    /// Loads an archive (OCI or docker layout, plain or gzip); answers the names of its images.
    pub async fn load(&self, file: &Path) -> Result<Vec<String>> {
        let read = |source| PlaceError::File { path: file.to_owned(), source };
        let file = tokio::fs::canonicalize(file).await.map_err(read)?;
        match self {
            Self::Containerd(endpoint) => {
                let text = ctr(endpoint, &["import".as_ref(), file.as_ref()]).await?;
                // Lines read `unpacking NAME (sha256:…)...done`.
                let names =
                    text.lines().filter_map(|line| line.strip_prefix("unpacking ")?.split(' ').next());
                Ok(names.map(str::to_owned).collect())
            }
            Self::Docker(engine) => {
                let open = tokio::fs::File::open(&file).await;
                let open = open.map_err(|source| PlaceError::File { path: file.clone(), source })?;
                Ok(docker::images::load(engine, open).await?)
            }
            Self::Store(store) => {
                let records = with_store(store, move |store| store.load(&file)).await?;
                let name = |record: &Record| record.names.first().unwrap_or(&record.id).clone();
                Ok(records.iter().map(name).collect())
            }
        }
    }

    /// All images.
    pub async fn list(&self) -> Result<Vec<Image>> {
        match self {
            Self::Containerd(endpoint) => Ok(CriRuntime::new(endpoint)?.list_images().await?),
            Self::Docker(engine) => Ok(docker::images::list(engine).await?),
            Self::Store(store) => {
                let records = with_store(store, |store| store.list()).await?;
                let image = |record: Record| Image {
                    id: record.id,
                    repo_tags: record.names.into_iter().collect(),
                    repo_digests: record.digests.into_iter().collect(),
                    size: record.size,
                    ..Image::default()
                };
                Ok(records.into_iter().map(image).collect())
            }
        }
    }

    /// Removes an image, which must be there.
    pub async fn remove(&self, image: &str) -> Result<()> {
        match self {
            Self::Containerd(endpoint) => {
                let runtime = CriRuntime::new(endpoint)?;
                if runtime.image_status(image).await?.is_none() {
                    return Err(StoreError::Missing(image.to_owned()).into());
                }
                Ok(runtime.remove_image(image).await?)
            }
            Self::Docker(engine) => match docker::images::find(engine, image).await? {
                Some(_) => Ok(docker::images::remove(engine, image).await?),
                None => Err(StoreError::Missing(image.to_owned()).into()),
            },
            Self::Store(store) => {
                let image = image.to_owned();
                with_store(store, move |store| match store.find(&image)? {
                    Some(_) => store.remove(&image),
                    None => Err(StoreError::Missing(image)),
                })
                .await
            }
        }
    }

    /// Writes images into an archive that this program, containerd, docker and podman load.
    pub async fn save(&self, images: &[String], file: &Path) -> Result<()> {
        match self {
            Self::Containerd(endpoint) => {
                let runtime = CriRuntime::new(endpoint)?;
                let mut words: Vec<std::ffi::OsString> = vec!["export".into(), file.into()];
                for image in images {
                    let found = runtime.image_status(image).await?;
                    let found = found.ok_or_else(|| StoreError::Missing(image.clone()))?;
                    words.push(found.repo_tags.first().unwrap_or(&found.id).into());
                }
                let words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
                ctr(endpoint, &words).await.map(drop)
            }
            Self::Docker(engine) => {
                let temporary = beside(file)?;
                docker::images::save(engine, images, temporary.path()).await?;
                persist(temporary, file)
            }
            Self::Store(store) => {
                let images = images.to_vec();
                let temporary = beside(file)?;
                let reopened = temporary.reopen();
                let out = reopened.map_err(|source| PlaceError::File { path: file.to_owned(), source })?;
                with_store(store, move |store| store.save(&images, std::io::BufWriter::new(out))).await?;
                persist(temporary, file)
            }
        }
    }
}

/// A file in the folder of another, which it is to become: an archive that could not be finished is not left behind.
fn beside(file: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder)
        .map_err(|source| PlaceError::File { path: file.to_owned(), source })
}

fn persist(temporary: tempfile::NamedTempFile, file: &Path) -> Result<()> {
    let persisted = temporary.persist(file).map(drop);
    persisted.map_err(|error| PlaceError::File { path: file.to_owned(), source: error.error })
}

async fn with_store<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce(&Store) -> std::result::Result<T, StoreError> + Send + 'static,
) -> Result<T> {
    let directory = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&Store::open(&directory)?)).await;
    Ok(done.unwrap_or_else(|error| Err(StoreError::Invalid(error.to_string())))?)
}

/// Runs `ctr images …`; answers its output.
async fn ctr(endpoint: &str, words: &[&std::ffi::OsStr]) -> Result<String> {
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(socket_path(endpoint)?)
        .args(["--namespace", "k8s.io", "images"])
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(PlaceError::Program)?;
    if !output.status.success() {
        return Err(PlaceError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
