//! Namespaces.
use crate::context::{Context, contains, eventually};
use anyhow::{Result, ensure};

/// Deleting a namespace takes everything in it along.
pub fn deletion(context: &Context) -> Result<()> {
    let name = format!("{}-gone", context.namespace);
    context.kubectl(&["create", "namespace", &name])?;
    context.kubectl(&[
        "-n",
        &name,
        "create",
        "deployment",
        "web",
        "--image",
        &context.image(1),
        "--replicas=2",
    ])?;
    context.kubectl(&["-n", &name, "create", "configmap", "settings"])?;
    context.kubectl(&["-n", &name, "rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    context.kubectl(&["delete", "namespace", &name, "--timeout=90s"])?;
    contains(&context.refused(&["get", "namespace", &name])?, "NotFound")?;
    contains(
        &context
            .kubectl(&["-n", &name, "get", "all", "--ignore-not-found"])
            .map(|text| format!("[{text}]"))?,
        "[]",
    )?;
    contains(&context.refused(&["-n", &name, "create", "configmap", "late"])?, "not found")
}

/// What the scenarios before this one left in their namespaces goes: no pod, claim or finalizer holds one.
pub fn none_lingers(context: &Context) -> Result<()> {
    let run = format!("-{}", std::process::id());
    eventually("the namespaces of earlier scenarios are gone", || {
        let names = context.value("namespaces", ".items[*].metadata.name")?;
        let lingering: Vec<&str> = names
            .split_whitespace()
            .filter(|name| name.ends_with(&run) && *name != context.namespace)
            .collect();
        ensure!(lingering.is_empty(), "{}", lingering.join(", "));
        Ok(())
    })
}
