//! LimitRanger: the limits of a namespace's LimitRanges give containers their missing requests and limits, and refuse
//! pods and claims outside of them.
use super::{Attributes, Operation, Plugin, array};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::quantity::Quantity;
use knarr_api::status::Status;
use knarr_api::{Object, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The plugin.
pub struct LimitRanger {
    /// Where LimitRanges are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        match operation {
            Operation::Create => attributes.is("", "pods") || attributes.is("", "persistentvolumeclaims"),
            Operation::Update => attributes.is("", "persistentvolumeclaims"),
            _ => false,
        }
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if attributes.is("", "pods") {
            let limits = self.limits(attributes.namespace);
            if let Some(pod) = &mut attributes.object {
                give_defaults(pod, &limits);
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let limits = self.limits(attributes.namespace);
        let mut faults = if attributes.is("", "pods") {
            pod_faults(object, &limits)
        } else {
            claim_faults(object, &limits)
        };
        match faults.len() {
            0 => Ok(()),
            1 => Err(attributes.forbidden(faults.remove(0))),
            _ => Err(attributes.forbidden(format!("[{}]", faults.join(", ")))),
        }
    }
}

impl LimitRanger {
    /// All `spec.limits` of the namespace.
    fn limits(&self, namespace: &str) -> Vec<Value> {
        let ranges = self.objects.list("", "limitranges", Some(namespace));
        ranges.iter().flat_map(|range| array(&range["spec"]["limits"]).to_vec()).collect()
    }
}

/// Sets what containers leave out, and notes it in an annotation.
fn give_defaults(pod: &mut Value, limits: &[Value]) {
    let of_containers = || limits.iter().filter(|limit| limit["type"] == "Container");
    let merged = |field: &str| -> Object {
        of_containers()
            .filter_map(|limit| limit[field].as_object())
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let (default_limits, default_requests) = (merged("default"), merged("defaultRequest"));
    let mut notes = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let requests = fill(container, "requests", &default_requests);
            let limits = fill(container, "limits", &default_limits);
            for (set, kind) in [(requests, "request"), (limits, "limit")] {
                if !set.is_empty() {
                    notes.push(format!("{} {kind} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod["metadata"]["annotations"][ANNOTATION] =
            json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

/// Adds the missing entries; gives their names.
fn fill(container: &mut Value, field: &str, defaults: &Object) -> Vec<String> {
    let mut set = Vec::new();
    for (resource, quantity) in defaults {
        if container["resources"][field][resource].is_null() {
            container["resources"][field][resource] = quantity.clone();
            set.push(resource.clone());
        }
    }
    set
}

/// Amounts by resource, with the text to show.
type Amounts = BTreeMap<String, Quantity>;

fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, v)| Some((name.clone(), Quantity::from_value(v)?.ok()?))).collect()
}

fn pod_faults(pod: &Value, limits: &[Value]) -> Vec<String> {
    let spec = &pod["spec"];
    let mut faults = Vec::new();
    for limit in limits {
        match limit["type"].as_str() {
            Some("Container") => {
                for container in array(&spec["containers"]).iter().chain(array(&spec["initContainers"])) {
                    let (requests, given) = (
                        amounts(&container["resources"]["requests"]),
                        amounts(&container["resources"]["limits"]),
                    );
                    check(limit, "Container", &requests, &given, &mut faults);
                }
            }
            Some("Pod") => {
                let (requests, given) = (of_pod(spec, "requests"), of_pod(spec, "limits"));
                check(limit, "Pod", &requests, &given, &mut faults);
            }
            _ => {}
        }
    }
    faults
}

fn claim_faults(claim: &Value, limits: &[Value]) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut faults = Vec::new();
    for limit in limits.iter().filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        for (what, field) in [("minimum", "min"), ("maximum", "max")] {
            for (resource, bound) in amounts(&limit[field]) {
                let Some(request) = requests.get(&resource) else { continue };
                let bad = if field == "min" {
                    request.nanos() < bound.nanos()
                } else {
                    request.nanos() > bound.nanos()
                };
                if bad {
                    faults.push(format!("{what} {resource} usage per PersistentVolumeClaim is {bound}, but request is {request}"));
                }
            }
        }
    }
    faults
}

/// A pod's amount: the sum of its containers and sidecars, or what its greediest init container needs at its time.
/// Limits only count where every container has one.
fn of_pod(spec: &Value, field: &str) -> Amounts {
    let mut running: BTreeMap<String, i128> = BTreeMap::new();
    let mut peak: BTreeMap<String, i128> = BTreeMap::new();
    let mut shown = Amounts::new();
    let add = |into: &mut BTreeMap<String, i128>, amounts: &Amounts| {
        amounts.iter().for_each(|(name, amount)| *into.entry(name.clone()).or_default() += amount.nanos());
    };
    for container in array(&spec["initContainers"]) {
        let own = amounts(&container["resources"][field]);
        shown.extend(own.clone());
        let mut now = running.clone();
        add(&mut now, &own);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
        }
        for (name, amount) in now {
            let most = peak.entry(name).or_default();
            *most = (*most).max(amount);
        }
    }
    for container in array(&spec["containers"]) {
        let own = amounts(&container["resources"][field]);
        shown.extend(own.clone());
        add(&mut running, &own);
    }
    for (name, amount) in running {
        let most = peak.entry(name).or_default();
        *most = (*most).max(amount);
    }
    peak.into_iter()
        .filter_map(|(name, nanos)| {
            let format = shown.get(&name)?.format();
            let milli = i64::try_from(nanos / 1_000_000).ok();
            let whole = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
            let quantity = match milli {
                Some(milli) if milli % 1000 != 0 => Quantity::from_milli(milli, format),
                _ => Quantity::from_int(whole, format),
            };
            Some((name, quantity))
        })
        .collect()
}

fn check(limit: &Value, per: &str, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    for (resource, least) in amounts(&limit["min"]) {
        let text = format!("minimum {resource} usage per {per} is {least}");
        match (requests.get(&resource), limits.get(&resource)) {
            (None, _) => faults.push(format!("{text}.  No request is specified")),
            (Some(request), _) if request.nanos() < least.nanos() => {
                faults.push(format!("{text}, but request is {request}"))
            }
            (_, Some(limit)) if limit.nanos() < least.nanos() => {
                faults.push(format!("{text}, but limit is {limit}"))
            }
            _ => {}
        }
    }
    for (resource, most) in amounts(&limit["max"]) {
        let text = format!("maximum {resource} usage per {per} is {most}");
        match (requests.get(&resource), limits.get(&resource)) {
            (_, None) => faults.push(format!("{text}.  No limit is specified")),
            (_, Some(limit)) if limit.nanos() > most.nanos() => {
                faults.push(format!("{text}, but limit is {limit}"))
            }
            (Some(request), _) if request.nanos() > most.nanos() => {
                faults.push(format!("{text}, but request is {request}"))
            }
            _ => {}
        }
    }
    for (resource, ratio) in amounts(&limit["maxLimitRequestRatio"]) {
        let text = format!("{resource} max limit to request ratio per {per} is {ratio}");
        let amount = |amounts: &Amounts| amounts.get(&resource).map_or(0, Quantity::nanos);
        match (amount(requests), amount(limits)) {
            (0, _) => faults.push(format!("{text}, but no request is specified or request is 0")),
            (_, 0) => faults.push(format!("{text}, but no limit is specified or limit is 0")),
            (request, limit) => {
                let observed = limit as f64 / request as f64;
                if observed > ratio.as_f64() {
                    faults.push(format!("{text}, but provided ratio is {observed:.6}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn defaults() {
        let limits = [
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m", "memory": "1Gi"}}),
        ];
        let mut pod = pod(json!({"requests": {"memory": "2Gi"}}));
        give_defaults(&mut pod, &limits);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"requests": {"memory": "2Gi", "cpu": "100m"}, "limits": {"cpu": "1"}}));
        let note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
        assert_eq!(pod["metadata"]["annotations"][ANNOTATION], note);
    }

    #[test]
    fn faults() {
        let check = |limit: Value, resources: Value, expected: &[&str]| {
            assert_eq!(pod_faults(&pod(resources), &[limit]), expected);
        };
        let max = json!({"type": "Container", "max": {"cpu": "1"}});
        check(
            max.clone(),
            json!({"limits": {"cpu": "2"}}),
            &["maximum cpu usage per Container is 1, but limit is 2"],
        );
        check(max.clone(), json!({}), &["maximum cpu usage per Container is 1.  No limit is specified"]);
        check(max, json!({"limits": {"cpu": "500m"}}), &[]);
        let min = json!({"type": "Pod", "min": {"memory": "1Gi"}});
        check(
            min.clone(),
            json!({"requests": {"memory": "512Mi"}}),
            &["minimum memory usage per Pod is 1Gi, but request is 512Mi"],
        );
        check(min, json!({"requests": {"memory": "1Gi"}}), &[]);
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        check(
            ratio,
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
        );
    }

    #[test]
    fn pods_with_init_containers() {
        let spec = json!({
            "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        });
        assert_eq!(of_pod(&spec, "requests")["cpu"].to_string(), "2100m");
    }
}
