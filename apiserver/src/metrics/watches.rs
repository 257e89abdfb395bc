//! What watches were sent: the original's names and labels.
use super::served::ResourceLabels;
use knarr_api::kind::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    group: String,
    version: String,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabels {
    group: String,
    resource: String,
    scope: &'static str,
    version: String,
}

const LIST_SECONDS: [f64; 17] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

/// Counts and sizes of events; clones count together.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    events: Family<Labels, Counter>,
    sizes: Family<Labels, Histogram, fn() -> Histogram>,
    initial: Family<ResourceLabels, Counter>,
    lists: Family<ScopeLabels, Histogram, fn() -> Histogram>,
    terminated: Family<ResourceLabels, Counter>,
}

impl Default for WatchMetrics {
    fn default() -> Self {
        let sizes = || Histogram::new((0..8).map(|power| 1024.0 * f64::from(1 << power)));
        Self {
            events: Family::default(),
            sizes: Family::new_with_constructor(sizes),
            initial: Family::default(),
            lists: Family::new_with_constructor(|| Histogram::new(LIST_SECONDS)),
            terminated: Family::default(),
        }
    }
}

/// Those of one watch.
pub struct Watched {
    events: Counter,
    sizes: Histogram,
    initial: Counter,
    list: Histogram,
    terminated: Counter,
}

impl WatchMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_watch_events", "Events that watches were sent", self.events.clone());
        registry.register(
            "apiserver_watch_events_sizes",
            "Sizes of these events, in bytes",
            self.sizes.clone(),
        );
        registry.register("apiserver_init_events", "Objects that watches began with", self.initial.clone());
        registry.register(
            "apiserver_watch_list_duration_seconds",
            "Time until a watch that began with all objects had sent them",
            self.lists.clone(),
        );
        registry.register(
            "apiserver_terminated_watchers",
            "Watches that were ended since their clients did not keep up",
            self.terminated.clone(),
        );
    }

    /// Those of a watch of a resource: of all of it (`cluster`), or a `namespace` or object (`resource`).
    pub fn of(&self, kind: &Kind, scope: &'static str) -> Watched {
        let labels = Labels {
            group: kind.gvk.group.to_string(),
            version: kind.gvk.version.to_string(),
            resource: kind.plural.to_string(),
        };
        let resource = ResourceLabels::from(kind);
        let Labels { group, version, .. } = labels.clone();
        let scoped = ScopeLabels { group, resource: kind.plural.to_string(), scope, version };
        Watched {
            events: self.events.get_or_create(&labels).clone(),
            sizes: self.sizes.get_or_create(&labels).clone(),
            initial: self.initial.get_or_create(&resource).clone(),
            list: self.lists.get_or_create(&scoped).clone(),
            terminated: self.terminated.get_or_create(&resource).clone(),
        }
    }
}

impl Watched {
    /// An event of so many bytes was sent.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }

    /// It begins with so many objects.
    pub fn begins(&self, objects: usize) {
        self.initial.inc_by(objects as u64);
    }

    /// All of these were sent.
    pub fn listed(&self, took: Duration) {
        self.list.observe(took.as_secs_f64());
    }

    /// Its client did not keep up.
    pub fn terminated(&self) {
        self.terminated.inc();
    }
}
