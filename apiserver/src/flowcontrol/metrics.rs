//! `apiserver_flowcontrol_*`: the original's names. Handles are looked up once a schema, not once a request.
use super::fair::Limits;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    flow_schema: String,
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

type Histograms = Family<FlowLabels, Histogram, fn() -> Histogram>;

/// All of them.
#[derive(Clone)]
pub struct FlowMetrics {
    dispatched: Family<FlowLabels, Counter>,
    rejected: Family<RejectLabels, Counter>,
    inqueue: Family<FlowLabels, Gauge>,
    executing: Family<FlowLabels, Gauge>,
    seats: Family<FlowLabels, Gauge>,
    wait: Histograms,
    execution: Histograms,
    nominal: Family<LevelLabels, Gauge>,
    lower: Family<LevelLabels, Gauge>,
    upper: Family<LevelLabels, Gauge>,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl FlowMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let histograms = || Histograms::new_with_constructor(histogram);
        let this = Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            inqueue: Family::default(),
            executing: Family::default(),
            seats: Family::default(),
            wait: histograms(),
            execution: histograms(),
            nominal: Family::default(),
            lower: Family::default(),
            upper: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("apiserver_flowcontrol");
        registry.register("dispatched_requests", "Requests that were let run", this.dispatched.clone());
        registry.register("rejected_requests", "Requests that were refused", this.rejected.clone());
        registry.register("current_inqueue_requests", "Requests that wait", this.inqueue.clone());
        registry.register("current_executing_requests", "Requests that run", this.executing.clone());
        registry.register("current_executing_seats", "Seats that are taken", this.seats.clone());
        registry.register("request_wait_duration_seconds", "Time spent waiting", this.wait.clone());
        registry.register("request_execution_seconds", "Time spent running", this.execution.clone());
        registry.register("nominal_limit_seats", "Seats of a level by right", this.nominal.clone());
        registry.register("lower_limit_seats", "Seats that a level does not lend", this.lower.clone());
        registry.register("upper_limit_seats", "Seats of a level with what it borrows", this.upper.clone());
        this
    }

    /// The handles of a schema.
    pub(super) fn of(&self, schema: &str, level: &str) -> Handles {
        let labels = FlowLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned() };
        Handles {
            dispatched: self.dispatched.get_or_create(&labels).clone(),
            queued: self.inqueue.get_or_create(&labels).clone(),
            executing: self.executing.get_or_create(&labels).clone(),
            seats: self.seats.get_or_create(&labels).clone(),
            wait: self.wait.get_or_create(&labels).clone(),
            execution: self.execution.get_or_create(&labels).clone(),
        }
    }

    pub(super) fn rejected(&self, schema: &str, level: &str, reason: &'static str) {
        let (flow_schema, priority_level) = (schema.to_owned(), level.to_owned());
        self.rejected.get_or_create(&RejectLabels { flow_schema, priority_level, reason }).inc();
    }

    pub(super) fn limits(&self, level: &str, limits: &Limits) {
        let labels = LevelLabels { priority_level: level.to_owned() };
        let set = |family: &Family<LevelLabels, Gauge>, seats: usize| {
            family.get_or_create(&labels).set(i64::try_from(seats).unwrap_or(i64::MAX));
        };
        set(&self.nominal, limits.nominal);
        set(&self.lower, limits.nominal - limits.lendable);
        set(&self.upper, limits.upper);
    }
}

/// What is counted of one schema.
#[derive(Clone)]
pub(super) struct Handles {
    dispatched: Counter,
    pub(super) queued: Gauge,
    executing: Gauge,
    seats: Gauge,
    wait: Histogram,
    execution: Histogram,
}

impl Handles {
    pub(super) fn dispatched(&self, seats: usize, waited: Duration) {
        self.dispatched.inc();
        self.executing.inc();
        self.seats.inc_by(seats as i64);
        self.wait.observe(waited.as_secs_f64());
    }

    pub(super) fn finished(&self, seats: usize, took: Duration) {
        self.executing.dec();
        self.seats.dec_by(seats as i64);
        self.execution.observe(took.as_secs_f64());
    }
}
