//! What containers write, from Docker into the pods' log files.
//!
//! A task for each container copies what is new in the file in which Docker keeps it, with the times that stand there.
//! Where it had come to is read from the end of the pod's log file, so that a kubelet goes on where the one before it ended.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::kept::{Kept, Position};
use crate::logs::parse;
use crate::logs::write;
use crate::runtime::{Result, RuntimeError};

/// So much of a log file's end is read to find its last line: more than a line can have.
const TAIL: u64 = 64 << 10;
/// How long the last output of a container that has ended is awaited at most.
const DRAIN: Duration = Duration::from_secs(30);
/// How often files are looked at where the kernel tells of no changes.
const POLL: Duration = Duration::from_secs(1);

/// The containers whose output is followed.
#[derive(Clone)]
pub struct Logs {
    followed: Arc<Mutex<HashMap<String, Arc<Followed>>>>,
    changes: Arc<Changes>,
}

struct Followed {
    path: PathBuf,
    copy: Mutex<Copy>,
    /// Docker may have written something.
    changed: Notify,
    /// Docker will write no more.
    ended: CancellationToken,
    /// Everything is written that there will be.
    done: CancellationToken,
}

struct Copy {
    from: Kept,
    to: File,
}

impl Logs {
    /// Nothing is followed yet. Must be called within a tokio runtime.
    pub fn new() -> Self {
        Self { followed: Arc::default(), changes: Changes::start() }
    }

    /// Copies from the file of a container that has been started to `path`, unless that is done already.
    pub fn follow(&self, id: &str, kept: &Path, path: &Path) -> io::Result<()> {
        let mut all = self.followed.lock();
        if all.contains_key(id) {
            return Ok(());
        }
        if !kept.exists() {
            tracing::error!(id, path = %kept.display(), "Docker's log of a container is not on this host");
        }
        let written = written(path)?;
        let copy = Copy { from: Kept::new(kept, written), to: write::open(path)? };
        let followed = Arc::new(Followed {
            path: path.to_owned(),
            copy: Mutex::new(copy),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            done: CancellationToken::new(),
        });
        all.insert(id.to_owned(), Arc::clone(&followed));
        let told = kept.parent().is_some_and(|folder| self.changes.tell(folder, &followed));
        tokio::spawn(copy_all(id.to_owned(), followed, told));
        Ok(())
    }

    /// Goes on in a new file after the one before was moved away.
    pub fn reopen(&self, id: &str) -> Result<()> {
        let Some(followed) = self.followed.lock().get(id).cloned() else { return Ok(()) };
        let new = write::open(&followed.path).map_err(|error| RuntimeError::Failed(error.to_string()))?;
        followed.copy.lock().to = new;
        Ok(())
    }

    /// Returns once all output of a container that has ended is written.
    pub async fn drained(&self, id: &str) {
        let followed = self.followed.lock().get(id).cloned();
        if let Some(followed) = followed {
            followed.ended.cancel();
            let _ = tokio::time::timeout(DRAIN, followed.done.cancelled()).await;
        }
    }

    /// Forgets a container that was removed.
    pub fn forget(&self, id: &str) {
        if let Some(followed) = self.followed.lock().remove(id) {
            followed.ended.cancel();
        }
    }
}

async fn copy_all(id: String, followed: Arc<Followed>, told: bool) {
    let _done = followed.done.clone().drop_guard();
    loop {
        // Before it is read: what was written until then is all.
        let ended = followed.ended.is_cancelled();
        let copying = Arc::clone(&followed);
        let copied = tokio::task::spawn_blocking(move || copying.copy()).await;
        match copied.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(id, path = %followed.path.display(), %error, "output of a container is not logged");
                return;
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            () = followed.changed.notified() => {}
            () = followed.ended.cancelled() => {}
            () = tokio::time::sleep(POLL), if !told => {} // where the kernel tells of no changes
        }
    }
}

impl Followed {
    /// Copies what there is.
    fn copy(&self) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            let mut copy = self.copy.lock();
            let more = copy.from.read(&mut out)?;
            copy.to.write_all(&out)?;
            out.clear();
            if !more {
                return Ok(());
            }
        }
    }
}

/// Whom the kernel's news of changed folders are for.
struct Changes {
    watches: Option<Mutex<Watches>>,
    of: Mutex<HashMap<WatchDescriptor, Arc<Followed>>>,
}

