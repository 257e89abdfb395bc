//! ResourceQuotas: what one object uses of a quota, and whether the quota concerns it.
//!
//! The admission plugin that charges and the controller that recounts share these rules, so their figures agree.
//! Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>.
use crate::Value;
use crate::quantity::{Format, Quantity};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Amounts by the names of quotas (`requests.cpu`, `count/deployments.apps`).
pub type Usage = BTreeMap<String, Quantity>;

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// How names end that limit the devices of a class.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Devices of a request for all there are: as many as one claim may be given.
const ALL_DEVICES: i64 = 32;
/// Resources that were counted by their plural before `count/` was.
const OLD_COUNTS: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// Names that every container of a pod must specify where a quota limits them.
const MANDATORY: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// The group and plural of the objects that a name in `spec.hard` is about.
pub fn counted(name: &str) -> (&str, &str) {
    if let Some(resource) = name.strip_prefix("count/") {
        return resource.split_once('.').map_or(("", resource), |(plural, group)| (group, plural));
    }
    if OLD_COUNTS.contains(&name) {
        return ("", name);
    }
    match name {
        "services" | "services.nodeports" | "services.loadbalancers" => ("", "services"),
        "persistentvolumeclaims" | "requests.storage" => ("", "persistentvolumeclaims"),
        _ if name.contains(STORAGE_CLASS) => ("", "persistentvolumeclaims"),
        _ if name.ends_with(DEVICES) => ("resource.k8s.io", "resourceclaims"),
        _ => ("", "pods"),
    }
}

/// What an object uses, by every name that could stand in a quota.
pub fn usage(group: &str, plural: &str, object: &Value, now: Timestamp) -> Usage {
    let count = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    let mut usage = Usage::from([(count, whole(1))]);
    match (group, plural) {
        ("", "pods") if !is_over(object, now) => {
            usage.insert("pods".into(), whole(1));
            let (requests, limits) = (pod_amounts(object, "requests"), pod_amounts(object, "limits"));
            usage.extend(compute(&requests, &limits));
        }
        ("", "services") => service(&object["spec"], &mut usage),
        ("", "persistentvolumeclaims") => claim(object, &mut usage),
        ("resource.k8s.io", "resourceclaims") => devices(&object["spec"]["devices"], &mut usage),
        ("", plural) if OLD_COUNTS.contains(&plural) => drop(usage.insert(plural.into(), whole(1))),
        _ => {}
    }
    usage
}

/// What an object uses of one quota: of the names in `hard`, if the object is in the scopes of `spec`.
pub fn charged(
    spec: &Value,
    hard: &Value,
    (group, plural): (&str, &str),
    object: &Value,
    now: Timestamp,
) -> Usage {
    if !in_scopes(spec, group, plural, object) {
        return Usage::new();
    }
    let mut usage = usage(group, plural, object, now);
    usage.retain(|name, _| hard.get(name).is_some());
    usage
}

/// A condition that a quota, or a limit by default, sets on objects: a scope, how it is compared and with what.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// Name of the scope.
    pub scope: &'a str,
    /// `Exists`, `In`, …
    pub operator: &'a str,
    /// With what, where the operator compares.
    pub values: &'a [Value],
}

impl<'a> Term<'a> {
    /// Reads a ScopedResourceSelectorRequirement.
    pub fn of(requirement: &'a Value) -> Self {
        let text = |field: &str| requirement[field].as_str().unwrap_or_default();
        Self { scope: text("scopeName"), operator: text("operator"), values: items(&requirement["values"]) }
    }

    /// Whether an object is in the scope; objects of most resources are in none.
    pub fn holds(&self, group: &str, plural: &str, object: &Value) -> bool {
        match (group, plural) {
            ("", "pods") => pod_in_scope(object, self.scope, self.operator, self.values),
            ("", "persistentvolumeclaims") if self.scope == "VolumeAttributesClass" => {
                let status = &object["status"];
                let classes = [
                    &object["spec"]["volumeAttributesClassName"],
                    &status["currentVolumeAttributesClassName"],
                    &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
                ];
                let named: Vec<&str> =
                    classes.into_iter().filter_map(Value::as_str).filter(|c| !c.is_empty()).collect();
                if named.is_empty() {
                    selects(self.operator, self.values, None)
                } else {
                    named.into_iter().any(|class| selects(self.operator, self.values, Some(class)))
                }
            }
            _ => false,
        }
    }
}

