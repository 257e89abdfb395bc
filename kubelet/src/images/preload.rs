//! Image archives put into containerd's store without a registry.
//!
//! The CRI cannot import, so containerd's own `ctr` does it. A marker keyed by the file's hash makes the
//! next start skip what is there already.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

/// Why an archive was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `ctr` could not be started.
    #[error("ctr (a part of containerd) cannot be run: {0}")]
    Program(std::io::Error),
    /// `ctr` refused the archive.
    #[error("{path}: import failed: {message}")]
    Refused {
        /// The archive.
        path: PathBuf,
        /// What `ctr` said.
        message: String,
    },
}

/// Imports one archive (OCI or docker layout, plain or gzip) into the containerd at `endpoint` (a path or
/// a `unix://` URL); answers the names of its images.
pub async fn import(endpoint: &str, file: &Path) -> Result<Vec<String>, ImportError> {
    let socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let read = |source| ImportError::Read { path: file.to_owned(), source };
    let file = tokio::fs::canonicalize(file).await.map_err(read)?;
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io", "images", "import"])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ImportError::Program)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ImportError::Refused { path: file, message });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Lines read `unpacking NAME (sha256:…)...done`.
    let names = text.lines().filter_map(|line| line.strip_prefix("unpacking ")?.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

/// Imports all archives of a folder that were not imported before, in the order of their names. `done`
/// is a folder of markers, which must live and die with containerd's store.
pub async fn import_folder(endpoint: &str, folder: &Path, done: &Path) -> std::io::Result<()> {
    let mut entries = match tokio::fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    tokio::fs::create_dir_all(done).await?;
    let mut archives = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)) {
            archives.push(entry.path());
        }
    }
    archives.sort();
    for archive in archives {
        let hash = hash(&archive).await?;
        let marker = done.join(&hash);
        if tokio::fs::try_exists(&marker).await? {
            continue;
        }
        match import(endpoint, &archive).await {
            Ok(images) => {
                tracing::info!(archive = %archive.display(), ?images, "images imported");
                tokio::fs::write(&marker, archive.display().to_string()).await?;
            }
            Err(error) => tracing::error!(%error, "image archive not imported"),
        }
    }
    Ok(())
}

async fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