impl Changes {
    fn start() -> Arc<Self> {
        let events = Inotify::init().and_then(|inotify| {
            let watches = inotify.watches();
            Ok((watches, inotify.into_event_stream(vec![0; 4096])?))
        });
        let (watches, events) = match events {
            Ok((watches, events)) => (Some(Mutex::new(watches)), Some(events)),
            Err(error) => {
                tracing::warn!(%error, "the kernel tells of no changes; output of containers comes late");
                (None, None)
            }
        };
        let changes = Arc::new(Self { watches, of: Mutex::default() });
        if let Some(mut events) = events {
            let weak = Arc::downgrade(&changes);
            tokio::spawn(async move {
                while let Some(Ok(event)) = events.next().await {
                    let Some(changes) = weak.upgrade() else { return };
                    changes.pass_on(&event);
                }
            });
        }
        changes
    }

    fn pass_on(&self, event: &inotify::EventOwned) {
        let mut of = self.of.lock();
        if event.mask.contains(inotify::EventMask::Q_OVERFLOW) {
            of.values().for_each(|followed| followed.changed.notify_one());
        }
        if let Some(followed) = of.get(&event.wd) {
            followed.changed.notify_one();
        }
        if event.mask.contains(inotify::EventMask::IGNORED) {
            of.remove(&event.wd);
        }
    }

    /// Tells of changes in a folder from now on; whether that is possible.
    fn tell(&self, folder: &Path, followed: &Arc<Followed>) -> bool {
        let Some(watches) = &self.watches else { return false };
        // Held, so that no news comes before it is known whose they are.
        let mut of = self.of.lock();
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO;
        match watches.lock().add(folder, mask) {
            Ok(watch) => {
                of.insert(watch, Arc::clone(followed));
                true
            }
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "changes are not told");
                false
            }
        }
    }
}

/// How far a log goes, from its file or the one that was moved away just before.
fn written(path: &Path) -> io::Result<Option<Position>> {
    match last_line(path)? {
        Some(position) => Ok(Some(position)),
        None => newest_aside(path).map_or(Ok(None), |path| last_line(&path)),
    }
}

/// How far a file goes; a line that was cut off is removed.
fn last_line(path: &Path) -> io::Result<Option<Position>> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(start + whole as u64)?;
    }
    Ok(position_of(&bytes[..whole]))
}

fn position_of(text: &[u8]) -> Option<Position> {
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').filter_map(parse::line).collect();
    let time = lines.last()?.time;
    let same = lines.iter().rev().take_while(|line| line.time == time).count();
    Some(Position { time: time.to_owned(), lines: same })
}

/// The newest file that was moved away, if it is readable as it is.
fn newest_aside(path: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.", path.file_name()?.to_str()?);
    let files = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with(&prefix) && !name.ends_with(".tmp")).max()?;
    (!newest.ends_with(".gz")).then(|| path.with_file_name(newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-01T00:00:00.000000001Z";
    const LATER: &str = "2026-01-01T00:00:01.000000000Z";

    #[test]
    fn a_new_kubelet_goes_on_where_the_log_ends() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("0.log");
        assert_eq!(written(&path).expect("none"), None);
        let text = format!("{TIME} stdout F a\n{LATER} stdout P b\n{LATER} stdout P c\n");
        std::fs::write(&path, format!("{text}{LATER} stdo")).expect("written");
        let expected = Some(Position { time: LATER.to_owned(), lines: 2 });
        assert_eq!(written(&path).expect("read"), expected);
        assert_eq!(std::fs::read_to_string(&path).expect("text"), text);
        std::fs::rename(&path, folder.path().join("0.log.20260101-000000")).expect("moved");
        assert_eq!(written(&path).expect("read"), expected);
    }

    #[tokio::test]
    async fn output_is_copied_as_it_comes_and_to_its_end() {
        let (kept, logs) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let (from, to) = (kept.path().join("json.log"), logs.path().join("0.log"));
        let entry =
            |text: &str| format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"{TIME}\"}}\n");
        std::fs::write(&from, entry("a")).expect("written");
        let followed = Logs::new();
        followed.follow("id", &from, &to).expect("followed");
        let text = || std::fs::read_to_string(&to).unwrap_or_default();
        let until = async |expected: &str| {
            while !text().ends_with(expected) {
                tokio::time::sleep(Duration::from_millis(5)).await; // another task writes the file, and does not tell
            }
        };
        tokio::time::timeout(DRAIN, until("F a\n")).await.expect("copied");
        let mut file = File::options().append(true).open(&from).expect("file");
        file.write_all(entry("b").as_bytes()).expect("written");
        tokio::time::timeout(DRAIN, until("F b\n")).await.expect("copied");
        std::fs::rename(&to, logs.path().join("0.log.1")).expect("moved");
        followed.reopen("id").expect("reopened");
        file.write_all(entry("c").as_bytes()).expect("written");
        followed.drained("id").await;
        assert_eq!(text(), format!("{TIME} stdout F c\n"));
    }
}
