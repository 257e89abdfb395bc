//! `aggregator_unavailable_apiservice…`: the original's names and labels.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    name: String,
    reason: &'static str,
}

/// Which APIServices cannot be reached; clones count together. What counts up is a gauge, since a counter would have the
/// name of the other without its suffix.
#[derive(Clone, Default)]
pub struct AggregatorMetrics {
    now: Family<NameLabels, Gauge>,
    total: Family<ReasonLabels, Gauge>,
}

impl AggregatorMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        let name = "aggregator_unavailable_apiservice";
        registry.register(name, "APIServices that cannot be reached", self.now.clone());
        let text = "Times that APIServices came to be unreachable, by reason";
        registry.register(format!("{name}_total"), text, self.total.clone());
    }

    /// An APIService can be reached now, or not.
    pub fn set(&self, name: &str, available: bool) {
        self.now.get_or_create(&NameLabels { name: name.to_owned() }).set(i64::from(!available));
    }

    /// An APIService cannot be reached any more, or for another reason.
    pub fn failed(&self, name: &str, reason: &'static str) {
        self.total.get_or_create(&ReasonLabels { name: name.to_owned(), reason }).inc();
    }

    /// An APIService is gone.
    pub fn forget(&self, name: &str) {
        self.now.remove(&NameLabels { name: name.to_owned() });
    }
}
