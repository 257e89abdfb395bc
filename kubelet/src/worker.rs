//! The worker of one pod: a task that brings the pod from what is to what should be.
//!
//! A pod runs, then terminates (its containers are stopped), then has ended (nothing of it runs and its
//! volumes are gone) and waits until its object is gone too. Each step looks at the runtime afresh, so a
//! restarted kubelet simply goes on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::allocation::{Pending, Resize};
use crate::backoff::Backoff;
use crate::context::Context;
use crate::events::PodEvents;
use crate::images::Pulls;
use crate::metrics::{self, Name};
use crate::observed::Observed;
use crate::plan::{ProbeResults, Waiting};
use crate::pod;
use crate::probes::Probes;
use crate::runtime::types::LinuxContainerResources;
use crate::runtime::unbroken::Unbroken;
use crate::status::{self, Verdict, conditions};
use crate::volumes::Mounted;

mod finish;
mod hook;
mod mounts;
mod resize;
mod start;
mod stop;
mod sync;
#[cfg(test)]
mod tests;

/// How often a pod is looked at when nothing happens; volumes are refreshed then too.
pub const RESYNC: Duration = Duration::from_secs(60);

/// What a worker is told from outside.
pub struct Inbox {
    /// When the kubelet saw the pod first.
    pub seen: Timestamp,
    desired: Mutex<Desired>,
    /// Something happened.
    pub wake: Arc<Notify>,
    /// Notified when the pod shall stop, to interrupt pulls and the like.
    killed: CancellationToken,
    /// Nothing of the pod runs any more.
    pub ended: CancellationToken,
    /// The worker has done all there was to do.
    pub done: CancellationToken,
    /// An object that the pod's volumes show has changed.
    stale: AtomicBool,
}

/// What a pod asks for and does not have yet.
#[derive(Clone)]
pub struct Asked {
    /// The pod as its object is.
    pub pod: Arc<Pod>,
    /// Why it waits.
    pub pending: Pending,
}

/// What should be.
#[derive(Clone)]
struct Desired {
    /// The pod with the resources that it has been given.
    pod: Arc<Pod>,
    asked: Option<Asked>,
    /// Why the kubelet itself ends the pod.
    verdict: Option<Verdict>,
    /// The object (or manifest) is gone.
    gone: bool,
}

impl Inbox {
    /// A new inbox for a pod.
    pub fn new(pod: Arc<Pod>) -> Arc<Self> {
        Arc::new(Self {
            seen: Timestamp::now(),
            desired: Mutex::new(Desired { pod, asked: None, verdict: None, gone: false }),
            wake: Arc::default(),
            killed: CancellationToken::new(),
            ended: CancellationToken::new(),
            done: CancellationToken::new(),
            stale: AtomicBool::new(false),
        })
    }

