//! Nodes.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;

/// Draining evicts pods and keeps new ones away; uncordoning lets them come back.
pub fn drain(context: &Context) -> Result<()> {
    let node = context.value("nodes", ".items[0].metadata.name")?;
    context.apply_json(&context.deployment("drained", 2))?;
    context.rolled_out("deployment/drained")?;
    let drained = context.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=80s",
        "--grace-period=1",
        "--pod-selector=app=drained",
    ]);
    let checked = drained.and_then(|_| {
        contains(&context.kubectl(&["get", "node", &node])?, "SchedulingDisabled")?;
        eventually("new pods wait", || {
            contains(&context.kubectl(&["get", "events"])?, "1 node(s) were unschedulable")
        })
    });
    // Whatever happened, the next scenario needs the node.
    context.kubectl(&["uncordon", &node])?;
    checked?;
    context.rolled_out("deployment/drained")?;
    let ready = context.kubectl(&["get", "nodes"])?;
    ensure!(ready.contains(" Ready "), "{ready}");
    Ok(())
}

/// A node that is no longer heard of is tainted, its pods are evicted, and with the node they are gone.
pub fn lost(context: &Context) -> Result<()> {
    let node = &context.namespace;
    // Of its own taint, so that no other pod lands there.
    let own = json!({"key": "lost.test", "effect": "NoExecute"});
    context.apply_json(
        &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "spec": {"taints": [own]}}),
    )?;
    let checked = lose(context, node);
    context.kubectl(&["delete", "node", node])?;
    checked?;
    context.wait("pod/stranded", "delete")?;
    Ok(())
}

fn lose(context: &Context, node: &str) -> Result<()> {
    let ready =
        json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
    let patch = ["patch", "node", node, "--subresource=status", "--type=merge", "-p", &ready.to_string()];
    context.kubectl(&patch)?;
    let mut pod = context.pod("stranded", &["serve"]);
    pod["spec"]["nodeName"] = node.into();
    pod["spec"]["tolerations"] = json!([
        {"key": "lost.test", "operator": "Exists"},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
    ]);
    context.apply_json(&pod)?;
    context.wait(&format!("node/{node}"), "condition=Ready=Unknown")?;
    let ready = r#".status.conditions[?(@.type=="Ready")]"#;
    same(
        context.value(&format!("node/{node}"), &format!("{ready}.message"))?.as_str(),
        "Kubelet stopped posting node status.",
    )?;
    eventually("the node is tainted", || {
        let taints = context.value(&format!("node/{node}"), ".spec.taints")?;
        contains(&taints, r#""effect":"NoExecute","key":"node.kubernetes.io/unreachable""#)
    })?;
    eventually("the pod is evicted", || {
        let disrupted = r#".status.conditions[?(@.type=="DisruptionTarget")].reason"#;
        same(context.value("pod/stranded", disrupted)?.as_str(), "DeletionByTaintManager")?;
        ensure!(
            !context.value("pod/stranded", ".metadata.deletionTimestamp")?.is_empty(),
            "it is not being deleted"
        );
        Ok(())
    })
}
