//! Mounting and unmounting.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs, at most `size` bytes large; 0: the kernel's own limit.
pub fn tmpfs(path: &Path, size: i64) -> io::Result<()> {
    let options = (size > 0).then(|| format!("size={size}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options.as_deref()).map_err(io::Error::from)
}

/// Mounts a file system of huge pages, `size` bytes each.
pub fn huge_pages(path: &Path, size: i64) -> io::Result<()> {
    let options = format!("pagesize={size}");
    mount(Some("nodev"), path, Some("hugetlbfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(io::Error::from)
}

/// Mounts `source` again at `target`.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(io::Error::from)
}

/// Whether something is mounted exactly here.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(points()?.iter().any(|point| point == path))
}

/// Whether what is mounted at `path` is also mounted at or below `folder`.
pub fn is_mounted_below(path: &Path, folder: &Path) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let fields = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?.to_owned();
        Some((device, unescape(fields.nth(1)?)))
    };
    let all: Vec<(String, PathBuf)> = table.lines().filter_map(fields).collect();
    let device = all.iter().rev().find(|(_, point)| point == path).map(|(device, _)| device);
    Ok(device
        .is_some_and(|device| all.iter().any(|(other, point)| other == device && point.starts_with(folder))))
}

/// Unmounts everything at or below `path`, the deepest first.
pub fn unmount_below(path: &Path) -> io::Result<()> {
    let mut below: Vec<PathBuf> = points()?.into_iter().filter(|point| point.starts_with(path)).collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in below {
        match umount2(&point, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            // Something still looks at it: gone as soon as that ends.
            Err(nix::Error::EBUSY) => umount2(&point, MntFlags::MNT_DETACH)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// All mount points of this process, later ones last.
fn points() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect())
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> PathBuf {
    if !text.contains('\\') {
        return PathBuf::from(text);
    }
    let replaced = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    PathBuf::from(replaced.replace("\\134", "\\"))
}
