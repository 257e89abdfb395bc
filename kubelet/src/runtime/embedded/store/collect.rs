//! Removing what no record and no container names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{Record, Result, Store, StoreError, at, write_whole};

impl Store {
    /// Notes that the container with its files in `dir` uses images, so that their layers stay.
    pub fn hold(&self, container: &str, records: &[&Record], dir: &Path) -> Result<()> {
        let _busy = self.busy()?;
        for record in records {
            if self.find(&record.id)?.is_none() {
                return Err(StoreError::Missing(record.id.clone()));
            }
        }
        let layers: Vec<&String> = records.iter().flat_map(|record| &record.layers).collect();
        let note = (dir, layers);
        let bytes = serde_json::to_vec(&note).map_err(|error| StoreError::Invalid(error.to_string()))?;
        write_whole(&self.held_dir().join(container), &bytes)
    }

    /// Notes that a container is gone.
    pub fn release(&self, container: &str) -> Result<()> {
        let path = self.held_dir().join(container);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Layers of containers, also of other clusters. The note of a container whose directory is gone goes too.
    fn held_layers(&self) -> Result<HashSet<String>> {
        let mut layers = HashSet::new();
        for path in entries(&self.held_dir())? {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            match serde_json::from_slice::<(PathBuf, Vec<String>)>(&bytes) {
                Ok((dir, held)) if dir.exists() => layers.extend(held),
                _ => {
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        Ok(layers)
    }

    /// Removes what is not used. If something is being added, that is left to the next time.
    pub fn collect(&self) -> Result<()> {
        let path = self.root.join("busy");
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
        let Ok(_lock) = Flock::lock(file.map_err(at(&path))?, FlockArg::LockExclusiveNonblock) else {
            return Ok(());
        };
        let mut layers = self.held_layers()?;
        let mut blobs = HashSet::new();
        for record in self.list()? {
            layers.extend(record.layers);
            blobs.extend(record.blobs.into_iter().chain([record.id, record.manifest]));
        }
        let hex = |digest: &String| digest.trim_start_matches("sha256:").to_owned();
        let blobs: HashSet<String> = blobs.iter().map(hex).collect();
        for (folder, used) in [("layers", &layers), ("blobs/sha256", &blobs)] {
            for path in entries(&self.root.join(folder))? {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if !used.contains(&name) {
                    remove(&path);
                }
            }
        }
        for path in entries(&self.tmp())? {
            // A process that was killed may have left a mount in it.
            let _ = nix::mount::umount2(&path.join("merged"), nix::mount::MntFlags::MNT_DETACH);
            remove(&path);
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(at(folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "unused part of the image store not removed");
    }
}
