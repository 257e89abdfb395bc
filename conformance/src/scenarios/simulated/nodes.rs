//! Controllers of nodes. The script keeps the pods of other scenarios off the node `sim-4`.
use super::{own, pod, shows};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;

/// Each node has a range of its own for pods.
pub fn addresses(context: &Context) -> Result<()> {
    let nodes =
        |form: &str| context.kubectl(&["get", "nodes", "--selector", "knarr.dev/runtime", "--output", form]);
    let told = nodes("jsonpath={.items[*].spec.podCIDR}")?;
    let distinct: std::collections::BTreeSet<&str> = told.split_whitespace().collect();
    let nodes = nodes("name")?.lines().count();
    same(distinct.len(), nodes)?;
    ensure!(distinct.iter().all(|range| range.ends_with("/24")), "{told}");
    Ok(())
}

/// A silent node is unreachable; its pods are not ready, and go when they do not tolerate it any longer.
pub fn lifecycle(context: &Context) -> Result<()> {
    let name = own(context, "silent");
    let node = format!("node/{name}");
    // Nobody keeps this one.
    context.apply_json(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": true}}))?;
    let well = |of: &str| {
        let condition = json!({"type": "Ready", "status": "True", "reason": "SaidSo", "message": ""});
        let patch = json!({"status": {"conditions": [condition]}}).to_string();
        context.kubectl(&["patch", of, "--subresource=status", "--patch", &patch]).map(drop)
    };
    well(&node)?;
    let bears = |seconds: i64| json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    context.apply_json(&pod("patient", json!({"nodeName": name, "tolerations": bears(600)})))?;
    context.apply_json(&pod("hasty", json!({"nodeName": name, "tolerations": bears(1)})))?;
    well("pod/patient")?;
    let ready = |part: &str| format!(r#".status.conditions[?(@.type=="Ready")].{part}"#);
    shows(context, &node, &ready("reason"), "NodeStatusUnknown")?;
    shows(context, &node, &ready("message"), "Kubelet stopped posting node status.")?;
    eventually("it is tainted", || {
        let taints = context.value(&node, ".spec.taints")?;
        contains(&taints, r#""effect":"NoExecute","key":"node.kubernetes.io/unreachable""#)
    })?;
    shows(context, "pod/patient", &ready("status"), "False")?;
    eventually("the other one goes", || {
        // Where no kubelet is, it may go at once.
        let deleted = context.value("pod/hasty", ".metadata.deletionTimestamp");
        ensure!(deleted.is_err() || deleted.is_ok_and(|time| !time.is_empty()), "not yet");
        Ok(())
    })?;
    same(context.value("pod/patient", ".metadata.deletionTimestamp")?.as_str(), "")?;
    context.kubectl(&["delete", "pods", "--all", "--grace-period=0", "--force"])?;
    context.kubectl(&["delete", &node]).map(drop)
}

/// A taint drives out pods that do not tolerate it, or when they do not any longer.
pub fn taints(context: &Context) -> Result<()> {
    let node = json!({"kubernetes.io/hostname": "sim-4"});
    let bears = |name: &str, more: serde_json::Value| {
        let closed = super::with(json!({"key": "closed", "operator": "Exists"}), more);
        pod(
            name,
            json!({"nodeSelector": node, "tolerations": [{"key": "reserved", "operator": "Exists"}, closed]}),
        )
    };
    context.apply_json(&bears("any", json!({"key": "other"})))?;
    context.apply_json(&bears("for-a-while", json!({"effect": "NoExecute", "tolerationSeconds": 3})))?;
    context.apply_json(&bears("for-ever", json!({})))?;
    for name in ["pod/any", "pod/for-a-while", "pod/for-ever"] {
        context.wait(name, "condition=Ready")?;
    }
    context.kubectl(&["taint", "node", "sim-4", "closed=yes:NoExecute"])?;
    context.wait("pod/any", "delete")?;
    context.wait("pod/for-a-while", "delete")?;
    context.kubectl(&["taint", "node", "sim-4", "closed-"])?;
    same(context.value("pod/for-ever", ".metadata.deletionTimestamp")?.as_str(), "")
}

/// Each node says how long Secrets may be kept there.
pub fn time_to_live(context: &Context) -> Result<()> {
    shows(context, "node/sim-1", r".metadata.annotations.node\.alpha\.kubernetes\.io/ttl", "0")
}
