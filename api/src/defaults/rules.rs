//! The defaults that are code; `call` in the table names them.
mod pod;

use crate::quantity::Quantity;
use crate::time::Timestamp;
use crate::{Object, Value};
use serde_json::json;

/// The rule of the given name.
pub(super) fn named(name: &str) -> Option<fn(&mut Object)> {
    Some(match name {
        "image_pull_policy" => pod::image_pull_policy,
        "image_volume_pull_policy" => pod::image_volume_pull_policy,
        "empty_volume_source" => pod::empty_volume_source,
        "container_requests" => pod::container_requests,
        "pod_level_hugepages" => pod::pod_level_hugepages,
        "pod_level_requests" => pod::pod_level_requests,
        "host_ports" => pod::host_ports,
        "grace_of_pods" => pod::grace,
        "session_affinity" => session_affinity,
        "target_ports" => target_ports,
        "load_balancer_ip_mode" => load_balancer_ip_mode,
        "namespace_label" => namespace_label,
        "claim_templates" => claim_templates,
        "limit_range_item" => limit_range_item,
        "cpu_target" => cpu_target,
        "time_added" => time_added,
        "stored_versions" => stored_versions,
        "derived_names" => derived_names,
        _ => return None,
    })
}

/// Quantities are kept to thousandths, rounded up.
pub(super) fn round_up(list: &mut Object) {
    for value in list.values_mut() {
        let Value::String(text) = value else { continue };
        // Only `n` and `u` and fractions can be finer, and canonical form has no fractions.
        if !text.contains(['n', 'u', 'e', 'E']) {
            continue;
        }
        if let Ok(quantity) = text.parse::<Quantity>() {
            *text = quantity.round_up_to_milli().to_string();
        }
    }
}

/// The object at a member, made where it is absent.
fn member<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    object.entry(name).or_insert_with(|| Value::Object(Object::new())).as_object_mut()
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Service: `sessionAffinityConfig` belongs to `ClientIP` alone, which has a timeout of three hours.
fn session_affinity(service: &mut Object) {
    let Some(spec) = member(service, "spec") else { return };
    match text(spec, "sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            let timeout =
                spec.get("sessionAffinityConfig").and_then(|c| c.get("clientIP")?.get("timeoutSeconds"));
            if timeout.is_none() {
                let config = json!({"clientIP": {"timeoutSeconds": 10_800}});
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
}

/// Service: a port without a target goes to its own number.
fn target_ports(service: &mut Object) {
    let ports = service.get_mut("spec").and_then(|s| s.get_mut("ports")?.as_array_mut());
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let set = match port.get("targetPort") {
            Some(Value::String(name)) => !name.is_empty(),
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            _ => false,
        };
        if !set {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".to_owned(), number);
        }
    }
}

/// Service of type LoadBalancer: an address is a virtual one unless said otherwise.
fn load_balancer_ip_mode(service: &mut Object) {
    let ingress =
        service.get_mut("status").and_then(|s| s.get_mut("loadBalancer")?.get_mut("ingress")?.as_array_mut());
    for entry in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !text(entry, "ip").is_empty() && !entry.contains_key("ipMode") {
            entry.insert("ipMode".to_owned(), "VIP".into());
        }
    }
}

/// Namespace: the label with its own name, over whatever else was there.
fn namespace_label(namespace: &mut Object) {
    let Some(metadata) = member(namespace, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    if let Some(labels) = member(metadata, "labels").filter(|_| !name.is_empty()) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    } else if metadata.get("labels").and_then(Value::as_object).is_some_and(Object::is_empty) {
        metadata.remove("labels");
    }
}

/// StatefulSet: templates of claims say what they are, whatever else was there.
fn claim_templates(set: &mut Object) {
    let Some(spec) = set.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let templates = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten().filter_map(Value::as_object_mut) {
        template.insert("apiVersion".to_owned(), "v1".into());
        template.insert("kind".to_owned(), "PersistentVolumeClaim".into());
    }
}

/// LimitRange, an item for containers: `default` from `max`, `defaultRequest` from `default`, then from `min`.
fn limit_range_item(item: &mut Object) {
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(Value::Object(source)) = item.get(from).cloned() else { continue };
        let Some(target) = member(item, to) else { continue };
        for (name, amount) in source {
            target.entry(name).or_insert(amount);
        }
    }
}

/// HorizontalPodAutoscaler v1: 80 % CPU where there is no metric at all (others are in an annotation).
fn cpu_target(autoscaler: &mut Object) {
    let annotations = autoscaler.get("metadata").and_then(|m| m.get("annotations"));
    let metrics = annotations.and_then(|a| a.get("autoscaling.alpha.kubernetes.io/metrics"));
    if metrics.is_some() {
        return;
    }
    if let Some(spec) = member(autoscaler, "spec") {
        spec.entry("targetCPUUtilizationPercentage").or_insert_with(|| 80.into());
    }
}

/// Device taint: since now.
fn time_added(taint: &mut Object) {
    taint.entry("timeAdded").or_insert_with(|| Timestamp::now().to_rfc3339().into());
}

/// CustomResourceDefinition: objects are stored in the version marked so.
fn stored_versions(definition: &mut Object) {
    let versions = definition.get("spec").and_then(|s| s.get("versions")?.as_array());
    let storage = versions.into_iter().flatten().find(|v| v.get("storage") == Some(&Value::Bool(true)));
    let Some(name) = storage.and_then(|v| v.get("name")).cloned() else { return };
    let Some(status) = member(definition, "status") else { return };
    if status.get("storedVersions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        status.insert("storedVersions".to_owned(), Value::Array(vec![name]));
    }
}

/// CustomResourceDefinition's spec: singular and list kind derived from the kind.
fn derived_names(spec: &mut Object) {
    let Some(names) = member(spec, "names") else { return };
    let kind = text(names, "kind").to_owned();
    if kind.is_empty() {
        return;
    }
    if text(names, "singular").is_empty() {
        names.insert("singular".to_owned(), kind.to_lowercase().into());
    }
    if text(names, "listKind").is_empty() {
        names.insert("listKind".to_owned(), format!("{kind}List").into());
    }
}
