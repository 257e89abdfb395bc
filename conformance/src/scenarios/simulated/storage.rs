//! Controllers of volumes, for a driver that nobody runs: the scenarios do its part.
use super::{counts, own, pod, shows, told};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const DRIVER: &str = "driver.example.com";

fn claim(name: &str, more: Value) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": super::with(spec, more)})
}

/// A volume of the driver that only a claim of the scenario's namespace can have.
fn volume(context: &Context, name: &str, more: Value) -> Value {
    let spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": own(context, "class"),
        "csi": {"driver": DRIVER, "volumeHandle": name},
    });
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": own(context, name)},
        "spec": super::with(spec, more)})
}

fn using(name: &str, of: &str) -> Value {
    pod(name, json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": of}}]}))
}

/// A claim gets the volume that fits; given back, the volume waits to be emptied.
pub fn binding(context: &Context) -> Result<()> {
    let class = own(context, "class");
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    shows(context, "pvc/data", ".status.phase", "Pending")?;
    context.apply_json(&volume(context, "small", json!({"capacity": {"storage": "1Mi"}})))?;
    context.apply_json(&volume(context, "right", json!({"persistentVolumeReclaimPolicy": "Retain"})))?;
    shows(context, "pvc/data", ".status.phase", "Bound")?;
    let right = format!("pv/{}", own(context, "right"));
    same(context.value("pvc/data", ".spec.volumeName")?, own(context, "right"))?;
    let small = own(context, "small");
    context.apply_json(&claim("picky", json!({"storageClassName": class, "volumeName": small})))?;
    let text = format!("Cannot bind to requested volume \"{small}\": requested PV is too small");
    told(context, "picky", "VolumeMismatch", &text)?;
    context.apply_json(&claim(
        "late",
        json!({"storageClassName": class, "volumeName": own(context, "right")}),
    ))?;
    told(context, "late", "FailedBinding", "already bound to a different claim.")?;
    context.kubectl(&["delete", "pvc/picky", "pvc/late"])?;
    context.kubectl(&["delete", "pvc/data"])?;
    shows(context, &right, ".status.phase", "Released")?;
    context.kubectl(&["delete", &right, &format!("pv/{}", own(context, "small"))]).map(drop)
}

/// Volumes are made where their pods are, and go with their claims.
pub fn local_path(context: &Context) -> Result<()> {
    let class = own(context, "class");
    context.apply_json(
        &json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
        "provisioner": "knarr.dev/local-path", "volumeBindingMode": "WaitForFirstConsumer"}),
    )?;
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    told(context, "data", "WaitForFirstConsumer", "waiting for first consumer")?;
    context.apply_json(&using("user", "data"))?;
    shows(context, "pvc/data", ".status.phase", "Bound")?;
    context.wait("pod/user", "condition=Ready")?;
    let volume = format!("pv/{}", context.value("pvc/data", ".spec.volumeName")?);
    let node = context.value("pod/user", ".spec.nodeName")?;
    contains(&context.value(&volume, ".spec.nodeAffinity")?, &node)?;
    context.kubectl(&["delete", "pod/user", "pvc/data"])?;
    counts(context, &["pvc"], 0)?;
    context.kubectl(&["delete", &format!("storageclass/{class}")]).map(drop)
}

/// A pod that waits for its volume says which node is kept for it; a volume kept for a claim needs no pod.
pub fn expected_node(context: &Context) -> Result<()> {
    let class = own(context, "class");
    context.apply_json(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": class}, "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"}))?;
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    context.apply_json(&using("user", "data"))?;
    eventually("the pod has a node to wait for", || {
        let selected = "{.metadata.annotations.volume\\.kubernetes\\.io/selected-node}";
        let selected = context.kubectl(&["get", "pvc/data", "--output", &format!("jsonpath={selected}")])?;
        ensure!(!selected.is_empty(), "no node is chosen");
        same(context.value("pod/user", ".status.nominatedNodeName")?, selected)
    })?;
    let kept = json!({"claimRef": {"namespace": context.namespace, "name": "kept"}});
    context.apply_json(&volume(context, "kept", kept))?;
    context.apply_json(&claim("kept", json!({"storageClassName": class})))?;
    shows(context, "pvc/kept", ".status.phase", "Bound")?;
    context.kubectl(&["delete", "pod/user", "pvc/data", "pvc/kept"])?;
    context
        .kubectl(&["delete", &format!("pv/{}", own(context, "kept")), &format!("storageclass/{class}")])
        .map(drop)
}

/// A pod's own claim comes with it and goes with it.
pub fn ephemeral(context: &Context) -> Result<()> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": own(context, "class"), "resources": {"requests": {"storage": "1Gi"}}});
    let scratch = json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
    context.apply_json(&pod("box", json!({"volumes": [scratch]})))?;
    eventually("it has its claim", || {
        same(context.value("pvc/box-scratch", ".metadata.ownerReferences[0].name")?.as_str(), "box")
    })?;
    context.kubectl(&["delete", "pod/box"])?;
    context.wait("pvc/box-scratch", "delete").map(drop)
}