/// The scopes of a quota by its `spec`, whichever way they are written.
pub fn terms(spec: &Value) -> impl Iterator<Item = Term<'_>> {
    let plain = items(&spec["scopes"]).iter();
    let plain = plain.map(|scope| Term {
        scope: scope.as_str().unwrap_or_default(),
        operator: "Exists",
        values: &[],
    });
    plain.chain(items(&spec["scopeSelector"]["matchExpressions"]).iter().map(Term::of))
}

/// Is an object in all scopes of a quota's `spec`?
pub fn in_scopes(spec: &Value, group: &str, plural: &str, object: &Value) -> bool {
    terms(spec).all(|term| term.holds(group, plural, object))
}

/// What a pod leaves out although a quota with the limits `hard` demands it of every container, as the text after
/// `must specify`.
pub fn missing(hard: &Value, group: &str, plural: &str, object: &Value) -> Option<String> {
    if (group, plural) != ("", "pods") {
        return None;
    }
    let mut required: Vec<&str> = MANDATORY.into_iter().filter(|name| hard.get(name).is_some()).collect();
    let spec = &object["spec"];
    let given = |resources: &Value| compute(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
    let of_pod = given(&spec["resources"]);
    required.retain(|name| !of_pod.contains_key(*name));
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
        let own = given(&container["resources"]);
        for name in required.iter().filter(|name| !own.contains_key(**name)) {
            lacking.entry(name).or_default().push(container["name"].as_str().unwrap_or_default());
        }
    }
    let texts = lacking.into_iter().map(|(name, mut containers)| {
        containers.sort_unstable();
        format!("{name} for: {}", containers.join(","))
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// The amounts of a resource list; what is no quantity is left out.
pub fn amounts(list: &Value) -> Usage {
    let members = list.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?.ok()?))).collect()
}

/// Adds the amounts of one usage to another.
pub fn add(into: &mut Usage, more: Usage) {
    for (name, amount) in more {
        let sum = into.entry(name).or_default();
        *sum = *sum + amount;
    }
}

fn whole(count: usize) -> Quantity {
    Quantity::from_int(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Has a pod ended, or is it one whose time to end is over (its node is gone)? It uses nothing but its object.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return true;
    }
    // The API server sets the deletion time that includes the grace period; the original adds it once more.
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let deleted = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| Timestamp::parse(text).ok());
    matches!((deleted, grace), (Some(deleted), Some(grace)) if now.seconds_since(deleted) > grace)
}

/// Requests and limits under the names of quotas.
fn compute(requests: &Usage, limits: &Usage) -> Usage {
    let mut usage = Usage::new();
    for (name, amount) in requests {
        let bare = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if bare || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

/// A pod's requests or limits: what its containers and sidecars take together, or its greediest init container at
/// its time; what is set for the whole pod stands instead; overhead comes on top.
fn pod_amounts(pod: &Value, field: &str) -> Usage {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let (mut running, mut peak) = (Usage::new(), Usage::new());
    for container in items(&spec["initContainers"]) {
        let own = container_amounts(container, &status["initContainerStatuses"], field);
        let mut now = running.clone();
        add(&mut now, own.clone());
        raise(&mut peak, now);
        if container["restartPolicy"] == "Always" {
            add(&mut running, own);
        }
    }
    for container in items(&spec["containers"]) {
        add(&mut running, container_amounts(container, &status["containerStatuses"], field));
    }
    raise(&mut peak, running);
    peak.extend(amounts(&spec["resources"][field]));
    for (name, amount) in amounts(&spec["overhead"]) {
        // Overhead is no limit by itself: it widens those that are there.
        if field == "requests" || peak.contains_key(&name) {
            add(&mut peak, Usage::from([(name, amount)]));
        }
    }
    peak
}

/// What a container is given or was promised, whichever is more: a resize downwards frees nothing before it is done.
fn container_amounts(container: &Value, statuses: &Value, field: &str) -> Usage {
    let mut own = amounts(&container["resources"][field]);
    if let Some(status) = items(statuses).iter().find(|status| status["name"] == container["name"]) {
        raise(&mut own, amounts(&status["resources"][field]));
        if field == "requests" {
            raise(&mut own, amounts(&status["allocatedResources"]));
        }
    }
    own
}

fn raise(into: &mut Usage, other: Usage) {
    for (name, amount) in other {
        let most = into.entry(name).or_insert(amount);
        *most = amount.max(*most);
    }
}

fn service(spec: &Value, usage: &mut Usage) {
    let ports = items(&spec["ports"]);
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (ports.len(), 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            (ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|p| p != 0)).count(), 1)
        }
        Some("LoadBalancer") => (ports.len(), 1),
        _ => (0, 0),
    };
    usage.insert("services".into(), whole(1));
    usage.insert("services.nodeports".into(), whole(node_ports));
    usage.insert("services.loadbalancers".into(), whole(balancers));
}

