//! Priority and fairness: requests are sorted by FlowSchemas into priority levels, each with seats of its own; within
//! a level the flows (a user, a namespace) share queues such that none can crowd out the others.
//!
//! [`config`] reads the objects, [`bootstrap`] has those that every cluster is born with, [`shard`] and [`fair`] decide
//! without I/O, [`follow`] keeps the configuration current. Source: the API priority and fairness page of the
//! documentation and KEP-1040. Other than in the original a level borrows idle seats at once, not at intervals.
pub mod bootstrap;
pub mod config;
pub mod fair;
mod follow;
mod metrics;
pub mod shard;

pub use follow::{follow, keep, publish};
pub use metrics::FlowMetrics;

use crate::metrics::Metrics;
use crate::request_info::{RequestInfo, Verb};
use crate::user::User;
use arc_swap::ArcSwap;
use config::{Config, Schema};
use fair::{Entry, Levels};
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::Handles;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Objects that a list reads for one seat.
const OBJECTS_PER_SEAT: u64 = 100;
/// Most seats of one request.
const MAX_SEATS: usize = 10;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Numbers of objects by resource, `‹group›/‹plural›`.
pub type Counts = Arc<ArcSwap<HashMap<Arc<str>, u64>>>;

/// Decides when requests may run.
pub struct FlowControl {
    config: ArcSwap<Current>,
    levels: Arc<Mutex<Levels>>,
    seats: usize,
    patience: Duration,
    counts: Counts,
    metrics: FlowMetrics,
    inflight: [Gauge; 2],
}

/// The configuration with the metrics of its schemas.
struct Current {
    config: Config,
    handles: Vec<Handles>,
}

/// How a request was classified, for the headers of its answer.
#[derive(Clone, Debug)]
pub struct Class {
    schema: HeaderValue,
    level: HeaderValue,
}

impl Class {
    /// Tells the client.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_UID, self.schema.clone());
        headers.insert(LEVEL_UID, self.level.clone());
    }
}

/// The request has to come back later.
#[derive(Debug)]
pub struct Refused {
    /// Why, as metrics name it: `concurrency-limit`, `queue-full`, `time-out`.
    pub reason: &'static str,
    /// Seconds to wait.
    pub retry_after: u32,
}

/// A request's seats; free when dropped.
pub struct Turn {
    levels: Arc<Mutex<Levels>>,
    level: Arc<str>,
    queue: Option<usize>,
    seats: usize,
    started: Instant,
    handles: Handles,
    inflight: Gauge,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inflight.dec();
        self.handles.finished(self.seats, self.started.elapsed());
        self.levels.lock().release(&self.level, self.queue, self.seats);
    }
}

impl FlowControl {
    /// With so many seats in all (the sum of the in-flight limits) and the configuration every cluster is born with.
    /// A request waits for its turn no longer than `patience`.
    pub fn new(seats: usize, patience: Duration, counts: Counts, metrics: &Metrics) -> Self {
        let config = Config::new(&bootstrap::objects());
        let mut levels = Levels::default();
        levels.configure(&config.levels, seats);
        let control = Self {
            config: ArcSwap::from_pointee(Current { config: Config::default(), handles: Vec::new() }),
            levels: Arc::new(Mutex::new(levels)),
            seats,
            patience,
            counts,
            metrics: metrics.flow.clone(),
            inflight: [false, true].map(|mutating| metrics.inflight(mutating).clone()),
        };
        control.configure(config);
        control
    }

    /// Takes over another configuration; what runs and waits goes on.
    pub fn configure(&self, config: Config) {
        let mut levels = self.levels.lock();
        levels.configure(&config.levels, self.seats);
        for (name, limits) in levels.limits() {
            self.metrics.limits(&name, &limits);
        }
        drop(levels);
        let handles = config.schemas.iter().map(|s| self.metrics.of(&s.name, &s.level)).collect();
        self.config.store(Arc::new(Current { config, handles }));
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429: the level has no room, or no turn came in time.
    pub async fn enter(&self, info: &RequestInfo, user: &User) -> (Class, Result<Turn, Refused>) {
        let current = self.config.load_full();
        let (schema, handles) = current.classify(info, user);
        let class = schema.class();
        let seats = self.seats_of(info);
        let flow = shard::flow_hash(&schema.name, schema.distinguisher(info, user));
        let waiting = Instant::now();
        let entry = self.levels.lock().enter(&schema.level, flow, seats);
        let entered = match entry {
            Entry::Now { queue, seats } => Ok((queue, seats)),
            Entry::Refused(reason) => Err(reason),
            Entry::Wait(ticket) => {
                handles.queued.inc();
                let outcome = fair::wait(&self.levels, ticket, self.patience).await;
                handles.queued.dec();
                outcome
            }
        };
        let turn = match entered {
            Ok((queue, seats)) => {
                handles.dispatched(seats, waiting.elapsed());
                let inflight = self.inflight[usize::from(!info.verb.is_read())].clone();
                inflight.inc();
                Ok(Turn {
                    levels: self.levels.clone(),
                    level: schema.level.clone(),
                    queue,
                    seats,
                    started: Instant::now(),
                    handles: handles.clone(),
                    inflight,
                })
            }
            Err(reason) => {
                self.metrics.rejected(&schema.name, &schema.level, reason);
                Err(Refused { reason, retry_after: 1 })
            }
        };
        (class, turn)
    }

    /// A list that reads many objects takes several seats.
    fn seats_of(&self, info: &RequestInfo) -> usize {
        if info.verb != Verb::List || !info.name().is_empty() {
            return 1;
        }
        let group = if info.group().is_empty() { "core" } else { info.group() };
        let counts = self.counts.load();
        let Some(count) = counts.get(format!("{group}/{}", info.resource()).as_str()).copied() else {
            return 1;
        };
        let limit =
            info.query("limit").and_then(|limit| limit.parse::<u64>().ok()).filter(|limit| *limit > 0);
        let objects = limit.map_or(count, |limit| limit.min(count));
        usize::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(MAX_SEATS).clamp(1, MAX_SEATS)
    }
}

impl Current {
    fn classify(&self, info: &RequestInfo, user: &User) -> (&Schema, &Handles) {
        let at = self.config.schemas.iter().position(|schema| schema.matches(info, user));
        // The catch-all is last and takes what nobody else does.
        let at = at.unwrap_or(self.config.schemas.len() - 1);
        (&self.config.schemas[at], &self.handles[at])
    }
}
