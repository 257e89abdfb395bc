//! Volumes on disk: directories, tmpfs mounts, and their removal.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::{Medium, Resolved, atomic, mounts, nfs, ownership};
use crate::pod;

/// Sets one volume up, or brings it up to date; answers its path on the node. Safe to repeat.
pub fn set_up(pod_dir: &Path, pod: &Pod, name: &str, resolved: &Resolved) -> io::Result<PathBuf> {
    let fs_group = pod::security(pod).fs_group;
    match resolved {
        Resolved::EmptyDir(medium) => {
            let path = empty_dir(pod_dir, name);
            if make_volume(&path, *medium)?
                && let Some(group) = fs_group
            {
                ownership::give_to_group(&path, group, ownership::Access::ReadWrite)?;
            }
            Ok(path)
        }
        Resolved::HostPath { path, kind, .. } => {
            check_host_path(path, kind)?;
            Ok(path.clone())
        }
        Resolved::Payload { plugin, medium, files } => {
            let path = directory(pod_dir, plugin, name);
            make_volume(&path, *medium)?;
            // The files before they can be seen, then what leads to them.
            let give = |path: &Path| match fs_group {
                Some(group) => ownership::give_to_group(path, group, ownership::Access::ReadOnly),
                None => Ok(()),
            };
            if atomic::write(&path, files, give)? {
                give(&path)?;
            }
            Ok(path)
        }
        Resolved::Nfs(volume) => nfs::set_up(pod_dir, volume),
        Resolved::Csi(_) | Resolved::Iscsi(_) => {
            Err(io::Error::other("this kind of volume is not made here"))
        }
    }
}

/// `pods/UID/volumes/kubernetes.io~PLUGIN/NAME`.
pub fn directory(pod_dir: &Path, plugin: &str, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
}

/// Where an `emptyDir` volume is.
pub fn empty_dir(pod_dir: &Path, name: &str) -> PathBuf {
    directory(pod_dir, "empty-dir", name)
}

/// Where a volume of a pod is, whatever made it.
pub fn find(pod_dir: &Path, name: &str) -> Option<PathBuf> {
    let plugins = fs::read_dir(pod_dir.join("volumes")).ok()?.flatten();
    plugins.map(|plugin| plugin.path().join(name)).find(|path| path.is_dir())
}

/// Makes the directory of a volume, in memory where it should be; answers whether it is new.
fn make_volume(path: &Path, medium: Medium) -> io::Result<bool> {
    if path.exists() && (medium == Medium::Disk || mounts::is_mount_point(path)?) {
        return Ok(false);
    }
    make_directory(path, 0o777)?;
    match medium {
        Medium::Disk => return Ok(true),
        Medium::Memory(size) => mounts::tmpfs(path, size)?,
        Medium::HugePages(size) => mounts::huge_pages(path, size)?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    Ok(true)
}

/// Makes a directory with exactly this mode, whatever the umask is.
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Checks (and for the `…OrCreate` kinds makes) a path of the node.
fn check_host_path(path: &Path, kind: &str) -> io::Result<()> {
    let wrong = |what: &str| {
        Err(io::Error::other(format!("hostPath type check failed: {} is not {what}", path.display())))
    };
    let found = fs::metadata(path).map(|metadata| metadata.file_type()).ok();
    match (kind, found) {
        ("", _) => Ok(()),
        ("DirectoryOrCreate", None) => make_directory(path, 0o755),
        ("FileOrCreate", None) => {
            fs::File::create(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        }
        ("Directory" | "DirectoryOrCreate", Some(found)) if found.is_dir() => Ok(()),
        ("File" | "FileOrCreate", Some(found)) if found.is_file() => Ok(()),
        ("Socket", Some(found)) if found.is_socket() => Ok(()),
        ("CharDevice", Some(found)) if found.is_char_device() => Ok(()),
        ("BlockDevice", Some(found)) if found.is_block_device() => Ok(()),
        ("Directory" | "DirectoryOrCreate", _) => wrong("a directory"),
        ("File" | "FileOrCreate", _) => wrong("a file"),
        ("Socket", _) => wrong("a socket file"),
        ("CharDevice", _) => wrong("a character device"),
        ("BlockDevice", _) => wrong("a block device"),
        _ => wrong(&format!("of the unknown type {kind}")),
    }
}

/// Takes away all that a pod has on disk: mounts first, then its directory. Never crosses into a mount
/// that would not go away, since that could be data of the node.
pub fn tear_down(pod_dir: &Path) -> io::Result<()> {
    mounts::unmount_below(pod_dir)?;
    match fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_are_checked() {
        let dir = tempfile::tempdir().expect("directory");
        let check = |name: &str, kind: &str, ok: bool| {
            let result = check_host_path(&dir.path().join(name), kind);
            assert_eq!(result.is_ok(), ok, "{name} {kind}: {result:?}");
        };
        check("none", "", true);
        check("none", "Directory", false);
        check("made", "DirectoryOrCreate", true);
        check("made", "Directory", true);
        check("made", "File", false);
        check("file", "FileOrCreate", true);
        check("file", "File", true);
        check("file", "Socket", false);
    }
}
