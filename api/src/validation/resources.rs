//! Rules of resource lists: names of resources, amounts, requests within limits.
use super::cursor::{At, NOT_NEGATIVE};
use crate::names;
use crate::quantity::Quantity;

/// Resources that a container can ask for without a domain.
const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// Names without a domain that are known in resource lists and quotas.
const STANDARD: [&str; 26] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
    "count/",
    "requests.hugepages-",
    "limits.hugepages-",
    "hugepages-",
    "requests.",
    "limits.",
];
/// Resources that are counted, in quotas.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Without a domain, or with one of Kubernetes.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether requests may be below limits.
fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_hugepages(name)
}

fn is_integer_resource(name: &str) -> bool {
    COUNTED.contains(&name) || name.starts_with("count/") || !is_native(name)
}

/// The name of a resource in general; faults stand at `at`.
pub(super) fn name(at: &At<'_>, name: &str) {
    for fault in names::qualified_name(name) {
        at.invalid_text(name, fault);
    }
    let standard = STANDARD.contains(&name) || is_hugepages(name) || name.contains("hugepages-");
    if !name.contains('/') && !standard {
        at.invalid_text(name, "must be a standard resource type or fully qualified");
    }
}

pub(super) fn container_name(at: &At<'_>, resource: &str) {
    name(at, resource);
    if !resource.contains('/') {
        if !CONTAINER.contains(&resource) && !is_hugepages(resource) {
            at.invalid_text(resource, "must be a standard resource for containers");
        }
    } else if is_native(resource) || resource.starts_with("requests.") {
        at.invalid_text(resource, "doesn't follow extended resource name standard");
    }
}

/// The name of a resource in a quota: one that is counted, or pods' computing resources and their sums.
pub(super) fn quota_name(at: &At<'_>, resource: &str) {
    name(at, resource);
    let plain = resource.strip_prefix("requests.").unwrap_or(resource);
    let summed = resource.strip_prefix("limits.").unwrap_or(plain);
    let standard = is_hugepages(plain)
        || COUNTED.contains(&resource)
        || matches!(summed, "cpu" | "memory" | "ephemeral-storage")
        || resource == "requests.storage";
    if !resource.contains('/') && !standard {
        at.invalid_text(resource, "must be a standard resource for quota");
    }
}

/// An amount of a resource: not negative, whole where it is counted.
pub(super) fn amount(at: &At<'_>, resource: &str) {
    let Some(quantity) = at.quantity() else { return };
    if quantity.sign() < 0 {
        at.invalid(NOT_NEGATIVE);
    }
    if is_integer_resource(resource) && !quantity.is_integer() {
        at.invalid("must be an integer");
    }
}

/// An amount above 0, where there is one.
pub(super) fn positive(at: &At<'_>) {
    if at.quantity().is_some_and(|quantity| quantity.sign() <= 0) {
        at.invalid("must be greater than zero");
    }
}

/// `resources` of a container.
pub(super) fn container(resources: &At<'_>) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    let mut base = false;
    let mut huge = false;
    for (name, limit) in limits.entries() {
        container_name(&limit, name);
        amount(&limit, name);
        hugepages(&limit, name);
        (base, huge) = (base || matches!(name, "cpu" | "memory"), huge || is_hugepages(name));
    }
    for (name, request) in requests.entries() {
        container_name(&request, name);
        amount(&request, name);
        let text = request.quantity().map(|q| q.to_string()).unwrap_or_default();
        match (request.quantity(), limits.key(name).quantity()) {
            (Some(asked), Some(limit)) if asked != limit && !can_overcommit(name) => {
                requests.invalid_text(&text, format!("must be equal to {name} limit of {limit}"));
            }
            (Some(asked), Some(limit)) if asked > limit => {
                requests
                    .invalid_text(&text, format!("must be less than or equal to {name} limit of {limit}"));
            }
            (_, None) if !can_overcommit(name) => {
                limits.required("Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        (base, huge) = (base || matches!(name, "cpu" | "memory"), huge || is_hugepages(name));
    }
    if huge && !base {
        resources.forbidden("HugePages require cpu or memory");
    }
    claims(&resources.get("claims"));
}

/// Huge pages come whole.
fn hugepages(at: &At<'_>, name: &str) {
    let size = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    if let (Some(size), Some(amount)) = (size, at.quantity())
        && size.nanos() > 0
        && amount.nanos() % size.nanos() != 0
    {
        at.invalid("quantity must be a multiple of the page size");
    }
}

fn claims(claims: &At<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in claims.items() {
        let name = claim.get("name");
        if name.need() {
            let key = (name.text(), claim.get("request").text());
            if seen.contains(&key) {
                claim.duplicate();
            }
            seen.push(key);
        }
    }
}

/// Amounts under names that need only be good in general: overhead, capacity.
pub(super) fn list(list: &At<'_>) {
    for (resource, quantity) in list.entries() {
        name(&quantity, resource);
        amount(&quantity, resource);
    }
}
