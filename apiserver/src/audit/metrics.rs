//! `apiserver_audit_…`: the original's names and labels.
use super::policy::Level;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: &'static str,
}

/// What is counted of the audit log; clones count together.
#[derive(Clone, Default)]
pub struct AuditMetrics {
    /// Events made.
    pub events: Counter,
    /// Requests refused since their arrival could not be recorded.
    pub rejected: Counter,
    levels: Family<LevelLabels, Counter>,
    errors: Family<PluginLabels, Counter>,
}

impl AuditMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_audit_event", "Audit events made", self.events.clone());
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests refused since their arrival could not be recorded",
            self.rejected.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "Requests by what is recorded of them",
            self.levels.clone(),
        );
        registry.register("apiserver_audit_error", "Audit events lost", self.errors.clone());
    }

    /// Counts a request that the policy was asked about.
    pub fn decided(&self, level: Level) {
        self.levels.get_or_create(&LevelLabels { level: level.as_str() }).inc();
    }

    /// Counts events that a backend lost.
    pub fn lost(&self, plugin: &'static str, events: usize) {
        self.errors.get_or_create(&PluginLabels { plugin }).inc_by(events as u64);
    }
}