/// A driver whose volumes are attached is asked to, and told in the node's status; deleted pods have them detached.
pub fn attachment(context: &Context) -> Result<()> {
    context.apply_json(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
        "metadata": {"name": DRIVER}, "spec": {"attachRequired": true}}))?;
    let class = own(context, "class");
    context.apply_json(&volume(context, "disk", json!({})))?;
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    shows(context, "pvc/data", ".status.phase", "Bound")?;
    context.apply_json(&using("user", "data"))?;
    let disk = own(context, "disk");
    let path =
        format!("jsonpath={{.items[?(@.spec.source.persistentVolumeName==\"{disk}\")].metadata.name}}");
    let found = || context.kubectl(&["get", "volumeattachments", "--output", &path]);
    let name = eventually("the driver is asked", || {
        let name = found()?;
        ensure!(!name.is_empty(), "there is no attachment");
        Ok(name)
    })?;
    let attachment = format!("volumeattachment/{name}");
    same(context.value(&attachment, ".spec.attacher")?.as_str(), DRIVER)?;
    context.kubectl(&[
        "patch",
        &attachment,
        "--subresource=status",
        "--type=merge",
        "--patch",
        r#"{"status":{"attached":true}}"#,
    ])?;
    let node = format!("node/{}", context.value("pod/user", ".spec.nodeName")?);
    eventually("the node says so", || contains(&context.value(&node, ".status.volumesAttached")?, "disk"))?;
    context.kubectl(&["delete", "pod/user"])?;
    eventually("it is detached", || same(found()?.as_str(), ""))?;
    context.kubectl(&["delete", "pvc/data", &format!("pv/{disk}")]).map(drop)
}

/// A claim of a driver that grows waits for the driver.
pub fn expansion(context: &Context) -> Result<()> {
    let class = own(context, "class");
    context.apply_json(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": class}, "provisioner": DRIVER, "allowVolumeExpansion": true}))?;
    context.apply_json(&volume(context, "disk", json!({})))?;
    context
        .apply_json(&claim("data", json!({"storageClassName": class, "volumeName": own(context, "disk")})))?;
    shows(context, "pvc/data", ".status.phase", "Bound")?;
    context.kubectl(&[
        "patch",
        "pvc/data",
        "--patch",
        r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#,
    ])?;
    told(context, "data", "ExternalExpanding", "waiting for an external controller to expand this PVC")?;
    context
        .kubectl(&[
            "delete",
            "pvc/data",
            &format!("pv/{}", own(context, "disk")),
            &format!("storageclass/{class}"),
        ])
        .map(drop)
}

/// A volume that a claim has stays until the claim goes.
pub fn volume_protection(context: &Context) -> Result<()> {
    let (class, disk) = (own(context, "class"), format!("pv/{}", own(context, "disk")));
    context.apply_json(&volume(context, "disk", json!({})))?;
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    shows(context, "pvc/data", ".status.phase", "Bound")?;
    context.kubectl(&["delete", &disk, "--wait=false"])?;
    same(context.value(&disk, ".metadata.finalizers[*]")?.as_str(), "kubernetes.io/pv-protection")?;
    context.kubectl(&["delete", "pvc/data"])?;
    context.wait(&disk, "delete").map(drop)
}

/// A claim that a pod uses stays until the pod goes.
pub fn claim_protection(context: &Context) -> Result<()> {
    let class = own(context, "class");
    context.apply_json(&volume(context, "disk", json!({"csi": null, "hostPath": {"path": "/data"}})))?;
    context.apply_json(&claim("data", json!({"storageClassName": class})))?;
    context.apply_json(&using("user", "data"))?;
    context.wait("pod/user", "condition=Ready")?;
    context.kubectl(&["delete", "pvc/data", "--wait=false"])?;
    same(context.value("pvc/data", ".metadata.finalizers[*]")?.as_str(), "kubernetes.io/pvc-protection")?;
    context.kubectl(&["delete", "pod/user"])?;
    context.wait("pvc/data", "delete")?;
    context.kubectl(&["delete", &format!("pv/{}", own(context, "disk"))]).map(drop)
}

/// A class of attributes stays while a claim names it.
pub fn class_protection(context: &Context) -> Result<()> {
    let name = own(context, "fast");
    let class = format!("volumeattributesclass/{name}");
    context.apply_json(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
        "metadata": {"name": name}, "driverName": DRIVER, "parameters": {"iops": "9"}}))?;
    shows(context, &class, ".metadata.finalizers[*]", "kubernetes.io/vac-protection")?;
    let more = json!({"storageClassName": own(context, "class"), "volumeAttributesClassName": name});
    context.apply_json(&claim("data", more))?;
    context.kubectl(&["delete", &class, "--wait=false"])?;
    shows(context, &class, ".metadata.finalizers[*]", "kubernetes.io/vac-protection")?;
    context.kubectl(&["delete", "pvc/data"])?;
    context.wait(&class, "delete").map(drop)
}
