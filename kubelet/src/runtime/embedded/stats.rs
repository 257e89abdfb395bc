//! Usage of containers, from their control groups.

use std::path::{Path, PathBuf};

use super::leftovers::cgroup_directories;
use super::sandbox::KnownContainer;
use super::state;
use crate::runtime::types::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, MemoryUsage,
    UInt64Value,
};

/// What a container uses now; without its control group the parts are missing.
pub fn of(id: &str, container: &KnownContainer, cgroup_parent: &str) -> ContainerStats {
    let cgroup = format!("{}/{id}", cgroup_parent.trim_end_matches('/'));
    let group = Group(cgroup_directories(&cgroup));
    let timestamp = state::now();
    let (bytes, inodes) = writable(&container.directory.join("upper"));
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: id.to_owned(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        }),
        cpu: group.cpu().map(|used| CpuUsage {
            timestamp,
            usage_core_nano_seconds: Some(UInt64Value { value: used }),
            usage_nano_cores: None,
        }),
        memory: group.memory(timestamp),
        writable_layer: Some(FilesystemUsage {
            timestamp,
            fs_id: Some(FilesystemIdentifier { mountpoint: container.directory.display().to_string() }),
            used_bytes: Some(UInt64Value { value: bytes }),
            inodes_used: Some(UInt64Value { value: inodes }),
        }),
    }
}

/// The directories of a control group.
struct Group(Vec<PathBuf>);

impl Group {
    fn text(&self, file: &str) -> Option<String> {
        self.0.iter().find_map(|directory| std::fs::read_to_string(directory.join(file)).ok())
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    /// CPU time in nanoseconds.
    fn cpu(&self) -> Option<u64> {
        self.number("cpuacct.usage").or_else(|| Some(field(&self.text("cpu.stat")?, "usage_usec")? * 1000))
    }

    fn memory(&self, timestamp: i64) -> Option<MemoryUsage> {
        let used = self.number("memory.usage_in_bytes").or_else(|| self.number("memory.current"))?;
        let stat = self.text("memory.stat")?;
        let first = |names: [&str; 2]| names.iter().find_map(|name| field(&stat, name)).unwrap_or_default();
        let working_set = used.saturating_sub(first(["total_inactive_file", "inactive_file"]));
        let limit = self.number("memory.limit_in_bytes").or_else(|| self.number("memory.max"));
        // Without a limit the kernel tells a number that no machine has.
        let limit = limit.filter(|limit| *limit < 1 << 60);
        let value = |value: u64| Some(UInt64Value { value });
        Some(MemoryUsage {
            timestamp,
            working_set_bytes: value(working_set),
            available_bytes: limit.map(|limit| UInt64Value { value: limit.saturating_sub(working_set) }),
            usage_bytes: value(used),
            rss_bytes: value(first(["total_rss", "anon"])),
            page_faults: value(first(["total_pgfault", "pgfault"])),
            major_page_faults: value(first(["total_pgmajfault", "pgmajfault"])),
        })
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
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

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("file");
        }
        let group = Group(vec![folder.path().to_owned()]);
        (folder, group)
    }

    #[test]
    fn usage_is_read_from_either_version() {
        let value = |value: u64| Some(UInt64Value { value });
        let (_one, one) = group(&[
            ("cpuacct.usage", "5000\n"),
            ("memory.usage_in_bytes", "100\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 30\ntotal_rss 20\n"),
        ]);
        let (_two, two) = group(&[
            ("cpu.stat", "usage_usec 5\nuser_usec 3\n"),
            ("memory.current", "100\n"),
            ("memory.max", "120\n"),
            ("memory.stat", "anon 20\ninactive_file 30\n"),
        ]);
        for (group, available) in [(one, None), (two, value(50))] {
            assert_eq!(group.cpu(), Some(5000));
            let memory = group.memory(1).expect("memory");
            assert_eq!((memory.working_set_bytes, memory.rss_bytes), (value(70), value(20)));
            assert_eq!(memory.available_bytes, available);
        }
        assert_eq!(Group(Vec::new()).memory(1), None);
    }
}