fn claim(object: &Value, usage: &mut Usage) {
    let legacy = object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = legacy.or(object["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let mut put = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS}{name}"), amount);
        }
        usage.insert(name.to_owned(), amount);
    };
    put("persistentvolumeclaims", whole(1));
    let mut asked = amounts(&object["spec"]["resources"]["requests"]);
    raise(&mut asked, amounts(&object["status"]["allocatedResources"]));
    if let Some(storage) = asked.get("storage") {
        put("requests.storage", *storage);
    }
}

/// Devices that a resource claim, of whatever version, asks for, by class; of alternatives the most of each class.
fn devices(asked: &Value, usage: &mut Usage) {
    let of = |request: &Value| {
        let count = match request["allocationMode"].as_str().unwrap_or("ExactCount") {
            "ExactCount" => request["count"].as_i64().unwrap_or(1),
            "All" => ALL_DEVICES,
            _ => 0,
        };
        let class = request["deviceClassName"].as_str().unwrap_or_default();
        Usage::from([(format!("{class}{DEVICES}"), Quantity::from_int(count, Format::DecimalSi))])
    };
    for request in items(&asked["requests"]) {
        let alternatives = items(&request["firstAvailable"]);
        let mut most = Usage::new();
        if alternatives.is_empty() {
            // The first version of the API has no member between.
            most = of(if request["exactly"].is_null() { request } else { &request["exactly"] });
        }
        alternatives.iter().for_each(|alternative| raise(&mut most, of(alternative)));
        add(usage, most);
    }
}

/// Does a selector's term hold for a name? None: there is no name.
fn selects(operator: &str, values: &[Value], name: Option<&str>) -> bool {
    let listed = || name.is_some_and(|name| values.iter().any(|value| value == name));
    match operator {
        "Exists" => name.is_some(),
        "DoesNotExist" => name.is_none(),
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

fn pod_in_scope(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let spec = &pod["spec"];
    let terminating = || spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => is_best_effort(spec),
        "NotBestEffort" => !is_best_effort(spec),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().filter(|class| !class.is_empty());
            selects(operator, values, class)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
        _ => false,
    }
}

/// Is nothing asked of cpu and memory (quality of service `BestEffort`)?
fn is_best_effort(spec: &Value) -> bool {
    let asks = |resources: &Value| {
        ["requests", "limits"].iter().any(|field| {
            let list = amounts(&resources[*field]);
            ["cpu", "memory"].iter().any(|name| list.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    let containers = items(&spec["containers"]).iter().chain(items(&spec["initContainers"]));
    !asks(&spec["resources"]) && !containers.into_iter().any(|container| asks(&container["resources"]))
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses =
        |term: &Value| !items(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null();
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let side = &affinity[*side];
        let preferred = items(&side["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        let required = items(&side["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        required.chain(preferred.map(|weighted| &weighted["podAffinityTerm"])).any(crosses)
    })
}

#[cfg(test)]
mod tests;
