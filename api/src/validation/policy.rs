//! Rules of what bounds others: quotas, limits, budgets, priorities, leases, runtime classes.
use super::cursor::{At, same};
use super::{Rules, labels, metadata, pod, resources};
use crate::{Value, names};

pub(super) const CORE_RULES: &[(&str, Rules)] = &[
    ("LimitRange", Rules { object: limit_range, ..Rules::PLAIN }),
    ("ResourceQuota", Rules { object: quota, update: quota_update, status: quota_status, ..Rules::PLAIN }),
];
pub(super) const RULES: &[(&str, Rules)] =
    &[("PodDisruptionBudget", Rules { object: budget, status: budget_status, ..Rules::PLAIN })];
pub(super) const SCHEDULING_RULES: &[(&str, Rules)] =
    &[("PriorityClass", Rules { object: priority_class, update: priority_class_update, ..Rules::PLAIN })];
pub(super) const COORDINATION_RULES: &[(&str, Rules)] = &[("Lease", Rules { object: lease, ..Rules::PLAIN })];
pub(super) const NODE_RULES: &[(&str, Rules)] = &[(
    "RuntimeClass",
    Rules {
        object: runtime_class,
        update: |at, old| at.get("handler").immutable(&old["handler"]),
        ..Rules::PLAIN
    },
)];

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Largest priority that users may give out.
const PRIORITY_MAX: i64 = 1_000_000_000;
/// Classes that every cluster has, with their values.
pub const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn quota(at: &At<'_>) {
    let spec = at.get("spec");
    amounts(&spec.get("hard"));
    let scopes = spec.get("scopes");
    scopes.items().for_each(|scope| scope.one_of(&SCOPES));
    scopes.unique("");
    let seen: Vec<&str> = scopes.items().map(|scope| scope.text()).collect();
    let hard = spec.get("hard");
    if seen.iter().any(|scope| !hard.entries().all(|(name, _)| scope_fits(scope, name))) {
        scopes.invalid("unsupported scope applied to resource");
    }
    if conflicting(&seen) {
        scopes.invalid("conflicting scopes");
    }
    if let Some(selector) = spec.find("scopeSelector") {
        scope_selector(&selector, &hard);
    }
}

fn conflicting(scopes: &[&str]) -> bool {
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]]
        .iter()
        .any(|pair| pair.iter().all(|scope| scopes.contains(scope)))
}

fn scope_selector(selector: &At<'_>, hard: &At<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    let expressions = selector.get("matchExpressions");
    for expression in expressions.items() {
        let (name, operator, values) =
            (expression.get("scopeName"), expression.get("operator"), expression.get("values"));
        name.one_of(&SCOPES);
        let plain = !matches!(name.text(), "PriorityClass" | "VolumeAttributesClass");
        if plain && SCOPES.contains(&name.text()) && operator.text() != "Exists" {
            operator.invalid_text(
                operator.text(),
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                 ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.invalid(
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid_text(operator.text(), "not a valid selector operator"),
        }
        seen.push(name.text());
    }
    if seen.iter().any(|scope| !hard.entries().all(|(name, _)| scope_fits(scope, name))) {
        expressions.invalid("unsupported scope applied to resource");
    }
    if conflicting(&seen) {
        selector.invalid("conflicting scopes");
    }
}

/// Whether a scope makes sense for a resource: most are about pods and what these ask for.
fn scope_fits(scope: &str, resource: &str) -> bool {
    const COMPUTE: [&str; 6] =
        ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    let pods = resource == "pods";
    match scope {
        "BestEffort" => pods,
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "count/persistentvolumeclaims" | "requests.storage")
        }
        scope if SCOPES.contains(&scope) => pods || COMPUTE.contains(&resource),
        _ => true,
    }
}

fn amounts(list: &At<'_>) {
    for (name, quantity) in list.entries() {
        resources::quota_name(&quantity, name);
        resources::amount(&quantity, name);
    }
}

fn quota_update(at: &At<'_>, old: &Value) {
    at.get("spec.scopes").immutable(&old["spec"]["scopes"]);
}

fn quota_status(at: &At<'_>, _: &Value) {
    amounts(&at.get("status.hard"));
    amounts(&at.get("status.used"));
}

fn limit_range(at: &At<'_>) {
    at.get("spec.limits").unique("type");
    for limit in at.get("spec.limits").items() {
        let ty = limit.get("type");
        ty.format(names::qualified_name);
        if !ty.text().contains('/') && !matches!(ty.text(), "Container" | "Pod" | "PersistentVolumeClaim") {
            ty.invalid("must be a standard limit type or fully qualified");
        }
        if ty.text() == "Pod" {
            for name in ["default", "defaultRequest"].iter().filter_map(|name| limit.find(name)) {
                if !name.is_empty() {
                    name.forbidden("may not be specified when `type` is 'Pod'");
                }
            }
        }
        let claim = ty.text() == "PersistentVolumeClaim";
        if claim
            && limit.get("min").key("storage").is_set() == limit.get("max").key("storage").is_set()
            && !limit.get("min").key("storage").is_set()
        {
            limit.required("either minimum or maximum storage value is required, but neither was provided");
        }
        bounds(&limit);
    }
}

