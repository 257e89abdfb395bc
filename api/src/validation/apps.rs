//! Rules of the workloads of `apps`.
use super::cursor::{At, same};
use super::{Rules, core, labels, pod};
use crate::int_or_string::IntOrString;
use crate::{Value, names};
use serde_json::json;

pub(super) const RULES: &[(&str, Rules)] = &[
    (
        "ControllerRevision",
        Rules { object: revision, update: |at, old| at.get("data").immutable(&old["data"]), ..Rules::PLAIN },
    ),
    (
        "DaemonSet",
        Rules { object: daemon_set, update: selector_stays, status: daemon_status, ..Rules::PLAIN },
    ),
    ("Deployment", Rules { object: deployment, update: selector_stays, status, ..Rules::PLAIN }),
    ("ReplicaSet", Rules { object: replica_set, update: selector_stays, status, ..Rules::PLAIN }),
    (
        "StatefulSet",
        Rules { name: names::dns_label, object: stateful_set, update: stateful_set_update, status },
    ),
];

/// Members of a StatefulSet's specification that may change.
const FREE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn selector_stays(at: &At<'_>, old: &Value) {
    at.get("spec.selector").immutable(&old["spec"]["selector"]);
}

/// What all workloads have in common: counters, selector, template.
fn workload(spec: &At<'_>, kind: &str, empty: &str) {
    spec.get("revisionHistoryLimit").not_negative();
    workload_of(spec, &spec.get("template"), kind, empty);
}

/// The same with the template as its pods will have it.
fn workload_of(spec: &At<'_>, template: &At<'_>, kind: &str, empty: &str) {
    for number in ["replicas", "minReadySeconds"] {
        spec.get(number).not_negative();
    }
    labels::workload(spec, template, &format!("empty selector is invalid for {empty}"));
    pod::template(template);
    pod::always_restarted(template, kind);
}

/// The template of a StatefulSet with a volume for each claim, which its containers may mount.
fn template_with_claims(spec: &At<'_>) -> Value {
    let mut template = spec.get("template").value().clone();
    let claims = spec.get("volumeClaimTemplates");
    if claims.is_empty() || !template["spec"].is_object() {
        return template;
    }
    let mut volumes = template["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for claim in claims.items() {
        let name = claim.get("metadata.name");
        if volumes.iter().all(|volume| volume["name"] != name.text()) {
            volumes.push(json!({"name": name.text(), "persistentVolumeClaim": {"claimName": name.text()}}));
        }
    }
    template["spec"]["volumes"] = volumes.into();
    template
}

fn deployment(at: &At<'_>) {
    let spec = at.get("spec");
    workload(&spec, "ReplicaSet", "deployment");
    let (strategy, rolling) = (spec.get("strategy"), spec.get("strategy.rollingUpdate"));
    match strategy.get("type").text() {
        "Recreate" if rolling.is_set() => {
            rolling.forbidden("may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            rolling.required("this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            unavailable.positive_or_percent();
            surge.positive_or_percent();
            if is_zero(&unavailable) && is_zero(&surge) {
                unavailable.invalid("may not be 0 when `maxSurge` is 0");
            }
            unavailable.at_most_100_percent();
        }
        _ => strategy.get("type").not_supported(&["Recreate", "RollingUpdate"]),
    }
    let deadline = spec.get("progressDeadlineSeconds");
    deadline.not_negative();
    if deadline.int().is_some_and(|seconds| seconds <= spec.get("minReadySeconds").int().unwrap_or(0)) {
        deadline.invalid("must be greater than minReadySeconds");
    }
}

/// 0, 0% or nothing.
fn is_zero(at: &At<'_>) -> bool {
    match at.int_or_string() {
        Some(IntOrString::Int(number)) => number == 0,
        Some(text @ IntOrString::String(_)) => text.percent().unwrap_or(0) == 0,
        None => true,
    }
}

fn replica_set(at: &At<'_>) {
    workload(&at.get("spec"), "ReplicaSet", "deployment");
}

fn daemon_set(at: &At<'_>) {
    let spec = at.get("spec");
    workload(&spec, "DaemonSet", "daemonset");
    let strategy = spec.get("updateStrategy");
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.get("rollingUpdate");
            if !rolling.is_set() {
                rolling.required("");
                return;
            }
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            unavailable.positive_or_percent();
            surge.positive_or_percent();
            unavailable.at_most_100_percent();
            surge.at_most_100_percent();
            match (is_zero(&unavailable), is_zero(&surge)) {
                (true, true) => unavailable.required("cannot be 0 when maxSurge is 0"),
                (false, false) => surge.invalid("may not be set when maxUnavailable is non-zero"),
                _ => {}
            }
        }
        _ => strategy.get("type").not_supported(&["RollingUpdate", "OnDelete"]),
    }
}

fn stateful_set(at: &At<'_>) {
    let spec = at.get("spec");
    let policy = spec.get("podManagementPolicy");
    if policy.need() && !matches!(policy.text(), "OrderedReady" | "Parallel") {
        policy.invalid("must be 'OrderedReady' or 'Parallel'");
    }
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => strategy.required(""),
        "OnDelete" if rolling.is_set() => {
            rolling.invalid("only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.get("partition").not_negative();
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                unavailable.positive_or_percent();
                unavailable.at_most_100_percent();
                if is_zero(&unavailable) {
                    unavailable.invalid("cannot be 0");
                }
            }
        }
        _ => strategy.invalid("must be 'RollingUpdate' or 'OnDelete'"),
    }
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        retention.get("whenDeleted").one_of(&["Delete", "Retain"]);
        retention.get("whenScaled").one_of(&["Delete", "Retain"]);
    }
    spec.get("ordinals.start").not_negative();
    let template = template_with_claims(&spec);
    workload_of(&spec, &spec.get("template").with(&template), "StatefulSet", "statefulset");
}

fn stateful_set_update(at: &At<'_>, old: &Value) {
    let rest = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        spec.retain(|name, _| !FREE.contains(&name.as_str()));
        // What was stored before these had defaults lacks them.
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
        }
        Value::Object(spec)
    };
    let spec = at.get("spec");
    if !same(&rest(spec.value()), &rest(&old["spec"])) {
        spec.forbidden(
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
             'minReadySeconds' are forbidden",
        );
    }
}

fn revision(at: &At<'_>) {
    if !at.get("data").is_set() {
        at.get("data").required("data is mandatory");
    }
    at.get("revision").not_negative();
}

fn status(at: &At<'_>, old: &Value) {
    let status = at.get("status");
    core::replica_counts(&status);
    for counter in ["updatedReplicas", "currentReplicas", "unavailableReplicas", "collisionCount"] {
        status.get(counter).not_negative();
    }
    let count = |name: &str| status.get(name).int().unwrap_or(0);
    for part in ["updatedReplicas", "currentReplicas"] {
        if count(part) > count("replicas") {
            status.get(part).invalid("cannot be greater than status.replicas");
        }
    }
    collisions_only_grow(&status, &old["status"]);
}

fn collisions_only_grow(status: &At<'_>, old: &Value) {
    let collisions = status.get("collisionCount");
    if collisions.int().unwrap_or(0) < old["collisionCount"].as_i64().unwrap_or(0) {
        collisions.invalid("cannot be decremented");
    }
}

fn daemon_status(at: &At<'_>, old: &Value) {
    let status = at.get("status");
    for counter in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        status.get(counter).not_negative();
    }
    collisions_only_grow(&status, &old["status"]);
}
