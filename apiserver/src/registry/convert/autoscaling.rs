//! HorizontalPodAutoscalers: `autoscaling/v2` as stored, `v1` with everything it cannot say in annotations.
//!
//! Source: the annotations `autoscaling.alpha.kubernetes.io/{metrics,current-metrics,conditions,behavior}`. Metrics are
//! JSON in the shape of the old `v2beta1`; the behaviour has Go's names, since the original writes a type of its own.
use crate::registry::object;
use knarr_api::{Object, Value};
use serde_json::json;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// What an autoscaler without any metric keeps, in percent of the cpu that pods ask for.
const CPU_DEFAULT: i64 = 80;

/// A kind of metrics: its member, and pairs of a path in v2 and a name in the annotation.
type Shape = (&'static str, &'static [(&'static str, &'static str)]);

const SPEC: &[Shape] = &[
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("target.value", "targetValue"),
            ("metric.selector", "selector"),
            ("target.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("target.averageValue", "targetAverageValue"),
            ("metric.selector", "selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("target.averageUtilization", "targetAverageUtilization"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("target.averageUtilization", "targetAverageUtilization"),
            ("target.averageValue", "targetAverageValue"),
            ("container", "container"),
        ],
    ),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
];
const STATUS: &[Shape] = &[
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("current.value", "currentValue"),
            ("metric.selector", "selector"),
            ("current.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("current.averageValue", "currentAverageValue"),
            ("metric.selector", "selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("current.averageUtilization", "currentAverageUtilization"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("current.averageUtilization", "currentAverageUtilization"),
            ("current.averageValue", "currentAverageValue"),
            ("container", "container"),
        ],
    ),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("current.value", "currentValue"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
];

/// From v1.
pub(super) fn to_v2(mut hpa: Value) -> Value {
    let metrics = take(&mut hpa, METRICS);
    let current = take(&mut hpa, CURRENT);
    let conditions = take(&mut hpa, CONDITIONS);
    let behavior = take(&mut hpa, BEHAVIOR);
    let spec = object::child_mut(&mut hpa, "spec");
    let target = spec.remove("targetCPUUtilizationPercentage").filter(|v| !v.is_null());
    let mut list = unfold_all(metrics, SPEC);
    if let Some(target) = target {
        list.insert(0, cpu_target(&target));
    } else if list.is_empty() {
        list.push(cpu_target(&CPU_DEFAULT.into()));
    }
    spec.insert("metrics".into(), Value::Array(list));
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), recase(behavior, decapitalized));
    }
    if hpa.get("status").is_some() {
        let status = object::child_mut(&mut hpa, "status");
        let used = status.remove("currentCPUUtilizationPercentage").filter(|v| !v.is_null());
        let mut list = unfold_all(current, STATUS);
        if let Some(used) = used {
            let current = json!({"averageUtilization": used});
            list.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));
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
    let (target, rest) = split(metrics, "/resource/target/averageUtilization");
    if let Some(target) = target {
        spec.insert("targetCPUUtilizationPercentage".into(), target);
    }
    put(&mut hpa, METRICS, fold_all(rest, SPEC));
    put(&mut hpa, BEHAVIOR, behavior.map(|behavior| recase(behavior, capitalized)));
    if hpa.get("status").is_some() {
        let status = object::child_mut(&mut hpa, "status");
        let current = status.remove("currentMetrics");
        let conditions = status.remove("conditions").filter(|c| c.as_array().is_some_and(|l| !l.is_empty()));
        let (used, rest) = split(current, "/resource/current/averageUtilization");
        if let Some(used) = used {
            status.insert("currentCPUUtilizationPercentage".into(), used);
        }
        put(&mut hpa, CURRENT, fold_all(rest, STATUS));
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
fn split(metrics: Option<Value>, utilization: &str) -> (Option<Value>, Vec<Value>) {
    let Some(Value::Array(list)) = metrics else { return (None, Vec::new()) };
    let mut found = None;
    let mut rest = Vec::new();
    for metric in list {
        let cpu =
            metric["type"] == "Resource" && metric.pointer("/resource/name").is_some_and(|n| n == "cpu");
        let plain = metric.pointer(&utilization.replace("averageUtilization", "averageValue"));
        let plain = cpu && found.is_none() && plain.is_none_or(Value::is_null);
        match metric.pointer(utilization).filter(|value| plain && !value.is_null()).cloned() {
            Some(value) => found = Some(value),
            None => rest.push(metric),
        }
    }
    (found, rest)
}

fn fold_all(metrics: Vec<Value>, shapes: &[Shape]) -> Option<Value> {
    let folded: Vec<Value> = metrics.into_iter().map(|metric| fold(&metric, shapes)).collect();
    (!folded.is_empty()).then_some(Value::Array(folded))
}

/// A metric in the shape of the annotation.
fn fold(metric: &Value, shapes: &[Shape]) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (member, fields) in shapes {
        let Some(source) = metric.get(member).filter(|source| !source.is_null()) else { continue };
        let mut flat = Object::new();
        for (path, name) in *fields {
            let found = path.split('.').try_fold(source, |value, part| value.get(part));
            if let Some(value) = found.filter(|value| !value.is_null()) {
                flat.insert((*name).to_owned(), value.clone());
            }
        }
        // Objects have a value there always, if only zero.
        if *member == "object" {
            let name = if flat.contains_key("averageValue") { fields[2].1 } else { "" };
            if !name.is_empty() {
                flat.entry(name).or_insert_with(|| "0".into());
            }
        }
        out[*member] = Value::Object(flat);
    }
    out
}

