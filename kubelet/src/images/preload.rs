//! A folder of image archives that are loaded at the start.
//!
//! A marker keyed by the file's hash makes the next start skip what is there already.

use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::Place;
use crate::hex;

/// Imports all archives of a folder that were not imported before, in the order of their names. `done`
/// is a folder of markers, which must live and die with the images.
pub async fn import_folder(images: &Place, folder: &Path, done: &Path) -> std::io::Result<()> {
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
        match images.load(&archive).await {
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
    Ok(hex::text(&hash.finalize()))
}
