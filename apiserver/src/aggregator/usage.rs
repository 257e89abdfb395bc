//! `metrics.k8s.io`: what nodes and pods use, out of what their kubelets count; so `kubectl top` and autoscaling need no
//! add-on. An APIService of the user's takes its place.
//!
//! Nothing is sampled while nobody asks. A kubelet counts seconds of processor time, so usage is the difference between
//! two samples: the last one that is old enough, or one taken a moment before.
mod sample;

use crate::objects::Objects;
use crate::registry::negotiate::{self, Accepted, Scope, Transform};
use crate::registry::{encode, object};
use crate::request_info::{RequestInfo, Verb};
use crate::server::{RequestContext, Response};
use crate::streaming::Upstream;
use http::HeaderMap;
use knarr_api::Value;
use knarr_api::columns::{self, IncludeObject};
use knarr_api::selector::{FieldSelector, LabelSelector};
use knarr_api::status::{Resource, Status};
use knarr_api::time::{Timestamp, duration};
use sample::{Pair, Sample, Usage};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The group.
pub const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub const VERSION: &str = "v1beta1";
/// Priorities of the group and the version, those of the usual add-on.
pub const PRIORITY: (i64, i64) = (100, 100);
/// The least time between the samples that usage is told from, but for the first answer.
const WINDOW: Duration = Duration::from_secs(10);
/// A sample older than this tells nothing of now.
const TOO_OLD: Duration = Duration::from_secs(120);
/// Between the samples of the first answer.
const MOMENT: Duration = Duration::from_secs(1);

/// Answers for the group.
pub struct UsageApi {
    sampler: Arc<Sampler>,
}

/// Keeps the newest samples.
struct Sampler {
    objects: Arc<dyn Objects>,
    upstream: Arc<Upstream>,
    samples: tokio::sync::Mutex<Option<Pair>>,
}

/// The `APIResourceList` of the version.
pub fn resource_list() -> Value {
    let resource = |name: &str, namespaced: bool, kind: &str| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [resource("nodes", false, "NodeMetrics"), resource("pods", true, "PodMetrics")]})
}

impl UsageApi {
    /// Asks the kubelets of the Nodes in `objects`.
    pub fn new(objects: Arc<dyn Objects>, upstream: Arc<Upstream>) -> Self {
        let samples = tokio::sync::Mutex::default();
        Self { sampler: Arc::new(Sampler { objects, upstream, samples }) }
    }

    /// Is a request one of the group's?
    pub fn answers(&self, info: &RequestInfo) -> bool {
        if info.is_resource_request {
            return info.group() == GROUP && info.version() == VERSION;
        }
        info.path().trim_end_matches('/') == format!("/apis/{GROUP}/{VERSION}")
    }

    /// Answers it.
    ///
    /// # Errors
    /// 404 for what is not there or uses nothing yet, 405 for a write.
    pub async fn answer(&self, context: &RequestContext, headers: &HeaderMap) -> Result<Response, Status> {
        let info = &context.info;
        let pretty = info.query("pretty");
        let mut accepted = negotiate::accept(headers, pretty.as_deref(), Scope::Plain)?;
        if !info.is_resource_request {
            return encode::document(&resource_list(), accepted);
        }
        let resource = Resource { group: GROUP, plural: info.resource() };
        if !matches!(info.resource(), "nodes" | "pods") || !info.subresource().is_empty() {
            return Err(Status::new(404, "NotFound", "the server could not find the requested resource"));
        }
        if !matches!(info.verb, Verb::Get | Verb::List) {
            return Err(Status::method_not_allowed(resource, info.verb.as_str()));
        }
        let selected = Selected::of(info)?;
        // Others wait for the same samples: they are taken to the end, even if this client goes away.
        let sampler = self.sampler.clone();
        let pair = tokio::spawn(async move { sampler.pair().await }).await.map_err(Status::internal)?;
        let of_nodes = info.resource() == "nodes";
        let namespace = Some(info.namespace()).filter(|namespace| !namespace.is_empty());
        let objects = self.sampler.objects.list("", info.resource(), namespace.filter(|_| !of_nodes));
        let measured = |object: &Arc<Value>| if of_nodes { node(&pair, object) } else { pod(&pair, object) };
        let mut items = objects.iter().filter(|object| selected.matches(object)).filter_map(measured);
        let document = if info.verb == Verb::Get {
            let found = items.find(|item| object::name(item) == info.name());
            found.ok_or_else(|| Status::not_found(resource, info.name()))?
        } else {
            let kind = if of_nodes { "NodeMetricsList" } else { "PodMetricsList" };
            json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {},
                "items": items.collect::<Vec<_>>()})
        };
        let wanted = negotiate::accept(headers, pretty.as_deref(), Scope::Objects);
        if let Ok(table @ Accepted { transform: Transform::Table(version), .. }) = wanted {
            accepted = Accepted { transform: Transform::None, ..table };
            return encode::document(&shown(&document, of_nodes, version), accepted);
        }
        encode::document(&document, accepted)
    }
}

