//! What is read, written and watched of each resource: the original's names and labels.
use super::WatchMetrics;
use knarr_api::kind::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResourceLabels {
    pub group: String,
    pub resource: String,
}

impl From<&Kind> for ResourceLabels {
    fn from(kind: &Kind) -> Self {
        Self { group: kind.gvk.group.to_string(), resource: kind.plural.to_string() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabels {
    group: String,
    index: &'static str,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BodyLabels {
    group: String,
    resource: String,
    verb: &'static str,
}

/// All of them; clones count together.
#[derive(Clone, Debug)]
pub struct ServedMetrics {
    /// Watches.
    pub watches: WatchMetrics,
    lists: Family<ListLabels, Counter>,
    fetched: Family<ListLabels, Counter>,
    returned: Family<ResourceLabels, Counter>,
    bodies: Family<BodyLabels, Histogram, fn() -> Histogram>,
}

impl Default for ServedMetrics {
    fn default() -> Self {
        // From 50 kB to 3 MB, in steps of 100 kB.
        let sizes = || Histogram::new((0..31).map(|step| 50_000.0 + 100_000.0 * f64::from(step)));
        Self {
            watches: WatchMetrics::default(),
            lists: Family::default(),
            fetched: Family::default(),
            returned: Family::default(),
            bodies: Family::new_with_constructor(sizes),
        }
    }
}

impl ServedMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        self.watches.register(registry);
        registry.register("apiserver_cache_list", "Lists that were read from memory", self.lists.clone());
        registry.register(
            "apiserver_cache_list_fetched_objects",
            "Objects looked at for these lists",
            self.fetched.clone(),
        );
        registry.register(
            "apiserver_cache_list_returned_objects",
            "Objects that these lists held",
            self.returned.clone(),
        );
        registry.register(
            "apiserver_request_body_size_bytes",
            "Sizes of the bodies of writes",
            self.bodies.clone(),
        );
    }

    /// A list looked at so many objects, and so many of them were selected.
    pub fn listed(&self, kind: &Kind, fetched: usize, returned: usize) {
        let ResourceLabels { group, resource } = kind.into();
        // There is one order only, that of keys.
        let labels = ListLabels { group: group.clone(), index: "", resource: resource.clone() };
        self.lists.get_or_create(&labels).inc();
        self.fetched.get_or_create(&labels).inc_by(fetched as u64);
        self.returned.get_or_create(&ResourceLabels { group, resource }).inc_by(returned as u64);
    }

    /// A write came with a body of so many bytes.
    pub fn received(&self, kind: &Kind, verb: &'static str, bytes: usize) {
        let ResourceLabels { group, resource } = kind.into();
        self.bodies.get_or_create(&BodyLabels { group, resource, verb }).observe(bytes as f64);
    }
}
