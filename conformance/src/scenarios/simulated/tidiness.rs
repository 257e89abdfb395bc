//! Controllers that remove, count and rewrite.
use super::{counts, own, pod, shows, workload};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// What belongs to a deleted object goes with it, before it, or stays as an orphan, as it was asked for.
pub fn garbage(context: &Context) -> Result<()> {
    let deployment = |name: &str| context.apply_json(&workload("Deployment", name, json!({"replicas": 2})));
    let delete = |name: &str, how: &str| {
        context.kubectl(&["delete", "deployment", name, &format!("--cascade={how}"), "--wait=false"])
    };
    for name in ["background", "foreground", "orphan"] {
        deployment(name)?;
    }
    for name in ["background", "foreground", "orphan"] {
        context.rolled_out(&format!("deployment/{name}"))?;
    }
    // A dependent that cannot go yet keeps what waits for it.
    let set = context.kubectl(&["get", "rs", "--selector", "app=foreground", "--output", "name"])?;
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}}).to_string();
    context.kubectl(&[
        "patch",
        set.trim(),
        "--type=merge",
        "--patch",
        &finalizers(json!(["example.com/held"])),
    ])?;
    for name in ["background", "foreground", "orphan"] {
        delete(name, name)?;
    }
    counts(context, &["pods,rs", "--selector", "app=background"], 0)?;
    context.wait("deployment/orphan", "delete")?;
    counts(context, &["rs", "--selector", "app=orphan"], 1)?;
    counts(context, &["pods", "--selector", "app=orphan"], 2)?;
    counts(context, &["pods", "--selector", "app=foreground"], 0)?;
    same(context.value("deployment/foreground", ".metadata.finalizers[*]")?.as_str(), "foregroundDeletion")?;
    context.kubectl(&["patch", set.trim(), "--type=merge", "--patch", &finalizers(json!([]))])?;
    context.wait("deployment/foreground", "delete")?;
    // An owner that never was: the dependent goes.
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "11111111-2222-3333-4444-555555555555"});
    context.apply_json(&json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "fatherless", "ownerReferences": [owner]}}))?;
    context.wait("configmap/fatherless", "delete")?;
    strange_owner(context)
}

/// An object of the cluster whose owner is in a namespace: a mistake that is told, and costs nothing.
fn strange_owner(context: &Context) -> Result<()> {
    context.kubectl(&["create", "configmap", "father"])?;
    let uid = context.value("configmap/father", ".metadata.uid")?;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "father", "uid": uid});
    let name = own(context, "stays");
    context.apply_json(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "ownerReferences": [owner]}, "rules": []}))?;
    let selector = format!("involvedObject.name={name},reason=OwnerRefInvalidNamespace");
    let events =
        ["get", "events", "--namespace", "default", "--field-selector", &selector, "--output", "yaml"];
    eventually("it is told", || contains(&context.kubectl(&events)?, "does not exist in namespace"))?;
    context.kubectl(&["delete", "configmap", "father"])?;
    context.kubectl(&["delete", "clusterrole", &name]).map(drop)
}

