//! Pods that go for the good of the node: those that use more local storage than they may, and, when the node runs
//! short of memory, disk or process ids, the one that is worth least.
//!
//! [`storage`] and [`pressure`] decide without I/O; [`measure`] looks at the disk. What is looked at: only pods with
//! limits on their storage, and the whole node by a few system calls.

pub mod measure;
pub mod pressure;
mod storage;
pub mod thresholds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::events::PodEvents;
use crate::manager::Manager;
use crate::metrics::{self, Name};
use crate::pod;
use crate::status::{Verdict, VerdictKind};
use pressure::{Pressure, Ranked};
use thresholds::{Signal, Thresholds};

/// Seconds that containers of a pod get which is evicted.
const GRACE: i64 = 1;
/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// A condition stays for so long after the node has recovered.
const TRANSITION: Duration = Duration::from_secs(300);

/// What a node runs short of.
pub struct Evictions {
    thresholds: Thresholds,
    pressures: Mutex<pressure::Memory>,
}

impl Evictions {
    /// Nothing is short yet.
    pub fn new(thresholds: Thresholds) -> Arc<Self> {
        Arc::new(Self { thresholds, pressures: Mutex::default() })
    }

    /// What the node is short of, for its conditions and for new pods.
    pub fn pressures(&self) -> BTreeSet<Pressure> {
        self.pressures.lock().present(tokio::time::Instant::now(), TRANSITION)
    }

    /// Looks now and then, until told to stop.
    pub async fn run(self: Arc<Self>, manager: Arc<Manager>, stop: CancellationToken) {
        loop {
            self.look(&manager).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn look(&self, manager: &Arc<Manager>) {
        let pods: Vec<Pod> = manager.pods().into_iter().filter(|pod| !pod::is_terminal(pod)).collect();
        let limited: Vec<&Pod> = pods.iter().filter(|pod| storage::is_limited(pod)).collect();
        let usages = measure::pods(manager.context(), &limited).await;
        let mut evicted = false;
        for (pod, usage) in limited.into_iter().zip(&usages) {
            if let Some(message) = storage::excess(pod, usage) {
                metrics::count(Name::Evictions, &[("eviction_signal", "ephemeralpodfs.limit")]);
                evict(manager, pod, message);
                evicted = true;
            }
        }
        let state = measure::node(&manager.context().facts.root_dir).await;
        let short = self.thresholds.met(&state);
        self.pressures.lock().note(short.iter().map(|short| short.signal), tokio::time::Instant::now());
        // One at a time: what it gives back may be enough.
        if let Some(short) = short.first().filter(|_| !evicted) {
            self.relieve(manager, &pods, short).await;
        }
    }

    async fn relieve(&self, manager: &Arc<Manager>, pods: &[Pod], short: &thresholds::Short) {
        let all: Vec<&Pod> = pods.iter().filter(|pod| !pod::is_critical(pod)).collect();
        let usages = match short.signal {
            Signal::MemoryAvailable => measure::memory(manager.context()).await,
            Signal::PidAvailable => Default::default(),
            _ => {
                let used = measure::pods(manager.context(), &all).await;
                all.iter().zip(used).map(|(pod, used)| (pod::uid(pod).to_owned(), used.total())).collect()
            }
        };
        let ranked = all
            .into_iter()
            .map(|pod| Ranked { pod, used: usages.get(pod::uid(pod)).copied().unwrap_or_default() });
        if let Some(worst) = pressure::worst(ranked, short.signal) {
            metrics::count(Name::Evictions, &[("eviction_signal", short.signal.name())]);
            evict(manager, worst.pod, pressure::message(&worst, short));
        } else {
            tracing::warn!(signal = short.signal.name(), "the node runs short, and no pod can go");
        }
    }
}

fn evict(manager: &Manager, pod: &Pod, message: String) {
    tracing::info!(pod = pod::full_name(pod), message, "pod evicted");
    PodEvents::new(&manager.context().events, pod).warning("Evicted", message.as_str());
    manager.evict(
        pod::uid(pod),
        Verdict { reason: "Evicted".to_owned(), message, kind: VerdictKind::Evicted(GRACE) },
    );
}
