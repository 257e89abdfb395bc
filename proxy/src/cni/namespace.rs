//! Work in another network namespace, on a thread of its own: the namespace belongs to the thread.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns};

use super::Error;

/// Opens a network namespace by path.
pub(super) fn open(path: &str) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Namespace { path: path.to_owned(), source })
}

/// Runs a future to its end on a new thread, in a namespace or else in that of the caller. The thread may
/// be joined from within another runtime, which a nested `block_on` would not allow.
pub fn in_namespace<T, F, Fut>(namespace: Option<&File>, work: F) -> Result<T, Error>
where
    T: Send,
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = Result<T, Error>>,
{
    let body = move || {
        if let Some(namespace) = namespace {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::Namespace { path: "given".to_owned(), source: e.into() })?;
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        runtime.block_on(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cni".to_owned());
        let handle = thread.spawn_scoped(scope, body).map_err(Error::Thread)?;
        handle.join().unwrap_or_else(|_| Err(Error::Thread(std::io::Error::other("the thread panicked"))))
    })
}
