//! Links to containers' logs by the names of their pods, for those who read the logs of a whole node:
//! `POD_NAMESPACE_CONTAINER-ID.log` in the folder `containers` beside the folder of pods' logs.
//!
//! They are relative, so that they hold wherever both folders are seen beside each other.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// So long are names of files.
const MAX_NAME: usize = 255;
const SUFFIX: &str = ".log";

/// The folder of links that goes with a folder of pods' logs.
pub fn directory(pod_logs_dir: &Path) -> PathBuf {
    pod_logs_dir.with_file_name("containers")
}

fn name(pod: &Pod, container: &str, id: &str) -> String {
    let mut name = format!("{}_{}_{container}-{id}", pod::name(pod), pod::namespace(pod));
    name.truncate(MAX_NAME - SUFFIX.len());
    name + SUFFIX
}

/// Makes the link to the log of a container.
pub fn create(pod_logs_dir: &Path, pod: &Pod, container: &str, id: &str, restarts: u32) -> io::Result<()> {
    let links = directory(pod_logs_dir);
    std::fs::create_dir_all(&links)?;
    let pods = Path::new("..").join(pod_logs_dir.file_name().unwrap_or_default());
    let log = super::pod_directory(&pods, pod).join(container).join(format!("{restarts}.log"));
    let link = links.join(name(pod, container, id));
    match symlink(&log, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the links of a folder whose logs are gone.
pub fn tidy(pod_logs_dir: &Path) {
    for entry in std::fs::read_dir(directory(pod_logs_dir)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() && !path.exists() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_logs_and_go_with_them() {
        let dir = tempfile::tempdir().expect("folder");
        let pods = dir.path().join("pods");
        let pod = pod::tests::pod("{metadata: {name: p, namespace: n, uid: u}, spec: {containers: []}}");
        let log = crate::logs::pod_directory(&pods, &pod).join("c");
        std::fs::create_dir_all(&log).expect("folder");
        std::fs::write(log.join("2.log"), "text").expect("log");
        create(&pods, &pod, "c", "id", 2).expect("link");
        create(&pods, &pod, "c", "id", 2).expect("there already");
        create(&pods, &pod, "c", &"x".repeat(300), 3).expect("cut");
        let link = dir.path().join("containers/p_n_c-id.log");
        assert_eq!(std::fs::read_to_string(&link).expect("text"), "text");
        tidy(&pods);
        let left: Vec<_> =
            std::fs::read_dir(dir.path().join("containers")).expect("list").flatten().collect();
        assert_eq!(left.iter().map(|entry| entry.path()).collect::<Vec<_>>(), [link]);
    }
}