/// What `kubectl get` shows: a row for each, which holds the whole of it.
fn shown(document: &Value, of_nodes: bool, version: &str) -> Value {
    let version = format!("meta.k8s.io/{version}");
    let columns = columns::of_kind(GROUP, if of_nodes { "NodeMetrics" } else { "PodMetrics" });
    let items = document["items"].as_array().map_or(std::slice::from_ref(document), Vec::as_slice);
    let row = |item: &Value| columns.row(item, IncludeObject::Object, &version, Timestamp::now());
    columns::table(&version, json!({}), Some(columns), items.iter().map(row).collect())
}

impl Sampler {
    /// Two samples to tell usage from. Whoever asks at the same time waits for the same ones.
    async fn pair(&self) -> Pair {
        let mut known = self.samples.lock().await;
        let earlier = match known.clone() {
            Some(pair) if pair.later.at.elapsed() < WINDOW => return pair,
            Some(pair) if pair.later.at.elapsed() < TOO_OLD => pair.later,
            _ => {
                let first = Arc::new(self.sample().await);
                tokio::time::sleep(MOMENT).await;
                first
            }
        };
        known.insert(Pair { earlier, later: Arc::new(self.sample().await) }).clone()
    }

    async fn sample(&self) -> Sample {
        sample::take(&self.upstream, &*self.objects).await
    }
}

/// What a request selects.
struct Selected {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selected {
    fn of(info: &RequestInfo) -> Result<Self, Status> {
        let bad = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
        let labels = info.label_selector().unwrap_or_default();
        let fields = info.field_selector().unwrap_or_default();
        Ok(Self {
            labels: labels.parse().map_err(|error| bad(&error))?,
            fields: fields.parse().map_err(|error| bad(&error))?,
        })
    }

    fn matches(&self, object: &Value) -> bool {
        let field = |path: &str| match path {
            "metadata.name" => Some(object::name(object)),
            "metadata.namespace" => Some(object::namespace(object)),
            _ => None,
        };
        self.labels.matches(&object["metadata"]["labels"]) && self.fields.matches(field)
    }
}

fn head(kind: &str, object: &Value, pair: &Pair) -> Value {
    let mut metadata =
        json!({"name": object::name(object), "creationTimestamp": object::time(Timestamp::now())});
    if !object::namespace(object).is_empty() {
        metadata["namespace"] = object::namespace(object).into();
    }
    if object["metadata"]["labels"].is_object() {
        metadata["labels"] = object["metadata"]["labels"].clone();
    }
    let window = duration::format((pair.seconds() * 1000.0).round() as i64 * 1_000_000);
    json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata,
        "timestamp": object::time(pair.later.time), "window": window})
}

fn usage(usage: Usage) -> Value {
    json!({"cpu": scaled(usage.nanocores, 1000, &["n", "u", "m", ""]),
        "memory": scaled(usage.bytes, 1024, &["", "Ki", "Mi", "Gi", "Ti"])})
}

/// A quantity with the largest suffix that leaves a whole number.
fn scaled(mut number: u64, base: u64, suffixes: &[&str]) -> String {
    if number == 0 {
        return "0".to_owned();
    }
    let mut suffixes = suffixes.iter();
    let mut suffix = suffixes.next();
    while number.is_multiple_of(base)
        && let Some(next) = suffixes.next()
    {
        number /= base;
        suffix = Some(next);
    }
    format!("{number}{}", suffix.unwrap_or(&""))
}

fn node(pair: &Pair, object: &Value) -> Option<Value> {
    let measured = pair.node(object::name(object))?;
    let mut out = head("NodeMetrics", object, pair);
    out["usage"] = usage(measured);
    Some(out)
}

fn pod(pair: &Pair, object: &Value) -> Option<Value> {
    let containers = pair.pod(object::uid(object))?;
    let mut out = head("PodMetrics", object, pair);
    let of_container = |(name, measured)| json!({"name": name, "usage": usage(measured)});
    out["containers"] = containers.into_iter().map(of_container).collect();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn quantities() {
        let cpu = |number| scaled(number, 1000, &["n", "u", "m", ""]);
        assert_eq!([cpu(0), cpu(7), cpu(5000), cpu(3_000_000_000)], ["0", "7n", "5u", "3"]);
        assert_eq!(scaled(3 * 1024 * 1024, 1024, &["", "Ki", "Mi"]), "3Mi");
    }
}
