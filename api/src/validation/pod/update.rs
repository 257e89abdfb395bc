//! What an update of a pod may change.
use super::super::cursor::{At, same};
use super::super::net;
use crate::{Object, Value, names};

/// Members of the specification that may change within the limits checked here.
const FREE: [&str; 4] =
    ["activeDeadlineSeconds", "schedulingGates", "terminationGracePeriodSeconds", "tolerations"];
const ALLOWED: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
     `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to \
     be set to 1 if it was previously negative)";

pub(super) fn pod(at: &At<'_>, old: &Value) {
    let (spec, old_spec) = (at.get("spec"), &old["spec"]);
    for list in ["containers", "initContainers"] {
        let old_len = old_spec[list].as_array().map_or(0, Vec::len);
        if spec.get(list).len() != old_len {
            spec.get(list).forbidden("pod updates may not add or remove containers");
            return;
        }
    }
    deadline(&spec.get("activeDeadlineSeconds"), &old_spec["activeDeadlineSeconds"]);
    tolerations(&spec.get("tolerations"), &old_spec["tolerations"]);
    gates(&spec.get("schedulingGates"), &old_spec["schedulingGates"]);
    let gated = old_spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gated && !extends(spec.get("nodeSelector").value(), &old_spec["nodeSelector"]) {
        let selector = spec.get("nodeSelector");
        selector.invalid("only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    let differences = differences(&spec, old_spec, gated);
    if !differences.is_empty() {
        let listed = differences.join("\n");
        spec.forbidden(format!("pod updates may not change fields other than {ALLOWED}\n{listed}\n"));
    }
    let mirror = at.get("metadata.annotations").key("kubernetes.io/config.mirror");
    if !same(mirror.value(), &old["metadata"]["annotations"]["kubernetes.io/config.mirror"]) {
        mirror.invalid("may not be modified");
    }
}

pub(super) fn status(at: &At<'_>, old: &Value) {
    let (status, old_status) = (at.get("status"), &old["status"]);
    status.get("nominatedNodeName").format_if_set(names::dns_subdomain);
    let node = at.get("spec.nodeName");
    if !same(node.value(), &old["spec"]["nodeName"]) {
        at.get("status.nodeName").forbidden("may not be changed directly");
    }
    let class = status.get("qosClass");
    if !old_status["qosClass"].is_null() {
        class.immutable(&old_status["qosClass"]);
    }
    for list in ["containerStatuses", "initContainerStatuses"] {
        stays_terminated(&status.get(list), &old_status[list], &old["spec"]);
    }
    for list in ["podIPs", "hostIPs"] {
        let list = status.get(list);
        let addresses: Vec<_> = list.items().filter_map(|entry| net::ip(&entry.get("ip"))).collect();
        let same_family = |n: usize| addresses[..n].iter().any(|a| a.is_ipv4() == addresses[n].is_ipv4());
        if (0..addresses.len()).any(same_family) {
            list.invalid("may specify no more than one IP for each IP family");
        }
    }
    for condition in status.get("conditions").items() {
        condition.get("observedGeneration").not_negative();
    }
}

/// A container that ended for good does not run again.
fn stays_terminated(list: &At<'_>, old: &Value, spec: &Value) {
    let policy = spec["restartPolicy"].as_str().unwrap_or_default();
    let has_own_policy = |name: &Value| {
        ["containers", "initContainers"].iter().any(|list| {
            let containers = spec[*list].as_array();
            containers
                .is_some_and(|list| list.iter().any(|c| c["name"] == *name && !c["restartPolicy"].is_null()))
        })
    };
    if policy == "Always" {
        return;
    }
    for before in old.as_array().into_iter().flatten() {
        let Some(code) = before["state"]["terminated"]["exitCode"].as_i64() else { continue };
        if code != 0 && policy == "OnFailure" || has_own_policy(&before["name"]) {
            continue;
        }
        for now in list.items().filter(|now| now.get("name").value() == &before["name"]) {
            if !now.get("state.terminated").is_set() {
                now.get("state").forbidden("may not be transitioned to non-terminated state");
            }
        }
    }
}

fn deadline(new: &At<'_>, old: &Value) {
    match (new.int(), old.as_i64()) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            new.invalid(names::in_range(0, i32::MAX.into()));
        }
        (Some(seconds), Some(old)) if seconds > old => {
            new.invalid("must be less than or equal to previous value");
        }
        (None, Some(_)) => new.invalid("must not update from a positive integer to nil value"),
        _ => {}
    }
}

/// Old tolerations stay, but for their seconds; new ones may come.
fn tolerations(new: &At<'_>, old: &Value) {
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.as_object_mut().map(|t| t.remove("tolerationSeconds"));
        toleration
    };
    let kept: Vec<Value> = new.items().map(|t| bare(t.value())).collect();
    let mut old = old.as_array().into_iter().flatten().map(bare);
    if !old.all(|toleration| kept.contains(&toleration)) {
        new.forbidden("existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(new: &At<'_>, old: &Value) {
    for gate in new.items() {
        let known = old.as_array().is_some_and(|old| old.iter().any(|o| o["name"] == gate.value()["name"]));
        if !known {
            let name = gate.get("name").text();
            gate.forbidden(format!("only deletion is allowed, but found new scheduling gate '{name}'"));
        }
    }
}

/// Changes outside what may change, a line each. A gated pod may also narrow where it can go.
fn differences(spec: &At<'_>, old: &Value, gated: bool) -> Vec<String> {
    let mut out = Vec::new();
    let empty = Object::new();
    let (new, old) = (spec.value().as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let names: std::collections::BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    for name in names {
        let (a, b) = (new.get(name).unwrap_or(&Value::Null), old.get(name).unwrap_or(&Value::Null));
        let changed = match name.as_str() {
            "containers" | "initContainers" => !same(&without_images(a), &without_images(b)),
            "terminationGracePeriodSeconds" => {
                let mended = a.as_i64() == Some(1) && b.as_i64().is_some_and(|old| old < 0);
                !same(a, b) && !mended
            }
            "nodeSelector" if gated => false,
            "affinity" if gated => !narrows(a, b),
            free if FREE.contains(&free) => false,
            _ => !same(a, b),
        };
        if changed {
            out.push(format!("-spec.{name}: {b}\n+spec.{name}: {a}"));
        }
    }
    out
}

fn without_images(containers: &Value) -> Value {
    let mut containers = containers.clone();
    for container in containers.as_array_mut().into_iter().flatten() {
        container.as_object_mut().map(|c| c.remove("image"));
    }
    containers
}

/// Whether every entry of `old` is still in `new`.
fn extends(new: &Value, old: &Value) -> bool {
    old.as_object().into_iter().flatten().all(|(key, value)| new.get(key) == Some(value))
}

/// Whether an affinity differs only in what a gated pod may change: the preferences for nodes, and required node
/// terms that were absent or only got more conditions.
fn narrows(new: &Value, old: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let (new_node, old_node) = (&new["nodeAffinity"][REQUIRED], &old["nodeAffinity"][REQUIRED]);
    let terms = |selector: &Value| selector["nodeSelectorTerms"].as_array().cloned().unwrap_or_default();
    let (new_terms, old_terms) = (terms(new_node), terms(old_node));
    let conditions = |term: &Value, list: &str| term[list].as_array().cloned().unwrap_or_default();
    let narrower = |(new, old): (&Value, &Value)| {
        ["matchExpressions", "matchFields"].iter().all(|list| {
            let kept = conditions(new, list);
            conditions(old, list).iter().all(|condition| kept.contains(condition))
        })
    };
    let nodes = old_node.is_null()
        || new_terms.len() == old_terms.len() && new_terms.iter().zip(&old_terms).all(narrower);
    nodes && ["podAffinity", "podAntiAffinity"].iter().all(|name| same(&new[*name], &old[*name]))
}
