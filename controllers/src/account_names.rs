//! ServiceAccounts of the controllers, as the original names them and as its roles are bound to.

/// Controller and account. What the original lacks has neither an account nor a role there, and acts as the process.
const ACCOUNTS: [(&str, &str); 43] = [
    ("bootstrap-signer-controller", "bootstrap-signer"),
    ("certificatesigningrequest-approving-controller", "certificate-controller"),
    ("certificatesigningrequest-cleaner-controller", "certificate-controller"),
    ("certificatesigningrequest-signing-controller", "certificate-controller"),
    ("clusterrole-aggregation-controller", "clusterrole-aggregation-controller"),
    ("cronjob-controller", "cronjob-controller"),
    ("daemonset-controller", "daemon-set-controller"),
    ("deployment-controller", "deployment-controller"),
    ("device-taint-eviction-controller", "device-taint-eviction-controller"),
    ("disruption-controller", "disruption-controller"),
    ("endpoints-controller", "endpoint-controller"),
    ("endpointslice-controller", "endpointslice-controller"),
    ("endpointslice-mirroring-controller", "endpointslicemirroring-controller"),
    ("ephemeral-volume-controller", "ephemeral-volume-controller"),
    ("garbage-collector-controller", "generic-garbage-collector"),
    ("horizontal-pod-autoscaler-controller", "horizontal-pod-autoscaler"),
    ("job-controller", "job-controller"),
    (
        "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        "kube-apiserver-serving-clustertrustbundle-publisher",
    ),
    ("legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner"),
    ("namespace-controller", "namespace-controller"),
    ("node-ipam-controller", "node-controller"),
    ("node-lifecycle-controller", "node-controller"),
    ("persistentvolume-attach-detach-controller", "attachdetach-controller"),
    ("persistentvolume-binder-controller", "persistent-volume-binder"),
    ("persistentvolume-expander-controller", "expand-controller"),
    ("persistentvolume-protection-controller", "pv-protection-controller"),
    ("persistentvolumeclaim-protection-controller", "pvc-protection-controller"),
    ("pod-garbage-collector-controller", "pod-garbage-collector"),
    ("replicaset-controller", "replicaset-controller"),
    ("replicationcontroller-controller", "replication-controller"),
    ("resourceclaim-controller", "resource-claim-controller"),
    ("resourcequota-controller", "resourcequota-controller"),
    ("root-ca-certificate-publisher-controller", "root-ca-cert-publisher"),
    ("service-cidr-controller", "service-cidrs-controller"),
    ("service-lb-controller", "service-controller"),
    ("serviceaccount-controller", "service-account-controller"),
    ("statefulset-controller", "statefulset-controller"),
    ("storage-version-migrator-controller", "storage-version-migrator-controller"),
    ("taint-eviction-controller", "node-controller"),
    ("token-cleaner-controller", "token-cleaner"),
    ("ttl-after-finished-controller", "ttl-after-finished-controller"),
    ("ttl-controller", "ttl-controller"),
    ("volumeattributesclass-protection-controller", "volumeattributesclass-protection-controller"),
];

/// The account of a controller; none for the one that makes tokens, which could not make its own, and for those of Knarr.
pub(crate) fn of(controller: &str) -> Option<&'static str> {
    ACCOUNTS.iter().find(|(known, _)| *known == controller).map(|(_, account)| *account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_of_the_original_has_an_account() {
        assert!(ACCOUNTS.is_sorted());
        let without: Vec<&str> = crate::names().filter(|name| of(name).is_none()).collect();
        let expected = [
            "kubelet-serving-approving-controller",
            "local-path-provisioner-controller",
            "serviceaccount-token-controller",
        ];
        assert_eq!(without, expected);
        assert!(ACCOUNTS.iter().all(|(name, _)| crate::names().any(|known| known == *name)));
    }
}
