//! Rules of pods and of pod templates.
mod claims;
mod containers;
mod env;
mod mounts;
mod os;
mod scheduling;
mod security;
mod subresources;
mod update;
mod volumes;

pub(super) use mounts::no_backsteps;
pub(super) use scheduling::{node_selector, taints, tolerations};
pub(super) use subresources::{ephemeral_containers, resize};
pub(super) use volumes::{absolute_path, host_path};

use super::cursor::At;
use super::{Rules, labels, metadata, net};
use crate::names;

pub(super) const RULES: &[(&str, Rules)] = &[
    ("Pod", Rules { object: pod, update: update::pod, status: update::status, ..Rules::PLAIN }),
    ("PodTemplate", Rules { object: |at| template(&at.get("template")), ..Rules::PLAIN }),
];

/// What differs between a pod and a template of pods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pod,
    Template,
}

fn pod(at: &At<'_>) {
    let annotations = at.get("metadata.annotations");
    let cost = annotations.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.is_set() && cost.text().parse::<i32>().is_err() {
        cost.invalid("must be a 32bit integer");
    }
    let mirror = annotations.key("kubernetes.io/config.mirror");
    if mirror.is_set() && at.get("spec.nodeName").is_empty() {
        mirror.invalid("must set spec.nodeName if mirror pod annotation is set");
    }
    let ephemeral = at.get("spec.ephemeralContainers");
    if at.before().is_none() && !ephemeral.is_empty() {
        ephemeral.forbidden("cannot be set on create");
    }
    spec(&at.get("spec"), Place::Pod);
    volumes::ephemeral_claims(at);
}

/// A pod template inside a workload.
pub(super) fn template(at: &At<'_>) {
    metadata::template(&at.get("metadata"));
    spec(&at.get("spec"), Place::Template);
    let ephemeral = at.get("spec.ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden("ephemeral containers not allowed in pod template");
    }
}

/// The restart policy of a workload that keeps its pods running, and its ban on deadlines.
pub(super) fn always_restarted(template: &At<'_>, kind: &str) {
    let policy = template.get("spec.restartPolicy");
    if !policy.is_empty() {
        policy.one_of(&["Always"]);
    }
    let deadline = template.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn spec(spec: &At<'_>, place: Place) {
    let volumes = volumes::volumes(&spec.get("volumes"), place);
    containers::all(spec, &volumes, place);
    spec.get("restartPolicy").need_one_of(&["Always", "Never", "OnFailure"]);
    dns(spec);
    labels::labels(&spec.get("nodeSelector"));
    security::pod(spec);
    spec.get("imagePullSecrets").items().for_each(|secret| {
        secret.get("name").need();
    });
    scheduling::affinity(&spec.get("affinity"));
    scheduling::gates(spec);
    scheduling::spread(&spec.get("topologySpreadConstraints"));
    spec.get("serviceAccountName").format_if_set(names::dns_subdomain);
    spec.get("nodeName").format_if_set(names::dns_subdomain);
    spec.get("activeDeadlineSeconds").in_range(1, i64::from(i32::MAX));
    spec.get("hostname").format_if_set(names::dns_label);
    spec.get("subdomain").format_if_set(names::dns_label);
    hostname_override(spec);
    tolerations(&spec.get("tolerations"));
    host_aliases(&spec.get("hostAliases"));
    spec.get("priorityClassName").format_if_set(names::dns_subdomain);
    spec.get("runtimeClassName").format_if_set(names::dns_subdomain);
    spec.get("preemptionPolicy").one_of_if_set(&["Never", "PreemptLowerPriority"]);
    super::resources::list(&spec.get("overhead"));
    os::os(spec);
    claims::device_claims(spec);
    claims::pod_resources(spec);
}

fn dns(spec: &At<'_>) {
    let policy = spec.get("dnsPolicy");
    policy.need_one_of(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if policy.text() == "None" {
        if !config.is_set() {
            config.required("must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            servers.required("must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > 3 {
        servers.invalid("must not have more than 3 nameservers");
    }
    servers.items().for_each(|server| {
        net::ip(&server);
    });
    let searches = config.get("searches");
    if searches.len() > 32 {
        searches.invalid("must not have more than 32 search paths");
    }
    let length: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if length > 2049 {
        searches.invalid("must not have more than 2048 characters (including spaces) in the search list");
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        // Names of services may carry underscores, and begin with one.
        let labels: Vec<&str> =
            text.split('.').map(|label| label.strip_prefix('_').unwrap_or(label)).collect();
        for fault in names::dns_subdomain(&labels.join(".").replace('_', "-")) {
            search.invalid_text(search.text(), fault);
        }
    }
    for option in config.get("options").items() {
        if option.get("name").is_empty() {
            option.get("name").required("must not be empty");
        }
    }
}

fn hostname_override(spec: &At<'_>) {
    let Some(name) = spec.find("hostnameOverride") else { return };
    name.format(names::dns_subdomain);
    if name.text().len() > 64 {
        name.invalid(names::max_len(64));
    }
    if spec.get("setHostnameAsFQDN").is_true() {
        name.forbidden("may not be specified when setHostnameAsFQDN is true");
    }
    if spec.get("hostNetwork").is_true() {
        name.forbidden("may not be specified when hostNetwork is true");
    }
}

fn host_aliases(aliases: &At<'_>) {
    for alias in aliases.items() {
        net::ip(&alias.get("ip"));
        for host in alias.get("hostnames").items() {
            alias.get("hostnames").with(host.value()).format(names::dns_subdomain);
        }
    }
}
