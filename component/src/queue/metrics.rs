//! What queues tell of themselves, by the original's names and in its buckets.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The queue's label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: String,
}

/// Twelve buckets from ten nanoseconds to a thousand seconds.
fn histogram() -> Histogram {
    Histogram::new((-8..=3).map(|exponent| 10_f64.powi(exponent)))
}

/// The metrics of all queues of the process.
#[derive(Default)]
struct Families {
    depth: Family<Name, Gauge>,
    adds: Family<Name, Counter>,
    retries: Family<Name, Counter>,
    queued: Timing,
    worked: Timing,
}

struct Timing(Family<Name, Histogram, fn() -> Histogram>);

impl Default for Timing {
    fn default() -> Self {
        Self(Family::new_with_constructor(histogram as fn() -> Histogram))
    }
}

static FAMILIES: LazyLock<Families> = LazyLock::new(Families::default);

/// Registers the metrics of all queues of the process that have names.
pub fn register(registry: &mut Registry) {
    let all = &*FAMILIES;
    registry.register("workqueue_depth", "Current depth of workqueue", all.depth.clone());
    registry.register("workqueue_adds", "Total number of adds handled by workqueue", all.adds.clone());
    registry.register(
        "workqueue_retries",
        "Total number of retries handled by workqueue",
        all.retries.clone(),
    );
    let text = "How long in seconds an item stays in workqueue before being requested";
    registry.register("workqueue_queue_duration_seconds", text, all.queued.0.clone());
    let text = "How long in seconds processing an item from workqueue takes";
    registry.register("workqueue_work_duration_seconds", text, all.worked.0.clone());
}

/// The metrics of one queue.
pub(super) struct Metrics {
    depth: Gauge,
    adds: Counter,
    retries: Counter,
    queued: Histogram,
    worked: Histogram,
}

impl Metrics {
    /// Those of the queue of that name.
    pub fn of(name: &str) -> Self {
        let (all, name) = (&*FAMILIES, Name { name: name.to_owned() });
        Self {
            depth: all.depth.get_or_create_owned(&name),
            adds: all.adds.get_or_create_owned(&name),
            retries: all.retries.get_or_create_owned(&name),
            queued: all.queued.0.get_or_create_owned(&name),
            worked: all.worked.0.get_or_create_owned(&name),
        }
    }

    /// Items have become ready or have been asked for once more.
    pub fn added(&self, count: usize) {
        self.adds.inc_by(count as u64);
    }

    /// The number of ready items has changed.
    pub fn depth(&self, ready: usize) {
        self.depth.set(i64::try_from(ready).unwrap_or(i64::MAX));
    }

    /// A worker has taken an item that waited for so long.
    pub fn taken(&self, waited: Duration) {
        self.queued.observe(waited.as_secs_f64());
    }

    /// A worker has ended its work on an item.
    pub fn done(&self, worked: Duration) {
        self.worked.observe(worked.as_secs_f64());
    }

    /// An item comes again after a delay.
    pub fn retried(&self) {
        self.retries.inc();
    }
}
