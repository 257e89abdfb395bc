//! Parts of a volume: `subPath` and `subPathExpr`.
//!
//! The part is opened by the kernel without ever leaving the volume (links included) and mounted by its
//! file descriptor, so that a container which changes links meanwhile gains nothing.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fchmod, mkdirat};

use super::mounts;

/// Where the parts of a pod's volumes are mounted.
pub fn directory(pod_dir: &Path) -> PathBuf {
    pod_dir.join("volume-subpaths")
}

/// Mounts `sub` of the volume at `volume` below the pod's own directory; answers where. Missing
/// directories are made, like the volume's root in mode. Safe to repeat.
pub fn prepare(
    pod_dir: &Path,
    volume: &Path,
    name: &str,
    container: &str,
    index: usize,
    sub: &str,
) -> io::Result<PathBuf> {
    let target = directory(pod_dir).join(name).join(container).join(index.to_string());
    let part = open_inside(volume, Path::new(sub))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
    let metadata = fs::metadata(&source)?;
    if mounts::is_mount_point(&target)? {
        let mounted = fs::metadata(&target)?;
        if (mounted.dev(), mounted.ino()) == (metadata.dev(), metadata.ino()) {
            return Ok(target);
        }
        // The files of the volume have been replaced since.
        mounts::unmount_below(&target)?;
        remove_target(&target)?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if metadata.is_dir() {
        fs::create_dir_all(&target)?;
    } else {
        fs::File::create(&target)?;
    }
    mounts::bind(&source, &target)?;
    Ok(target)
}

/// Removes what was made to be mounted upon; the part may be of another kind now.
fn remove_target(target: &Path) -> io::Result<()> {
    if target.is_dir() { fs::remove_dir(target) } else { fs::remove_file(target) }
}

fn open_inside(volume: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let bad =
        || io::Error::other(format!("subPath {:?} must be a relative path without '..'", sub.display()));
    let mode = Mode::from_bits_truncate(fs::metadata(volume)?.mode() & 0o7777);
    let mut here: OwnedFd = open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let root = here.try_clone()?;
    let mut walked = PathBuf::new();
    for part in sub.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(bad()),
        };
        walked.push(name);
        // Always from the root: links inside the volume may point sideways but not out.
        here = match openat2(&root, walked.as_path(), how) {
            Err(nix::Error::ENOENT) => {
                mkdirat(&here, name, mode)?;
                let made = openat2(&root, walked.as_path(), how)?;
                let place = fs::File::open(format!("/proc/self/fd/{}", made.as_raw_fd()))?;
                fchmod(&place, mode)?;
                made
            }
            other => other?,
        };
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn stays_inside_the_volume() {
        let dir = tempfile::tempdir().expect("directory");
        fs::create_dir(dir.path().join("real")).expect("directory");
        fs::write(dir.path().join("real/file"), "x").expect("file");
        symlink("real", dir.path().join("inner")).expect("link");
        symlink("/etc", dir.path().join("outer")).expect("link");
        symlink("../../../etc", dir.path().join("climber")).expect("link");
        let check = |sub: &str, ok: bool| {
            let result = open_inside(dir.path(), Path::new(sub));
            assert_eq!(result.is_ok(), ok, "{sub}: {result:?}");
        };
        check("real/file", true);
        check("inner/file", true);
        check("made/on/demand", true);
        check("outer/passwd", false);
        check("climber", false);
        check("../x", false);
        check("/etc", false);
        assert!(dir.path().join("made/on/demand").is_dir());
    }
}
