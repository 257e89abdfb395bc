//! What the database costs, under the names that the original has for its own.
use super::histogram;
use crate::storage::{Operation, Watched};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    group: String,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    group: String,
    operation: &'static str,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    storage_cluster_id: &'static str,
}

/// The metrics of the database.
#[derive(Clone, Debug)]
pub struct StorageMetrics {
    objects: Family<ResourceLabels, Gauge>,
    former_objects: Family<ObjectLabels, Gauge>,
    seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    total: Family<OperationLabels, Counter>,
    errors: Family<OperationLabels, Counter>,
    size: Gauge,
}

impl StorageMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let size = Family::<ClusterLabels, Gauge>::default();
        let this = Self {
            objects: Family::default(),
            former_objects: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            total: Family::default(),
            errors: Family::default(),
            // There is one, whatever holds it; dashboards look for the original's name.
            size: size.get_or_create(&ClusterLabels { storage_cluster_id: "etcd-0" }).clone(),
        };
        let objects = "Objects stored, counted some seconds ago";
        registry.register("apiserver_resource_objects", objects, this.objects.clone());
        registry.register(
            "apiserver_storage_objects",
            "The same under the name it had before",
            this.former_objects.clone(),
        );
        registry.register("apiserver_storage_size_bytes", "Bytes of the database on disk", size);
        registry.register(
            "etcd_request_duration_seconds",
            "Time of a write to the database until it was durable",
            this.seconds.clone(),
        );
        registry.register("etcd_requests", "Writes to the database", this.total.clone());
        registry.register("etcd_request_errors", "Writes that failed", this.errors.clone());
        this
    }

    /// Notes how many objects of a resource (`‹group›/‹plural›`) there are.
    pub fn objects(&self, resource: &str, count: u64) {
        let labels = labels(resource);
        let (group, plural) = (&labels.group, &labels.resource);
        let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.former_objects.get_or_create(&ObjectLabels { resource: qualified }).set(count);
        self.objects.get_or_create(&labels).set(count);
    }

    /// Notes the size of the database.
    pub fn size(&self, bytes: u64) {
        self.size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Watched for StorageMetrics {
    fn written(&self, operation: Operation, resource: &str, failed: bool, took: Duration) {
        let ResourceLabels { group, resource } = labels(resource);
        let labels = OperationLabels { group, operation: operation.name(), resource };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.total.get_or_create(&labels).inc();
        if failed {
            self.errors.get_or_create(&labels).inc();
        }
    }
}

fn labels(resource: &str) -> ResourceLabels {
    let (group, plural) = resource.split_once('/').unwrap_or(("core", resource));
    let group = if group == "core" { "" } else { group };
    ResourceLabels { group: group.to_owned(), resource: plural.to_owned() }
}
