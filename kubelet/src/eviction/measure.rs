//! What pods and the node use at this moment.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::storage::Usage;
use super::thresholds::{Level, Signal};
use crate::context::Context;
use crate::node::usage;
use crate::pod;
use crate::runtime::types::{ContainerStats, UInt64Value, by_pod};
use crate::volumes::disk;

fn number(value: Option<&UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

/// The statistics of the runtime, by pod.
async fn statistics(context: &Context) -> BTreeMap<String, Vec<ContainerStats>> {
    by_pod(context.runtime.list_container_stats().await.unwrap_or_default())
}

/// Local storage that pods use, in their order.
pub async fn pods(context: &Context, pods: &[&Pod]) -> Vec<Usage> {
    if pods.is_empty() {
        return Vec::new();
    }
    let mut statistics = statistics(context).await;
    let mut usages = Vec::with_capacity(pods.len());
    for pod in pods {
        let mut usage = Usage::default();
        for stats in statistics.remove(pod::uid(pod)).unwrap_or_default() {
            let metadata = stats.attributes.and_then(|attributes| attributes.metadata);
            let written = number(stats.writable_layer.as_ref().and_then(|layer| layer.used_bytes.as_ref()));
            *usage.containers.entry(metadata.unwrap_or_default().name).or_default() += written;
        }
        usages.push(on_disk(context, pod, usage).await);
    }
    usages
}

/// Adds the sizes of volumes and logs.
async fn on_disk(context: &Context, pod: &Pod, mut usage: Usage) -> Usage {
    let directory = context.pod_dir(pod::uid(pod));
    let volumes: Vec<(String, PathBuf, bool)> = pod::spec(pod)
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| {
            let source = volume.empty_dir.as_ref()?;
            let in_memory = source.medium.as_deref() == Some("Memory");
            Some((volume.name.clone(), disk::empty_dir(&directory, &volume.name), in_memory))
        })
        .collect();
    let logs = context.log_dir(pod);
    let names: Vec<String> =
        pod::init_containers(pod).iter().chain(pod::containers(pod)).map(|c| c.name.clone()).collect();
    let walk = move || {
        for (name, path, in_memory) in volumes {
            usage.volumes.insert(name, (size(&path), in_memory));
        }
        for name in names {
            let bytes = size(&logs.join(&name));
            *usage.containers.entry(name).or_default() += bytes;
        }
        usage
    };
    // Fails only when the kubelet ends.
    tokio::task::spawn_blocking(walk).await.unwrap_or_default()
}

/// Memory that pods use, by uid.
pub async fn memory(context: &Context) -> BTreeMap<String, u64> {
    let used =
        |stats: &ContainerStats| number(stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()));
    let statistics = statistics(context).await.into_iter();
    statistics.map(|(uid, all)| (uid, all.iter().map(used).sum())).collect()
}

/// Bytes that a directory takes on its own file system.
pub fn size(path: &Path) -> u64 {
    taken(path).0
}

/// Bytes and inodes that a directory takes on its own file system; files with several names count once.
pub fn taken(path: &Path) -> (u64, u64) {
    let Ok(root) = std::fs::symlink_metadata(path) else { return (0, 0) };
    let mut seen = HashSet::new();
    let (mut total, mut inodes) = (0, 0);
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != root.dev() || (metadata.nlink() > 1 && !seen.insert(metadata.ino())) {
            continue;
        }
        total += metadata.blocks() * 512;
        inodes += 1;
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
    }
    (total, inodes)
}

/// How much the node has left.
pub async fn node(root: &Path) -> Vec<Level> {
    let root = root.to_owned();
    // Fails only when the kubelet ends.
    tokio::task::spawn_blocking(move || levels(&root)).await.unwrap_or_default()
}

fn levels(root: &Path) -> Vec<Level> {
    let memory = usage::read();
    let mut levels = vec![Level {
        signal: Signal::MemoryAvailable,
        available: memory.memory_available,
        capacity: memory.memory_total,
    }];
    if let Ok(stat) = nix::sys::statvfs::statvfs(root) {
        let bytes = |blocks: u64| blocks * stat.fragment_size();
        // Images are on the same file system, unless the host's own containerd keeps them elsewhere.
        for signal in [Signal::NodefsAvailable, Signal::ImagefsAvailable] {
            let (available, capacity) = (bytes(stat.blocks_available()), bytes(stat.blocks()));
            levels.push(Level { signal, available, capacity });
        }
        for signal in [Signal::NodefsInodesFree, Signal::ImagefsInodesFree] {
            // Some file systems know no such limit.
            if stat.files() > 0 {
                levels.push(Level { signal, available: stat.files_available(), capacity: stat.files() });
            }
        }
    }
    levels.extend(processes());
    levels
}

/// How many processes there may be, and how many more.
pub fn processes() -> Option<Level> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let capacity = number(&std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?)?;
    // The fourth word is RUNNING/ALL.
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let all = number(load.split(' ').nth(3)?.split_once('/')?.1)?;
    Some(Level { signal: Signal::PidAvailable, available: capacity.saturating_sub(all), capacity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let directory = tempfile::tempdir().unwrap();
        let empty = size(directory.path());
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let file = directory.path().join("d/a");
        std::fs::write(&file, vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(&file, directory.path().join("b")).unwrap();
        let full = size(directory.path());
        assert!((1 << 20..2 << 20).contains(&(full - empty)), "once: {empty} {full}");
        assert_eq!(size(&directory.path().join("none")), 0);
    }

    #[test]
    fn the_node_has_some_of_everything() {
        let levels = levels(Path::new("/"));
        for signal in [Signal::MemoryAvailable, Signal::NodefsAvailable, Signal::PidAvailable] {
            let level = levels.iter().find(|level| level.signal == signal).unwrap();
            assert!(level.available > 0 && level.available <= level.capacity, "{level:?}");
        }
    }
}
