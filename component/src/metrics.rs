//! Metrics of a process that are counted where things happen: statics with a name, labels and what they mean. A process
//! registers those of its crates.

use std::{borrow::Cow, fmt, sync::LazyLock, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
};

pub use prometheus_client::registry::Registry;

/// Names of labels with their values.
type Labels = Vec<(&'static str, String)>;

/// The buckets of a histogram.
#[derive(Clone, Copy, Debug)]
pub enum Buckets {
    /// So many, each a multiple of the former.
    Exponential {
        /// The first.
        first: f64,
        /// How much larger the next one is.
        factor: f64,
        /// How many.
        count: i32,
    },
    /// These.
    List(&'static [f64]),
}

impl Buckets {
    /// `count` buckets, each `factor` times the former.
    pub const fn exponential(first: f64, factor: f64, count: i32) -> Self {
        Self::Exponential { first, factor, count }
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        match *self {
            Self::Exponential { first, factor, count } => {
                Histogram::new((0..count).map(|power| first * factor.powi(power)))
            }
            Self::List(bounds) => Histogram::new(bounds.iter().copied()),
        }
    }
}

/// What all kinds of metrics have: where they are registered.
pub trait Metric: Sync {
    /// Registers it.
    fn register(&self, registry: &mut Registry);
}

/// Registers all of these.
pub fn register(registry: &mut Registry, all: &[&dyn Metric]) {
    all.iter().for_each(|metric| metric.register(registry));
}

fn labels(names: &[&'static str], values: &[&str]) -> Labels {
    debug_assert_eq!(names.len(), values.len(), "{names:?}");
    names.iter().zip(values).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Something that is counted. Its name ends in `_total` when it is read, not here.
pub struct Count {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    family: LazyLock<Family<Labels, Counter>>,
}

impl Count {
    /// Counts under a name, by labels.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, family: LazyLock::new(Family::default) }
    }

    /// One more; the values are those of the labels, in order.
    pub fn one(&self, values: &[&str]) {
        self.many(values, 1);
    }

    /// So many more.
    pub fn many(&self, values: &[&str], more: u64) {
        if more > 0 {
            self.family.get_or_create_owned(&labels(self.labels, values)).inc_by(more);
        }
    }
}

impl Metric for Count {
    fn register(&self, registry: &mut Registry) {
        // What has no labels is there from the beginning.
        if self.labels.is_empty() {
            drop(self.family.get_or_create(&Vec::new()));
        }
        registry.register(self.name, self.help, self.family.clone());
    }
}

/// Something that takes a time, or comes in sizes.
pub struct Spread {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    buckets: Buckets,
    family: LazyLock<Mutex<Option<Family<Labels, Histogram, Buckets>>>>,
}

impl Spread {
    /// A histogram under a name, by labels.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        buckets: Buckets,
    ) -> Self {
        Self { name, help, labels, buckets, family: LazyLock::new(Mutex::default) }
    }

    fn family(&self) -> Family<Labels, Histogram, Buckets> {
        self.family.lock().get_or_insert_with(|| Family::new_with_constructor(self.buckets)).clone()
    }

    /// It took so long; the values are those of the labels, in order.
    pub fn took(&self, values: &[&str], time: Duration) {
        self.saw(values, time.as_secs_f64());
    }

    /// It was so much.
    pub fn saw(&self, values: &[&str], size: f64) {
        self.family().get_or_create_owned(&labels(self.labels, values)).observe(size);
    }
}

impl Metric for Spread {
    fn register(&self, registry: &mut Registry) {
        let family = self.family();
        if self.labels.is_empty() {
            drop(family.get_or_create(&Vec::new()));
        }
        registry.register(self.name, self.help, family);
    }
}

/// Something that goes up and down.
pub struct Level {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    family: LazyLock<Family<Labels, Gauge>>,
}

impl Level {
    /// A level under a name, by labels.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, family: LazyLock::new(Family::default) }
    }

    /// It is so much now; the values are those of the labels, in order.
    pub fn is(&self, values: &[&str], level: usize) {
        let level = i64::try_from(level).unwrap_or(i64::MAX);
        self.family.get_or_create_owned(&labels(self.labels, values)).set(level);
    }

    /// Forgets all levels, before they are told anew.
    pub fn clear(&self) {
        self.family.clear();
    }
}

impl Metric for Level {
    fn register(&self, registry: &mut Registry) {
        registry.register(self.name, self.help, self.family.clone());
    }
}

/// Levels with the values of their labels.
pub type Levels = Vec<(Vec<String>, usize)>;

/// A level that is found out when somebody asks, by a function that is given later.
pub struct Asked {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    ask: Mutex<Option<Box<dyn Fn() -> Levels + Send>>>,
}

impl Asked {
    /// A level under a name, by labels.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, ask: Mutex::new(None) }
    }

    /// From now on it is found out so.
    pub fn by(&self, ask: impl Fn() -> Levels + Send + 'static) {
        *self.ask.lock() = Some(Box::new(ask));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ask = self.ask.lock();
        let Some(ask) = &*ask else { return Ok(()) };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        ask().iter().try_for_each(|(values, level)| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let gauge = ConstGauge::new(i64::try_from(*level).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&labels(self.labels, &values))?)
        })
    }
}

