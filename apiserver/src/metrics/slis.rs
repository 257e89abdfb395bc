//! `/metrics/slis`: how the health checks went, one series for each check and path.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    name: String,
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    name: String,
    status: &'static str,
    r#type: String,
}

/// Results of health checks.
pub struct SliMetrics {
    registry: Registry,
    states: Family<StateLabels, Gauge>,
    counts: Family<CountLabels, Counter>,
}

impl Default for SliMetrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (states, counts) = (Family::default(), Family::default());
        registry.register(
            "kubernetes_healthcheck",
            "Whether a health check was well when last made",
            Family::clone(&states),
        );
        registry.register(
            "kubernetes_healthchecks",
            "Health checks by their results",
            Family::clone(&counts),
        );
        Self { registry, states, counts }
    }
}

impl SliMetrics {
    /// A check was made for one of the paths (`livez`, …).
    pub fn checked(&self, name: &str, endpoint: &str, is_well: bool) {
        let (name, r#type) = (name.to_owned(), endpoint.to_owned());
        let state = StateLabels { name: name.clone(), r#type: r#type.clone() };
        self.states.get_or_create(&state).set(i64::from(is_well));
        let status = if is_well { "success" } else { "error" };
        self.counts.get_or_create(&CountLabels { name, status, r#type }).inc();
    }

    /// The text of `/metrics/slis`.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("health metrics could not be encoded");
        }
        text
    }
}
