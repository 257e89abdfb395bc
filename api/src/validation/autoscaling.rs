//! Rules of horizontal autoscalers.
use super::constraints::Rule::{By, NeedFor, NeedFormat, NotNegative};
use super::constraints::{Row, check};
use super::cursor::At;
use super::{Rules, resources};
use crate::{gates, names};

pub(super) const RULES: &[(&str, Rules)] = &[(
    "HorizontalPodAutoscaler",
    Rules {
        object: autoscaler,
        status: |at, _| {
            check(at, &[("status.currentReplicas", NotNegative), ("status.desiredReplicas", NotNegative)]);
        },
        ..Rules::PLAIN
    },
)];

const REFERENCE: &[Row] =
    &[("kind", NeedFormat(names::path_segment)), ("name", NeedFormat(names::path_segment))];
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const SOURCE_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Longest time over which a scaling policy may look.
const PERIOD_MAX: i64 = 1800;
const STABILIZATION_MAX: i64 = 3600;

fn autoscaler(at: &At<'_>) {
    let was_at_zero = at.before().is_some_and(|old| old["spec"]["minReplicas"] == 0);
    let lowest = i64::from(!was_at_zero && !gates::enabled("HPAScaleToZero"));
    let spec = at.get("spec");
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let highest = max.int().unwrap_or(0);
    if min.int().is_some_and(|min| min < lowest) {
        min.invalid(format!("must be greater than or equal to {lowest}"));
    }
    if highest < 1 {
        max.invalid("must be greater than 0");
    }
    if min.int().is_some_and(|min| highest < min) {
        max.invalid("must be greater than or equal to `minReplicas`");
    }
    check(&spec.get("scaleTargetRef"), REFERENCE);
    let metrics = spec.get("metrics");
    metrics.items().for_each(|metric| metric_spec(&metric));
    let wakes = |ty: &str| matches!(ty, "Object" | "External");
    if min.int() == Some(0) && !metrics.items().any(|metric| wakes(metric.get("type").text())) {
        metrics.forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
    for rules in ["scaleUp", "scaleDown"].iter().filter_map(|name| spec.get("behavior").find(name)) {
        scaling_rules(&rules);
    }
}

fn scaling_rules(rules: &At<'_>) {
    let window = rules.get("stabilizationWindowSeconds");
    bounds(&window, 0, STABILIZATION_MAX);
    rules.get("selectPolicy").one_of_if_set(&["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        policies.required("must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.get("type").one_of(&["Percent", "Pods"]);
        bounds(&policy.get("value"), 1, i64::MAX);
        bounds(&policy.get("periodSeconds"), 1, PERIOD_MAX);
    }
    if let Some(tolerance) = rules.find("tolerance")
        && tolerance.quantity().is_some_and(|quantity| quantity.sign() < 0)
    {
        tolerance.invalid("must be greater than or equal to zero");
    }
}

/// A number from 0 or 1 to a largest one, each side with its own words.
fn bounds(at: &At<'_>, low: i64, high: i64) {
    let number = at.int().unwrap_or(low.min(if at.is_set() { i64::MAX } else { 0 }));
    if number < low {
        at.invalid(if low == 0 {
            "must be greater than or equal to zero"
        } else {
            "must be greater than zero"
        });
    }
    if number > high {
        at.invalid(format!("must be less than or equal to {high}"));
    }
}

fn metric_spec(metric: &At<'_>) {
    let ty = metric.get("type");
    if ty.is_empty() {
        ty.required("must specify a metric source type");
    }
    ty.one_of(&SOURCE_TYPES);
    let mut set = SOURCES.iter().filter_map(|(_, member)| metric.find(member));
    if let Some(first) = set.next() {
        source(metric, &first);
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == ty.text()).map(|(_, member)| *member);
    if let Some(member) = expected
        && metric.find(member).is_none()
    {
        metric.get(member).required("must populate information for the given metric source");
    }
    let present: Vec<&str> =
        SOURCES.iter().map(|(_, member)| *member).filter(|member| metric.find(member).is_some()).collect();
    if present.len() > 1 || expected.is_some_and(|member| !present.contains(&member)) {
        for extra in present.into_iter().filter(|member| expected != Some(member)) {
            metric.get(extra).forbidden("must populate the given metric source only");
        }
    }
}

/// The first source of a metric.
fn source(metric: &At<'_>, source: &At<'_>) {
    const IDENTIFIER: &[Row] = &[("metric.name", By(metric_name))];
    let is =
        |member: &str| metric.find(member).is_some_and(|found| std::ptr::eq(found.value(), source.value()));
    let target = source.get("target");
    let (value, average, use_of) =
        (target.get("value"), target.get("averageValue"), target.get("averageUtilization"));
    if is("object") {
        check(&source.get("describedObject"), REFERENCE);
    }
    if is("resource") || is("containerResource") {
        check(source, &[("name", NeedFor("must specify a resource name"))]);
        if is("containerResource") {
            if !source.get("name").is_empty() {
                resources::container_name(&source.get("name"), source.get("name").text());
            }
            let container = source.get("container");
            if container.is_empty() {
                container.required("must specify a container");
            } else {
                container.format(names::dns_label);
            }
        }
        metric_target(&target);
        if !use_of.is_set() && !average.is_set() {
            use_of.required("must set either a target raw value or a target utilization");
        }
        if use_of.is_set() && average.is_set() {
            average.forbidden("may not set both a target raw value and a target utilization");
        }
        return;
    }
    check(source, IDENTIFIER);
    metric_target(&target);
    if is("pods") {
        if !average.is_set() {
            average.required("must specify a positive target averageValue");
        }
    } else if !value.is_set() && !average.is_set() {
        average.required(if is("object") {
            "must set either a target value or averageValue"
        } else {
            "must set either a target value for metric or a per-pod target"
        });
    } else if is("external") && value.is_set() && average.is_set() {
        value.forbidden("may not set both a target value for metric and a per-pod target");
    }
}

fn metric_name(name: &At<'_>) {
    if name.is_empty() {
        name.required("must specify a metric name");
    } else {
        name.format(names::path_segment);
    }
}

fn metric_target(target: &At<'_>) {
    let ty = target.get("type");
    if ty.is_empty() {
        ty.required("must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&ty.text()) {
        ty.invalid_text(ty.text(), "must be either Utilization, Value, or AverageValue");
    }
    for amount in ["value", "averageValue"].map(|name| target.get(name)) {
        if amount.quantity().is_some_and(|quantity| quantity.sign() <= 0) {
            amount.invalid("must be positive");
        }
    }
    let share = target.get("averageUtilization");
    if share.int().is_some_and(|percent| percent < 1) {
        share.invalid("must be greater than 0");
    }
}
