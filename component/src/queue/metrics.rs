//! What queues tell of themselves, by the original's names and in its buckets.

use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
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
    under_way: Mutex<Vec<(Name, UnderWay)>>,
}

/// Tells for how long each item of a queue has been worked on; nothing once the queue is gone.
pub(super) type UnderWay = Box<dyn Fn() -> Option<Vec<Duration>> + Send + Sync>;

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
    registry.register_collector(Box::new(Unfinished));
}

/// What is worked on at the moment of the question: these figures grow without anything happening.
#[derive(Debug)]
struct Unfinished;

impl Collector for Unfinished {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut totals = Vec::new();
        FAMILIES.under_way.lock().retain(|(name, under_way)| {
            let Some(spans) = under_way() else { return false };
            let seconds = spans.iter().map(Duration::as_secs_f64);
            let (sum, longest) =
                seconds.fold((0.0, 0.0_f64), |(sum, longest), span| (sum + span, longest.max(span)));
            totals.push((name.clone(), sum, longest));
            true
        });
        let mut tell = |metric: &str, text: &str, value: fn(&(Name, f64, f64)) -> f64| {
            let mut family = encoder.encode_descriptor(metric, text, None, MetricType::Gauge)?;
            totals
                .iter()
                .try_for_each(|total| ConstGauge::new(value(total)).encode(family.encode_family(&total.0)?))
        };
        let text = "How many seconds of work has been done that is in progress and hasn't been observed by work_duration";
        tell("workqueue_unfinished_work_seconds", text, |total| total.1)?;
        let text = "How many seconds has the longest running processor for workqueue been running";
        tell("workqueue_longest_running_processor_seconds", text, |total| total.2)
    }
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
    /// Those of the queue of that name, which tells what is worked on by `under_way`.
    pub fn of(name: &str, under_way: UnderWay) -> Self {
        let (all, name) = (&*FAMILIES, Name { name: name.to_owned() });
        all.under_way.lock().push((name.clone(), under_way));
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
