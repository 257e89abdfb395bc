//! `fsGroup`: giving a volume to a group.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

/// What the group may do with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only: files that the kubelet writes.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// Gives everything at and below `path` to the group, adds the permission bits it needs, and makes
/// directories pass the group on to new files.
pub fn give_to_group(path: &Path, group: i64, access: Access) -> io::Result<()> {
    let group = u32::try_from(group).map_err(io::Error::other)?;
    walk(path, group, access)
}

/// Whether the root of a volume looks as [`give_to_group`] leaves it.
pub fn belongs_to_group(path: &Path, group: i64) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    let wanted = 0o2770;
    Ok(i64::from(metadata.gid()) == group && metadata.mode() & wanted == wanted)
}

fn walk(path: &Path, group: u32, access: Access) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return lchown(path, None, Some(group));
    }
    chown(path, None, Some(group))?;
    let mut mode = metadata.mode() & 0o7777;
    mode |= match access {
        Access::ReadOnly => 0o440,
        Access::ReadWrite => 0o660,
    };
    if metadata.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group, access)?;
        }
    }
    Ok(())
}
