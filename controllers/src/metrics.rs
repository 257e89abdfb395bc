//! What the controllers tell of themselves, by the original's names, labels and buckets.
//!
//! Source: the page "Kubernetes Metrics Reference" of v1.36.

use knarr_component::metrics::{self, Asked, Buckets, Count, Level, Registry, Spread};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $value:expr;)*) => {
        $($(#[$doc])* pub(crate) static $name: $kind = $value;)*

        /// Registers all of them.
        pub(crate) fn register(registry: &mut Registry) {
            metrics::register(registry, &[$(metrics!(@ $kind $name)),*]);
        }
    };
    (@ Asked $name:ident) => { &&$name };
    (@ $kind:ident $name:ident) => { &$name };
}

const FROM_MILLISECOND: Buckets = Buckets::exponential(0.001, 2.0, 15);

metrics! {
    /// Looks at a Job.
    JOB_SYNCS: Count = Count::new(
        "job_controller_job_syncs", "The number of job syncs", &["completion_mode", "result", "action"]);
    /// How long they take.
    JOB_SYNC_TIME: Spread = Spread::new(
        "job_controller_job_sync_duration_seconds", "The time it took to sync a job",
        &["completion_mode", "result", "action"], Buckets::exponential(0.004, 2.0, 15));
    /// Jobs that have ended.
    JOBS_FINISHED: Count = Count::new(
        "job_controller_jobs_finished", "The number of finished jobs", &["completion_mode", "result", "reason"]);
    /// Their pods that have ended.
    JOB_PODS_FINISHED: Count = Count::new(
        "job_controller_job_pods_finished", "The number of finished Pods that are fully tracked",
        &["completion_mode", "result"]);
    /// Pods made for Jobs.
    JOB_PODS_CREATED: Count = Count::new(
        "job_controller_job_pods_creation",
        "The number of Pods created by the Job controller labelled with a reason for the Pod creation.", &["reason", "status"]);
    /// Ended pods that have the finalizer of their Job, and those that lost it.
    JOB_PODS_TRACKED: Count = Count::new(
        "job_controller_terminated_pods_tracking_finalizer",
        "The number of terminated pods (phase=Failed|Succeeded) that have the finalizer batch.kubernetes.io/job-tracking",
        &["event"]);
    /// How late Jobs of CronJobs are.
    CRONJOB_SKEW: Spread = Spread::new(
        "cronjob_controller_job_creation_skew_duration_seconds",
        "Time between when a cronjob is scheduled to be run, and when the corresponding job is created", &[],
        Buckets::exponential(1.0, 2.0, 10));
    /// Looks at the endpoints of a Service.
    SLICE_SYNCS: Count = Count::new(
        "endpoint_slice_controller_syncs", "Number of EndpointSlice syncs", &["result"]);
    /// What was done to slices.
    SLICE_CHANGES: Count = Count::new(
        "endpoint_slice_controller_changes", "Number of EndpointSlice changes", &["operation"]);
    /// Slices changed at once.
    SLICES_PER_SYNC: Spread = Spread::new(
        "endpoint_slice_controller_endpointslices_changed_per_sync",
        "Number of EndpointSlices changed on each Service sync", &["topology", "traffic_distribution"],
        Buckets::List(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]));
    /// Slices that there are.
    SLICES: Asked = Asked::new(
        "endpoint_slice_controller_num_endpoint_slices", "Number of EndpointSlices", &[]);
    /// Endpoints in them.
    ENDPOINTS: Asked = Asked::new(
        "endpoint_slice_controller_endpoints_desired", "Number of endpoints desired", &[]);
    /// Nodes of a zone.
    ZONE_SIZE: Level = Level::new(
        "node_collector_zone_size", "Gauge measuring number of registered Nodes per zones.", &["zone"]);
    /// Percentage of them that is ready.
    ZONE_HEALTH: Level = Level::new(
        "node_collector_zone_health", "Gauge measuring percentage of healthy nodes per zone.", &["zone"]);
    /// Those that are not.
    ZONE_UNHEALTHY: Level = Level::new(
        "node_collector_unhealthy_nodes_in_zone", "Gauge measuring number of not Ready Nodes per zones.", &["zone"]);
    /// Nodes whose pods are evicted.
    EVICTIONS: Count = Count::new(
        "node_collector_evictions",
        "Number of Node evictions that happened since current instance of NodeController started.", &["zone"]);
    /// One look at all nodes.
    ALL_NODES_TIME: Spread = Spread::new(
        "node_collector_update_all_nodes_health_duration_seconds",
        "Duration in seconds for NodeController to update the health of all nodes.", &[],
        Buckets::exponential(0.01, 4.0, 8));
    /// One look at a node.
    NODE_TIME: Spread = Spread::new(
        "node_collector_update_node_health_duration_seconds",
        "Duration in seconds for NodeController to update the health of a single node.", &[],
        Buckets::exponential(0.001, 4.0, 8));
    /// Pods evicted for taints.
    TAINT_DELETIONS: Count = Count::new(
        "taint_eviction_controller_pod_deletions",
        "Total number of Pods deleted by TaintEvictionController since its start.", &[]);
    /// How late they were.
    TAINT_DELETION_TIME: Spread = Spread::new(
        "taint_eviction_controller_pod_deletion_duration_seconds",
        "Latency, in seconds, between the time when a taint effect has been activated for the Pod and its deletion via TaintEvictionController.",
        &[], Buckets::List(&[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0]));
    /// Pods that were collected.
    PODS_COLLECTED: Count = Count::new(
        "pod_gc_collector_force_delete_pods",
        "Number of pods that are being forcefully deleted since the Pod GC Controller started.", &["namespace", "reason"]);
    /// Pods that could not be.
    PODS_NOT_COLLECTED: Count = Count::new(
        "pod_gc_collector_force_delete_pod_errors",
        "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started.",
        &["namespace", "reason"]);
    /// Looks at an autoscaler.
    AUTOSCALINGS: Count = Count::new(
        "horizontal_pod_autoscaler_controller_reconciliations",
        "Number of reconciliations of HPA controller.", &["action", "error"]);
    /// How long they take.
    AUTOSCALING_TIME: Spread = Spread::new(
        "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
        "The time(seconds) that the HPA controller takes to reconcile once.", &["action", "error"],
        Buckets::exponential(0.001, 2.0, 16));
    /// How late finished Jobs are deleted.
    TTL_TIME: Spread = Spread::new(
        "ttl_after_finished_controller_job_deletion_duration_seconds",
        "The time it took to delete the job since it became eligible for deletion", &[],
        Buckets::exponential(0.1, 2.0, 14));
    /// Writes of root certificates.
    ROOT_CA_SYNCS: Count = Count::new(
        "root_ca_cert_publisher_sync", "Number of namespace syncs happened in root ca cert publisher.", &["code"]);
    /// How long they take.
    ROOT_CA_TIME: Spread = Spread::new(
        "root_ca_cert_publisher_sync_duration_seconds",
        "Number of namespace syncs happened in root ca cert publisher.", &["code"], FROM_MILLISECOND);
    /// Claims made for ephemeral volumes.
    EPHEMERAL_CREATED: Count = Count::new(
        "ephemeral_volume_controller_create",
        "Number of PersistenVolumeClaim creation requests", &[]);
    /// Those that failed.
    EPHEMERAL_FAILED: Count = Count::new(
        "ephemeral_volume_controller_create_failures",
        "Number of PersistenVolumeClaim creation requests", &[]);
    /// Volumes that have a claim.
    BOUND_VOLUMES: Asked = Asked::new(
        "pv_collector_bound_pv_count", "Gauge measuring number of persistent volume currently bound", &["storage_class"]);
    /// Volumes that have none.
    UNBOUND_VOLUMES: Asked = Asked::new(
        "pv_collector_unbound_pv_count", "Gauge measuring number of persistent volume currently unbound", &["storage_class"]);
    /// All volumes.
    VOLUMES: Asked = Asked::new(
        "pv_collector_total_pv_count", "Gauge measuring total number of persistent volumes", &["plugin_name", "volume_mode"]);
    /// Claims that have a volume.
    BOUND_CLAIMS: Asked = Asked::new(
        "pv_collector_bound_pvc_count", "Gauge measuring number of persistent volume claim currently bound",
        &["namespace", "storage_class", "volume_attributes_class"]);
    /// Claims that have none.
    UNBOUND_CLAIMS: Asked = Asked::new(
        "pv_collector_unbound_pvc_count", "Gauge measuring number of persistent volume claim currently unbound",
        &["namespace", "storage_class", "volume_attributes_class"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_told() {
        let mut registry = Registry::default();
        register(&mut registry);
        JOBS_FINISHED.one(&["Indexed", "succeeded", "CompletionsReached"]);
        let text = metrics::text(&registry).unwrap();
        let line = "job_controller_jobs_finished_total{completion_mode=\"Indexed\",result=\"succeeded\",reason=\"CompletionsReached\"} 1\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("\nephemeral_volume_controller_create_total 0\n"), "{text}");
    }
}
