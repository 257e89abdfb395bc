//! Warnings about objects that are accepted: what is deprecated, without effect, or will surprise.
//!
//! Sources: the deprecation notes of the API reference, and what the original answers in `Warning` headers.
use super::cursor::{At, Report};
use crate::kind::Kind;
use crate::{Value, names};
use std::collections::BTreeSet;

/// What stands at a path and what is said of it.
type Note = (&'static str, &'static str);

/// Labels of nodes that have new names.
const NODE_LABELS: &[Note] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];
/// Sources of volumes, in pods and in persistent volumes.
const SOURCES: &[Note] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("gitRepo", "deprecated in v1.11"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
];
/// Kinds with a pod template, and where it is.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "PodTemplate", "template"),
    ("", "ReplicationController", "spec.template"),
    ("apps", "DaemonSet", "spec.template"),
    ("apps", "Deployment", "spec.template"),
    ("apps", "ReplicaSet", "spec.template"),
    ("apps", "StatefulSet", "spec.template"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template"),
    ("batch", "Job", "spec.template"),
];

/// The warnings about an object in its stored version; `old` is none on create.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    let report = Report::new(old);
    let at = At::root(new, &report);
    let mut out = Vec::new();
    let (group, name) = (&*kind.gvk.group, &*kind.gvk.kind);
    if let Some((_, _, path)) = TEMPLATES.iter().find(|row| (row.0, row.1) == (group, name)) {
        // A template that did not change was warned about before.
        let before = old.map(|old| path.split('.').fold(old, |value, part| &value[part]));
        let template = at.get(path);
        if before != Some(template.value()) {
            pod(&template.get("spec"), &mut out);
        }
    }
    if super::row(kind).is_none() {
        finalizers(&at.get("metadata.finalizers"), old, &mut out);
    }
    match (group, name) {
        ("", "Pod") if old.is_none() => {
            host_name(&at, "this is used in the Pod's hostname", &mut out);
            pod(&at.get("spec"), &mut out);
        }
        ("", "Node") => node(&at, &mut out),
        ("", "PersistentVolume") => persistent_volume(&at, &mut out),
        ("", "Service") => service(&at.get("spec"), &mut out),
        ("", "ServiceAccount") => {
            let annotation = at.get("metadata.annotations").key("kubernetes.io/enforce-mountable-secrets");
            let note =
                "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
            note_if_set(&annotation, note, &mut out);
        }
        ("apps", "Deployment" | "ReplicaSet") if old.is_none() => {
            host_name(&at, "this is used in Pod names and hostnames", &mut out);
        }
        ("batch", "Job") if old.is_none() => {
            host_name(&at, "this is used in Pod names and hostnames", &mut out);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let before = old.map(unknown_formats).unwrap_or_default();
            let new = unknown_formats(at.value()).into_iter().filter(|format| !before.contains(format));
            out.extend(new.map(|format| format!("unrecognized format {format:?}")));
        }
        ("networking.k8s.io", "Ingress") if old.is_none() => ingress(&at, &mut out),
        ("storage.k8s.io", "StorageClass") => {
            for expression in
                at.get("allowedTopologies").items().flat_map(|t| t.get("matchLabelExpressions").items())
            {
                node_label(&expression.get("key"), expression.get("key").text(), &mut out);
            }
        }
        _ => {}
    }
    out
}

