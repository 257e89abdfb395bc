//! `/metrics`: the original's names, kept by `prometheus-client`.
//!
//! A request finds its counters by a hash of its labels, so that the label texts are made once a combination.
mod access;
mod impersonation;
mod program;
mod reloads;
mod served;
mod slis;
mod storage;
mod watches;

use crate::admission::AdmissionMetrics;
use crate::admission::webhook::WebhookMetrics;
use crate::aggregator::AggregatorMetrics;
use crate::audit::AuditMetrics;
use crate::flowcontrol::FlowMetrics;
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

use program::{Process, describe};

pub use access::{AccessMetrics, DecisionMetrics, Filter, TokenMetrics};
pub use impersonation::ImpersonationMetrics;
pub use reloads::{ReloadMetrics, Reloads};
pub use served::ServedMetrics;
pub use slis::SliMetrics;
pub use storage::StorageMetrics;
pub use watches::{WatchMetrics, Watched};

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
struct EndLabels {
    code: &'static str,
    component: &'static str,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunningLabels {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeprecatedLabels {
    group: String,
    removed_release: String,
    resource: String,
    subresource: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValidationLabels {
    field_validation: &'static str,
}

#[derive(Clone)]
struct Entry {
    total: Counter,
    seconds: Histogram,
    sli_seconds: Histogram,
    /// Of reads only.
    sizes: Option<Histogram>,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    total: Family<RequestLabels, Counter>,
    seconds: Family<DurationLabels, Histogram, fn() -> Histogram>,
    sli_seconds: Family<DurationLabels, Histogram, fn() -> Histogram>,
    sizes: Family<RunningLabels, Histogram, fn() -> Histogram>,
    running: Family<RunningLabels, Gauge>,
    deprecated: Family<DeprecatedLabels, Gauge>,
    ended: Family<EndLabels, Counter>,
    validated: Family<ValidationLabels, Histogram, fn() -> Histogram>,
    entries: RwLock<HashMap<u64, Entry>>,
    hasher: RandomState,
    inflight: [Gauge; 2],
    /// Priority and fairness.
    pub flow: FlowMetrics,
    /// The database.
    pub storage: StorageMetrics,
    /// Authentication and authorization.
    pub access: AccessMetrics,
    /// Impersonation.
    pub impersonation: ImpersonationMetrics,
    /// Configuration files that were read again.
    pub reloads: ReloadMetrics,
    /// What is read, written and watched.
    pub served: ServedMetrics,
    /// Admission plugins.
    pub admission: AdmissionMetrics,
    /// The audit log.
    pub audit: AuditMetrics,
    /// Admission webhooks.
    pub webhooks: WebhookMetrics,
    /// Other servers' group versions.
    pub aggregator: AggregatorMetrics,
    process: Process,
    /// Requests refused by the in-flight limits.
    pub dropped: Counter,
    /// Connections that did not get as far as a request.
    pub handshakes: Counter,
    /// Requests that panicked.
    pub panics: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// What counts for the objectives of service begins at a twentieth of a second.
fn sli_histogram() -> Histogram {
    Histogram::new(SECONDS.into_iter().skip(2))
}

fn size_histogram() -> Histogram {
    Histogram::new((3..10).map(|power| 10f64.powi(power)))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let total = Family::<RequestLabels, Counter>::default();
        let seconds = Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        let inflight = Family::<InflightLabels, Gauge>::default();
        let sli_seconds =
            Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(sli_histogram);
        let sizes =
            Family::<RunningLabels, Histogram, fn() -> Histogram>::new_with_constructor(size_histogram);
        let running = Family::<RunningLabels, Gauge>::default();
        let deprecated = Family::<DeprecatedLabels, Gauge>::default();
        let (dropped, panics) = (Counter::default(), Counter::default());
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
        registry.register("apiserver_longrunning_requests", "Long-running requests now", running.clone());
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "Response latency in seconds, for objectives of service",
            sli_seconds.clone(),
        );
        registry.register("apiserver_response_sizes", "Sizes of answers to reads, in bytes", sizes.clone());
        registry.register(
            "apiserver_requested_deprecated_apis",
            "Deprecated versions that were asked for, with the release without them",
            deprecated.clone(),
        );
        registry.register(
            "apiserver_dropped_requests",
            "Requests refused by the in-flight limits",
            dropped.clone(),
        );
        registry.register("apiserver_request_panics", "Requests that panicked", panics.clone());
        let ended = Family::<EndLabels, Counter>::default();
        registry.register(
            "apiserver_request_terminations",
            "Requests that the server ended in self-defence",
            ended.clone(),
        );
        let validated =
            Family::<ValidationLabels, Histogram, fn() -> Histogram>::new_with_constructor(sli_histogram);
        registry.register(
            "field_validation_request_duration_seconds",
            "Response latency in seconds of writes, by what they ask of unknown fields",
            validated.clone(),
        );
        let flow = FlowMetrics::new(&mut registry);
        let aggregator = AggregatorMetrics::default();
        aggregator.register(&mut registry);
        let webhooks = WebhookMetrics::default();
        webhooks.register(&mut registry);
        let access = AccessMetrics::new(&mut registry);
        let impersonation = ImpersonationMetrics::default();
        impersonation.register(&mut registry);
        let reloads = ReloadMetrics::default();
        reloads.register(&mut registry);
        let served = ServedMetrics::default();
        served.register(&mut registry);
        let handshakes = Counter::default();
        registry.register(
            "apiserver_tls_handshake_errors",
            "Connections whose TLS handshake failed",
            handshakes.clone(),
        );
        let admission = AdmissionMetrics::default();
        admission.register(&mut registry);
        let audit = AuditMetrics::default();
        audit.register(&mut registry);
        let process = Process::new(&mut registry);
        describe(&mut registry);
        let storage = StorageMetrics::new(&mut registry);
        let kinds = ["readOnly", "mutating"]
            .map(|request_kind| inflight.get_or_create(&InflightLabels { request_kind }).clone());
        Self {
            registry,
            total,
            seconds,
            sli_seconds,
            sizes,
            running,
            deprecated,
            ended,
            validated,
            entries: RwLock::default(),
            hasher: RandomState::new(),
            inflight: kinds,
            flow,
            storage,
            access,
            impersonation,
            reloads,
            served,
            handshakes,
            admission,
            audit,
            webhooks,
            aggregator,
            process,
            dropped,
            panics,
        }
    }
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn encode(&self) -> String {
        self.process.look();
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

    /// The server ended a request with this code, since it took too long or broke.
    pub fn ended(&self, info: &RequestInfo, code: &'static str) {
        let RunningLabels { component, group, resource, scope, subresource, verb, version } =
            running_labels(info);
        let labels = EndLabels { code, component, group, resource, scope, subresource, verb, version };
        self.ended.get_or_create(&labels).inc();
    }

    /// The gauge of requests like this one that run as long as the client wants.
    pub fn running(&self, info: &RequestInfo) -> Gauge {
        self.running.get_or_create(&running_labels(info)).clone()
    }

    /// Counts an answered request. Watches count when they end and not in the latency. Returns what takes the size of
    /// the answer to a read.
    pub fn observe(&self, info: &RequestInfo, code: u16, took: Duration) -> Option<Histogram> {
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
            entry.sli_seconds.observe(took.as_secs_f64());
            if let Some(field_validation) = field_validation(info) {
                self.validated
                    .get_or_create(&ValidationLabels { field_validation })
                    .observe(took.as_secs_f64());
            }
        }
        entry.sizes
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
        let sli_seconds = self.sli_seconds.get_or_create(&labels).clone();
        let read = matches!(info.verb, Verb::Get | Verb::List);
        let sizes = read.then(|| self.sizes.get_or_create(&running_labels(info)).clone());
        self.note_deprecated(info);
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
        Entry { total: self.total.get_or_create(&labels).clone(), seconds, sli_seconds, sizes }
    }

