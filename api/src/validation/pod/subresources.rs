//! What changes of a pod through `ephemeralcontainers` and `resize` may do. The server has already put everything else
//! back to what is stored.
use super::super::cursor::At;
use super::super::metadata;
use super::spec;
use crate::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Containers are only added.
pub(in super::super) fn ephemeral_containers(at: &At<'_>, old: &Value) {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        at.key("").forbidden("static pods do not support ephemeral containers");
        return;
    }
    metadata::update(&at.get("metadata"), &old["metadata"], true);
    spec(&at.get("spec"), super::Place::Pod);
    let list = at.get("spec.ephemeralContainers");
    for before in old["spec"]["ephemeralContainers"].as_array().into_iter().flatten() {
        let name = before["name"].as_str().unwrap_or_default();
        match list.items().find(|container| container.get("name").text() == name) {
            None => list.forbidden(format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now.value() != before => {
                list.forbidden(format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

/// Only cpu and memory of containers change, and the pod stays in its class; `class` and `old_class` are the classes
/// of quality of service before and after.
pub(in super::super) fn resize(at: &At<'_>, old: &Value, class: &str, old_class: &str) {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        at.key("").forbidden("static pods cannot be resized");
        return;
    }
    if old["spec"]["os"]["name"] == "windows" {
        at.key("").forbidden("windows pods cannot be resized");
        return;
    }
    metadata::update(&at.get("metadata"), &old["metadata"], true);
    let pod = at.get("spec");
    spec(&pod, super::Place::Pod);
    if class != old_class {
        pod.invalid_text(class, "Pod QOS Class may not change as a result of resizing");
    }
    for kind in ["containers", "initContainers"] {
        let before = old["spec"][kind].as_array().map(Vec::as_slice).unwrap_or_default();
        let list = pod.get(kind);
        let names = |list: &[Value]| list.iter().map(|c| c["name"].clone()).collect::<Vec<_>>();
        if names(list.value().as_array().map(Vec::as_slice).unwrap_or_default()) != names(before) {
            list.forbidden("containers may not be renamed or reordered on resize");
            continue;
        }
        for (container, before) in list.items().zip(before) {
            let resources = container.get("resources");
            let sidecar = kind == "containers" || before["restartPolicy"] == "Always";
            if !sidecar && resources.value() != &before["resources"] {
                resources.forbidden("resources for non-sidecar init containers are immutable");
                continue;
            }
            resized(&resources, &before["resources"]);
        }
    }
    if let Some(resources) = pod.find("resources") {
        resized(&resources, &old["spec"]["resources"]);
    }
}

/// Amounts of cpu and memory may change and come, not go.
fn resized(resources: &At<'_>, old: &Value) {
    let other = |name: &str| !matches!(name, "cpu" | "memory");
    let mut fixed = true;
    for list in ["requests", "limits"] {
        let before = old[list].as_object().into_iter().flatten();
        for (name, amount) in before {
            let now = resources.get(list).key(name);
            if other(name) {
                fixed &= now.value() == amount;
            } else if !now.is_set() {
                resources.forbidden(format!("resource {list} cannot be removed"));
            }
        }
        fixed &= resources.get(list).entries().all(|(name, _)| !other(name) || old[list].get(name).is_some());
    }
    if !fixed {
        resources.forbidden("only cpu and memory resources are mutable");
    }
}