/// A namespace goes with all that is in it, and says what keeps it.
pub fn namespace(context: &Context) -> Result<()> {
    let name = own(context, "going");
    let of = format!("namespace/{name}");
    context.kubectl(&["create", "namespace", &name])?;
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept", "finalizers": ["example.com/held"]}});
    context.apply_json_in(&name, &kept)?;
    context.kubectl(&["create", "deployment", "web", "--image=any", "--namespace", &name])?;
    context.kubectl(&["delete", &of, "--wait=false"])?;
    let message =
        |kind: &str| context.value(&of, &format!(r#".status.conditions[?(@.type=="{kind}")].message"#));
    eventually("it says what is left", || {
        contains(&message("NamespaceContentRemaining")?, "configmaps. has 1 resource instances")?;
        contains(&message("NamespaceFinalizersRemaining")?, "example.com/held in 1 resource instances")
    })?;
    contains(
        &context.refused(&["create", "configmap", "late", "--namespace", &name])?,
        "because it is being terminated",
    )?;
    context.kubectl(&[
        "patch",
        "configmap/kept",
        "--namespace",
        &name,
        "--type=merge",
        "--patch",
        r#"{"metadata":{"finalizers":null}}"#,
    ])?;
    context.wait(&of, "delete").map(drop)
}

/// Pods of a node that there is not are deleted.
pub fn pods(context: &Context) -> Result<()> {
    context.apply_json(&pod("stray", json!({"nodeName": "there-is-no-such-node"})))?;
    context.wait("pod/stray", "delete").map(drop)
}

/// Amounts and counts are told, by scope, and follow what goes.
pub fn quota(context: &Context) -> Result<()> {
    context.kubectl(&["create", "quota", "all", "--hard=pods=3,requests.cpu=1,count/configmaps=9"])?;
    context.kubectl(&["create", "quota", "idle", "--hard=pods=1", "--scopes=BestEffort"])?;
    shows(context, "quota/idle", ".status.hard.pods", "1")?;
    let mut busy = pod("busy", json!({}));
    busy["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "250m"}});
    context.apply_json(&busy)?;
    contains(&context.refused(&["run", "idle", "--image=any"])?, "must specify requests.cpu")?;
    shows(context, "quota/all", ".status.used.pods", "1")?;
    shows(context, "quota/all", r".status.used.requests\.cpu", "250m")?;
    same(context.value("quota/idle", ".status.used.pods")?.as_str(), "0")?;
    context.kubectl(&["create", "configmap", "one"])?;
    // The authority of the cluster is there too.
    shows(context, "quota/all", r".status.used.count/configmaps", "2")?;
    context.kubectl(&["delete", "pod/busy", "configmap/one"])?;
    shows(context, "quota/all", r".status.used.requests\.cpu", "0")?;
    shows(context, "quota/all", r".status.used.count/configmaps", "1")?;
    devices_quota(context)
}

/// Devices of a class are counted by what claims ask for.
fn devices_quota(context: &Context) -> Result<()> {
    context.kubectl(&["create", "quota", "devices", "--hard=gpu.deviceclass.resource.k8s.io/devices=2"])?;
    let used = r".status.used.gpu\.deviceclass\.resource\.k8s\.io/devices";
    shows(context, "quota/devices", used, "0")?;
    let claim = |name: &str, count: u32| {
        let request = json!({"name": "one", "exactly": {"deviceClassName": "gpu", "count": count}});
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name},
            "spec": {"devices": {"requests": [request]}}})
    };
    context.apply_json(&claim("two", 2))?;
    shows(context, "quota/devices", used, "2")?;
    let refusal = context.apply_json(&claim("more", 1)).err().map(|error| format!("{error:#}"));
    contains(&refusal.unwrap_or_default(), "exceeded quota: devices")?;
    context.kubectl(&["delete", "resourceclaim", "two"])?;
    shows(context, "quota/devices", used, "0")
}

/// All objects of a resource are written once more; a definition then stores one version only.
pub fn migration(context: &Context) -> Result<()> {
    let group = format!("{}.example.com", context.namespace);
    let name = format!("things.{group}");
    let definition = |stored: &str| {
        let version = |name: &str| {
            json!({"name": name, "served": true, "storage": name == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        };
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
            "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                "versions": [version("v1"), version("v2")]}})
    };
    context.apply_json(&definition("v1"))?;
    context.wait(&format!("crd/{name}"), "condition=Established")?;
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "one"}});
    eventually("it is served", || context.apply_json(&thing))?;
    context.apply_json(&definition("v2"))?;
    shows(context, &format!("crd/{name}"), ".status.storedVersions[*]", "v1 v2")?;
    let before = context.value(&format!("{name}/one"), ".metadata.resourceVersion")?;
    let migrate = |of: &str, group: &str, resource: &str| {
        context.apply_json(&json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
            "metadata": {"name": own(context, of)}, "spec": {"resource": {"group": group, "resource": resource}}}))?;
        let migration = format!("storageversionmigration/{}", own(context, of));
        context.wait(&migration, "condition=Succeeded")?;
        let running = r#".status.conditions[?(@.type=="Running")].status"#;
        same(context.value(&migration, running)?.as_str(), "False")?;
        context.kubectl(&["delete", &migration]).map(drop)
    };
    migrate("things", &group, "things")?;
    shows(context, &format!("crd/{name}"), ".status.storedVersions[*]", "v2")?;
    ensure!(
        context.value(&format!("{name}/one"), ".metadata.resourceVersion")? != before,
        "it was not written"
    );
    migrate("secrets", "", "secrets")?;
    context.kubectl(&["delete", &format!("crd/{name}")]).map(drop)
}
