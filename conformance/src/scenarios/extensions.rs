//! Kinds that users define, and limits that they set.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// A definition in a group of the scenario's own, so that scenarios and runs do not meet.
fn definition(context: &Context) -> Value {
    let group = group(context);
    let size = json!({"type": "integer", "minimum": 1, "maximum": 9, "default": 3});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("boats.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"], "categories": ["fleet"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "required": ["sail"], "description": "How the boat is built.",
                        "x-kubernetes-validations": [
                            {"rule": "self.sail == oldSelf.sail", "message": "a rig stays"},
                            {"rule": "self.sail != 'lateen' || self.size < 5",
                             "messageExpression": "'too long: ' + string(self.size)"},
                        ],
                        "properties": {"size": size, "sail": {"type": "string", "enum": ["square", "lateen"]}},
                    },
                    "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

fn group(context: &Context) -> String {
    format!("{}.example.com", context.namespace)
}

fn boat(context: &Context, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{}/v1", group(context)), "kind": "Boat", "metadata": {"name": name}, "spec": spec,
    })
}

/// A definition and an object of it in one file; columns, defaults, refusals, scale, status, explain, deletion.
pub fn custom_resources(context: &Context) -> Result<()> {
    let name = format!("boats.{}", group(context));
    let outcome = defined(context);
    context.kubectl(&["delete", "crd", &name, "--ignore-not-found"])?;
    outcome?;
    eventually("the kind is gone", || {
        contains(&context.refused(&["get", &name])?, "the server doesn't have a resource type")
    })
}

fn defined(context: &Context) -> Result<()> {
    // kubectl finds the kind's name only after the definition is there, but the server takes both at once.
    let both = format!("{}\n{}", definition(context), boat(context, "skiff", json!({"sail": "lateen"})));
    eventually("the definition and an object", || context.apply(&both))?;
    let first = boat(context, "knarr", json!({"sail": "square", "oars": 40}));
    let refused = context.apply_json(&first).err().map(|e| format!("{e:#}")).unwrap_or_default();
    contains(&refused, r#"unknown field "spec.oars""#)?;
    context.kubectl_with(&["apply", "--validate=false", "-f", "-"], &first.to_string())?;
    same(context.value("boat/knarr", ".spec")?, r#"{"sail":"square","size":3}"#.to_owned())?;

    let table = context.kubectl(&["get", "fleet"])?;
    ensure!(table.lines().next().is_some_and(|head| head.split_whitespace().eq(["NAME", "SIZE"])), "{table}");
    contains(&context.kubectl(&["get", "bt", "knarr", "--no-headers"])?, "3")?;
    let big = boat(context, "big", json!({"sail": "junk", "size": 10}));
    let refused = context.apply_json(&big).err().map(|e| format!("{e:#}")).unwrap_or_default();
    contains(&refused, r#"spec.sail: Unsupported value: "junk": supported values: "square", "lateen""#)?;
    contains(&refused, "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9")?;

    let long = boat(context, "long", json!({"sail": "lateen", "size": 7}));
    let refused = context.apply_json(&long).err().map(|e| format!("{e:#}")).unwrap_or_default();
    contains(&refused, "too long: 7")?;
    let patch = r#"{"spec":{"sail":"lateen"}}"#;
    contains(&context.refused(&["patch", "boat/knarr", "--type=merge", "-p", patch])?, "a rig stays")?;

    applied_again(context)?;
    context.kubectl(&["scale", "boat/knarr", "--replicas=5"])?;
    same(context.value("boat/knarr", ".spec.size")?, "5".to_owned())?;
    context.kubectl(&[
        "patch",
        "boat/knarr",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"size":5}}"#,
    ])?;
    context.wait("boat/knarr", "jsonpath={.status.size}=5")?;
    eventually("the kind is described", || {
        contains(&context.kubectl(&["explain", "boat.spec"])?, "How the boat is built.")
    })?;
    context.kubectl(&["delete", "boat", "knarr"]).map(|_| ())
}

/// kubectl applies what has changed, its own way and the server's, and takes back what is not applied any more.
fn applied_again(context: &Context) -> Result<()> {
    let mut coracle = boat(context, "coracle", json!({"sail": "square", "size": 1}));
    coracle["metadata"]["labels"] = json!({"port": "Bergen"});
    coracle["metadata"]["finalizers"] = json!(["harbour.example.com"]);
    context.apply_json(&coracle)?;
    coracle["spec"]["size"] = 2.into();
    coracle["metadata"]["labels"] = json!({});
    context.apply_json(&coracle)?;
    same(context.value("boat/coracle", ".spec.size")?, "2".to_owned())?;
    same(context.value("boat/coracle", ".metadata.labels")?, String::new())?;
    let ours = ["apply", "--server-side", "--field-manager=harbour", "--force-conflicts", "-f", "-"];
    coracle["metadata"]["labels"] = json!({"port": "Stavanger"});
    context.kubectl_with(&ours, &coracle.to_string())?;
    let mut bare = boat(context, "coracle", json!({"sail": "square", "size": 4}));
    bare["metadata"]["finalizers"] = json!([]);
    context.kubectl_with(&ours, &bare.to_string())?;
    same(context.value("boat/coracle", ".spec.size")?, "4".to_owned())?;
    same(context.value("boat/coracle", ".metadata.labels.port")?, String::new())?;
    let free = r#"{"metadata":{"finalizers":null}}"#;
    context.kubectl(&["patch", "boat/coracle", "--type=merge", "-p", free])?;
    context.kubectl(&["delete", "boat", "coracle"]).map(drop)
}

/// A policy in CEL refuses what it is bound to, with parameters, and only that.
pub fn admission_policies(context: &Context) -> Result<()> {
    let name = format!("replicas.{}", group(context));
    let outcome = policy(context, &name);
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        context.kubectl(&["delete", kind, &name, "--ignore-not-found"])?;
    }
    outcome
}

