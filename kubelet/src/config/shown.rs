//! The settings in force, as `/configz` tells them: what flags and file say, and what this kubelet does anyhow.

use std::time::Duration;

use knarr_component::flags::duration;
use serde_json::{Map, Value, json};

use super::{API_VERSION, FIXED};
use crate::args::Args;
use crate::plan::duration_text;

/// The whole `KubeletConfiguration`.
pub fn shown(args: &Args) -> Value {
    let mut all = json!({
        "kind": "KubeletConfiguration",
        "apiVersion": API_VERSION,
        "address": args.address,
        "authentication": {"x509": {"clientCAFile": args.client_ca_file}},
        "cgroupRoot": args.cgroup_root,
        "clusterDNS": args.cluster_dns,
        "clusterDomain": args.cluster_domain,
        "containerRuntimeEndpoint": args.container_runtime_endpoint,
        "cpuManagerPolicy": args.cpu_manager_policy.as_str(),
        "cpuManagerPolicyOptions": args.cpu_manager_policy_options,
        "evictionHard": args.eviction_hard.settings(),
        "imageGCHighThresholdPercent": args.image_gc_high_threshold,
        "imageGCLowThresholdPercent": args.image_gc_low_threshold,
        "imageMinimumGCAge": duration_text(args.minimum_image_ttl_duration),
        "imagePullCredentialsVerificationPolicy": args.image_verification.settings().0,
        "kubeReserved": args.kube_reserved,
        "maxPods": args.max_pods,
        "memoryManagerPolicy": args.memory_manager_policy.as_str(),
        "podLogsDir": args.pod_logs_dir,
        "port": args.port,
        "preloadedImagesVerificationAllowlist": args.image_verification.settings().1,
        "registerNode": args.register_node,
        "reservedSystemCPUs": args.reserved_cpus,
        "resolvConf": args.resolv_conf,
        "rotateCertificates": args.rotate_certificates,
        "serverTLSBootstrap": args.rotate_server_certificates,
        "shutdownGracePeriodByPodPriority": args.shutdown.groups,
        "staticPodPath": args.pod_manifest_path,
        "systemReserved": args.system_reserved,
        "tlsCertFile": args.tls_cert_file,
        "tlsPrivateKeyFile": args.tls_private_key_file,
        "topologyManagerPolicy": args.topology_manager_policy.as_str(),
        "topologyManagerScope": args.topology_manager_scope.as_str(),
        "userNamespaces": {"idsPerPod": args.user_namespaces_ids_per_pod},
    });
    for (field, fixed) in FIXED.iter().filter(|(_, fixed)| !fixed.is_empty()) {
        insert(&mut all, field, typed(fixed));
    }
    if let Value::Object(members) = &mut all {
        members.retain(|_, value| !value.is_null());
    }
    all
}

/// Sets a member by its path.
fn insert(object: &mut Value, path: &str, value: Value) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    let Value::Object(members) = object else { return };
    match rest {
        None => drop(members.insert(head.to_owned(), value)),
        Some(rest) => {
            insert(members.entry(head).or_insert_with(|| Value::Object(Map::new())), rest, value);
        }
    }
}

/// A setting as JSON; durations are in whole seconds as Go prints them.
fn typed(text: &str) -> Value {
    if let Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_))) = serde_json::from_str(text) {
        return value;
    }
    match duration(text) {
        Ok(duration) if duration.subsec_nanos() == 0 && duration > Duration::ZERO => {
            json!(duration_text(duration))
        }
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let check = |text: &str, expected: Value| assert_eq!(typed(text), expected, "{text}");
        check("true", json!(true));
        check("-1", json!(-1));
        check("[\"pods\"]", json!(["pods"]));
        check("5m", json!("5m0s"));
        check("10s", json!("10s"));
        check("100ms", json!("100ms"));
        check("10Mi", json!("10Mi"));
        check("Watch", json!("Watch"));
    }

    #[test]
    fn what_is_fixed_is_told() {
        let mut object = json!({"authentication": {"x509": {}}});
        for (field, fixed) in [("authentication.webhook.enabled", "true"), ("podPidsLimit", "-1")] {
            insert(&mut object, field, typed(fixed));
        }
        assert_eq!(
            object,
            json!({"authentication": {"x509": {}, "webhook": {"enabled": true}}, "podPidsLimit": -1})
        );
    }
}
