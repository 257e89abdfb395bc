//! Container logs: where they are, how they are read.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

pub mod links;
pub mod parse;
pub mod read;
pub mod rotate;
pub mod write;

/// `NAMESPACE_NAME_UID`, the directory of a pod's logs below the node's log directory.
pub fn pod_directory(root: &Path, pod: &Pod) -> PathBuf {
    root.join(format!("{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod)))
}

/// The highest restart count that left a log, plus one: what the next container of that name counts as
/// when the runtime has forgotten the ones before.
pub fn restarts_by_logs(directory: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.split_once(".log")?.0.parse::<u32>().ok())
        .max()
        .map_or(0, |newest| newest + 1)
}
