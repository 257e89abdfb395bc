//! Rules of the small core kinds: configuration, namespaces, nodes, accounts, events.
mod event;

use super::cursor::{At, same};
use super::{Rules, labels, pod, resources};
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[
    ("ConfigMap", Rules { object: config_map, update: config_map_update, ..Rules::PLAIN }),
    ("Event", Rules { object: event::core, ..Rules::PLAIN }),
    (
        "Namespace",
        Rules { name: names::dns_label, object: namespace, status: namespace_status, ..Rules::PLAIN },
    ),
    ("Node", Rules { object: node, update: node_update, status: node_status, ..Rules::PLAIN }),
    (
        "ReplicationController",
        Rules {
            object: replication_controller,
            status: |at, _| replica_counts(&at.get("status")),
            ..Rules::PLAIN
        },
    ),
    ("Secret", Rules { object: secret, update: secret_update, ..Rules::PLAIN }),
    ("ServiceAccount", Rules::PLAIN),
];

pub(super) const EVENTS_RULES: &[(&str, Rules)] =
    &[("Event", Rules { object: event::events, update: event::events_update, ..Rules::PLAIN })];

/// All data of a ConfigMap or Secret together.
const DATA_MAX: usize = 1024 * 1024;

fn config_map(at: &At<'_>) {
    let (data, binary) = (at.get("data"), at.get("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        names::config_map_key(key).into_iter().for_each(|fault| value.invalid_text(key, fault));
        if binary.key(key).is_set() {
            value.invalid_text(key, "duplicate of key present in binaryData");
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        names::config_map_key(key).into_iter().for_each(|fault| value.invalid_text(key, fault));
        size += decoded_len(value.text());
    }
    if size > DATA_MAX {
        at.key("").too_long(DATA_MAX);
    }
}

/// Number of bytes that a base64 text stands for.
pub(super) fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4 * 3)
}

fn config_map_update(at: &At<'_>, old: &Value) {
    frozen(at, old, &["data", "binaryData"]);
}

/// Once `immutable` is set, neither it nor the data change.
fn frozen(at: &At<'_>, old: &Value, members: &[&str]) {
    if old["immutable"] != true {
        return;
    }
    let fault = "field is immutable when `immutable` is set";
    if !at.get("immutable").is_true() {
        at.get("immutable").forbidden(fault);
    }
    for member in members {
        if !same(at.get(member).value(), &old[*member]) {
            at.get(member).forbidden(fault);
        }
    }
}

fn secret(at: &At<'_>) {
    let data = at.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        names::config_map_key(key).into_iter().for_each(|fault| value.invalid_text(key, fault));
        size += decoded_len(value.text());
    }
    if size > DATA_MAX {
        data.too_long(DATA_MAX);
    }
    let need = |key: &str| {
        if !data.key(key).is_set() {
            data.key(key).required("");
        }
    };
    match at.get("type").text() {
        "kubernetes.io/service-account-token" => {
            at.get("metadata.annotations").key("kubernetes.io/service-account.name").need();
        }
        "kubernetes.io/dockercfg" => json_object(&data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_object(&data, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !data.key("username").is_set() && !data.key("password").is_set() => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" => {
            data.key("ssh-privatekey").need();
        }
        "kubernetes.io/tls" => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
}

/// A key whose content must be a JSON object.
fn json_object(data: &At<'_>, key: &str) {
    use base64::Engine;
    let value = data.key(key);
    if !value.is_set() {
        value.required("");
        return;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.text()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<crate::Object>(&bytes) {
        value.invalid_text("<secret contents redacted>", error);
    }
}

fn secret_update(at: &At<'_>, old: &Value) {
    at.get("type").immutable(&old["type"]);
    frozen(at, old, &["data"]);
}

fn namespace(at: &At<'_>) {
    for finalizer in at.get("spec.finalizers").items() {
        finalizer.format(names::qualified_name);
        if !finalizer.text().contains('/') && finalizer.text() != "kubernetes" {
            finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn namespace_status(at: &At<'_>, _: &Value) {
    let phase = at.get("status.phase");
    let deleting = at.get("metadata.deletionTimestamp").is_set();
    match phase.text() {
        "Terminating" | "" if deleting => {}
        "Active" | "" if !deleting => {}
        _ if deleting => phase.invalid("may only be 'Terminating' if `deletionTimestamp` is not empty"),
        _ => phase.invalid("may only be 'Active' if `deletionTimestamp` is empty"),
    }
}

fn node(at: &At<'_>) {
    let spec = at.get("spec");
    pod::taints(&spec.get("taints"));
    let blocks = spec.get("podCIDRs");
    let mut families: Vec<bool> = Vec::new();
    for block in blocks.items() {
        let Some(cidr) = super::net::cidr(&block) else { continue };
        if families.contains(&cidr.address.is_ipv4()) || blocks.len() > 2 {
            blocks.invalid("may specify no more than one CIDR for each IP family");
            break;
        }
        families.push(cidr.address.is_ipv4());
    }
}

fn node_update(at: &At<'_>, old: &Value) {
    let (spec, old) = (at.get("spec"), &old["spec"]);
    let set_once = [("podCIDRs", "node updates may not change podCIDR except from \"\" to valid")];
    for (name, fault) in set_once {
        if !same(&old[name], &Value::Null) && !same(spec.get(name).value(), &old[name]) {
            spec.get(name).forbidden(fault);
        }
    }
    let provider = spec.get("providerID");
    if !same(&old["providerID"], &Value::Null) && !same(provider.value(), &old["providerID"]) {
        provider.forbidden("node updates may not change providerID except from \"\" to valid");
    }
    let free = ["configSource", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"];
    let members = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        spec.retain(|name, _| !free.contains(&name.as_str()));
        Value::Object(spec)
    };
    if !same(&members(spec.value()), &members(old)) {
        at.key("").forbidden("node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)");
    }
}

fn node_status(at: &At<'_>, _: &Value) {
    for list in ["capacity", "allocatable"] {
        for (name, quantity) in at.get("status").get(list).entries() {
            resources::amount(&quantity, name);
        }
    }
    at.get("status.addresses").unique("");
}

fn replication_controller(at: &At<'_>) {
    let spec = at.get("spec");
    spec.get("minReadySeconds").not_negative();
    let selector = spec.get("selector");
    selector.need();
    spec.get("replicas").not_negative();
    let template = spec.get("template");
    if !template.is_set() {
        template.required("");
        return;
    }
    if !selector.is_empty() {
        let found = crate::selector::LabelSelector::from_labels(Some(selector.value()));
        labels::matches_template(&found, &template);
    }
    pod::template(&template);
    pod::always_restarted(&template, "ReplicationController");
}

/// Counters of replicas: none negative, and parts not above the whole.
pub(super) fn replica_counts(status: &At<'_>) {
    let counters =
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    for counter in counters {
        status.get(counter).not_negative();
    }
    let count = |name: &str| status.get(name).int().unwrap_or(0);
    for part in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if count(part) > count("replicas") {
            status.get(part).invalid("cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        status.get("availableReplicas").invalid("cannot be greater than readyReplicas");
    }
}
