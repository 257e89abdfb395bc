//! The directory of all clusters, held while one is created or removed: two clusters never choose the same networks
//! and ports, and the directory goes with the last of them.
use crate::supervisor::Lock;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The directory below which sockets of root's clusters lie.
const RUN: &str = "/run/knarr";

/// The right to create and remove clusters; ends when dropped.
pub struct HomeLock {
    home: PathBuf,
    file: PathBuf,
    _lock: Lock,
}

impl HomeLock {
    /// Waits for the right; makes the directory where it is missing.
    pub fn acquire(home: &Path) -> Result<Self> {
        let file = home.join("create.lock");
        loop {
            std::fs::create_dir_all(home).with_context(|| {
                format!("cannot create {}; KNARR_HOME names another folder for clusters", home.display())
            })?;
            match Lock::acquire(&file) {
                // Its last holder removes the file: a lock on a removed one excludes nobody.
                Ok(lock) if lock.is_at(&file) => {
                    return Ok(Self { home: home.to_owned(), file, _lock: lock });
                }
                Err(e) if home.exists() => return Err(e),
                _ => {}
            }
        }
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // What cannot be removed holds clusters, or is another's.
        let _ = std::fs::remove_file(&self.file);
        if std::fs::remove_dir(&self.home).is_ok() && !logs_may_be_seen() {
            for folder in ["/var/log/pods", "/var/log/containers"] {
                let _ = std::fs::remove_dir(folder);
            }
        }
        let _ = std::fs::remove_dir(RUN);
    }
}

/// Whether a pod of any cluster of the host, whichever its home, sees its cluster's logs in the host's `/var/log`, or a
/// kubelet may be about to show them to one. What is mounted somewhere would be gone there if the folder that it is mounted
/// upon were removed.
fn logs_may_be_seen() -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes = processes.map(|process| process.path());
    processes.any(|process| {
        let text = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        let is_kubelet = text("cmdline").split(|byte| *byte == 0).nth(1) == Some(b"kubelet");
        is_kubelet || String::from_utf8_lossy(&text("mountinfo")).contains("/var-log/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_its_last_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a/b");
        let lock = HomeLock::acquire(&home).unwrap();
        std::fs::create_dir(home.join("cluster")).unwrap();
        drop(lock);
        assert!(!home.join("create.lock").exists());
        drop(HomeLock::acquire(&home).unwrap());
        assert!(home.exists());
        std::fs::remove_dir(home.join("cluster")).unwrap();
        drop(HomeLock::acquire(&home).unwrap());
        assert!(!home.exists());
    }
}
