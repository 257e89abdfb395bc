//! Volumes of NFS servers, mounted by the host's `mount` and its helper for NFS.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{disk, mounts, tools};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nfs {
    /// Name of the PersistentVolume, or of the volume in the pod.
    pub spec_name: String,
    /// The server's name or address.
    pub server: String,
    /// The path that it exports.
    pub path: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Nobody may write.
    pub read_only: bool,
}

impl Nfs {
    /// What is mounted, an address of IPv6 in brackets.
    fn source(&self) -> String {
        match self.server.contains(':') && !self.server.starts_with('[') {
            true => format!("[{}]:{}", self.server, self.path),
            false => format!("{}:{}", self.server, self.path),
        }
    }

    fn options(&self) -> Vec<String> {
        let mut all: Vec<String> = self.options.clone();
        if self.read_only && !all.iter().any(|option| option == "ro") {
            all.push("ro".to_owned());
        }
        all
    }
}

/// Mounts the volume for a pod, unless it is there; answers where. Blocks as long as the server does.
pub fn set_up(pod_dir: &Path, volume: &Nfs) -> io::Result<PathBuf> {
    let target = disk::directory(pod_dir, "nfs", &volume.spec_name);
    if mounts::is_mount_point(&target)? {
        return Ok(target);
    }
    fs::create_dir_all(&target)?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o750))?;
    match tools::mount("nfs", &volume.options(), &volume.source(), &target) {
        Ok(()) => Ok(target),
        Err(error) => {
            let _ = fs::remove_dir(&target);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted() {
        let check = |server: &str, options: &[&str], read_only: bool, expected: (&str, &[&str])| {
            let volume = Nfs {
                spec_name: "v".to_owned(),
                server: server.to_owned(),
                path: "/data".to_owned(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                read_only,
            };
            let (source, options) = (volume.source(), volume.options());
            assert_eq!(
                (source.as_str(), options.iter().map(String::as_str).collect()),
                (expected.0, expected.1.to_vec())
            );
        };
        check("files.test", &[], false, ("files.test:/data", &[]));
        check("10.0.0.1", &["hard"], true, ("10.0.0.1:/data", &["hard", "ro"]));
        check("fd00::1", &["ro"], true, ("[fd00::1]:/data", &["ro"]));
        check("[fd00::1]", &[], false, ("[fd00::1]:/data", &[]));
    }
}
