//! The lock on a database directory: one server at a time, released by the kernel when the process ends.
use super::{BackendError, unavailable};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Holds the directory while it lives.
pub(super) struct DirectoryLock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

impl DirectoryLock {
    /// Creates the directory (mode 0700) if needed and locks it.
    pub fn take(directory: &Path) -> Result<Self, BackendError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| at(directory, &e))?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| at(&path, &e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // The process id is only for the message of the one who finds the directory locked.
                let written = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", std::process::id()));
                written.map_err(|e| at(&path, &e))?;
                Ok(Self(file))
            }
            Err((mut file, _)) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                Err(BackendError::Locked { path: directory.to_owned(), holder })
            }
        }
    }
}

fn at(path: &Path, error: &std::io::Error) -> BackendError {
    unavailable(format!("{}: {error}", path.display()))
}
