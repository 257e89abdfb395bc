//! HorizontalPodAutoscalers: `autoscaling/v2` as stored, `v1` with everything it cannot say in annotations.
//!
//! Source: the annotations `autoscaling.alpha.kubernetes.io/{metrics,current-metrics,conditions,behavior}`, whose
//! values are JSON of autoscaling/v2beta1-like lists.
use crate::registry::object;
use knarr_api::{Object, Value};
use serde_json::json;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// From v1.
pub(super) fn to_v2(mut hpa: Value) -> Value {
    let metrics = take(&mut hpa, METRICS);
    let current = take(&mut hpa, CURRENT);
    let conditions = take(&mut hpa, CONDITIONS);
    let behavior = take(&mut hpa, BEHAVIOR);
    let spec = object::child_mut(&mut hpa, "spec");
    let target = spec.remove("targetCPUUtilizationPercentage").filter(|v| !v.is_null());
    let mut list: Vec<Value> = metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default();
    if let Some(target) = target {
        list.insert(0, cpu_target(&target));
    }
    if !list.is_empty() {
        spec.insert("metrics".into(), Value::Array(list));
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    if hpa.get("status").is_some() {
        let status = object::child_mut(&mut hpa, "status");
        let used = status.remove("currentCPUUtilizationPercentage").filter(|v| !v.is_null());
        let mut list: Vec<Value> = current.and_then(|m| m.as_array().cloned()).unwrap_or_default();
        if let Some(used) = used {
            list.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}));
        }
        status
            .insert("currentMetrics".into(), if list.is_empty() { Value::Null } else { Value::Array(list) });
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
    hpa["apiVersion"] = "autoscaling/v2".into();
    hpa
}

/// To v1.
pub(super) fn to_v1(mut hpa: Value) -> Value {
    let spec = object::child_mut(&mut hpa, "spec");
    let metrics = spec.remove("metrics");
    let behavior = spec.remove("behavior").filter(|v| !v.is_null());
    let (target, rest) = split(metrics, |m| m.pointer("/resource/target/averageUtilization").cloned());
    if let Some(target) = target {
        spec.insert("targetCPUUtilizationPercentage".into(), target);
    }
    put(&mut hpa, METRICS, rest);
    put(&mut hpa, BEHAVIOR, behavior);
    if hpa.get("status").is_some() {
        let status = object::child_mut(&mut hpa, "status");
        let current = status.remove("currentMetrics");
        let conditions = status.remove("conditions").filter(|c| c.as_array().is_some_and(|l| !l.is_empty()));
        let (used, rest) = split(current, |m| m.pointer("/resource/current/averageUtilization").cloned());
        if let Some(used) = used {
            status.insert("currentCPUUtilizationPercentage".into(), used);
        }
        put(&mut hpa, CURRENT, rest);
        put(&mut hpa, CONDITIONS, conditions);
    }
    hpa["apiVersion"] = "autoscaling/v1".into();
    hpa
}

fn cpu_target(percentage: &Value) -> Value {
    json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percentage}},
    })
}

/// The utilisation of the first cpu metric, and the other metrics.
fn split(metrics: Option<Value>, of: impl Fn(&Value) -> Option<Value>) -> (Option<Value>, Option<Value>) {
    let Some(Value::Array(list)) = metrics else { return (None, None) };
    let mut found = None;
    let mut rest = Vec::new();
    for metric in list {
        let cpu =
            metric["type"] == "Resource" && metric.pointer("/resource/name").is_some_and(|n| n == "cpu");
        match of(&metric).filter(|_| cpu && found.is_none()) {
            Some(value) => found = Some(value),
            None => rest.push(metric),
        }
    }
    (found, (!rest.is_empty()).then_some(Value::Array(rest)))
}

fn take(hpa: &mut Value, annotation: &str) -> Option<Value> {
    let annotations = object::meta_mut(hpa).get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(annotation)?;
    if annotations.is_empty() {
        object::meta_mut(hpa).remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn put(hpa: &mut Value, annotation: &str, value: Option<Value>) {
    let Some(value) = value else { return };
    let annotations =
        object::meta_mut(hpa).entry("annotations").or_insert_with(|| Value::Object(Object::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(annotation.to_owned(), value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let v1 = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80},
        });
        let v2 = to_v2(v1.clone());
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(to_v1(v2), v1);
        let mixed = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": [{"type": "Pods", "pods": {}}], "behavior": {"scaleUp": {}}},
        });
        assert_eq!(to_v2(to_v1(mixed.clone())), mixed);
    }
}