/// min ≤ defaultRequest ≤ default ≤ max for every resource.
fn bounds(limit: &At<'_>) {
    let lists = ["min", "defaultRequest", "default", "max"];
    let mut names: Vec<&str> = Vec::new();
    for list in lists.iter().chain(&["maxLimitRequestRatio"]) {
        for (name, quantity) in limit.get(list).entries() {
            resources::name(&quantity, name);
            resources::amount(&quantity, name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    for name in names {
        let value = |list: &str| limit.get(list).key(name);
        for (low_at, low) in lists.iter().enumerate() {
            for high in &lists[low_at + 1..] {
                let (Some(a), Some(b)) = (value(low).quantity(), value(high).quantity()) else { continue };
                if a > b {
                    let (low_name, high_name) = (words(low), words(high));
                    value(low).invalid_text(
                        &a.to_string(),
                        format!("{low_name} value {a} is greater than {high_name} value {b}"),
                    );
                }
            }
        }
        let ratio = value("maxLimitRequestRatio");
        if ratio
            .quantity()
            .is_some_and(|ratio| ratio < crate::quantity::Quantity::from_int(1, ratio.format()))
        {
            ratio.invalid(format!("ratio {} is less than 1", ratio.text()));
        }
    }
}

fn words(list: &str) -> &str {
    if list == "defaultRequest" { "default request" } else { list }
}

fn budget(at: &At<'_>) {
    let spec = at.get("spec");
    let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if min.is_set() && max.is_set() {
        spec.invalid("minAvailable and maxUnavailable cannot be both set");
    }
    for amount in [min, max].into_iter().filter(At::is_set) {
        amount.positive_or_percent();
        amount.at_most_100_percent();
    }
    labels::selector(&spec.get("selector"));
    spec.get("unhealthyPodEvictionPolicy").one_of_if_set(&["AlwaysAllow", "IfHealthyBudget"]);
}

fn budget_status(at: &At<'_>, _: &Value) {
    let status = at.get("status");
    for counter in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        status.get(counter).not_negative();
    }
    metadata::conditions(&status.get("conditions"));
}

fn runtime_class(at: &At<'_>) {
    at.get("handler").required_format(names::dns_label);
    resources::list(&at.get("overhead.podFixed"));
    labels::labels(&at.get("scheduling.nodeSelector"));
    pod::tolerations(&at.get("scheduling.tolerations"));
    at.get("scheduling.tolerations").unique("");
}

fn priority_class(at: &At<'_>) {
    at.get("preemptionPolicy").one_of_if_set(&["Never", "PreemptLowerPriority"]);
    // Of a class that is there already, the value may not change anyway.
    if at.before().is_some() {
        return;
    }
    let (name, value) = (at.get("metadata.name"), at.get("value"));
    if name.text().starts_with("system-") {
        if let Some(fault) = unlike_system_class(at) {
            name.forbidden(format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {fault}"
            ));
        }
    } else if value.int().is_some_and(|number| number > PRIORITY_MAX) {
        value.forbidden(format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}"));
    }
}

/// Why a class is none of the system's own.
fn unlike_system_class(at: &At<'_>) -> Option<String> {
    let name = at.get("metadata.name");
    let name = name.text();
    let Some((_, priority)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if at.get("value").int().unwrap_or(0) != *priority {
        return Some(format!("value of {name} PriorityClass must be {priority}"));
    }
    let default = at.get("globalDefault").value().as_bool() == Some(true);
    default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

fn priority_class_update(at: &At<'_>, old: &Value) {
    let value = at.get("value");
    if value.int().unwrap_or(0) != old["value"].as_i64().unwrap_or(0) {
        value.forbidden("may not be changed in an update.");
    }
    if !same(at.get("preemptionPolicy").value(), &old["preemptionPolicy"]) {
        at.get("preemptionPolicy").immutable(&old["preemptionPolicy"]);
    }
}

fn lease(at: &At<'_>) {
    let spec = at.get("spec");
    spec.get("leaseDurationSeconds").positive();
    spec.get("leaseTransitions").not_negative();
    let (strategy, preferred) = (spec.get("strategy"), spec.get("preferredHolder"));
    if strategy.is_set() && !strategy.text().contains('/') && strategy.text() != "OldestEmulationVersion" {
        strategy.invalid("must be a standard strategy or fully qualified");
    }
    if !preferred.is_empty() && strategy.is_empty() {
        preferred.forbidden("may only be specified if `strategy` is defined");
    }
}
