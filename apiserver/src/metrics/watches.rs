//! What watches were sent: the original's names and labels.
use knarr_api::kind::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    group: String,
    version: String,
    resource: String,
}

/// Counts and sizes of events; clones count together.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    events: Family<Labels, Counter>,
    sizes: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for WatchMetrics {
    fn default() -> Self {
        let sizes = || Histogram::new((0..8).map(|power| 1024.0 * f64::from(1 << power)));
        Self { events: Family::default(), sizes: Family::new_with_constructor(sizes) }
    }
}

/// Those of one watch.
pub struct Watched {
    events: Counter,
    sizes: Histogram,
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
    }

    /// Those of a watch of a resource.
    pub fn of(&self, kind: &Kind) -> Watched {
        let labels = Labels {
            group: kind.gvk.group.to_string(),
            version: kind.gvk.version.to_string(),
            resource: kind.plural.to_string(),
        };
        let sizes = self.sizes.get_or_create(&labels).clone();
        Watched { events: self.events.get_or_create(&labels).clone(), sizes }
    }
}

impl Watched {
    /// An event of so many bytes was sent.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }
}
