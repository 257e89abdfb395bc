//! A layer's archive becomes files.
//!
//! A parent directory is found within the layer's root by the kernel (`openat2`, `RESOLVE_IN_ROOT`), whatever links
//! the archive has made before; the last part of a path is only ever used by name in that directory and never
//! followed. So nothing outside of the root is read or written.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use pathrs::Root;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use tar::{Entry, EntryType};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Other names of that beginning are an old storage driver's own.
const OTHER: &str = ".wh..wh.";
/// How extended attributes are named in an archive.
const XATTR: &str = "SCHILY.xattr.";

/// Unpacks the archive into `root`, where the layers below are seen. Owners are set only by root, so that tests
/// need no rights.
pub fn unpack(archive: impl Read, root: &Path) -> io::Result<()> {
    let mut unpacker = Unpacker {
        root: Root::open(root).map_err(io::Error::other)?,
        owners: nix::unistd::geteuid().is_root(),
        made: HashSet::new(),
        times: Vec::new(),
    };
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path()?)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        unpacker.entry(&path, &mut entry).map_err(named)?;
    }
    unpacker.set_times()
}

struct Unpacker {
    root: Root,
    owners: bool,
    /// What this layer has made: a mark that hides what is below spares it.
    made: HashSet<PathBuf>,
    /// Times of directories are set last, since every file made in one changes them.
    times: Vec<(PathBuf, Timestamps)>,
}

