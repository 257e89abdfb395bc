//! Carries statuses to the API server: the newest of each pod, unchanged ones not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{patch, write};
use crate::pod;

/// How many requests may be under way at once.
const PARALLEL: usize = 8;
/// Pause after a failed request.
const RETRY: Duration = Duration::from_secs(1);

/// The statuses of all pods on the node.
#[derive(Default)]
pub struct Statuses {
    entries: Mutex<HashMap<String, Entry>>,
    /// The objects that stand for static pods, by the uid of those.
    mirrors: Mutex<HashMap<String, Arc<Pod>>>,
    wake: Notify,
}

struct Entry {
    /// The object that is written to; a static pod may have none yet.
    target: Option<Arc<Pod>>,
    status: PodStatus,
    /// What was last written, with the revision it got.
    written: Option<(PodStatus, u64)>,
    /// The pod has ended and left nothing behind: its object may go.
    finished: bool,
    busy: bool,
    dirty: bool,
    deleted: bool,
}

impl Statuses {
    /// Takes the newest status of a pod. `finished` allows the deletion of an object marked for it.
    pub fn set(&self, pod: &Arc<Pod>, status: PodStatus, finished: bool) {
        let target = match pod::is_static(pod) {
            true => self.mirrors.lock().get(pod::uid(pod)).cloned(),
            false => Some(Arc::clone(pod)),
        };
        let mut entries = self.entries.lock();
        let entry = entries.entry(pod::uid(pod).to_owned()).or_insert_with(|| Entry {
            target: None,
            status: PodStatus::default(),
            written: None,
            finished: false,
            busy: false,
            dirty: false,
            deleted: false,
        });
        entry.target = target;
        entry.status = status;
        entry.finished |= finished;
        if entry.wants_writing() || entry.wants_deletion() {
            entry.dirty = true;
            self.wake.notify_one();
        }
    }

    /// Takes the object that stands for a static pod, or its absence.
    pub fn set_mirror(&self, uid: &str, mirror: Option<Arc<Pod>>) {
        let mut mirrors = self.mirrors.lock();
        match &mirror {
            Some(mirror) => mirrors.insert(uid.to_owned(), Arc::clone(mirror)),
            None => mirrors.remove(uid),
        };
        drop(mirrors);
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return };
        let other = |a: &Option<Arc<Pod>>| a.as_ref().map(|pod| pod::uid(pod).to_owned());
        if other(&entry.target) != other(&mirror) {
            entry.written = None;
        }
        entry.target = mirror;
        if entry.wants_writing() {
            entry.dirty = true;
            self.wake.notify_one();
        }
    }

    /// The newest status of a pod.
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().get(uid).map(|entry| entry.status.clone())
    }

    /// Forgets a pod whose object is gone.
    pub fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    /// Writes statuses until told to stop.
    pub async fn run(self: Arc<Self>, client: Client, stop: CancellationToken) {
        let mut jobs = FuturesUnordered::new();
        loop {
            while jobs.len() < PARALLEL
                && let Some(job) = self.next()
            {
                jobs.push(job.send(client.clone()));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                Some(done) = jobs.next() => self.finish(done),
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut entries = self.entries.lock();
        let (uid, entry) =
            entries.iter_mut().find(|(_, entry)| entry.dirty && !entry.busy && entry.target.is_some())?;
        let target = entry.target.clone()?;
        entry.busy = true;
        entry.dirty = false;
        Some(Job {
            uid: uid.clone(),
            pod: target,
            old: entry.known().clone(),
            status: entry.status.clone(),
            delete: entry.wants_deletion(),
        })
    }

    fn finish(self: &Arc<Self>, done: Done) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&done.job.uid) else { return };
        entry.busy = false;
        match done.result {
            Ok(revision) => {
                if let Some(revision) = revision {
                    entry.written = Some((done.job.status, revision));
                }
                entry.deleted |= done.job.delete;
                entry.dirty |= entry.wants_writing() || entry.wants_deletion();
                if entry.dirty {
                    self.wake.notify_one();
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::debug!(pod = pod::full_name(&done.job.pod), %status, "the pod's object has changed hands");
            }
            Err(error) => {
                tracing::warn!(pod = pod::full_name(&done.job.pod), %error, "status not written");
                let (again, uid) = (Arc::clone(self), done.job.uid);
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    if let Some(entry) = again.entries.lock().get_mut(&uid) {
                        entry.dirty = true;
                    }
                    again.wake.notify_one();
                });
            }
        }
    }
}

impl Entry {
    /// The status as the API server has it, to the best of our knowledge.
    fn known(&self) -> &PodStatus {
        static NONE: std::sync::LazyLock<PodStatus> = std::sync::LazyLock::new(PodStatus::default);
        let revision = |pod: &Pod| pod.metadata.resource_version.as_deref()?.parse::<u64>().ok();
        let seen = self.target.as_ref().and_then(|pod| revision(pod)).unwrap_or_default();
        match &self.written {
            // Nobody has written since, or the watch has not caught up with our own write yet.
            Some((status, revision)) if seen <= *revision => status,
            _ => self.target.as_ref().and_then(|pod| pod.status.as_ref()).unwrap_or(&NONE),
        }
    }

    fn wants_writing(&self) -> bool {
        self.target.is_some() && patch::between("", self.known(), &self.status).is_some()
    }

    fn wants_deletion(&self) -> bool {
        let marked = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !pod::is_mirror(pod);
        self.finished && !self.deleted && self.target.as_ref().is_some_and(marked)
    }
}

struct Job {
    uid: String,
    pod: Arc<Pod>,
    old: PodStatus,
    status: PodStatus,
    delete: bool,
}

struct Done {
    job: Job,
    result: Result<Option<u64>, kube::Error>,
}

impl Job {
    async fn send(self, client: Client) -> Done {
        let result = self.attempt(&client).await;
        Done { job: self, result }
    }

    async fn attempt(&self, client: &Client) -> Result<Option<u64>, kube::Error> {
        let path = write::path_of(&self.pod);
        let mut revision = None;
        if let Some(patch) = patch::between(pod::uid(&self.pod), &self.old, &self.status) {
            revision = write::status(client, &path, &patch).await?;
        }
        if self.delete {
            write::removal(client, &path, pod::uid(&self.pod)).await?;
        }
        Ok(revision)
    }
}