    /// The pod as last told, with the resources that it has been given.
    pub fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.desired.lock().pod)
    }

    /// What the pod waits for.
    pub fn asked(&self) -> Option<Asked> {
        self.desired.lock().asked.clone()
    }

    /// Tells of a changed object, and of what it does not get yet.
    pub fn update(&self, pod: Arc<Pod>, asked: Option<Asked>) {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let mut desired = self.desired.lock();
        (desired.pod, desired.asked) = (pod, asked);
        drop(desired);
        if deleted {
            self.killed.cancel();
        }
        self.wake.notify_one();
    }

    /// Tells that the object is gone.
    pub fn remove(&self) {
        self.desired.lock().gone = true;
        self.killed.cancel();
        self.wake.notify_one();
    }

    /// Ends the pod by the kubelet's own decision; it becomes `Failed`.
    pub fn evict(&self, verdict: Verdict) {
        self.desired.lock().verdict.get_or_insert(verdict);
        self.killed.cancel();
        self.wake.notify_one();
    }

    /// Tells that an object which the pod's volumes show has changed.
    pub fn refresh(&self) {
        self.stale.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Tells that something happened in the runtime.
    pub fn poke(&self) {
        self.wake.notify_one();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Terminating,
    Ended,
}

/// Notes how long a step took.
struct Timer(std::time::Instant);

impl Drop for Timer {
    fn drop(&mut self) {
        metrics::observe(Name::PodWorkerSeconds, &[("operation_type", "sync")], self.0.elapsed());
    }
}

/// The task's state.
pub struct Worker {
    context: Arc<Context>,
    inbox: Arc<Inbox>,
    pod: Arc<Pod>,
    events: PodEvents,
    phase: Phase,
    verdict: Option<Verdict>,
    probes: Probes,
    /// Why containers that should run do not, as the status shows it.
    waiting: BTreeMap<String, Waiting>,
    crashes: Backoff,
    pulls: Pulls,
    stopping: HashSet<String>,
    stopped: Arc<Mutex<HashSet<String>>>,
    stop_interrupt: CancellationToken,
    /// Containers that are not to stop before others have.
    stop_later: watch::Sender<HashSet<String>>,
    deadline: Option<Timestamp>,
    volumes_failed: u32,
    sandbox_failures: u32,
    /// The sandbox is new: its first containers are yet to be started.
    is_beginning: bool,
    /// Where the pod's volumes are, once they are set up.
    volumes: Option<BTreeMap<String, Mounted>>,
    refreshed: Option<std::time::Instant>,
    /// Limits that running containers have, by container id.
    applied: HashMap<String, LinuxContainerResources>,
    /// How far the pod is from the limits that it asks for.
    resize: Resize,
    /// Calls that make something in the runtime; they go on when the pod is told to stop meanwhile.
    under_way: Unbroken,
    /// When the pod was seen first, until it runs.
    seen: Option<std::time::Instant>,
    /// The node has granted the pod what it needs of the node's own.
    granted: bool,
    /// The pod's claims of devices are prepared.
    has_claims: bool,
    /// The first look at the pod has been taken.
    adopted: bool,
    finished: bool,
}

impl Worker {
    /// A worker that reads its orders from `inbox`.
    pub fn new(context: Arc<Context>, inbox: Arc<Inbox>) -> Self {
        let pod = inbox.pod();
        let begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        Self {
            events: PodEvents::new(&context.events, &pod),
            probes: Probes::new(Arc::clone(&context.runtime), Arc::clone(&inbox.wake)),
            context,
            inbox,
            pod,
            phase: Phase::Running,
            verdict: None,
            waiting: BTreeMap::new(),
            crashes: Backoff::default(),
            pulls: Pulls::default(),
            stopping: HashSet::new(),
            stopped: Arc::default(),
            stop_interrupt: CancellationToken::new(),
            stop_later: watch::Sender::default(),
            deadline: None,
            volumes_failed: 0,
            sandbox_failures: 0,
            is_beginning: false,
            volumes: None,
            refreshed: None,
            applied: HashMap::new(),
            resize: Resize::default(),
            under_way: Unbroken::default(),
            seen: Some(std::time::Instant::now()).filter(|_| !begun),
            granted: false,
            has_claims: false,
            adopted: false,
            finished: false,
        }
    }

    /// Works until the pod's object is gone and nothing of it is left, or until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                wait = self.step() => wait,
            };
            if self.finished {
                self.inbox.done.cancel();
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inbox.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One step; answers how long nothing needs to be done.
    async fn step(&mut self) -> Duration {
        let gone = self.take_orders();
        let _timer = Timer(std::time::Instant::now());
        match self.phase {
            Phase::Running => {
                let killed = self.inbox.killed.clone();
                match killed.run_until_cancelled(Box::pin(self.sync())).await {
                    Some(wait) if self.phase == Phase::Running => wait,
                    // Ended by itself, or told to: go on with terminating at once.
                    _ => Duration::ZERO,
                }
            }
            Phase::Terminating => {
                // What is about to start must be stopped too.
                self.under_way.settled().await;
                Box::pin(self.terminate()).await
            }
            Phase::Ended => {
                let wait = Box::pin(self.after_the_end(gone)).await;
                if self.phase == Phase::Ended {
                    self.inbox.ended.cancel();
                }
                wait
            }
        }
    }

    /// Takes over what should be; answers whether the object is gone.
    fn take_orders(&mut self) -> bool {
        let desired = self.inbox.desired.lock().clone();
        let shortened = pod::grace_seconds(&desired.pod) < pod::grace_seconds(&self.pod);
        let (old, new) = (&self.pod.metadata, &desired.pod.metadata);
        if self.inbox.stale.swap(false, Ordering::Relaxed)
            || (&old.labels, &old.annotations) != (&new.labels, &new.annotations)
        {
            self.refreshed = None;
        }
        self.pod = desired.pod;
        self.events = PodEvents::new(&self.context.events, &self.pod);
        self.note_pending(desired.asked);
        if self.verdict.is_none() {
            self.verdict = desired.verdict;
        }
        let over = desired.gone
            || self.verdict.is_some()
            || self.pod.metadata.deletion_timestamp.is_some()
            || pod::is_terminal(&self.pod);
        if over && self.phase == Phase::Running {
            self.begin_termination();
        } else if self.phase == Phase::Terminating && shortened {
            self.shorten_termination();
        }
        desired.gone
    }

    async fn observe(&self) -> Result<Observed, crate::runtime::RuntimeError> {
        Observed::of(self.context.runtime.as_ref(), pod::uid(&self.pod)).await
    }

    /// Computes the status and hands it on.
    fn report(&mut self, observed: &Observed, probes: &ProbeResults, ended: bool, finished: bool) {
        let status = status::compute(&status::Inputs {
            pod: &self.pod_with_newest_status(),
            observed,
            probes,
            waiting: &self.waiting,
            resize: &self.resize,
            host_ips: &self.context.facts.ips,
            verdict: self.verdict.as_ref(),
            ended,
            runtime: &self.context.runtime_name,
            now: Timestamp::now(),
        });
        if status.phase.as_deref() == Some("Running")
            && let Some(seen) = self.seen.take()
        {
            metrics::observe(Name::PodStartSeconds, &[], seen.elapsed());
        }
        self.context.statuses.set(&self.pod, status, finished);
    }

    /// The pod with the conditions of the API and everything else as last computed here, which may be
    /// ahead of the API.
    fn pod_with_newest_status(&self) -> Arc<Pod> {
        let Some(mut newest) = self.context.statuses.get(pod::uid(&self.pod)) else {
            return Arc::clone(&self.pod);
        };
        conditions::adopt(&mut newest, self.pod.status.as_ref());
        Arc::new(Pod { status: Some(newest), ..Pod::clone(&self.pod) })
    }

    fn pod_ip(&self, observed: &Observed) -> String {
        let own = observed.ready_sandbox().and_then(|sandbox| sandbox.ips.first().cloned());
        match own {
            Some(ip) if !pod::host_network(&self.pod) => ip,
            _ => self.context.facts.ips.first().cloned().unwrap_or_default(),
        }
    }
}
