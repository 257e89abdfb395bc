//! What the API server itself promises: writes, refusals, watches, authorization.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;
use std::io::{BufRead, BufReader};

/// Creates, patches of all kinds, dry runs and optimistic concurrency.
pub fn writes(context: &Context) -> Result<()> {
    context.kubectl(&["create", "configmap", "settings", "--from-literal=a=1"])?;
    let before = context.get("configmap/settings")?;
    ensure!(before["metadata"]["uid"].is_string() && before["metadata"]["managedFields"].is_null());

    context.kubectl(&["patch", "configmap/settings", "--type=merge", "-p", r#"{"data":{"b":"2"}}"#])?;
    context.kubectl(&[
        "patch",
        "configmap/settings",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/data/a"}]"#,
    ])?;
    context.kubectl(&["patch", "configmap/settings", "-p", r#"{"data":{"c":"3"}}"#])?;
    same(context.value("configmap/settings", ".data")?, r#"{"b":"2","c":"3"}"#.to_owned())?;

    context.kubectl(&["label", "configmap/settings", "tier=x"])?;
    context.kubectl(&["annotate", "configmap/settings", "note=y"])?;
    let listed = context.kubectl(&["get", "configmaps", "-l", "tier in (x,z)", "-o", "name"])?;
    same(listed.trim(), "configmap/settings")?;

    let version = context.value("configmap/settings", ".metadata.resourceVersion")?;
    context.kubectl(&["label", "configmap/settings", "tier=dry", "--overwrite", "--dry-run=server"])?;
    context.kubectl(&["label", "configmap/settings", "tier=x", "--overwrite"])?;
    same(context.value("configmap/settings", ".metadata.resourceVersion")?, version)?;

    // An update from an old read loses.
    let conflict = context.kubectl_with(&["replace", "-f", "-"], &before.to_string());
    let conflict = conflict.err().map(|e| format!("{e:#}")).unwrap_or_default();
    contains(&conflict, "the object has been modified; please apply your changes to the latest version")?;

    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    let created = context.kubectl_with(&["create", "-f", "-"], &object.to_string())?;
    contains(&created, "configmap/gen-")?;
    context.kubectl(&["delete", "configmap", "--all"]).map(|_| ())
}

/// What is wrong is refused with the original's words.
pub fn refusals(context: &Context) -> Result<()> {
    contains(
        &context.refused(&["get", "pod", "nobody"])?,
        r#"Error from server (NotFound): pods "nobody" not found"#,
    )?;
    context.kubectl(&["create", "configmap", "twice"])?;
    contains(&context.refused(&["create", "configmap", "twice"])?, r#"configmaps "twice" already exists"#)?;
    contains(&context.refused(&["create", "configmap", "Not_A_Name"])?, "a lowercase RFC 1123 subdomain")?;
    contains(
        &context.refused(&["get", "nothings"])?,
        r#"the server doesn't have a resource type "nothings""#,
    )?;
    contains(
        &context.refused(&["create", "deployment", "x", "--image=i", "--replicas=-1"])?,
        "spec.replicas",
    )?;

    let typo = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "typo"}, "dada": {}});
    let refused = context.kubectl_with(&["create", "-f", "-"], &typo.to_string());
    contains(&refused.err().map(|e| format!("{e:#}")).unwrap_or_default(), r#"unknown field "dada""#)?;

    let two = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"},
        "spec": {"ports": [{"port": 80}, {"port": 81}]}});
    let refused = context.kubectl_with(&["create", "-f", "-"], &two.to_string());
    contains(
        &refused.err().map(|e| format!("{e:#}")).unwrap_or_default(),
        "spec.ports[0].name: Required value",
    )?;

    let foreign = ["--as=nobody", "get", "pods"];
    let forbidden = format!(
        r#"pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "{}""#,
        context.namespace
    );
    contains(&context.refused(&foreign)?, &forbidden)
}

/// A watch tells of every change, and ends at its time limit.
pub fn watch(context: &Context) -> Result<()> {
    let arguments = ["get", "configmaps", "-w", "--no-headers", "--output-watch-events", "-l", "seen=yes"];
    let mut watching = context.background(&arguments)?;
    let output = watching.0.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
    let mut lines = BufReader::new(output).lines();
    context.kubectl(&["create", "configmap", "one"])?;
    context.kubectl(&["label", "configmap", "one", "seen=yes"])?;
    context.kubectl(&["annotate", "configmap", "one", "x=y"])?;
    context.kubectl(&["label", "configmap", "one", "seen-"])?;
    for expected in ["ADDED", "MODIFIED", "DELETED"] {
        let line = lines.next().ok_or_else(|| anyhow::anyhow!("the watch ended before {expected}"))??;
        contains(&line, expected)?;
        contains(&line, "one")?;
    }
    let ended = context.kubectl(&[
        "get",
        "--raw",
        &format!("/api/v1/namespaces/{}/configmaps?watch=true&timeoutSeconds=1", context.namespace),
    ])?;
    contains(&ended, r#""type":"ADDED""#)
}

/// Roles give what they say, and no more.
pub fn rbac(context: &Context) -> Result<()> {
    context.kubectl(&["create", "serviceaccount", "robot"])?;
    context.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods"])?;
    let subject = format!("{}:robot", context.namespace);
    context.kubectl(&["create", "rolebinding", "reads", "--role=reader", "--serviceaccount", &subject])?;
    let user = format!("--as=system:serviceaccount:{subject}");
    eventually("the binding takes effect", || {
        contains(&context.kubectl(&["auth", "can-i", "list", "pods", &user])?, "yes")
    })?;
    contains(
        &context
            .command(&["auth", "can-i", "delete", "pods", &user])
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())?,
        "no",
    )?;
    contains(&context.kubectl(&["auth", "can-i", "--list", &user])?, "pods")?;

    let token = context.kubectl(&["create", "token", "robot"])?;
    let who = context.kubectl(&["auth", "whoami", "--token", token.trim(), "-o", "json"])?;
    ensure!(who.contains("userInfo"), "{who}");
    Ok(())
}