/// The formats in schemas of a definition by which nothing is judged.
fn unknown_formats(crd: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let versions = crd["spec"]["versions"].as_array();
    for version in versions.into_iter().flatten() {
        look_for_formats(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn look_for_formats<'v>(schema: &'v Value, found: &mut BTreeSet<&'v str>) {
    let format = schema["format"].as_str().filter(|format| !format.is_empty());
    let is_known = |format: &str| match schema["type"].as_str() {
        Some("string") => crate::custom::formats::is_known(format),
        Some("integer") => matches!(format, "int32" | "int64"),
        Some("number") => matches!(format, "float" | "double"),
        _ => false,
    };
    found.extend(format.filter(|format| !is_known(format)));
    let properties = schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property);
    let below = ["items", "additionalProperties"].map(|name| &schema[name]);
    properties
        .chain(below)
        .filter(|below| below.is_object())
        .for_each(|below| look_for_formats(below, found));
}

/// Custom resources may have finalizers of any name; new ones should tell whose they are.
fn finalizers(list: &At<'_>, old: Option<&Value>, out: &mut Vec<String>) {
    let before = old.and_then(|old| old["metadata"]["finalizers"].as_array());
    let is_new = |finalizer: &At<'_>| before.is_none_or(|before| !before.contains(finalizer.value()));
    let mut names: Vec<&str> = list.items().filter(is_new).map(|finalizer| finalizer.text()).collect();
    names.retain(|name| !name.contains('/') && !super::metadata::STANDARD_FINALIZERS.contains(name));
    names.sort_unstable();
    let path = list.path();
    out.extend(names.into_iter().map(|name| {
        format!(
            "{path}: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts \
             with other finalizer writers"
        )
    }));
}

fn note_if_set(at: &At<'_>, note: &str, out: &mut Vec<String>) {
    if at.is_set() {
        out.push(format!("{}: {note}", at.path()));
    }
}

fn node_label(at: &At<'_>, label: &str, out: &mut Vec<String>) {
    if let Some((_, note)) = NODE_LABELS.iter().find(|(name, _)| *name == label) {
        out.push(format!("{}: {note}", at.path()));
    }
}

/// Names that are no DNS labels make odd host names.
fn host_name(at: &At<'_>, use_of: &str, out: &mut Vec<String>) {
    let name = at.get("metadata.name");
    let faults = names::dns_label(name.text());
    if !name.is_empty() && !faults.is_empty() {
        let faults = faults.join(" ");
        out.push(format!(
            "metadata.name: {use_of}, which can result in surprising behavior; a DNS label is recommended: [{faults}]"
        ));
    }
}

fn pod(spec: &At<'_>, out: &mut Vec<String>) {
    for (label, value) in spec.get("nodeSelector").entries() {
        node_label(&value, label, out);
    }
    affinity(spec, out);
    for constraint in spec.get("topologySpreadConstraints").items() {
        node_label(&constraint.get("topologyKey"), constraint.get("topologyKey").text(), out);
        if !constraint.get("labelSelector").is_set() {
            let at = constraint.get("labelSelector");
            out.push(format!("{}: a null labelSelector results in matching no pod", at.path()));
        }
    }
    for volume in spec.get("volumes").items() {
        SOURCES.iter().for_each(|(source, note)| note_if_set(&volume.get(source), note, out));
    }
    repeated(&spec.get("hostAliases"), "ip", "ip", out);
    repeated(&spec.get("imagePullSecrets"), "name", "name", out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        let note = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{}: {note}", grace.path()));
    }
    for list in ["initContainers", "containers"] {
        spec.get(list).items().for_each(|one| container(&one, out));
    }
}

fn affinity(spec: &At<'_>, out: &mut Vec<String>) {
    let node = spec.get("affinity.nodeAffinity");
    let required = node.get("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let preferred = node.get("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = required.items().chain(preferred.items().map(|one| one.get("preference")));
    for expression in terms.flat_map(|term| term.get("matchExpressions").items()) {
        node_label(&expression.get("key"), expression.get("key").text(), out);
    }
}

/// Items whose member an earlier item has too.
fn repeated(list: &At<'_>, member: &str, what: &str, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items().map(|item| item.get(member)) {
        if item.is_empty() {
            let note = format!("invalid empty {what} {:?}", item.text());
            if member == "name" {
                out.push(format!("{}: {note}", item.path()));
            }
        } else if seen.contains(&item.text()) {
            out.push(format!("{}: duplicate {what} {:?}", item.path(), item.text()));
        }
        seen.push(item.text());
    }
}

fn container(container: &At<'_>, out: &mut Vec<String>) {
    for list in ["limits", "requests"] {
        for name in ["memory", "ephemeral-storage"] {
            let amount = container.get("resources").get(list).key(name);
            if amount.quantity().is_some_and(|quantity| !quantity.is_integer()) {
                let text = amount.text();
                out.push(format!(
                    "{}: fractional byte value {text:?} is invalid, must be an integer",
                    amount.path()
                ));
            }
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for variable in container.get("env").items() {
        let name = variable.get("name").text();
        if names.contains(&name) {
            let at = variable.path();
            out.push(format!(
                "{at}: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
        names.push(name);
    }
    let mut ports: Vec<(At<'_>, Vec<String>)> = Vec::new();
    for port in container.get("ports").items() {
        let identity: Vec<String> = ["containerPort", "protocol", "hostPort", "hostIP", "name"]
            .iter()
            .map(|name| port.get(name).value().to_string())
            .collect();
        if let Some((first, _)) = ports.iter().find(|(_, known)| *known == identity) {
            out.push(format!("{}: duplicate port definition with {}", port.path(), first.path()));
        }
        ports.push((port, identity));
    }
}

fn node(at: &At<'_>, out: &mut Vec<String>) {
    let note = "this field is deprecated, and is unused by Kubernetes";
    let external = at.get("spec.externalID");
    if !external.is_empty() {
        out.push(format!("{}: {note}", external.path()));
    }
    if at.get("spec").find("configSource").is_some() {
        out.push(
            "spec.configSource: the spec.configSource field is deprecated and non-functional".to_owned(),
        );
    }
}

fn persistent_volume(at: &At<'_>, out: &mut Vec<String>) {
    let spec = at.get("spec");
    SOURCES.iter().for_each(|(source, note)| note_if_set(&spec.get(source), note, out));
    if spec.get("persistentVolumeReclaimPolicy").text() == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    for name in ["volume.beta.kubernetes.io/storage-class", "volume.beta.kubernetes.io/mount-options"] {
        let (version, member) =
            if name.ends_with("class") { ("v1.8", "storageClassName") } else { ("v1.31", "mountOptions") };
        let annotation = at.get("metadata.annotations").key(name);
        note_if_set(
            &annotation,
            &format!("deprecated since {version}; use \"{member}\" attribute instead"),
            out,
        );
    }
}

fn ingress(at: &At<'_>, out: &mut Vec<String>) {
    if at.get("metadata.annotations").key("kubernetes.io/ingress.class").is_set() {
        let note = "is deprecated, please use 'spec.ingressClassName' instead";
        out.push(format!("annotation \"kubernetes.io/ingress.class\" {note}"));
    }
}

fn service(spec: &At<'_>, out: &mut Vec<String>) {
    let headless = spec.get("clusterIP").text() == "None";
    if headless && spec.get("sessionAffinity").text() == "ClientIP" {
        out.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
    if headless && !spec.get("externalIPs").is_empty() {
        out.push("spec.externalIPs is ignored when spec.clusterIP is \"None\"".to_owned());
    }
    if headless && !spec.get("loadBalancerIP").is_empty() {
        out.push("spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(group: &str, name: &str, object: Value, expected: &[&str]) {
        let kind = crate::table::builtin().kind(group, "v1", name).expect("a kind");
        assert_eq!(warnings(kind, &object, None), expected, "{object}");
        assert!(name == "Pod" || name == "Service" || warnings(kind, &object, Some(&object)).is_empty());
    }

    #[test]
    fn pods_and_templates() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}],
            "containers": [{"name": "c", "env": [{"name": "A"}, {"name": "A"}],
                "resources": {"limits": {"memory": "1500m"}}}]});
        check(
            "",
            "Pod",
            json!({"metadata": {"name": "a.b"}, "spec": spec}),
            &[
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [must not contain dots]",
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.volumes[0].gitRepo: deprecated in v1.11",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ],
        );
        check(
            "apps",
            "Deployment",
            json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
                "imagePullSecrets": [{"name": "s"}, {"name": "s"}]}}}}),
            &["spec.template.spec.imagePullSecrets[1].name: duplicate name \"s\""],
        );
    }

    #[test]
    fn others() {
        check(
            "networking.k8s.io",
            "Ingress",
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}),
            &[
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
            ],
        );
        check(
            "",
            "Service",
            json!({"spec": {"clusterIP": "None", "sessionAffinity": "ClientIP"}}),
            &["spec.SessionAffinity is ignored for headless services"],
        );
        for kind in &crate::table::builtin().kinds {
            for odd in [json!(null), json!({"spec": 1, "metadata": []})] {
                warnings(kind, &odd, None);
            }
        }
    }
}
