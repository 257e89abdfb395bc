//! Warnings about pods and their templates.
use super::super::cursor::At;
use super::{Note, SOURCES, claim_spec, named_label, node_label, node_term, note_if_set, whole};
use std::collections::HashMap;

/// Annotations that have become fields.
const ANNOTATIONS: [Note; 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_NOTE: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const APP_ARMOR_NOTE: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A pod.
pub(super) fn pod(at: &At<'_>, out: &mut Vec<String>) {
    any(at, false, out);
}

/// The template of pods.
pub(super) fn template(at: &At<'_>, out: &mut Vec<String>) {
    any(at, true, out);
}

fn any(at: &At<'_>, is_template: bool, out: &mut Vec<String>) {
    let (spec, annotations) = (at.get("spec"), at.get("metadata.annotations"));
    for (label, value) in spec.get("nodeSelector").entries() {
        node_label(&value, label, out);
    }
    node_affinity(&spec.get("affinity.nodeAffinity"), out);
    for constraint in spec.get("topologySpreadConstraints").items() {
        named_label(&constraint.get("topologyKey"), out);
        needs_selector(&constraint.get("labelSelector"), out);
    }
    ANNOTATIONS.iter().for_each(|(name, note)| note_if_set(&annotations.key(name), note, out));
    for volume in spec.get("volumes").items() {
        SOURCES.iter().for_each(|(source, note)| note_if_set(&volume.get(source), note, out));
        claim_spec(&volume.get("ephemeral.volumeClaimTemplate.spec"), out);
    }
    projections(&spec, out);
    repeated(&spec.get("hostAliases"), "ip", out);
    repeated(&spec.get("imagePullSecrets"), "name", out);
    for secret in spec.get("imagePullSecrets").items().map(|secret| secret.get("name")) {
        if secret.is_empty() {
            out.push(format!("{}: invalid empty name \"\"", secret.path()));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        whole(&spec.get("overhead").key(name), out);
    }
    if !spec.get("securityContext.seccompProfile").is_set() {
        note_if_set(&annotations.key(SECCOMP), SECCOMP_NOTE, out);
    }
    for one in containers(&spec) {
        profiles(&one, &spec, &annotations, is_template, out);
        container(&one, out);
    }
    ports(&spec, out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        let note = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{}: {note}", grace.path()));
    }
    pod_affinity(&spec.get("affinity"), out);
}

fn containers<'v>(spec: &At<'v>) -> Vec<At<'v>> {
    LISTS.iter().flat_map(|list| spec.get(list).items()).collect()
}

fn needs_selector(selector: &At<'_>, out: &mut Vec<String>) {
    if !selector.is_set() {
        out.push(format!("{}: {NO_SELECTOR}", selector.path()));
    }
}

fn node_affinity(affinity: &At<'_>, out: &mut Vec<String>) {
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution");
    required.items().for_each(|term| node_term(&term, out));
    preferred.items().for_each(|one| node_term(&one.get("preference"), out));
}

fn pod_affinity(affinity: &At<'_>, out: &mut Vec<String>) {
    for name in ["podAffinity", "podAntiAffinity"] {
        let required = affinity.get(name).get("requiredDuringSchedulingIgnoredDuringExecution");
        required.items().for_each(|term| needs_selector(&term.get("labelSelector"), out));
        let preferred = affinity.get(name).get("preferredDuringSchedulingIgnoredDuringExecution");
        preferred.items().for_each(|one| needs_selector(&one.get("podAffinityTerm.labelSelector"), out));
    }
}

/// Files of projected volumes that take the place of a token's, of whichever volume.
fn projections(spec: &At<'_>, out: &mut Vec<String>) {
    let volumes = spec.get("volumes");
    let sources = || volumes.items().flat_map(|volume| volume.get("projected.sources").items());
    let tokens: Vec<&str> = sources()
        .filter_map(|s| s.find("serviceAccountToken"))
        .map(|token| token.get("path").text())
        .collect();
    let mut look = |path: String, file: &str| {
        if tokens.contains(&file) {
            out.push(format!("{path}: has duplicated path with ServiceAccountToken {file:?}"));
        }
    };
    for volume in volumes.items() {
        // The original's paths leave out the place among the sources.
        let at = volume.get("projected.sources");
        for source in at.items() {
            for (name, told) in
                [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
            {
                for (index, item) in source.get(name).get("items").items().enumerate() {
                    look(format!("{}.{told}[{index}]", at.path()), item.get("path").text());
                }
            }
            if let Some(bundle) = source.find("clusterTrustBundle") {
                look(format!("{}.ClusterTrustBundle", at.path()), bundle.get("path").text());
            }
        }
    }
}

/// Items whose member an earlier item has too.
fn repeated(list: &At<'_>, member: &str, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items().map(|item| item.get(member)) {
        if seen.contains(&item.text()) {
            out.push(format!("{}: duplicate {member} {:?}", item.path(), item.text()));
        }
        seen.push(item.text());
    }
}

/// Annotations about one container that are fields now.
fn profiles(
    container: &At<'_>,
    spec: &At<'_>,
    annotations: &At<'_>,
    is_template: bool,
    out: &mut Vec<String>,
) {
    let name = container.get("name").text();
    let context = container.get("securityContext");
    if !context.get("seccompProfile").is_set() {
        note_if_set(&annotations.key(&format!("{CONTAINER_SECCOMP}{name}")), SECCOMP_NOTE, out);
    }
    // In a pod the annotation becomes the field.
    let is_field = [&spec.get("securityContext"), &context].iter().any(|c| c.get("appArmorProfile").is_set());
    if is_template && !is_field {
        note_if_set(&annotations.key(&format!("{APP_ARMOR}{name}")), APP_ARMOR_NOTE, out);
    }
}

fn container(container: &At<'_>, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            whole(&container.get("resources").get(list).key(name), out);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for variable in container.get("env").items() {
        let name = variable.get("name").text();
        let (value, reference) = (variable.get("value").text(), format!("$({name})"));
        // A value that holds more than the one before builds on it.
        let builds = !variable.get("valueFrom").is_set() && value != reference && value.contains(&reference);
        if names.contains(&name) && !builds {
            out.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                variable.path()
            ));
        }
        names.push(name);
    }
}

/// Where on the node a port is.
fn place<'v>(port: &At<'v>) -> (&'v str, i64) {
    (port.get("hostIP").text(), port.get("hostPort").int().unwrap_or(0))
}

/// Ports that two definitions claim, of whichever containers.
fn ports(spec: &At<'_>, out: &mut Vec<String>) {
    let mut known: HashMap<(i64, &str), Vec<At<'_>>> = HashMap::new();
    for port in containers(spec).iter().flat_map(|container| container.get("ports").items()) {
        let (address, number) = place(&port);
        let (inner, protocol) = (port.get("containerPort").int().unwrap_or(0), port.get("protocol").text());
        if !address.is_empty() && number == 0 {
            let name = port.get("name").text();
            out.push(format!(
                "{}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{inner} Protocol:{protocol} \
                 HostIP:{address}}}",
                port.path()
            ));
        }
        let others = known.entry((inner, protocol)).or_default();
        for other in others.iter() {
            let told = match place(other) {
                same if same == (address, number) => "duplicate",
                (_, other) if number == 0 || other == 0 => "overlapping",
                (there, other) if other == number && there.is_empty() != address.is_empty() => {
                    "dangerously ambiguous"
                }
                _ => continue,
            };
            out.push(format!("{}: {told} port definition with {}", port.path(), other.path()));
        }
        others.push(port);
    }
}
