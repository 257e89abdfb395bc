//! Taking volumes from pods that have ended.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Csi;
use super::driver::Driver;
use super::messages::{NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest};
use super::places::Note;
use crate::grpc;
use crate::volumes::{disk, mounts, subpath};

/// Why a volume is still there.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Its driver does not run.
    #[error("volume {0:?}: driver name {1} not found in the list of registered CSI drivers")]
    Absent(String, String),
    /// Its driver refused.
    #[error("volume {0:?}: {1}")]
    Driver(String, String),
    /// A directory could not be removed.
    #[error("volume {0:?}: {1}")]
    Io(String, #[source] io::Error),
}

impl Csi {
    /// Takes all volumes of drivers from a pod of which nothing runs. Safe to repeat.
    pub async fn tear_down(self: &Arc<Self>, pod_uid: &str, pod_dir: &Path) -> Result<(), UnmountError> {
        let notes = self.places.notes_of_pod(pod_uid);
        if !notes.is_empty() {
            // Parts of volumes that are still mounted would keep their drivers from letting go.
            disk::tear_down(&subpath::directory(pod_dir))
                .map_err(|error| UnmountError::Io("subPath".to_owned(), error))?;
        }
        for (directory, note) in notes {
            let (csi, uid) = (Arc::clone(self), pod_uid.to_owned());
            // To its end, whatever becomes of the worker meanwhile.
            let name = note.spec_name.clone();
            tokio::spawn(async move { csi.release(&uid, &directory, &note).await })
                .await
                .unwrap_or_else(|error| Err(UnmountError::Driver(name, error.to_string())))?;
        }
        Ok(())
    }

    async fn release(&self, pod_uid: &str, directory: &Path, note: &Note) -> Result<(), UnmountError> {
        let unique = note.unique_name();
        let _lock = self.lock(&unique).await;
        let absent = || UnmountError::Absent(note.spec_name.clone(), note.driver_name.clone());
        let driver = self.driver(&note.driver_name).ok_or_else(absent)?;
        let request = NodeUnpublishVolumeRequest {
            volume_id: note.volume_handle.clone(),
            target_path: note.target_path.clone(),
        };
        let refused = |status| UnmountError::Driver(note.spec_name.clone(), grpc::describe(&status));
        let io = |error| UnmountError::Io(note.spec_name.clone(), error);
        driver.unpublish(request).await.map_err(refused)?;
        remove(Path::new(&note.target_path)).map_err(io)?;
        let others = self.places.notes().into_iter();
        let used = others.filter(|(uid, _)| uid != pod_uid).any(|(_, other)| {
            (&other.driver_name, &other.volume_handle) == (&note.driver_name, &note.volume_handle)
        });
        if !used {
            self.unstage(&driver, note).await?;
            self.in_use.send_if_modified(|names| names.remove(&unique));
        }
        // Last, so that everything before is done again if it failed.
        std::fs::remove_dir_all(directory).map_err(io)
    }

    async fn unstage(&self, driver: &Driver, note: &Note) -> Result<(), UnmountError> {
        if note.staging_path.is_empty() {
            return Ok(());
        }
        let request = NodeUnstageVolumeRequest {
            volume_id: note.volume_handle.clone(),
            staging_target_path: note.staging_path.clone(),
        };
        let refused = |status| UnmountError::Driver(note.spec_name.clone(), grpc::describe(&status));
        driver.unstage(request).await.map_err(refused)?;
        remove(Path::new(&note.staging_path)).map_err(|error| UnmountError::Io(note.spec_name.clone(), error))
    }
}

/// Removes what a driver left of a path: an empty directory or a file, never what is mounted there.
fn remove(path: &Path) -> io::Result<()> {
    if mounts::is_mount_point(path)? {
        return Err(io::Error::other(format!("{} is still mounted", path.display())));
    }
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
