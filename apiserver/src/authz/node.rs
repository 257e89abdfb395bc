//! The node authorizer: a kubelet may read what the pods on its node refer to, and write what is its own.
//!
//! The graph is fed by the changes of pods; volumes and attachments are looked up when asked for.
use super::{Attributes, Decision};
use crate::objects::Objects;
use crate::request_info::TUNNEL;
use crate::user::User;
use knarr_api::Value;
use knarr_api::selector::FieldSelector;
use parking_lot::RwLock;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

const PREFIX: &str = "system:node:";
/// The annotation of mirror pods.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// The group of all kubelets.
pub const NODES: &str = "system:nodes";
/// Resources whose volumes, images and environment name secrets.
const SECRET_VOLUMES: [&str; 7] =
    ["azureFile", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

/// A namespaced thing that a pod refers to: plural name, namespace, name.
pub type Reference = (&'static str, Arc<str>, Box<str>);
type PodKey = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct State {
    pods: HashMap<PodKey, (Arc<str>, BTreeSet<Reference>)>,
    /// How many pods of each node refer to it.
    references: HashMap<Reference, HashMap<Arc<str>, usize>>,
}

/// Which node may see what.
#[derive(Default)]
pub struct NodeGraph {
    state: RwLock<State>,
    objects: OnceLock<Arc<dyn Objects>>,
}

impl NodeGraph {
    /// Says where volumes and attachments are looked up.
    pub fn read_from(&self, objects: Arc<dyn Objects>) {
        let _ = self.objects.set(objects);
    }

    /// A pod is now this, or gone.
    pub fn set_pod(&self, namespace: &str, name: &str, pod: Option<&Value>) {
        let key: PodKey = (namespace.into(), name.into());
        let mut state = self.state.write();
        if let Some((node, references)) = state.pods.remove(&key) {
            for reference in references {
                state.unlink(&reference, &node);
            }
        }
        let Some(pod) = pod else { return };
        let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) else { return };
        let node: Arc<str> = node.into();
        // A mirror pod runs without the API: what a kubelet writes into it must not open anything to it.
        let references = if is_mirror(pod) { BTreeSet::new() } else { references(&key.0, name, pod) };
        for reference in &references {
            *state.references.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        state.pods.insert(key, (node, references));
    }

    /// Decides for kubelets; has no opinion on anybody else.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let node = match of(user) {
            None => return Decision::NoOpinion(Cow::Borrowed("")),
            Some("") => {
                return Decision::NoOpinion(Cow::Owned(format!("unknown node for user {:?}", user.name)));
            }
            Some(node) => node,
        };
        let verdict = match attributes.is_resource {
            true => self.resource(node, attributes),
            // It leads to the node itself, whose name nobody asks it for.
            false if attributes.path == TUNNEL && attributes.verb == "get" => Verdict::Yes,
            false => Verdict::ByRole,
        };
        match verdict {
            Verdict::Yes => Decision::Allow(Cow::Borrowed("")),
            Verdict::No(reason) => Decision::NoOpinion(Cow::Owned(reason)),
            Verdict::ByRole if role_allows(attributes) => Decision::Allow(Cow::Borrowed("")),
            Verdict::ByRole => Decision::NoOpinion(Cow::Borrowed("")),
        }
    }

    fn resource(&self, node: &str, a: &Attributes<'_>) -> Verdict {
        let no = |text: &str| Verdict::No(text.to_owned());
        match (a.group, a.resource) {
            ("", "secrets" | "configmaps") => {
                if !matches!(a.verb, "get" | "list" | "watch") {
                    return no("can only read resources of this type");
                }
                if !a.subresource.is_empty() {
                    return no("cannot read subresource");
                }
                if a.namespace.is_empty() {
                    return no("can only read namespaced object of this type");
                }
                self.referenced(node, a)
            }
            ("", "persistentvolumeclaims") if a.subresource == "status" => match a.verb {
                "update" | "patch" => self.referenced(node, a),
                _ => no("can only get/update/patch this type"),
            },
            ("resource.k8s.io", "resourceclaims")
            | ("", "persistentvolumes" | "persistentvolumeclaims")
            | ("storage.k8s.io", "volumeattachments") => self.gotten(node, a),
            ("", "serviceaccounts") => match (a.verb, a.subresource) {
                ("create", _) if a.name.is_empty() => {
                    no("can only create tokens for individual service accounts")
                }
                ("create", "token") => self.referenced(node, a),
                ("create", _) => no("can only create token subresource of serviceaccount"),
                // For programs that fetch credentials of images in the name of the account.
                ("get", "") => self.referenced(node, a),
                _ => no("can only create tokens for individual service accounts"),
            },
            ("", "nodes") => own_node(node, a),
            ("", "pods") => self.pod(node, a),
            ("coordination.k8s.io", "leases") => own_lease(node, a),
            ("storage.k8s.io", "csinodes") => own_named(node, a),
            ("resource.k8s.io", "resourceslices") => self.slice(node, a),
            _ => Verdict::ByRole,
        }
    }

    /// Reads of one object that is referred to.
    fn gotten(&self, node: &str, a: &Attributes<'_>) -> Verdict {
        if a.verb != "get" {
            return Verdict::No("can only get individual resources of this type".to_owned());
        }
        if !a.subresource.is_empty() {
            return Verdict::No("cannot get subresource".to_owned());
        }
        self.referenced(node, a)
    }

    /// The node's own devices. That a created one is its own is seen to at admission.
    fn slice(&self, node: &str, a: &Attributes<'_>) -> Verdict {
        let no = |text: &str| Verdict::No(text.to_owned());
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb {
            "create" => Verdict::Yes,
            "get" | "update" | "patch" | "delete" => self.referenced(node, a),
            "watch" | "list" | "deletecollection" if selects(a, "spec.nodeName", node) => Verdict::Yes,
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    /// Is the object referred to by a pod on the node?
    fn referenced(&self, node: &str, a: &Attributes<'_>) -> Verdict {
        if a.name.is_empty() {
            return Verdict::No("No Object name found".to_owned());
        }
        let found = match a.resource {
            "persistentvolumes" => self.volume_is_used(node, a.name),
            "pods" => {
                let key: PodKey = (a.namespace.into(), a.name.into());
                self.state.read().pods.get(&key).is_some_and(|(at, _)| **at == *node)
            }
            "volumeattachments" | "resourceslices" => self
                .look_up(a.group, a.resource, "", a.name)
                .is_some_and(|object| object["spec"]["nodeName"] == node),
            "secrets" => {
                self.has(node, &("secrets", a.namespace.into(), a.name.into()))
                    || self.volume_names_secret(node, a.namespace, a.name)
            }
            plural => plural_name(plural)
                .is_some_and(|plural| self.has(node, &(plural, a.namespace.into(), a.name.into()))),
        };
        if found {
            Verdict::Yes
        } else {
            Verdict::No(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn has(&self, node: &str, reference: &Reference) -> bool {
        self.state.read().references.get(reference).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_is_used(&self, node: &str, name: &str) -> bool {
        let volume = self.look_up("", "persistentvolumes", "", name);
        volume.is_some_and(|volume| self.claim_is_used(node, &volume))
    }

    fn claim_is_used(&self, node: &str, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        match (claim["namespace"].as_str(), claim["name"].as_str()) {
            (Some(namespace), Some(name)) => {
                self.has(node, &("persistentvolumeclaims", namespace.into(), name.into()))
            }
            _ => false,
        }
    }

    /// Does a volume that a pod on the node claims name the secret? Volumes are gone through, since few name one and
    /// pods name nearly all secrets themselves.
    fn volume_names_secret(&self, node: &str, namespace: &str, name: &str) -> bool {
        let volumes = self.objects.get().map(|objects| objects.list("", "persistentvolumes", None));
        volumes.into_iter().flatten().any(|volume| {
            volume_secrets(&volume).any(|(at, called)| at == namespace && called == name)
                && self.claim_is_used(node, &volume)
        })
    }

    fn look_up(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get()?.get(group, resource, namespace, name)
    }

    fn pod(&self, node: &str, a: &Attributes<'_>) -> Verdict {
        let no = |text: &str| Verdict::No(text.to_owned());
        match (a.subresource, a.verb) {
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Verdict::Yes
            }
            ("", "get") => self.gotten(node, a),
            ("", "list" | "watch") if selects(a, "spec.nodeName", node) => Verdict::Yes,
            ("", "list" | "watch") if !a.name.is_empty() => self.referenced(node, a),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            _ => no(""),
        }
    }
}

/// The node that a user is the kubelet of; empty where it cannot be told.
pub fn of(user: &User) -> Option<&str> {
    user.name.strip_prefix(PREFIX).filter(|_| user.in_group(NODES))
}

/// Namespaces and names of the secrets that a volume names. Drivers whose references have no namespace find the secret
/// beside the claim.
fn volume_secrets(volume: &Value) -> impl Iterator<Item = (&str, &str)> {
    let spec = &volume["spec"];
    fn place(namespace: &Value) -> Option<&str> {
        namespace.as_str().filter(|namespace| !namespace.is_empty())
    }
    let beside = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    // Those of the driver's controller are not the node's to see.
    let csi = ["nodeExpandSecretRef", "nodePublishSecretRef", "nodeStageSecretRef"]
        .map(|field| &spec["csi"][field]);
    let others = SECRET_VOLUMES.map(|kind| &spec[kind]["secretRef"]);
    let named = csi.into_iter().chain(others).filter_map(move |reference| {
        Some((place(&reference["namespace"]).unwrap_or(beside), reference["name"].as_str()?))
    });
    let azure = &spec["azureFile"];
    let azure =
        azure["secretName"].as_str().map(|name| (place(&azure["secretNamespace"]).unwrap_or(beside), name));
    named.chain(azure)
}

enum Verdict {
    Yes,
    No(String),
    /// Whatever the role `system:node` says.
    ByRole,
}

impl State {
    fn unlink(&mut self, reference: &Reference, node: &Arc<str>) {
        let Some(nodes) = self.references.get_mut(reference) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.references.remove(reference);
        }
    }
}

fn plural_name(plural: &str) -> Option<&'static str> {
    ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts", "resourceclaims"]
        .into_iter()
        .find(|known| *known == plural)
}

fn own_node(node: &str, a: &Attributes<'_>) -> Verdict {
    match (a.subresource, a.verb) {
        ("", "create") => Verdict::Yes,
        ("" | "status", "update" | "patch") => Verdict::Yes,
        ("", "get" | "list" | "watch") if a.name == node => Verdict::Yes,
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            Verdict::No(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Verdict::No(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => Verdict::No(String::new()),
    }
}

fn own_lease(node: &str, a: &Attributes<'_>) -> Verdict {
    let no = |text: &str| Verdict::No(text.to_owned());
    if !is_of_one(a.verb) {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    // A create is authorized without its name.
    if a.verb == "create" || a.name == node {
        Verdict::Yes
    } else {
        no("can only access node lease with the same name as the requesting node")
    }
}

fn own_named(node: &str, a: &Attributes<'_>) -> Verdict {
    let no = |text: &str| Verdict::No(text.to_owned());
    if !is_of_one(a.verb) {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if a.verb == "create" || a.name == node {
        Verdict::Yes
    } else {
        no("can only access CSINode with the same name as the requesting node")
    }
}

fn is_of_one(verb: &str) -> bool {
    matches!(verb, "get" | "create" | "update" | "patch" | "delete")
}

/// Does the field selector require the value? One that cannot be read requires nothing.
fn selects(a: &Attributes<'_>, field: &str, value: &str) -> bool {
    let selector = a.field_selector.as_deref().unwrap_or_default().parse::<FieldSelector>();
    selector.is_ok_and(|selector| {
        selector.requirements().iter().any(|r| !r.negated && *r.field == *field && *r.value == *value)
    })
}

fn role_allows(attributes: &Attributes<'_>) -> bool {
    static RULES: OnceLock<Vec<super::rbac::Rule>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let objects = super::bootstrap::objects();
        let role = objects.iter().find(|o| o.resource == "clusterroles" && o.name() == "system:node");
        role.map(|role| super::rbac::Rule::list(&role.object)).unwrap_or_default()
    });
    rules.iter().any(|rule| rule.allows(attributes))
}

/// Whether a pod stands for one that a kubelet runs by itself.
pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// What a pod refers to.
pub fn references(namespace: &Arc<str>, pod_name: &str, pod: &Value) -> BTreeSet<Reference> {
    let mut out = BTreeSet::new();
    let mut add = |plural: &'static str, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            out.insert((plural, namespace.clone(), name.into()));
        }
    };
    let spec = &pod["spec"];
    add("serviceaccounts", &spec["serviceAccountName"]);
    for secret in items(&spec["imagePullSecrets"]) {
        add("secrets", &secret["name"]);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(&spec[field]) {
            for env in items(&container["env"]) {
                add("secrets", &env["valueFrom"]["secretKeyRef"]["name"]);
                add("configmaps", &env["valueFrom"]["configMapKeyRef"]["name"]);
            }
            for source in items(&container["envFrom"]) {
                add("secrets", &source["secretRef"]["name"]);
                add("configmaps", &source["configMapRef"]["name"]);
            }
        }
    }
    for volume in items(&spec["volumes"]) {
        add("secrets", &volume["secret"]["secretName"]);
        add("configmaps", &volume["configMap"]["name"]);
        add("persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
        if volume.get("ephemeral").is_some() {
            let claim = format!("{pod_name}-{}", volume["name"].as_str().unwrap_or_default());
            add("persistentvolumeclaims", &Value::from(claim));
        }
        for source in items(&volume["projected"]["sources"]) {
            add("secrets", &source["secret"]["name"]);
            add("configmaps", &source["configMap"]["name"]);
        }
        add("secrets", &volume["csi"]["nodePublishSecretRef"]["name"]);
        for kind in SECRET_VOLUMES {
            add("secrets", &volume[kind]["secretRef"]["name"]);
        }
        add("secrets", &volume["azureFile"]["secretName"]);
    }
    for claim in items(&spec["resourceClaims"]) {
        add("resourceclaims", &claim["resourceClaimName"]);
    }
    for claim in items(&pod["status"]["resourceClaimStatuses"]) {
        add("resourceclaims", &claim["resourceClaimName"]);
    }
    out
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn kubelets_see_what_their_pods_use() {
        let graph = NodeGraph::default();
        let objects = Memory::default();
        objects.put(
            "",
            "persistentvolumes",
            json!({"metadata": {"name": "pv"},
            "spec": {"claimRef": {"namespace": "d", "name": "c"}}}),
        );
        graph.read_from(Arc::new(objects));
        let pod = json!({"spec": {"nodeName": "n1", "serviceAccountName": "sa",
            "volumes": [{"name": "v", "secret": {"secretName": "s"}},
                {"name": "p", "persistentVolumeClaim": {"claimName": "c"}}]}});
        graph.set_pod("d", "p", Some(&pod));
        let check = |node: &str,
                     verb: &str,
                     resource: &str,
                     sub: &str,
                     namespace: &str,
                     name: &str,
                     expected: bool| {
            let user =
                User { name: format!("system:node:{node}"), groups: vec![NODES.into()], ..User::default() };
            let group = match resource {
                "leases" => "coordination.k8s.io",
                _ => "",
            };
            let a = Attributes {
                verb,
                group,
                resource,
                subresource: sub,
                namespace,
                name,
                is_resource: true,
                ..Attributes::default()
            };
            assert_eq!(
                graph.authorize(&user, &a).is_allowed(),
                expected,
                "{node} {verb} {resource}/{sub} {name}"
            );
        };
        check("n1", "get", "secrets", "", "d", "s", true);
        check("n2", "get", "secrets", "", "d", "s", false);
        check("n1", "get", "secrets", "", "d", "other", false);
        check("n1", "list", "secrets", "", "d", "", false);
        check("n1", "watch", "secrets", "", "d", "s", true);
        check("n1", "get", "persistentvolumes", "", "", "pv", true);
        check("n2", "get", "persistentvolumes", "", "", "pv", false);
        check("n1", "create", "serviceaccounts", "token", "d", "sa", true);
        check("n2", "create", "serviceaccounts", "token", "d", "sa", false);
        check("n1", "update", "leases", "", "kube-node-lease", "n1", true);
        check("n1", "update", "leases", "", "kube-node-lease", "n2", false);
        check("n1", "get", "pods", "", "d", "p", true);
        check("n2", "get", "pods", "", "d", "p", false);
        check("n1", "list", "services", "", "", "", true);
        check("n1", "delete", "services", "", "d", "x", false);
        graph.set_pod("d", "p", None);
        check("n1", "get", "secrets", "", "d", "s", false);
        assert!(graph.state.read().references.is_empty());
    }
}
