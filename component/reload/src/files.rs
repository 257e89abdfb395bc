//! A state that is read from files and read again when they change.
//!
//! Files are looked at when their content is wanted, at most once a second, so that a server at rest does nothing. What
//! cannot be read or used is logged and the last good state stays.
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The least time between two looks at the files.
const PAUSE: Duration = Duration::from_secs(1);

/// What tells two states of a file apart: inode, size, time of change with its nanoseconds.
type Stamp = Option<(u64, u64, i64, i64)>;

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// The current state of some files.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    load: Option<Load<T>>,
    current: ArcSwap<T>,
    stamps: Mutex<Vec<Stamp>>,
    started: Instant,
    /// When the files are to be looked at again, in milliseconds after `started`.
    due: AtomicU64,
}

impl<T> Reloaded<T> {
    /// Loads the state now, and later whenever one of `paths` changed.
    ///
    /// # Errors
    /// What `load` says the first time.
    pub fn new(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let stamps = stamps(&paths);
        let first = load()?;
        Ok(Self { paths, load: Some(Box::new(load)), stamps: Mutex::new(stamps), ..Self::fixed(first) })
    }

    /// A state that never changes.
    pub fn fixed(value: T) -> Self {
        Self {
            paths: Vec::new(),
            load: None,
            current: ArcSwap::from_pointee(value),
            stamps: Mutex::default(),
            started: Instant::now(),
            due: AtomicU64::new(PAUSE.as_millis() as u64),
        }
    }

    /// The state as of now, give or take a second.
    pub fn get(&self) -> Arc<T> {
        if let Some(load) = &self.load {
            self.look(load);
        }
        self.current.load_full()
    }

    /// As if a second had passed.
    #[cfg(test)]
    pub(crate) fn look_at_once(&self) {
        self.due.store(0, Ordering::Relaxed);
    }

    fn look(&self, load: &Load<T>) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.due.load(Ordering::Relaxed);
        let next = now + PAUSE.as_millis() as u64;
        let swap = |due| self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now < due || swap(due).is_err() {
            return;
        }
        let found = stamps(&self.paths);
        let mut known = self.stamps.lock();
        if *known == found {
            return;
        }
        *known = found;
        match load() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                tracing::info!(files = ?self.paths, "read again, since they changed");
            }
            Err(error) => tracing::error!(files = ?self.paths, error, "changed, but cannot be used"),
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n");
        std::fs::write(&path, "1").unwrap();
        let file = path.clone();
        let read = move || {
            let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
            text.parse::<u32>().map_err(|e| e.to_string())
        };
        let state = Reloaded::new(vec![path.clone()], read).unwrap();
        let after = |text: &str| {
            std::fs::write(&path, text).unwrap();
            state.look_at_once();
            *state.get()
        };
        assert_eq!(after("22"), 22);
        assert_eq!(after("bad"), 22);
        assert_eq!(after("333"), 333);
        assert!(Reloaded::new(vec![], || Err::<(), _>("no".to_owned())).is_err());
    }
}
