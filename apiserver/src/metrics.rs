//! `/metrics`: the original's names, kept by `prometheus-client`.
//!
//! A request finds its counters by a hash of its labels, so that the label texts are made once a combination.
use crate::request_info::{RequestInfo, Verb};
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: String,
    component: &'static str,
    dry_run: String,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    component: &'static str,
    dry_run: String,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InflightLabels {
    request_kind: &'static str,
}

#[derive(Clone)]
struct Entry {
    total: Counter,
    seconds: Histogram,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    total: Family<RequestLabels, Counter>,
    seconds: Family<DurationLabels, Histogram, fn() -> Histogram>,
    entries: RwLock<HashMap<u64, Entry>>,
    hasher: RandomState,
    inflight: [Gauge; 2],
    /// Requests that run as long as the client wants, now.
    pub long_running: Gauge,
    /// Requests refused by the in-flight limits.
    pub dropped: Counter,
    /// Requests that panicked.
    pub panics: Counter,
    /// Requests that ran out of time.
    pub timeouts: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let total = Family::<RequestLabels, Counter>::default();
        let seconds = Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        let inflight = Family::<InflightLabels, Gauge>::default();
        let (long_running, dropped, panics, timeouts) =
            (Gauge::default(), Counter::default(), Counter::default(), Counter::default());
        registry.register("apiserver_request", "Requests by verb, resource and code", total.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency in seconds",
            seconds.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests being worked on, of those that are limited",
            inflight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Long-running requests now",
            long_running.clone(),
        );
        registry.register(
            "apiserver_dropped_requests",
            "Requests refused by the in-flight limits",
            dropped.clone(),
        );
        registry.register("apiserver_request_panics", "Requests that panicked", panics.clone());
        registry.register("apiserver_request_timeouts", "Requests that ran out of time", timeouts.clone());
        let kinds = ["readOnly", "mutating"]
            .map(|request_kind| inflight.get_or_create(&InflightLabels { request_kind }).clone());
        Self {
            registry,
            total,
            seconds,
            entries: RwLock::default(),
            hasher: RandomState::new(),
            inflight: kinds,
            long_running,
            dropped,
            panics,
            timeouts,
        }
    }
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        text
    }

    /// The gauge of limited requests being worked on.
    pub fn inflight(&self, mutating: bool) -> &Gauge {
        &self.inflight[usize::from(mutating)]
    }

    /// Counts an answered request. Watches count when they end and not in the latency.
    pub fn observe(&self, info: &RequestInfo, code: u16, took: Duration) {
        let dry_run = info.is_resource_request && !info.verb.is_read() && info.query("dryRun").is_some();
        let resource = labelled_resource(info);
        let key = (
            info.verb,
            info.group(),
            info.version(),
            resource,
            info.subresource(),
            scope(info),
            code,
            dry_run,
        );
        let hash = self.hasher.hash_one(key);
        let known = self.entries.read().get(&hash).cloned();
        let entry = known.unwrap_or_else(|| {
            let entry = self.entry(info, resource, code, dry_run);
            self.entries.write().insert(hash, entry.clone());
            entry
        });
        entry.total.inc();
        if !info.is_long_running() {
            entry.seconds.observe(took.as_secs_f64());
        }
    }

    fn entry(&self, info: &RequestInfo, resource: &str, code: u16, dry_run: bool) -> Entry {
        let dry_run = if dry_run { "All".to_owned() } else { String::new() };
        let labels = DurationLabels {
            component: "apiserver",
            dry_run,
            group: info.group().to_owned(),
            resource: resource.to_owned(),
            scope: scope(info),
            subresource: info.subresource().to_owned(),
            verb: reported_verb(info),
            version: info.version().to_owned(),
        };
        let seconds = self.seconds.get_or_create(&labels).clone();
        let labels = RequestLabels {
            code: code.to_string(),
            component: labels.component,
            dry_run: labels.dry_run,
            group: labels.group,
            resource: labels.resource,
            scope: labels.scope,
            subresource: labels.subresource,
            verb: labels.verb,
            version: labels.version,
        };
        Entry { total: self.total.get_or_create(&labels).clone(), seconds }
    }
}

/// Paths outside the API are one label each only where they are known, so that clients cannot make labels up.
fn labelled_resource(info: &RequestInfo) -> &str {
    if info.is_resource_request { info.resource() } else { "" }
}

fn scope(info: &RequestInfo) -> &'static str {
    match () {
        () if !info.is_resource_request => "",
        () if !info.name().is_empty() => "resource",
        () if !info.namespace().is_empty() => "namespace",
        () if info.verb == Verb::Create => "resource",
        () => "cluster",
    }
}

fn reported_verb(info: &RequestInfo) -> &'static str {
    match info.verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create | Verb::Post => "POST",
        Verb::Update | Verb::Put => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Proxy => "PROXY",
        Verb::Head => "HEAD",
        Verb::Options => "OPTIONS",
        Verb::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted() {
        let metrics = Metrics::default();
        let uri = "/api/v1/namespaces/d/pods/p".parse().unwrap();
        let info = RequestInfo::new(&http::Method::GET, &uri).unwrap();
        metrics.observe(&info, 200, Duration::from_millis(3));
        metrics.observe(&info, 200, Duration::from_millis(3));
        let text = metrics.encode();
        let line = "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",\
                    resource=\"pods\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 2";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("apiserver_request_duration_seconds_count"), "{text}");
    }
}
