//! NodeRestriction: a kubelet writes its own Node and the pods on it, and nobody else's.
use super::{Attributes, Operation, Plugin, array};
use crate::authz::node::NODES;
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use std::sync::Arc;

/// Labels under these domains are not a kubelet's to set, but for those below.
const DOMAINS: [&str; 2] = ["kubernetes.io", "k8s.io"];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const OWN_LABELS: [&str; 10] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The plugin.
pub struct NodeRestriction {
    /// Where pods are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation != Operation::Connect && node_name(attributes).is_some()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(node) = node_name(attributes).map(str::to_owned) else { return Ok(()) };
        let verdict = match (&*attributes.kind.gvk.group, &*attributes.kind.plural, attributes.subresource) {
            ("", "pods", "") => self.pod(&node, attributes),
            ("", "pods", "status") => self.on_node(&node, attributes, "update pod status for"),
            ("", "pods", "eviction") => self.on_node(&node, attributes, "evict"),
            ("", "nodes", "" | "status") => own_node(&node, attributes),
            ("", "serviceaccounts", "token") => self.token(&node, attributes),
            ("coordination.k8s.io", "leases", "") => own_lease(&node, attributes),
            ("storage.k8s.io", "csinodes", "") if attributes.name != node => {
                Err(format!("can only access CSINode with the same name as the requesting node {node:?}"))
            }
            _ => Ok(()),
        };
        verdict.map_err(|cause| attributes.forbidden(cause))
    }
}

fn node_name<'a>(attributes: &'a Attributes<'_>) -> Option<&'a str> {
    attributes.user.name.strip_prefix("system:node:").filter(|_| attributes.user.in_group(NODES))
}

impl NodeRestriction {
    fn pod(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match attributes.operation {
            Operation::Create => attributes.object.as_ref().map_or(Ok(()), |pod| mirror(node, pod)),
            Operation::Delete => self.on_node(node, attributes, "delete"),
            _ => Err(format!("unexpected operation on pods by node {node:?}")),
        }
    }

    fn on_node(&self, node: &str, attributes: &Attributes<'_>, what: &str) -> Result<(), String> {
        let stored = match &attributes.old {
            Some(old) => Some(Arc::new(old.clone())),
            None => self.objects.get("", "pods", attributes.namespace, attributes.name),
        };
        match stored {
            Some(pod) if pod["spec"]["nodeName"] != node => {
                Err(format!("node {node:?} can only {what} pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        }
    }

    /// Tokens for pods on the node, bound to them.
    fn token(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        let Some(request) = &attributes.object else { return Ok(()) };
        let bound = &request["spec"]["boundObjectRef"];
        if bound["kind"] != "Pod" || bound["apiVersion"] != "v1" {
            return Err("node requested token not bound to a pod".to_owned());
        }
        let (Some(name), Some(uid)) = (bound["name"].as_str(), bound["uid"].as_str()) else {
            return Err("node requested token with a pod binding without a uid".to_owned());
        };
        let pod = self.objects.get("", "pods", attributes.namespace, name);
        let pod = pod.ok_or_else(|| format!("pod {name:?} not found"))?;
        if pod["metadata"]["uid"] != uid {
            return Err(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record"
            ));
        }
        if pod["spec"]["nodeName"] != node {
            return Err("node requested token bound to a pod scheduled on a different node".to_owned());
        }
        Ok(())
    }
}

/// A pod that a kubelet creates mirrors one of its static pods: it runs there, and refers to nothing of the API's.
fn mirror(node: &str, pod: &Value) -> Result<(), String> {
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = array(&pod["metadata"]["ownerReferences"]);
    let by_node =
        |owner: &Value| owner["kind"] == "Node" && owner["apiVersion"] == "v1" && owner["name"] == node;
    if owners.len() > 1 || !owners.iter().all(by_node) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if pod["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    let refers = |kind: &str| {
        let in_volume = |v: &Value| {
            v.get(kind).is_some()
                || array(&v["projected"]["sources"]).iter().any(|source| source.get(kind).is_some())
        };
        array(&pod["spec"]["volumes"]).iter().any(in_volume)
    };
    for (kind, what) in [
        ("secret", "secrets"),
        ("configMap", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
    ] {
        if refers(kind) {
            return Err(format!("node {node:?} can not create pods that reference {what}"));
        }
    }
    Ok(())
}

fn own_node(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let object = attributes.object.as_ref();
    let named = object.and_then(|o| o["metadata"]["name"].as_str()).unwrap_or(attributes.name);
    if named != node {
        return Err(format!("node {node:?} is not allowed to modify node {named:?}"));
    }
    let Some(object) = object else { return Ok(()) };
    if let Some(old) = attributes.old.as_ref().filter(|_| attributes.operation == Operation::Update) {
        let absent = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
        let (was, is) = (&old["spec"]["taints"], &object["spec"]["taints"]);
        if was != is && !(absent(was) && absent(is)) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
    }
    let old_labels = attributes.old.as_ref().map(|old| &old["metadata"]["labels"]);
    let changed: Vec<&str> =
        changed_labels(old_labels.unwrap_or(&Value::Null), &object["metadata"]["labels"]);
    let forbidden: Vec<&str> = changed.into_iter().filter(|label| !may_set(label)).collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    let action = if attributes.operation == Operation::Create { "set" } else { "modify" };
    Err(format!("is not allowed to {action} the following labels: {}", forbidden.join(", ")))
}

fn changed_labels<'a>(old: &'a Value, new: &'a Value) -> Vec<&'a str> {
    let keys = |v: &'a Value| v.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let mut all: Vec<&str> = keys(old).chain(keys(new)).filter(|key| old[*key] != new[*key]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn may_set(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let within = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    !DOMAINS.iter().any(|d| within(d))
        || OWN_LABELS.contains(&label)
        || OWN_DOMAINS.iter().any(|d| within(d))
        || label == "node.kubernetes.io/instance-type"
}

fn own_lease(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if attributes.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    let named =
        attributes.object.as_ref().and_then(|o| o["metadata"]["name"].as_str()).unwrap_or(attributes.name);
    if named != node {
        return Err(format!("can only access node lease with the same name as the requesting node {node:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels() {
        let check = |label: &str, expected: bool| assert_eq!(may_set(label), expected, "{label}");
        check("mine", true);
        check("example.com/x", true);
        check("kubernetes.io/hostname", true);
        check("node.kubernetes.io/anything", true);
        check("x.kubelet.kubernetes.io/y", true);
        check("node-role.kubernetes.io/control-plane", false);
        check("x.node-restriction.kubernetes.io/y", false);
        assert_eq!(changed_labels(&json!({"a": "1", "b": "2"}), &json!({"a": "1", "c": "3"})), ["b", "c"]);
    }

    #[test]
    fn mirror_pods() {
        let good = json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n"}]},
            "spec": {"nodeName": "n", "volumes": [{"name": "h", "hostPath": {"path": "/"}}]}});
        assert!(mirror("n", &good).is_ok());
        assert!(mirror("m", &good).is_err());
        let mut bad = good.clone();
        bad["spec"]["volumes"][0] = json!({"name": "s", "secret": {"secretName": "s"}});
        assert!(mirror("n", &bad).is_err_and(|e| e.contains("secrets")));
        bad = good;
        bad["spec"]["serviceAccountName"] = json!("default");
        assert!(mirror("n", &bad).is_err());
    }
}
