//! The node's folders of logs in pods: `/var/log/pods` and `/var/log/containers` are where agents that collect logs
//! look for them. A host may have several nodes, each with folders of its own: a pod sees those of its node there.

use std::path::{Path, PathBuf};

use crate::logs::links;

/// Where the original has the logs of pods.
const PODS: &str = "/var/log/pods";
/// Where the original has links to them.
const CONTAINERS: &str = "/var/log/containers";

/// The names with the node's own folders in their place.
fn own(pod_logs_dir: &Path) -> [(&'static Path, PathBuf); 2] {
    [(Path::new(PODS), pod_logs_dir.to_owned()), (Path::new(CONTAINERS), links::directory(pod_logs_dir))]
}

/// The path of the host that a pod's path means on this node.
pub fn place(path: &Path, pod_logs_dir: &Path) -> PathBuf {
    let found =
        own(pod_logs_dir).into_iter().find_map(|(name, own)| Some(own.join(path.strip_prefix(name).ok()?)));
    found.map_or_else(|| path.to_owned(), |found| found.components().collect())
}

/// What lies below a folder of the host that a pod sees whole: where, from that folder, and what is the node's own.
pub fn below(folder: &Path, pod_logs_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let differs = |(name, own): &(&Path, PathBuf)| *name != own.as_path();
    let inner = |(name, own): (&Path, PathBuf)| {
        let rest = name.strip_prefix(folder).ok().filter(|rest| !rest.as_os_str().is_empty())?;
        Some((rest.to_owned(), own))
    };
    own(pod_logs_dir).into_iter().filter(differs).filter_map(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_folders_of_their_own() {
        let check = |path: &str, expected: &str| {
            assert_eq!(place(Path::new(path), Path::new("/k/a/var-log/pods")), Path::new(expected), "{path}");
            assert_eq!(place(Path::new(path), Path::new(PODS)), Path::new(path), "{path}");
        };
        check("/var/log/pods", "/k/a/var-log/pods");
        check("/var/log/pods/", "/k/a/var-log/pods");
        check("/var/log/pods/a_b_c/d", "/k/a/var-log/pods/a_b_c/d");
        check("/var/log/containers", "/k/a/var-log/containers");
        check("/var/log", "/var/log");
        check("/var/log/podsy", "/var/log/podsy");
        let check = |path: &str, expected: &[(&str, &str)]| {
            let found = below(Path::new(path), Path::new("/k/a/var-log/pods"));
            let expected: Vec<_> =
                expected.iter().map(|(at, own)| (PathBuf::from(at), PathBuf::from(own))).collect();
            assert_eq!(found, expected, "{path}");
            assert_eq!(below(Path::new(path), Path::new(PODS)), []);
        };
        let (pods, containers) = ("/k/a/var-log/pods", "/k/a/var-log/containers");
        check("/var/log", &[("pods", pods), ("containers", containers)]);
        check("/", &[("var/log/pods", pods), ("var/log/containers", containers)]);
        check("/var/log/pods", &[]);
        check("/etc", &[]);
    }
}
