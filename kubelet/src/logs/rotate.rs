//! Keeps logs small: a log that has grown too large is moved aside, and only a few old ones stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
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
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || remove_oldest(&path).and_then(|()| compress_old(&path)))
            .await??;
    }
    Ok(())
}

/// The logs that were moved aside, the oldest first.
fn moved_aside(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut old: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    Ok(old)
}

/// Compresses all logs that were moved aside but the newest, which may still be read or written.
fn compress_old(path: &Path) -> std::io::Result<()> {
    let mut old = moved_aside(path)?;
    old.pop();
    let is = |path: &PathBuf, end: &str| path.extension().is_some_and(|extension| extension == end);
    // What was begun and not ended.
    old.iter().filter(|path| is(path, "tmp")).try_for_each(std::fs::remove_file)?;
    old.iter().filter(|path| !is(path, "tmp") && !is(path, "gz")).try_for_each(|path| compress(path))
}

fn compress(path: &Path) -> std::io::Result<()> {
    let new = PathBuf::from(format!("{}.tmp", path.display()));
    let mut output = GzEncoder::new(std::fs::File::create(&new)?, Compression::default());
    std::io::copy(&mut std::fs::File::open(path)?, &mut output)?;
    output.finish()?;
    std::fs::rename(&new, format!("{}.gz", path.display()))?;
    std::fs::remove_file(path)
}

fn remove_oldest(path: &Path) -> std::io::Result<()> {
    let old = moved_aside(path)?;
    let surplus = old.len().saturating_sub(MAX_FILES - 1);
    old.into_iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_are_compressed_but_the_newest() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("0.log");
        for name in [
            "0.log.20260101-000000.gz",
            "0.log.20260102-000000",
            "0.log.20260102-000000.tmp",
            "0.log.20260103-000000",
        ] {
            std::fs::write(dir.path().join(name), "text").expect("written");
        }
        compress_old(&path).expect("compressed");
        let left: Vec<_> = moved_aside(&path).expect("list");
        let names: Vec<_> = left.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["0.log.20260101-000000.gz", "0.log.20260102-000000.gz", "0.log.20260103-000000"]);
        let mut text = String::new();
        let file = std::fs::File::open(&left[1]).expect("file");
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).expect("text");
        assert_eq!(text, "text");
    }

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
