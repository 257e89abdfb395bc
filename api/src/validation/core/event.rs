//! Rules of events, which are one resource in two versions: those of core/v1 are checked as events ever were, those that
//! come by events.k8s.io/v1 strictly. Faults are told by the names of core/v1, with which the original checks both.
use super::At;
use crate::{Value, names};

/// Longest texts, in bytes.
const LIMIT: usize = 128;
const NOTE_LIMIT: usize = 1024;

/// The names that a version has for what the other calls otherwise.
struct Fields {
    object: &'static str,
    controller: &'static str,
    message: &'static str,
}

const CORE: Fields =
    Fields { object: "involvedObject", controller: "reportingComponent", message: "message" };
const EVENTS: Fields = Fields { object: "regarding", controller: "reportingController", message: "note" };

/// What only events of old times have: names in events.k8s.io/v1 and in core/v1.
const FORMER: [(&str, &str); 4] = [
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("deprecatedSource", "source"),
];

pub(super) fn core(at: &At<'_>) {
    any(at, &CORE);
}

pub(super) fn events(at: &At<'_>) {
    any(at, &EVENTS);
    if at.before().is_some() {
        return;
    }
    series(at);
    if at.get("eventTime").is_empty() {
        at.get("eventTime").required("");
    }
    let ty = at.get("type");
    if !matches!(ty.text(), "Normal" | "Warning") {
        ty.invalid_text("", format!("has invalid value: {}", ty.text()));
    }
    for (name, shown) in FORMER {
        let former = at.get_as(name, shown);
        if !former.is_empty() {
            former.invalid_text("", "needs to be unset");
        }
    }
}

/// What makes an event the event it is does not change.
pub(super) fn events_update(at: &At<'_>, old: &Value) {
    if at.get("series").value() != old.get("series").unwrap_or(&Value::Null) {
        series(at);
    }
    let same =
        ["reason", "type", "eventTime", "action", "related", "reportingController", "reportingInstance"];
    let renamed = [(EVENTS.object, CORE.object), (EVENTS.message, CORE.message)];
    let all = renamed.into_iter().chain(FORMER).chain(same.map(|name| (name, name)));
    for (name, shown) in all {
        at.get_as(name, shown).immutable(&old[name]);
    }
}

/// What holds of every event: it lives in the namespace of the object it speaks of, and those with a time of their own
/// say who reports what.
fn any(at: &At<'_>, fields: &Fields) {
    let object = at.get(fields.object).get("namespace").text();
    let namespace = at.get("metadata.namespace").text();
    let modern = !at.get("eventTime").is_empty();
    let fits = match (object, namespace) {
        ("", "" | "default") => true,
        ("", "kube-system") => modern,
        ("", _) => false,
        (object, own) => modern || object == own,
    };
    if !fits {
        let told = at.get_as(fields.object, "involvedObject.namespace");
        told.invalid_text(object, "does not match event.namespace");
    }
    if !modern {
        return;
    }
    let controller = at.get_as(fields.controller, "reportingController");
    controller.need();
    controller.format(names::qualified_name);
    for name in ["reportingInstance", "action", "reason"] {
        let text = at.get(name);
        if text.need() && text.text().len() > LIMIT {
            text.invalid_text("", format!("can have at most {LIMIT} characters"));
        }
    }
    let message = at.get_as(fields.message, "message");
    if message.text().len() > NOTE_LIMIT {
        message.invalid_text("", format!("can have at most {NOTE_LIMIT} characters"));
    }
}

fn series(at: &At<'_>) {
    let Some(series) = at.find("series") else { return };
    if series.get("count").int().unwrap_or(0) < 2 {
        series.get("count").invalid_text("", "should be at least 2");
    }
    if series.get("lastObservedTime").is_empty() {
        series.get("lastObservedTime").required("");
    }
}
