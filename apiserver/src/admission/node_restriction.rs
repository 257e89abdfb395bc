//! NodeRestriction: a kubelet writes its own Node and the pods on it, and nobody else's.
mod audiences;

use super::certificates::common_name;
use super::{Attributes, Operation, Plugin, array};
use crate::authz::Authorizer;
use crate::authz::node::{self, MIRROR, is_mirror};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::status::Status;
use knarr_api::{Value, gates};
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
/// The signers of kubelets' certificates.
const KUBELET_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// The plugin.
pub struct NodeRestriction {
    /// Where pods are looked up.
    pub objects: Arc<dyn Objects>,
    /// Says for whom else a kubelet may ask for tokens.
    pub authorizer: Authorizer,
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation != Operation::Connect && node::of(attributes.user).is_some()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(node) = node::of(attributes.user).map(str::to_owned) else { return Ok(()) };
        if node.is_empty() {
            let cause = format!("could not determine node from user {:?}", attributes.user.name);
            return Err(attributes.forbidden(cause));
        }
        let verdict = match (&*attributes.kind.gvk.group, &*attributes.kind.plural, attributes.subresource) {
            ("", "pods", "") => self.pod(&node, attributes),
            ("", "pods", "status") => self
                .on_node(&node, attributes, "update pod status for")
                .and_then(|()| pod_status(&node, attributes)),
            ("", "persistentvolumeclaims", "status") => claim_status(&node, attributes),
            ("certificates.k8s.io", "certificatesigningrequests", "") => request(&node, attributes),
            ("resource.k8s.io", "resourceslices", "") => slice(&node, attributes),
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

impl NodeRestriction {
    fn pod(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match attributes.operation {
            Operation::Create => attributes.object.as_ref().map_or(Ok(()), |pod| {
                let stored = self.objects.get("", "nodes", "", node);
                let uid = stored.as_deref().and_then(|node| node["metadata"]["uid"].as_str());
                mirror(node, uid, pod)
            }),
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
        if gates::enabled("ServiceAccountNodeAudienceRestriction") {
            audiences::check(&*self.objects, &self.authorizer, attributes, request, &pod)?;
        }
        Ok(())
    }
}

/// A pod that a kubelet creates mirrors one of its static pods: it runs there, is the node's (whose UID is given), and
/// refers to nothing of the API's.
fn mirror(node: &str, uid: Option<&str>, pod: &Value) -> Result<(), String> {
    if !is_mirror(pod) {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    owned(node, uid, array(&pod["metadata"]["ownerReferences"]))?;
    let projected = array(&pod["spec"]["volumes"]).iter().flat_map(|v| array(&v["projected"]["sources"]));
    let trusts = projected.into_iter().any(|source| source.get("clusterTrustBundle").is_some());
    let names = node::references(&Arc::from(""), "", pod);
    let refers = |plural: &str| names.iter().any(|(of, ..)| *of == plural);
    for (what, refers) in [
        ("a service account", refers("serviceaccounts")),
        ("secrets", refers("secrets")),
        ("configmaps", refers("configmaps")),
        ("clustertrustbundles", trusts),
        ("persistentvolumeclaims", refers("persistentvolumeclaims")),
        ("resourceclaims", !array(&pod["spec"]["resourceClaims"]).is_empty()),
    ] {
        if refers {
            return Err(format!("node {node:?} can not create pods that reference {what}"));
        }
    }
    Ok(())
}

/// Whether the owners of a mirror pod are the node alone.
fn owned(node: &str, uid: Option<&str>, owners: &[Value]) -> Result<(), String> {
    let only = |what: &str| Err(format!("node {node:?} can only create pods with {what}"));
    let [owner] = owners else {
        return match owners {
            [] => only("an owner reference set to itself"),
            _ => only("a single owner reference set to itself"),
        };
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return only("an owner reference set to itself");
    }
    if owner["controller"] != true {
        return only("a controller owner reference set to itself");
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let (found, expected) = (owner["uid"].as_str().unwrap_or_default(), uid);
    match expected {
        None => Err(format!("node {node:?} not found")),
        Some(expected) if expected != found => {
            Err(format!("node {node:?} UID mismatch: expected {expected} got {found}"))
        }
        Some(_) => Ok(()),
    }
}

/// A status may not carry along what opens other objects to a kubelet.
fn pod_status(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let (Some(old), Some(new)) = (&attributes.old, &attributes.object) else { return Ok(()) };
    if differ(&old["metadata"]["labels"], &new["metadata"]["labels"]) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    if differ(&old["status"]["resourceClaimStatuses"], &new["status"]["resourceClaimStatuses"]) {
        return Err(format!("node {node:?} cannot update resource claim statuses"));
    }
    Ok(())
}

/// Of a claim, a kubelet says how large its volume is and how far resizing has come.
fn claim_status(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let (Some(old), Some(new)) = (&attributes.old, &attributes.object) else { return Ok(()) };
    let others = |claim: &Value| {
        let mut claim = claim.clone();
        if let Some(status) = claim["status"].as_object_mut() {
            for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
                status.remove(field);
            }
        }
        if let Some(metadata) = claim["metadata"].as_object_mut() {
            for field in ["managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        claim
    };
    if others(old) == others(new) {
        return Ok(());
    }
    Err(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

/// A kubelet asks for certificates of its own name.
fn request(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let Some(request) = attributes.object.as_ref().filter(|_| attributes.operation == Operation::Create)
    else {
        return Ok(());
    };
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    if !KUBELET_SIGNERS.contains(&signer) {
        return Ok(());
    }
    let name = common_name(request).map_err(|error| format!("unable to parse csr: {error}"))?;
    if name != format!("system:node:{node}") {
        return Err(format!("can only create a node CSR with CN=system:node:{node}"));
    }
    Ok(())
}

/// A kubelet offers the devices of its own node.
fn slice(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let (what, slice) = match attributes.operation {
        Operation::Create => ("create", &attributes.object),
        Operation::Delete => ("delete", &attributes.old),
        _ => return Ok(()),
    };
    match slice {
        Some(slice) if slice["spec"]["nodeName"] != node => {
            Err(format!("can only {what} ResourceSlice with the same NodeName as the requesting node"))
        }
        _ => Ok(()),
    }
}

/// Whether two values differ; what is empty is as good as absent.
fn differ(old: &Value, new: &Value) -> bool {
    let is_empty = |value: &Value| {
        value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(|fields| fields.is_empty())
    };
    old != new && !(is_empty(old) && is_empty(new))
}

fn own_node(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let object = attributes.object.as_ref();
    let named = object.and_then(|o| o["metadata"]["name"].as_str()).unwrap_or(attributes.name);
    if named != node {
        return Err(format!("node {node:?} is not allowed to modify node {named:?}"));
    }
    let Some(object) = object else { return Ok(()) };
    if let Some(old) = attributes.old.as_ref().filter(|_| attributes.operation == Operation::Update)
        && differ(&old["spec"]["taints"], &object["spec"]["taints"])
    {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let old_labels = attributes.old.as_ref().map(|old| &old["metadata"]["labels"]);
    let changed: Vec<&str> =
        changed_labels(old_labels.unwrap_or(&Value::Null), &object["metadata"]["labels"]);
    let forbidden: Vec<&str> = changed.into_iter().filter(|label| !may_set(label)).collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    let what = match attributes.operation {
        Operation::Create => "set the following labels",
        _ => "modify labels",
    };
    Err(format!("is not allowed to {what}: {}", forbidden.join(", ")))
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
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
        let good = json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [owner]},
            "spec": {"nodeName": "n", "volumes": [{"name": "h", "hostPath": {"path": "/"}}]}});
        assert_eq!(mirror("n", Some("u"), &good), Ok(()));
        assert!(mirror("m", Some("u"), &good).is_err());
        assert!(mirror("n", None, &good).is_err_and(|e| e.ends_with("not found")));
        let check = |pointer: &str, value: Value, expected: &str| {
            let mut bad = good.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            bad.pointer_mut(parent).unwrap()[field] = value;
            let refused = mirror("n", Some("u"), &bad);
            assert!(refused.as_ref().is_err_and(|e| e.contains(expected)), "{pointer}: {refused:?}");
        };
        let volume = |source: Value| json!([{"name": "s", "projected": {"sources": [source]}}]);
        check("/spec/volumes", json!([{"name": "s", "secret": {"secretName": "s"}}]), "reference secrets");
        check("/spec/volumes", volume(json!({"configMap": {"name": "c"}})), "reference configmaps");
        check("/spec/volumes", volume(json!({"clusterTrustBundle": {}})), "reference clustertrustbundles");
        check("/spec/volumes", json!([{"name": "e", "ephemeral": {}}]), "reference persistentvolumeclaims");
        check("/spec/imagePullSecrets", json!([{"name": "s"}]), "reference secrets");
        let env = json!([{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]);
        check("/spec/containers", env, "reference secrets");
        check("/spec/resourceClaims", json!([{"name": "r"}]), "reference resourceclaims");
        check("/spec/serviceAccountName", json!("default"), "reference a service account");
        check("/metadata/ownerReferences", json!([]), "an owner reference set to itself");
        check("/metadata/ownerReferences", json!([owner, owner]), "a single owner reference");
        check("/metadata/ownerReferences/0/uid", json!("v"), "UID mismatch: expected u got v");
        check("/metadata/ownerReferences/0/controller", json!(false), "a controller owner reference");
        check("/metadata/ownerReferences/0/blockOwnerDeletion", json!(true), "blockOwnerDeletion");
    }
}
