//! Warnings about objects that are accepted: what is deprecated, without effect, or will surprise.
//!
//! Sources: the deprecation notes of the API reference, and what the original answers in `Warning` headers.
mod net;
mod pod;
mod service;

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
            pod::template(&template, &mut out);
        }
    }
    if super::row(kind).is_none() {
        finalizers(&at.get("metadata.finalizers"), old, &mut out);
    }
    match (group, name) {
        ("", "Pod") if old.is_none() => {
            host_name(&at, "this is used in the Pod's hostname", &mut out);
            pod::pod(&at, &mut out);
        }
        ("", "Node") => node(&at, &mut out),
        ("", "PersistentVolume") => persistent_volume(&at, &mut out),
        ("", "PersistentVolumeClaim") => claim(&at, &mut out),
        ("", "Service") => service::service(&at, &mut out),
        ("", "ServiceAccount") => {
            let annotation = at.get("metadata.annotations").key("kubernetes.io/enforce-mountable-secrets");
            let note =
                "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
            note_if_set(&annotation, note, &mut out);
        }
        ("", "ReplicationController") | ("apps", "Deployment" | "ReplicaSet") if old.is_none() => {
            host_name(&at, "this is used in Pod names and hostnames", &mut out);
        }
        ("apps", "StatefulSet") => stateful_set(&at.get("spec"), &mut out),
        ("batch", "Job") => {
            if old.is_none() {
                host_name(&at, "this is used in Pod names and hostnames", &mut out);
            }
            job(&at.get("spec"), &mut out);
        }
        ("", "Endpoints") => net::endpoints(&at, &mut out),
        ("networking.k8s.io", "NetworkPolicy") => net::policy(&at.get("spec"), &mut out),
        ("discovery.k8s.io", "EndpointSlice") => {
            if old.is_none() && at.get("addressType").text() == "FQDN" {
                out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
            }
            net::slice(&at, &mut out);
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

/// The label that an expression or a constraint names.
fn named_label(at: &At<'_>, out: &mut Vec<String>) {
    if let Some((label, note)) = NODE_LABELS.iter().find(|(name, _)| *name == at.text()) {
        out.push(format!("{}: {label} is {note}", at.path()));
    }
}

/// The labels of a term that selects nodes.
fn node_term(term: &At<'_>, out: &mut Vec<String>) {
    term.get("matchExpressions").items().for_each(|expression| named_label(&expression.get("key"), out));
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
    let terms = spec.get("nodeAffinity.required.nodeSelectorTerms");
    terms.items().for_each(|term| node_term(&term, out));
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

fn claim(at: &At<'_>, out: &mut Vec<String>) {
    let annotation = at.get("metadata.annotations").key("volume.beta.kubernetes.io/storage-class");
    note_if_set(&annotation, "deprecated since v1.8; use \"storageClassName\" attribute instead", out);
    claim_spec(&at.get("spec"), out);
}

fn claim_spec(spec: &At<'_>, out: &mut Vec<String>) {
    for list in ["limits", "requests"] {
        whole(&spec.get("resources").get(list).key("storage"), out);
    }
}

/// Amounts of bytes have no fractions.
fn whole(amount: &At<'_>, out: &mut Vec<String>) {
    if amount.quantity().is_some_and(|quantity| !quantity.is_integer()) {
        let text = amount.text();
        out.push(format!("{}: fractional byte value {text:?} is invalid, must be an integer", amount.path()));
    }
}

fn stateful_set(spec: &At<'_>, out: &mut Vec<String>) {
    spec.get("volumeClaimTemplates").items().for_each(|template| claim(&template, out));
    if spec.get("revisionHistoryLimit").int().is_some_and(|limit| limit < 0) {
        let note = "a negative value retains all historical revisions; a value >= 0 is recommended";
        out.push(format!("spec.revisionHistoryLimit: {note}"));
    }
}

fn job(spec: &At<'_>, out: &mut Vec<String>) {
    let above = |name: &str, most: i64| spec.get(name).int().is_some_and(|count| count > most);
    let is_indexed = spec.get("completionMode").text() == "Indexed";
    if is_indexed && above("completions", 100_000) && above("parallelism", 10_000) {
        out.push(
            "In Indexed Jobs with a number of completions higher than 10^5 and parallelism higher than 10^4, Kubernetes \
             might not be able to track completedIndexes when a big number of indexes fail"
                .to_owned(),
        );
    }
}

fn ingress(at: &At<'_>, out: &mut Vec<String>) {
    if at.get("metadata.annotations").key("kubernetes.io/ingress.class").is_set() {
        let note = "is deprecated, please use 'spec.ingressClassName' instead";
        out.push(format!("annotation \"kubernetes.io/ingress.class\" {note}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(group: &str, name: &str, object: Value, expected: &[&str]) {
        let kind = crate::table::builtin().kind(group, "v1", name).expect("a kind");
        assert_eq!(warnings(kind, &object, None), expected, "{object}");
        let always = ["Pod", "Service", "StatefulSet"].contains(&name);
        assert!(always || warnings(kind, &object, Some(&object)).is_empty());
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
                "imagePullSecrets": [{"name": "s"}, {"name": "s"}, {"name": ""}], "terminationGracePeriodSeconds": -1}}}}),
            &[
                "spec.template.spec.imagePullSecrets[1].name: duplicate name \"s\"",
                "spec.template.spec.imagePullSecrets[2].name: invalid empty name \"\"",
                "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be \
                 treated as 1",
            ],
        );
        check(
            "apps",
            "DaemonSet",
            json!({"spec": {"template": {
                "metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": "",
                    "seccomp.security.alpha.kubernetes.io/pod": "x", "container.apparmor.security.beta.kubernetes.io/c": "x"}},
                "spec": {"overhead": {"memory": "1500m"}, "containers": [{"name": "c"}]}}}}),
            &[
                "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use \
                 the \"priorityClassName\" field instead",
                "spec.template.spec.overhead[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use \
                 the \"seccompProfile\" field instead",
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; \
                 use the \"appArmorProfile\" field instead",
            ],
        );
    }

    #[test]
    fn affinity_ports_and_files() {
        let zone = "failure-domain.beta.kubernetes.io/zone";
        let term = json!({"topologyKey": "a"});
        let (required, preferred) = (
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution",
        );
        let at = "spec.affinity";
        check(
            "",
            "Pod",
            json!({"spec": {"affinity": {
                "nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": zone}]}]}},
                "podAffinity": {required: [term], preferred: [{"podAffinityTerm": term}]},
                "podAntiAffinity": {required: [{"labelSelector": {}}]}}}}),
            &[
                &format!(
                    "{at}.nodeAffinity.{required}.nodeSelectorTerms[0].matchExpressions[0].key: {zone} is deprecated \
                          since v1.17; use \"topology.kubernetes.io/zone\" instead"
                ),
                &format!(
                    "{at}.podAffinity.{required}[0].labelSelector: a null labelSelector results in matching no pod"
                ),
                &format!(
                    "{at}.podAffinity.{preferred}[0].podAffinityTerm.labelSelector: a null labelSelector results in \
                          matching no pod"
                ),
            ],
        );
        let port = |more: Value| {
            let mut port = json!({"containerPort": 80, "protocol": "TCP"});
            crate::patch::merge::apply(&mut port, more);
            port
        };
        check(
            "",
            "Pod",
            json!({"spec": {
                "initContainers": [{"name": "i", "ports": [port(json!({"hostPort": 8080}))]}],
                "containers": [
                    {"name": "a", "env": [{"name": "X", "value": "a"}, {"name": "X", "value": "$(X)b"},
                        {"name": "X", "value": "$(X)"}], "ports": [port(json!({"hostPort": 8080}))]},
                    {"name": "b", "ports": [port(json!({"hostPort": 8080, "hostIP": "1.1.1.1"})), port(json!({}))]},
                    {"name": "c", "ports": [{"containerPort": 81, "protocol": "TCP", "hostIP": "1.1.1.1"}]}],
                "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                    {"configMap": {"items": [{"key": "k", "path": "t"}]}}]}}]}}),
            &[
                "spec.volumes[0].projected.sources.configMap[0]: has duplicated path with ServiceAccountToken \"t\"",
                "spec.containers[0].env[2]: hides previous definition of \"X\", which may be dropped when using apply",
                "spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]",
                "spec.containers[1].ports[0]: dangerously ambiguous port definition with spec.initContainers[0].ports[0]",
                "spec.containers[1].ports[0]: dangerously ambiguous port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.initContainers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[1].ports[0]",
                "spec.containers[2].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP \
                 HostIP:1.1.1.1}",
            ],
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
            json!({"spec": {"clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["1.1.1.1"]}}),
            &[
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        );
        check(
            "",
            "Service",
            json!({"spec": {"type": "NodePort", "externalName": "x", "externalIPs": ["1.1.1.1"],
                "trafficDistribution": "PreferClose"}}),
            &[
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
            ],
        );
        let claim = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x"}},
            "spec": {"resources": {"requests": {"storage": "1500m"}}}});
        check(
            "apps",
            "StatefulSet",
            json!({"spec": {"revisionHistoryLimit": -1, "volumeClaimTemplates": [claim]}}),
            &[
                "spec.volumeClaimTemplates[0].metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated \
                 since v1.8; use \"storageClassName\" attribute instead",
                "spec.volumeClaimTemplates[0].spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, \
                 must be an integer",
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
            ],
        );
        for kind in &crate::table::builtin().kinds {
            for odd in [json!(null), json!({"spec": 1, "metadata": []})] {
                warnings(kind, &odd, None);
            }
        }
    }
}
