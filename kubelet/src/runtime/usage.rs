//! Usage of containers, from their control groups.

use std::path::{Path, PathBuf};

use super::embedded::shim::unified;
use super::types::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, MemoryUsage,
    UInt64Value,
};
use crate::cgroups::MOUNT;
use crate::cgroups::reading::{Group, Reading};

/// What a container has written beside its volumes.
#[derive(Debug, Clone)]
pub struct Written {
    /// Of which file system that is told.
    pub file_system: PathBuf,
    /// The folder in which it lies.
    pub folder: PathBuf,
}

/// Directories of a control group in all trees.
pub fn cgroup_directories(cgroup: &str) -> Vec<PathBuf> {
    let relative = cgroup.trim_start_matches('/');
    if unified() {
        return vec![Path::new(MOUNT).join(relative)];
    }
    let trees = std::fs::read_dir(MOUNT).into_iter().flatten().flatten();
    let trees = trees.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    trees.map(|entry| entry.path().join(relative)).filter(|path| path.is_dir()).collect()
}

/// What a container uses now, whose control group is named by its id; without that the parts are missing.
pub fn of(attributes: ContainerAttributes, cgroup_parent: &str, written: Option<&Written>) -> ContainerStats {
    let cgroup = format!("{}/{}", cgroup_parent.trim_end_matches('/'), attributes.id);
    let reading = Group(cgroup_directories(&cgroup)).read();
    let timestamp = now();
    ContainerStats {
        attributes: Some(attributes),
        cpu: reading.cpu.map(|used| CpuUsage {
            timestamp,
            usage_core_nano_seconds: Some(UInt64Value { value: used }),
            usage_nano_cores: None,
        }),
        memory: memory(&reading, timestamp),
        writable_layer: written.map(|written| {
            let (bytes, inodes) = writable(&written.folder);
            FilesystemUsage {
                timestamp,
                fs_id: Some(FilesystemIdentifier { mountpoint: written.file_system.display().to_string() }),
                used_bytes: Some(UInt64Value { value: bytes }),
                inodes_used: Some(UInt64Value { value: inodes }),
            }
        }),
    }
}

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn memory(reading: &Reading, timestamp: i64) -> Option<MemoryUsage> {
    let value = |value: u64| Some(UInt64Value { value });
    let working_set = reading.working_set()?;
    Some(MemoryUsage {
        timestamp,
        working_set_bytes: value(working_set),
        available_bytes: reading
            .memory_limit
            .map(|limit| UInt64Value { value: limit.saturating_sub(working_set) }),
        usage_bytes: reading.memory.and_then(value),
        rss_bytes: value(reading.rss),
        page_faults: value(reading.page_faults),
        major_page_faults: value(reading.major_page_faults),
    })
}

/// Bytes and files below a directory.
fn writable(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let inner = if meta.is_dir() { writable(&entry.path()) } else { (0, 0) };
        sum = (sum.0 + inner.0 + meta.blocks() * 512, sum.1 + inner.1 + 1);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_left() {
        let reading =
            Reading { memory: Some(100), inactive_file: 30, memory_limit: Some(120), ..Reading::default() };
        let usage = memory(&reading, 1).expect("memory");
        assert_eq!(usage.available_bytes, Some(UInt64Value { value: 50 }));
        assert_eq!(memory(&Reading::default(), 1), None);
    }
}