fn policy(context: &Context, name: &str) -> Result<()> {
    let api = "admissionregistration.k8s.io/v1";
    context.kubectl(&["create", "configmap", "limits", "--from-literal=replicas=2"])?;
    context.apply_json(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments", "deployments/scale"],
            }]},
            "variables": [{"name": "limit", "expression": "int(params.data.replicas)"}],
            "validations": [{
                "expression": "object.spec.replicas <= variables.limit",
                "messageExpression": "'at most ' + string(variables.limit) + ' replicas'",
            }],
        },
    }))?;
    context.apply_json(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "paramRef": {"name": "limits", "namespace": &context.namespace, "parameterNotFoundAction": "Deny"},
            "matchResources": {"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": &context.namespace},
            }},
        },
    }))?;
    let many = context.deployment("many", 3);
    eventually("the policy takes effect", || {
        let dry = context.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &many.to_string());
        let refused = dry.err().map(|e| format!("{e:#}")).unwrap_or_default();
        let denied = format!(
            "ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: at most 2 replicas"
        );
        contains(&refused, &denied)
    })?;
    context.apply_json(&context.deployment("few", 2))?;
    contains(&context.refused(&["scale", "deployment/few", "--replicas=5"])?, "at most 2 replicas")?;
    context.kubectl(&["patch", "configmap/limits", "-p", r#"{"data":{"replicas":"5"}}"#])?;
    eventually("the parameter takes effect", || {
        context.kubectl(&["scale", "deployment/few", "--replicas=5"])
    })?;
    Ok(())
}

/// `kubectl top` works without an add-on.
pub fn top(context: &Context) -> Result<()> {
    context.toolbox("busy")?;
    eventually("the node's usage is known", || {
        let nodes = context.kubectl(&["top", "nodes", "--no-headers"])?;
        ensure!(nodes.split_whitespace().nth(1).is_some_and(|cpu| cpu.ends_with('m')), "{nodes}");
        Ok(())
    })?;
    eventually("the pod's usage is known", || {
        let pods = context.kubectl(&["top", "pods", "--containers", "--no-headers"])?;
        contains(&pods, "busy")?;
        ensure!(pods.contains("Mi"), "{pods}");
        Ok(())
    })
}

/// A quota is never exceeded and says what is used.
pub fn quotas(context: &Context) -> Result<()> {
    context.kubectl(&["create", "quota", "few", "--hard=count/configmaps=3,requests.cpu=1,pods=2"])?;
    // The root certificate's config map counts, too.
    eventually("the quota is counted", || {
        same(context.value("quota/few", ".status.used.count/configmaps")?, "1".to_owned())
    })?;
    context.kubectl(&["create", "configmap", "one"])?;
    context.kubectl(&["create", "configmap", "two"])?;
    let refused = context.refused(&["create", "configmap", "three"])?;
    contains(
        &refused,
        r#"configmaps "three" is forbidden: exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=3, limited: count/configmaps=3"#,
    )?;
    let refused = context.apply_json(&context.pod("greedy", &["serve"])).err();
    contains(
        &refused.map(|e| format!("{e:#}")).unwrap_or_default(),
        "failed quota: few: must specify requests.cpu for: main",
    )?;
    context.kubectl(&["delete", "configmap", "one"])?;
    eventually("what is gone is given back", || context.kubectl(&["create", "configmap", "three"]))?;
    Ok(())
}