impl Metric for &'static Asked {
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Collected(self)));
    }
}

struct Collected(&'static Asked);

impl fmt::Debug for Collected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(&mut encoder)
    }
}

/// Requests to the API server.
pub static REQUESTS: Count = Count::new(
    "rest_client_requests",
    "Number of HTTP requests, partitioned by status code, method, and host.",
    &["code", "method", "host"],
);
/// How long they took, to the first byte of the answer.
pub static REQUEST_TIME: Spread = Spread::new(
    "rest_client_request_duration_seconds",
    "Request latency in seconds. Broken down by verb, and host.",
    &["verb", "host"],
    Buckets::List(&[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]),
);
/// Which leases the process holds.
pub static LEADING: Level = Level::new(
    "leader_election_master_status",
    "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the \
     string used to identify the lease. Please make sure to group by name.",
    &["name"],
);

/// All metrics in the text form of OpenMetrics.
///
/// # Errors
/// A collector of somebody's that fails.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text.lines().fold(String::with_capacity(text.len()), |all, line| all + &bare(line) + "\n"))
}

/// A line without the braces around no labels at all.
fn bare(line: &str) -> Cow<'_, str> {
    match line.split_once('{') {
        Some((name, rest)) if rest.starts_with("} ") => format!("{name}{}", &rest[1..]).into(),
        _ => line.into(),
    }
}

/// Registers what every client process tells: its queues, its requests and its leases.
pub fn of_clients(registry: &mut Registry) {
    crate::queue::metrics::register(registry);
    register(registry, &[&REQUESTS, &REQUEST_TIME, &LEADING]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds() {
        static COUNT: Count = Count::new("things", "Things", &["kind"]);
        static BARE: Count = Count::new("bare", "Bare", &[]);
        static SPREAD: Spread = Spread::new("spans", "Spans", &["kind"], Buckets::exponential(1.0, 2.0, 3));
        static LEVEL: Level = Level::new("height", "Height", &[]);
        static ASKED: Asked = Asked::new("depth", "Depth", &["at"]);
        let mut registry = Registry::default();
        register(&mut registry, &[&COUNT, &BARE, &SPREAD, &LEVEL, &&ASKED]);
        COUNT.one(&["a"]);
        COUNT.many(&["a"], 2);
        SPREAD.took(&["b"], Duration::from_secs(3));
        LEVEL.is(&[], 4);
        ASKED.by(|| vec![(vec!["x".to_owned()], 5)]);
        let text = text(&registry).unwrap();
        for line in [
            "things_total{kind=\"a\"} 3",
            "bare_total 0",
            "spans_bucket{le=\"4.0\",kind=\"b\"} 1",
            "height 4",
            "depth{at=\"x\"} 5",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
