//! A directory whose changes the kernel tells of.

use std::io;
use std::path::Path;

use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

/// Follows one directory, not those below it.
pub struct Folder {
    events: EventStream<[u8; 4096]>,
}

impl Folder {
    /// Begins to follow: changes from now on are told.
    pub fn follow(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let changes = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::CLOSE_WRITE;
        inotify.watches().add(path, changes | WatchMask::ONLYDIR)?;
        Ok(Self { events: inotify.into_event_stream([0; 4096])? })
    }

    /// Returns once something has changed since the last call; cancel-safe.
    pub async fn changed(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(|_| ()),
            None => Err(io::Error::other("the kernel tells of no more changes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::follow(directory.path()).unwrap();
        assert!(futures::poll!(Box::pin(folder.changed())).is_pending());
        std::fs::write(directory.path().join("a"), "").unwrap();
        folder.changed().await.unwrap();
        std::fs::remove_file(directory.path().join("a")).unwrap();
        folder.changed().await.unwrap();
    }
}