/// A path without the parts that mean nothing; one that leads upwards is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(format!("path {:?} leads upwards", path.display())));
            }
        }
    }
    Ok(clean)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn open_dir(parent: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

impl Unpacker {
    fn entry(&mut self, path: &Path, entry: &mut Entry<impl Read>) -> io::Result<()> {
        let Some(name) = path.file_name() else {
            return self.root_entry(entry);
        };
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = self.parent(above)?;
        let text = name.to_string_lossy();
        if text == OPAQUE {
            return self.hide_all(above, &parent);
        }
        if text.starts_with(OTHER) {
            return Ok(());
        }
        if let Some(hidden) = text.strip_prefix(WHITEOUT) {
            return self.remove(&above.join(hidden));
        }
        self.make(path, Path::new(name), &parent, entry)?;
        let mut made = path.to_owned();
        while self.made.insert(made.clone()) && made.pop() {}
        Ok(())
    }

    fn root_entry(&mut self, entry: &mut Entry<impl Read>) -> io::Result<()> {
        let directory: OwnedFd = self
            .root
            .open_subpath(".", pathrs::flags::OpenFlags::O_DIRECTORY)
            .map_err(io::Error::other)?
            .into();
        self.describe(&directory, entry)?;
        self.times.push((PathBuf::new(), times(entry)?));
        Ok(())
    }

    /// The directory, made if it is not there.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if let Ok(found) = self.root.open_subpath(at, pathrs::flags::OpenFlags::O_DIRECTORY) {
            return Ok(found.into());
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        self.root.mkdir_all(at, &mode).map_err(io::Error::other)?;
        let made = self.root.open_subpath(at, pathrs::flags::OpenFlags::O_DIRECTORY);
        Ok(made.map_err(io::Error::other)?.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.root.remove_all(path) {
            Err(error) if error.kind() != pathrs::error::ErrorKind::OsError(Some(nix::libc::ENOENT)) => {
                Err(io::Error::other(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what the layers below have in a directory.
    fn hide_all(&self, path: &Path, directory: &OwnedFd) -> io::Result<()> {
        for entry in fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let inner = path.join(&name);
            if name != "." && name != ".." && !self.made.contains(&inner) {
                self.remove(&inner)?;
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        path: &Path,
        name: &Path,
        parent: &OwnedFd,
        entry: &mut Entry<impl Read>,
    ) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let there = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let is_dir = there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if there.is_some() && !(is_dir && kind == EntryType::Directory) {
            self.remove(path)?;
        }
        let mode = Mode::from_raw_mode(mode(entry)?);
        match kind {
            EntryType::Directory => {
                if !is_dir {
                    fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                }
                self.describe(&open_dir(parent, name)?, entry)?;
                self.times.push((path.to_owned(), times(entry)?));
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                io::copy(entry, &mut file)?;
                self.describe(file.as_fd(), entry)?;
            }
            EntryType::Symlink => fs::symlinkat(link(entry)?, parent, name)?,
            EntryType::Link => return self.hard_link(&link(entry)?, parent, name),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.special(kind, name, parent, entry, mode)?;
            }
            // Headers that describe other entries have been applied to these; what else there is has no meaning here.
            _ => return Ok(()),
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) {
            self.own(parent, name, AtFlags::SYMLINK_NOFOLLOW, entry)?;
        }
        fs::utimensat(parent, name, &times(entry)?, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn hard_link(&self, target: &Path, parent: &OwnedFd, name: &Path) -> io::Result<()> {
        let target = clean(target)?;
        let last = target.file_name().ok_or_else(|| invalid("a hard link to the root".to_owned()))?;
        let folder = self.parent(target.parent().unwrap_or(Path::new("")))?;
        Ok(fs::linkat(&folder, last, parent, name, AtFlags::empty())?)
    }

    fn special(
        &self,
        kind: EntryType,
        name: &Path,
        parent: &OwnedFd,
        entry: &Entry<impl Read>,
        mode: Mode,
    ) -> io::Result<()> {
        let header = entry.header();
        let number = |number: io::Result<Option<u32>>| io::Result::Ok(number?.unwrap_or_default());
        let device = fs::makedev(number(header.device_major())?, number(header.device_minor())?);
        let kind = match kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if kind == FileType::CharacterDevice && device == 0 {
            // To overlayfs this is a file that hides another one; a layer says that by name.
            return Err(invalid("device 0:0 in a layer".to_owned()));
        }
        fs::mknodat(parent, name, kind, mode, device)?;
        // Once more, without what the process takes away from modes.
        fs::chmodat(parent, name, mode, AtFlags::empty())?;
        Ok(())
    }

    /// Owner, attributes and mode of an open file; the mode last, for a change of owner clears parts of it.
    fn describe(&self, file: impl AsFd, entry: &mut Entry<impl Read>) -> io::Result<()> {
        let file = file.as_fd();
        let ((uid, gid), mode) = (owner(entry)?, mode(entry)?);
        if self.owners {
            fs::fchown(file, Some(fs::Uid::from_raw(uid)), Some(fs::Gid::from_raw(gid)))?;
        }
        fs::fchmod(file, Mode::from_raw_mode(mode))?;
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR)) else { continue };
            // Attributes of overlayfs itself would change what the layer means.
            if name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") {
                continue;
            }
            match fs::fsetxattr(file, name, extension.value_bytes(), XattrFlags::empty()) {
                // File systems and machines without them run most programs all the same.
                Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
                other => other?,
            }
        }
        let times = times(entry)?;
        fs::futimens(file, &times)?;
        Ok(())
    }

    fn own(&self, parent: &OwnedFd, name: &Path, flags: AtFlags, entry: &Entry<impl Read>) -> io::Result<()> {
        if self.owners {
            let (uid, gid) = owner(entry)?;
            fs::chownat(parent, name, Some(fs::Uid::from_raw(uid)), Some(fs::Gid::from_raw(gid)), flags)?;
        }
        Ok(())
    }

    fn set_times(self) -> io::Result<()> {
        for (path, times) in self.times.into_iter().rev() {
            let at = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
            // It may have been replaced since.
            if let Ok(directory) = self.root.open_subpath(&at, pathrs::flags::OpenFlags::O_DIRECTORY) {
                fs::futimens(&directory, &times)?;
            }
        }
        Ok(())
    }
}

fn link(entry: &Entry<impl Read>) -> io::Result<PathBuf> {
    let target = entry.link_name()?.ok_or_else(|| invalid("a link without target".to_owned()))?;
    Ok(target.into_owned())
}

/// A number of a header; one that was left out is 0.
fn number<T: Default>(read: io::Result<T>, field: &[u8]) -> io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { read }
}

fn mode(entry: &Entry<impl Read>) -> io::Result<u32> {
    let header = entry.header();
    Ok(number(header.mode(), &header.as_old().mode)? & 0o7777)
}

fn owner(entry: &Entry<impl Read>) -> io::Result<(u32, u32)> {
    let (header, fields) = (entry.header(), entry.header().as_old());
    // The last number stands for "leave it".
    let id = |number: u64| {
        let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| invalid(format!("owner {number}")))
    };
    Ok((id(number(header.uid(), &fields.uid)?)?, id(number(header.gid(), &fields.gid)?)?))
}

fn times(entry: &Entry<impl Read>) -> io::Result<Timestamps> {
    let seconds =
        i64::try_from(number(entry.header().mtime(), &entry.header().as_old().mtime)?).unwrap_or_default();
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}
