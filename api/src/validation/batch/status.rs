//! Rules of the status of a job, which a controller of anybody's may write.
use super::super::cursor::{At, IMMUTABLE};
use crate::Value;
use crate::time::Timestamp;

/// Whether a condition of the type is true.
fn holds(status: &Value, ty: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == ty && c["status"] == "True")
}

pub(super) fn job(at: &At<'_>, old: &Value) {
    let (status, old_status) = (at.get("status"), &old["status"]);
    for counter in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.get(counter).not_negative();
    }
    let count = |name: &str| status.get(name).int().unwrap_or(0);
    if count("ready") > count("active") {
        status.get("ready").invalid("cannot set more ready pods than active");
    }
    conditions(&status, old_status);
    indexes(at, &status);
    if !holds(status.value(), "Complete") && !holds(status.value(), "Failed") {
        return times(at, &status, old_status);
    }
    for counter in ["active", "terminating"] {
        if count(counter) > 0 {
            status.get(counter).invalid(format!("{counter}>0 is invalid for finished job"));
        }
    }
    let uncounted = status.get("uncountedTerminatedPods");
    if uncounted.entries().any(|(_, list)| !list.is_empty()) {
        uncounted.invalid("uncountedTerminatedPods needs to be empty for finished job");
    }
    if !status.get("startTime").is_set() {
        status.get("startTime").required("startTime is required for finished job");
    }
    times(at, &status, old_status);
}

/// What the conditions say together, and that the last word stands.
fn conditions(status: &At<'_>, old: &Value) {
    let list = status.get("conditions");
    let now = |ty: &str| holds(status.value(), ty);
    for (ty, other) in
        [("Complete", "Failed"), ("Complete", "FailureTarget"), ("SuccessCriteriaMet", "FailureTarget")]
    {
        if now(ty) && now(other) {
            list.invalid(format!("cannot set {ty}=True and {other}=true conditions"));
        }
    }
    for (ty, first) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        // Jobs that ended under an older version have no such condition.
        if now(ty) && !holds(old, ty) && !now(first) {
            list.invalid(format!("cannot set {ty}=True condition without the {first}=true condition"));
        }
    }
    for ty in ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"] {
        if holds(old, ty) && !now(ty) {
            list.invalid(format!("cannot disable the terminal {ty}=True condition"));
        }
    }
}

/// Indexes belong to indexed jobs.
fn indexes(at: &At<'_>, status: &At<'_>) {
    if at.get("spec.completionMode").text() == "Indexed" {
        return;
    }
    for name in ["completedIndexes", "failedIndexes"].map(|name| status.get(name)) {
        if !name.is_empty() {
            let plain = name.path().rsplit('.').next().unwrap_or_default().to_owned();
            name.invalid(format!("cannot set non-empty {plain} when non-indexed completion mode"));
        }
    }
}

fn times(at: &At<'_>, status: &At<'_>, old: &Value) {
    let (start, end) = (status.get("startTime"), status.get("completionTime"));
    let parse = |value: &Value| value.as_str().and_then(|text| Timestamp::parse(text).ok());
    let suspended = at.get("spec.suspend").is_true();
    if !suspended && !old["startTime"].is_null() && start.value() != &old["startTime"] {
        start.required(if start.is_set() {
            "startTime cannot be modified for unsuspended job"
        } else {
            "startTime cannot be removed for unsuspended job"
        });
    }
    let complete = holds(status.value(), "Complete");
    if complete && !end.is_set() {
        end.required("completionTime is required for Complete jobs");
    }
    if !complete && end.is_set() {
        end.invalid("cannot set completionTime when there is no Complete=True condition");
    }
    if !old["completionTime"].is_null() && end.is_set() && end.value() != &old["completionTime"] {
        end.invalid(IMMUTABLE);
    }
    if let (Some(start), Some(finish)) = (parse(start.value()), parse(end.value()))
        && finish.seconds_since(start) < 0
    {
        end.invalid("completionTime cannot be set before startTime");
    }
}
