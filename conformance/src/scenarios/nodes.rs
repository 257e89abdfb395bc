//! Nodes.
use crate::context::{Context, contains, eventually};
use anyhow::{Result, ensure};

/// Draining evicts pods and keeps new ones away; uncordoning lets them come back.
pub fn drain(context: &Context) -> Result<()> {
    let node = context.value("nodes", ".items[0].metadata.name")?;
    context.apply_json(&context.deployment("web", 2))?;
    context.rolled_out("deployment/web")?;
    let drained = context.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=80s",
        "--grace-period=1",
        "--pod-selector=app=web",
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
    context.rolled_out("deployment/web")?;
    let ready = context.kubectl(&["get", "nodes"])?;
    ensure!(ready.contains(" Ready "), "{ready}");
    Ok(())
}