fn unfold_all(metrics: Option<Value>, shapes: &[Shape]) -> Vec<Value> {
    let list = metrics.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|metric| unfold(metric, shapes)).collect()
}

/// A metric from the shape of the annotation.
fn unfold(metric: &Value, shapes: &[Shape]) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (member, fields) in shapes {
        let Some(flat) = metric.get(member).filter(|source| !source.is_null()) else { continue };
        let mut source = json!({});
        for (path, name) in *fields {
            let Some(value) = flat.get(*name).filter(|value| !value.is_null()) else { continue };
            let averaged = *member == "object" && flat.get("averageValue").is_some_and(|v| !v.is_null());
            if averaged && path.ends_with(".value") {
                continue;
            }
            match path.split_once('.') {
                Some((part, field)) => source[part][field] = value.clone(),
                None => source[*path] = value.clone(),
            }
        }
        if let Some(target) = source.get_mut("target").filter(|target| target.is_object()) {
            let has = |name: &str| target.get(name).is_some();
            let ty = match (has("averageUtilization"), has("averageValue")) {
                (true, _) => "Utilization",
                (_, true) => "AverageValue",
                _ => "Value",
            };
            target["type"] = ty.into();
        }
        out[*member] = source;
    }
    out
}

/// The same value with other spellings of all names of members.
fn recase(value: Value, spell: fn(&str) -> String) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(name, value)| (spell(&name), recase(value, spell))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| recase(item, spell)).collect()),
        other => other,
    }
}

fn capitalized(name: &str) -> String {
    name.get(..1).map_or_else(String::new, |first| first.to_ascii_uppercase() + &name[1..])
}

fn decapitalized(name: &str) -> String {
    name.get(..1).map_or_else(String::new, |first| first.to_ascii_lowercase() + &name[1..])
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

    fn v2(spec: Value, status: Value) -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": spec, "status": status})
    }

    #[test]
    fn cpu_has_a_field_of_its_own() {
        let v1 = json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70},
        });
        let stored = to_v2(v1.clone());
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
        assert_eq!(to_v1(stored), v1);
        let bare = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3}});
        assert_eq!(to_v2(bare)["spec"]["metrics"], json!([cpu_target(&json!(80))]));
    }

    /// Nothing is lost on the way to v1 and back.
    #[test]
    fn everything_else_is_in_annotations() {
        let metric = json!({"name": "m", "selector": {"matchLabels": {"a": "b"}}});
        let object = json!({"kind": "Service", "name": "s", "apiVersion": "v1"});
        for (spec, status) in [
            (
                json!({"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "1k"}}}),
                json!({"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": "2k"}}}),
            ),
            (
                json!({"type": "Object", "object": {
                "describedObject": object, "metric": metric, "target": {"type": "Value", "value": "5"}}}),
                json!({"type": "Object", "object": {
                "describedObject": object, "metric": metric, "current": {"value": "5"}}}),
            ),
            (
                json!({"type": "Object", "object": {
                "describedObject": object, "metric": metric, "target": {"type": "AverageValue", "averageValue": "5"}}}),
                json!({"type": "Object", "object": {
                "describedObject": object, "metric": metric, "current": {"averageValue": "5"}}}),
            ),
            (
                json!({"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "5"}}}),
                json!({"type": "External", "external": {"metric": metric, "current": {"value": "6"}}}),
            ),
            (
                json!({"type": "Resource", "resource": {
                "name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}}),
                json!({"type": "Resource", "resource": {
                "name": "memory", "current": {"averageUtilization": 50, "averageValue": "1Gi"}}}),
            ),
            (
                json!({"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}}),
                json!({"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "c", "current": {"averageUtilization": 50}}}),
            ),
        ] {
            let stored = v2(
                json!({"maxReplicas": 3, "metrics": [spec], "behavior": {"scaleUp": {"policies": [
                    {"type": "Pods", "value": 1, "periodSeconds": 15}], "selectPolicy": "Max"}}}),
                json!({"currentMetrics": [status], "conditions": [{"type": "AbleToScale", "status": "True"}]}),
            );
            let served = to_v1(stored.clone());
            let annotations = &served["metadata"]["annotations"];
            assert!(
                annotations[BEHAVIOR].as_str().is_some_and(|text| text.contains("\"ScaleUp\":{\"Policies\""))
            );
            assert_eq!(to_v2(served), stored);
        }
    }

    #[test]
    fn annotations_have_the_old_shape() {
        let stored = v2(
            json!({"metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}}}]}),
            json!({}),
        );
        let text = to_v1(stored)["metadata"]["annotations"][METRICS].as_str().map(str::to_owned);
        let expected = r#"[{"pods":{"metricName":"m","targetAverageValue":"1k"},"type":"Pods"}]"#;
        assert_eq!(text.as_deref(), Some(expected));
    }
}
