//! Keeps logs small: a log that has grown too large is moved aside, and only a few old ones stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::manager::Manager;
use crate::runtime::types::ContainerState;

/// A log that is larger is rotated.
const MAX_SIZE: u64 = 10 << 20;
/// So many files are kept for a container, the one being written included.
const MAX_FILES: usize = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// Rotates logs until told to stop.
pub async fn run(manager: Arc<Manager>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let root = manager.context().facts.pod_logs_dir.clone();
        let large = tokio::task::spawn_blocking(move || too_large(&root)).await.unwrap_or_default();
        for path in large {
            if let Err(error) = rotate(&manager, &path).await {
                tracing::warn!(path = %path.display(), %error, "log not rotated");
            }
        }
    }
}

/// The logs below `root` that are being written and too large.
fn too_large(root: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path)
            .map(|entries| entries.flatten().map(|e| e.path()).collect())
            .unwrap_or_default()
    };
    let files = list(root).into_iter().flat_map(|pod| list(&pod)).flat_map(|container| list(&container));
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "log"))
        .filter(|file| std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > MAX_SIZE))
        .collect()
}

/// Moves the file away and has the runtime open a new one. Without a running container the log has its
/// final size.
async fn rotate(manager: &Manager, path: &Path) -> anyhow::Result<()> {
    let runtime = &manager.context().runtime;
    for container in runtime.list_containers(None).await? {
        if container.state() != ContainerState::Running {
            continue;
        }
        let status = runtime.container_status(&container.id).await?;
        if Path::new(&status.log_path) != path {
            continue;
        }
        let aside = format!("{}.{}", path.display(), Timestamp::now().strftime("%Y%m%d-%H%M%S"));
        tokio::fs::rename(path, &aside).await?;
        if let Err(error) = runtime.reopen_container_log(&container.id).await {
            tokio::fs::rename(&aside, path).await?;
            return Err(error.into());
        }
        remove_oldest(path)?;
    }
    Ok(())
}

fn remove_oldest(path: &Path) -> std::io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let prefix = format!("{name}.");
    let mut old: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    let surplus = old.len().saturating_sub(MAX_FILES - 1);
    old.into_iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_few_old_logs_stay() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("0.log");
        for day in 1..=7 {
            std::fs::write(dir.path().join(format!("0.log.2026010{day}-000000")), "").expect("written");
        }
        remove_oldest(&path).expect("removed");
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).expect("list").flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left.len(), 4);
        assert_eq!(left[0], "0.log.20260104-000000");
    }
}
