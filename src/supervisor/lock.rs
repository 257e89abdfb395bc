//! Lock files: held as long as a process lives, and naming it.
//!
//! These are `flock(2)` locks: they belong to the open file, so a child that inherits the descriptor keeps the
//! lock when its parent is gone.
use anyhow::{Context, Result};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A held lock; it ends with the last process that has the file open.
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock and writes this process's id; none if another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Self { file };
                lock.write_pid(std::process::id())?;
                Ok(Some(lock))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Takes the lock, waiting while another process holds it.
    pub fn acquire(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { file })
    }

    /// Names the process that will hold the lock.
    pub fn write_pid(&mut self, pid: u32) -> Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "{pid}").context("cannot write the lock file")
    }

    /// Whether the locked file is still the one at this path.
    pub fn is_at(&self, path: &Path) -> bool {
        let same = |found: Metadata, held: Metadata| (found.dev(), found.ino()) == (held.dev(), held.ino());
        std::fs::metadata(path).and_then(|found| Ok(same(found, self.file.metadata()?))).unwrap_or(false)
    }

    /// Another descriptor of the same open file, for a child to inherit.
    pub fn share(&self) -> Result<File> {
        self.file.try_clone().context("cannot pass the lock on")
    }
}

/// The process that holds the lock; none if it is free or was never taken.
pub fn holder(path: &Path) -> Result<Option<u32>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text.trim().parse().ok())
        }
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot look at the lock {}", path.display()))
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_lives_as_long_as_any_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        assert_eq!(holder(&path).unwrap(), None);
        let lock = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        assert_eq!(holder(&path).unwrap(), Some(std::process::id()));
        let inherited = lock.share().unwrap();
        drop(lock);
        assert_eq!(holder(&path).unwrap(), Some(std::process::id()));
        drop(inherited);
        assert_eq!(holder(&path).unwrap(), None);
    }
}
