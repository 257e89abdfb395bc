//! Volumes.
use crate::context::{Context, contains, same};
use anyhow::{Result, ensure};
use serde_json::json;

/// ConfigMap, Secret, downward API and a token in one volume, with modes.
pub fn projected(context: &Context) -> Result<()> {
    context.kubectl(&["create", "configmap", "settings", "--from-literal=color=red"])?;
    context.kubectl(&["create", "secret", "generic", "keys", "--from-literal=key=s3cret"])?;
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "all", "mountPath": "/all"}]);
    pod["spec"]["volumes"] = json!([{"name": "all", "projected": {"defaultMode": 0o440, "sources": [
        {"configMap": {"name": "settings", "items": [{"key": "color", "path": "config/color"}]}},
        {"secret": {"name": "keys"}},
        {"configMap": {"name": "absent", "optional": true}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "test", "expirationSeconds": 3600}},
    ]}}]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    same(context.exec("box", &["cat", "/all/config/color"])?.as_str(), "red")?;
    same(context.exec("box", &["cat", "/all/key"])?.as_str(), "s3cret")?;
    contains(&context.exec("box", &["cat", "/all/labels"])?, "app=\"box\"")?;
    same(context.exec("box", &["cat", "/all/token"])?.split('.').count(), 3)?;
    contains(&context.exec("box", &["stat", "-Lc", "%a", "/all/key"])?, "440")?;
    contains(
        &context.exec("box", &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"])?,
        &context.namespace,
    )
}

/// Changes of a ConfigMap reach a running pod, all at once.
pub fn updates(context: &Context) -> Result<()> {
    context.kubectl(&["create", "configmap", "settings", "--from-literal=color=red"])?;
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "all", "mountPath": "/all"}]);
    pod["spec"]["volumes"] = json!([{"name": "all", "configMap": {"name": "settings"}}]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    context.kubectl(&["patch", "configmap/settings", "-p", r#"{"data":{"color":"blue","new":"1"}}"#])?;
    contains(&context.exec("box", &["testbox", "wait-file", "/all/color", "blue"])?, "blue")?;
    same(context.exec("box", &["cat", "/all/new"])?.as_str(), "1")
}

/// Containers of a pod share an emptyDir, in memory too; subPath shows a part; hostPath the node.
pub fn shared(context: &Context) -> Result<()> {
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["securityContext"] = json!({"runAsUser": 1000, "fsGroup": 2000});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/part", "subPath": "a/b"}, {"name": "host", "mountPath": "/host", "readOnly": true},
    ]);
    pod["spec"]["volumes"] = json!([
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "disk", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/etc", "type": "Directory"}},
    ]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    contains(&context.exec("box", &["grep", " /memory ", "/proc/mounts"])?, "tmpfs")?;
    context.exec("box", &["sh", "-c", "echo x > /disk/file && echo y > /part/file"])?;
    same(context.exec("box", &["cat", "/disk/a/b/file"])?.as_str(), "y\n")?;
    contains(&context.exec("box", &["stat", "-c", "%g", "/disk/file"])?, "2000")?;
    ensure!(
        context.exec("box", &["sh", "-c", "echo x > /host/file"]).is_err(),
        "a read-only volume was written"
    );
    contains(&context.exec("box", &["id"])?, "uid=1000")
}

/// Variables that an init container writes to a volume, for a container that does not mount it.
pub fn variables(context: &Context) -> Result<()> {
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    pod["spec"]["initContainers"] = json!([{
        "name": "write", "image": context.image(1),
        "command": ["sh", "-c", "printf \"# made here\\nCOLOR='red and blue'\\n\" >/shared/my.env"],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }]);
    let from = |key: &str, optional: bool| json!({"fileKeyRef": {"volumeName": "shared", "path": "my.env", "key": key, "optional": optional}});
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "COLOR", "valueFrom": from("COLOR", false)}, {"name": "SIZE", "valueFrom": from("SIZE", true)},
    ]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    same(
        context.exec("box", &["sh", "-c", "echo \"$COLOR ${SIZE-unset}\""])?.as_str(),
        "red and blue unset\n",
    )
}
