//! Names of queues in metrics: the original's, which dashboards and alerts ask for.

/// Worker and queue, by the worker's name. What the original lacks keeps the worker's name,
/// and so do those that there have one queue together, since a name is a queue's own.
const NAMES: [(&str, &str); 33] = [
    ("bootstrap-signer-controller", "bootstrap_signer_queue"),
    ("clusterrole-aggregation-controller", "ClusterRoleAggregator"),
    ("cronjob-controller", "cronjob"),
    ("daemonset-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("disruption-controller-stale", "stale_pod_disruption"),
    ("endpoints-controller", "endpoint"),
    ("endpointslice-controller", "endpoint_slice"),
    ("endpointslice-mirroring-controller", "endpoint_slice_mirroring"),
    ("ephemeral-volume-controller", "ephemeral_volume"),
    ("garbage-collector-delete", "garbage_collector_attempt_to_delete"),
    ("garbage-collector-orphan", "garbage_collector_attempt_to_orphan"),
    ("horizontal-pod-autoscaler-controller", "horizontalpodautoscaler"),
    ("job-controller", "job"),
    ("job-controller-orphan-pods", "job_orphan_pod"),
    ("namespace-controller", "namespace"),
    ("node-lifecycle-controller", "node_lifecycle_controller"),
    ("persistentvolume-expander-controller", "volume_expand"),
    ("persistentvolume-protection-controller", "pvprotection"),
    ("persistentvolumeclaim-protection-controller", "pvcprotection"),
    ("replicaset-controller", "replicaset"),
    ("replicationcontroller-controller", "replicationmanager"),
    ("resourceclaim-controller", "resource_claim"),
    ("resourcequota-controller", "resourcequota_primary"),
    ("root-ca-certificate-publisher-controller", "root_ca_cert_publisher"),
    ("service-lb-controller", "service"),
    ("serviceaccount-controller", "serviceaccount"),
    ("serviceaccount-token-controller", "serviceaccount_tokens_service"),
    ("statefulset-controller", "statefulset"),
    ("token-cleaner-controller", "token_cleaner"),
    ("ttl-after-finished-controller", "ttl_jobs_to_delete"),
    ("ttl-controller", "ttlcontroller"),
];

/// The name of a worker's queue.
pub(crate) fn of(worker: &str) -> &str {
    NAMES.iter().find(|(known, _)| *known == worker).map_or(worker, |(_, queue)| queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_original_and_own_ones() {
        assert!(NAMES.is_sorted_by_key(|(worker, _)| worker));
        assert_eq!(of("endpointslice-controller"), "endpoint_slice");
        assert_eq!(of("local-path-provisioner-controller"), "local-path-provisioner-controller");
    }
}
