//! Usage of containers, from their control groups.

use std::path::Path;

use super::leftovers::cgroup_directories;
use super::sandbox::KnownContainer;
use super::state;
use crate::cgroups::reading::{Group, Reading};
use crate::runtime::types::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, MemoryUsage,
    UInt64Value,
};

/// What a container uses now; without its control group the parts are missing.
pub fn of(id: &str, container: &KnownContainer, cgroup_parent: &str) -> ContainerStats {
    let cgroup = format!("{}/{id}", cgroup_parent.trim_end_matches('/'));
    let reading = Group(cgroup_directories(&cgroup)).read();
    let timestamp = state::now();
    let (bytes, inodes) = writable(&container.directory.join("upper"));
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: id.to_owned(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        }),
        cpu: reading.cpu.map(|used| CpuUsage {
            timestamp,
            usage_core_nano_seconds: Some(UInt64Value { value: used }),
            usage_nano_cores: None,
        }),
        memory: memory(&reading, timestamp),
        writable_layer: Some(FilesystemUsage {
            timestamp,
            fs_id: Some(FilesystemIdentifier { mountpoint: container.directory.display().to_string() }),
            used_bytes: Some(UInt64Value { value: bytes }),
            inodes_used: Some(UInt64Value { value: inodes }),
        }),
    }
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
