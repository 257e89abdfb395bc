//! Replacing all files of a volume at once.
//!
//! The files live in a directory named by time; `..data` is a link to it, and each visible name a link
//! through `..data`. Renaming a new link over `..data` changes everything in one step, so that a reader
//! never sees a mixture. The original's layout, since programs watch for `..data`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::payload::Payload;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Writes the files unless they are there already; `finish` may adjust the new directory before it
/// becomes visible. Answers whether anything changed.
pub fn write(
    target: &Path,
    files: &Payload,
    finish: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<bool> {
    check_paths(files)?;
    let current = fs::read_link(target.join(DATA)).ok().map(|link| target.join(link));
    if let Some(current) = &current
        && same(current, files)?
    {
        link_names(target, files)?;
        return Ok(false);
    }
    let fresh = new_directory(target)?;
    for (path, file) in files {
        let place = fresh.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&place, &file.data)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            chown(&place, Some(owner), None)?;
        }
    }
    finish(&fresh)?;
    let name = fresh.file_name().ok_or_else(|| io::Error::other("no directory name"))?;
    let link = target.join(NEW_DATA);
    let _ = fs::remove_file(&link);
    symlink(name, &link)?;
    fs::rename(&link, target.join(DATA))?;
    link_names(target, files)?;
    remove_stale_names(target, files)?;
    if let Some(current) = current {
        fs::remove_dir_all(current)?;
    }
    Ok(true)
}

/// Paths come from users: they must stay inside and not touch the links.
fn check_paths(files: &Payload) -> io::Result<()> {
    for path in files.keys() {
        let bad = path.is_empty()
            || path.starts_with('/')
            || path.starts_with("..")
            || path.split('/').any(|part| part == "..");
        if bad {
            return Err(io::Error::other(format!("invalid path {path:?} in volume")));
        }
    }
    Ok(())
}

/// A new directory named by the present time; a counter tells apart those of the same moment.
fn new_directory(target: &Path) -> io::Result<PathBuf> {
    let now = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for attempt in 0u32.. {
        let path = target.join(format!("{now}.{attempt}"));
        match fs::create_dir(&path) {
            Ok(()) => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free directory name"))
}

/// Whether the directory holds exactly these files.
fn same(directory: &Path, files: &Payload) -> io::Result<bool> {
    let mut there = BTreeSet::new();
    list(directory, directory, &mut there)?;
    if there.len() != files.len() {
        return Ok(false);
    }
    for (path, file) in files {
        let place = directory.join(path);
        if !there.contains(Path::new(path)) || fs::read(&place)? != file.data {
            return Ok(false);
        }
        // Group bits may have been added for fsGroup.
        if fs::metadata(&place)?.permissions().mode() & file.mode != file.mode {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(root: &Path, directory: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, found)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.insert(relative.to_owned());
        }
    }
    Ok(())
}

/// The first parts of all paths: the names that users see.
fn visible(files: &Payload) -> BTreeSet<&str> {
    files.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link_names(target: &Path, files: &Payload) -> io::Result<()> {
    for name in visible(files) {
        let link = target.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    Ok(())
}

fn remove_stale_names(target: &Path, files: &Payload) -> io::Result<()> {
    let wanted = visible(files);
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("..") && !wanted.contains(name) && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn files(list: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.as_bytes().to_vec(), mode: 0o644, owner: None };
        list.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    #[test]
    fn replaces_all_at_once() {
        let dir = tempfile::tempdir().expect("directory");
        let put = |list: &[(&str, &str)]| write(dir.path(), &files(list), |_| Ok(())).expect("written");
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).ok();
        assert!(put(&[("a", "1"), ("d/b", "2")]));
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("d/b").as_deref(), Some("2"));
        assert!(!put(&[("a", "1"), ("d/b", "2")]), "nothing to do");
        assert!(put(&[("a", "3"), ("c", "4")]));
        assert_eq!(read("a").as_deref(), Some("3"));
        assert_eq!(read("d/b"), None);
        let timed = fs::read_dir(dir.path()).expect("list").flatten().filter(|e| e.path().is_dir());
        let names: Vec<_> = timed.map(|e| e.file_name()).filter(|n| n != DATA).collect();
        assert_eq!(names.len(), 1, "old directory removed: {names:?}");
        assert!(put(&[]), "all files may go");
        assert_eq!(read("a"), None);
    }

    #[test]
    fn refuses_to_leave_the_volume() {
        let dir = tempfile::tempdir().expect("directory");
        for path in ["../x", "/x", "a/../../x", "..data", ""] {
            assert!(write(dir.path(), &files(&[(path, "")]), |_| Ok(())).is_err(), "{path:?}");
        }
    }
}