    fn note_deprecated(&self, info: &RequestInfo) {
        let api = knarr_api::table::builtin();
        let Some(kind) = api.resource(info.group(), info.version(), info.resource()) else { return };
        let Some(lifecycle) = api.schema.get(kind.ty).lifecycle.as_deref() else { return };
        if lifecycle.deprecated.is_some() {
            let labels = DeprecatedLabels {
                group: info.group().to_owned(),
                removed_release: lifecycle.removed.as_deref().unwrap_or_default().to_owned(),
                resource: info.resource().to_owned(),
                subresource: info.subresource().to_owned(),
                version: info.version().to_owned(),
            };
            self.deprecated.get_or_create(&labels).set(1);
        }
    }
}

/// What a write asks of fields that are unknown or there twice, where it says so.
fn field_validation(info: &RequestInfo) -> Option<&'static str> {
    if !matches!(info.verb, Verb::Create | Verb::Update | Verb::Patch) || info.uri().query().is_none() {
        return None;
    }
    let asked = info.query("fieldValidation")?;
    ["Ignore", "Warn", "Strict"].into_iter().find(|known| *known == asked)
}

fn running_labels(info: &RequestInfo) -> RunningLabels {
    RunningLabels {
        component: "apiserver",
        group: info.group().to_owned(),
        resource: labelled_resource(info).to_owned(),
        scope: scope(info),
        subresource: info.subresource().to_owned(),
        verb: reported_verb(info),
        version: info.version().to_owned(),
    }
}

/// Counters that the original named without the suffix `_total`. They are kept as gauges, which grow only.
const UNSUFFIXED: [&str; 2] = ["authenticated_user_requests", "authentication_attempts"];

/// OpenMetrics in the older text format.
pub fn classic(text: &str) -> String {
    knarr_reload::exposition::classic(text, &UNSUFFIXED)
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
        metrics.access.authenticated(Some("admin"), Duration::from_millis(3));
        metrics.ended(&info, "504");
        let text = metrics.encode();
        let ended = "apiserver_request_terminations_total{code=\"504\",component=\"apiserver\",group=\"\",resource=\"pods\"";
        assert!(text.contains(ended), "{text}");
        let line = "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",\
                    resource=\"pods\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"} 2";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("apiserver_request_duration_seconds_count"), "{text}");
        let classic = classic(&text);
        assert!(classic.contains("# TYPE apiserver_request_total counter\n"), "{classic}");
        assert!(classic.contains("# TYPE authentication_attempts counter\n"), "{classic}");
        assert!(classic.contains(line) && !classic.contains("# EOF"), "{classic}");
    }
}
