//! Events: `core/v1` as stored, `events.k8s.io/v1` as newer clients write them.
use super::rename;
use knarr_api::Value;

/// Member names that differ: core/v1 on the left, events.k8s.io/v1 on the right.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// From events.k8s.io/v1.
pub(super) fn to_core(mut event: Value) -> Value {
    if let Some(members) = event.as_object_mut() {
        for (core, new) in NAMES {
            rename(members, new, core);
        }
        members.insert("apiVersion".into(), "v1".into());
    }
    event
}

/// To events.k8s.io/v1.
pub(super) fn from_core(mut event: Value) -> Value {
    if let Some(members) = event.as_object_mut() {
        for (core, new) in NAMES {
            rename(members, core, new);
        }
        members.insert("apiVersion".into(), "events.k8s.io/v1".into());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_ways() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "message": "m", "count": 2,
            "involvedObject": {"kind": "Pod"}, "reportingComponent": "x", "source": {"component": "x"},
        });
        let new = from_core(core.clone());
        assert_eq!(new["note"], "m");
        assert_eq!(new["regarding"]["kind"], "Pod");
        assert_eq!(new["deprecatedCount"], 2);
        assert_eq!(to_core(new), core);
    }
}
