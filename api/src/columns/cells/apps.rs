//! Cells of workloads, autoscalers and quotas.
use super::{CellFn, Context, str_of};
use crate::Value;
use crate::columns::count;
use crate::quantity::Quantity;
use crate::selector::LabelSelector;
use crate::time::{Timestamp, duration};

pub(super) const CELLS: &[(&str, CellFn)] = &[
    ("config_map_data", |c| Some(Value::from(count(c.at("data")) + count(c.at("binaryData"))))),
    ("containers_use", |c| {
        let amounts = c
            .items("containers")
            .filter_map(|container| Quantity::from_value(container.get("usage")?.get(c.argument)?)?.ok());
        let sum = amounts.reduce(|sum, more| Quantity::from_nanos(sum.nanos() + more.nanos(), sum.format()));
        Some(Value::from(sum.map_or_else(|| "0".to_owned(), |sum| sum.to_string())))
    }),
    ("controller_owner", |c| {
        let owner = c.items("metadata.ownerReferences").find(|o| o["controller"] == true);
        let Some(owner) = owner else { return Some(Value::from("<none>")) };
        let (group, _) = crate::kind::split_api_version(str_of(owner, "apiVersion"));
        let dot = if group.is_empty() { "" } else { "." };
        let (kind, name) = (str_of(owner, "kind").to_lowercase(), str_of(owner, "name"));
        Some(Value::from(format!("{kind}{dot}{group}/{name}")))
    }),
    ("deployment_selector", |c| {
        Some(Value::from(match LabelSelector::from_object(c.at("spec.selector")) {
            Ok(selector) => selector.to_string(),
            Err(_) => "<invalid>".to_owned(),
        }))
    }),
    ("hpa_reference", |c| {
        let target = c.at("spec.scaleTargetRef")?;
        Some(Value::from(format!("{}/{}", str_of(target, "kind"), str_of(target, "name"))))
    }),
    ("hpa_targets", |c| Some(Value::from(hpa_targets(c)))),
    ("job_completions", |c| {
        let succeeded = c.int("status.succeeded");
        Some(Value::from(match (c.at("spec.completions"), c.int("spec.parallelism")) {
            (Some(completions), _) => format!("{succeeded}/{completions}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        }))
    }),
    ("job_duration", |c| {
        let time = |path: &str| c.text(path).and_then(|t| Timestamp::parse(t).ok());
        let start = time("status.startTime")?;
        let end = time("status.completionTime").unwrap_or(c.now);
        Some(Value::from(duration::human(end.seconds_since(start))))
    }),
    ("job_status", |c| {
        let status = if c.is_true("Complete") {
            "Complete"
        } else if c.is_true("Failed") {
            "Failed"
        } else if c.deleting() {
            "Terminating"
        } else {
            let rest = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
            rest.into_iter().find(|ty| c.is_true(ty)).unwrap_or("Running")
        };
        Some(Value::from(status))
    }),
    ("quota_limits", |c| Some(Value::from(quota(c, true)))),
    ("quota_requests", |c| Some(Value::from(quota(c, false)))),
];

/// Used and hard amounts of limits, or of everything else.
fn quota(c: &Context<'_>, limits: bool) -> String {
    let hard = c.at("status.hard").and_then(Value::as_object).into_iter().flatten();
    let used = c.at("status.used");
    let used = |name: &str| used.and_then(|u| u.get(name)).and_then(Value::as_str).unwrap_or("0");
    let texts = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, amount)| format!("{name}: {}/{}", used(name), amount.as_str().unwrap_or_default()));
    texts.collect::<Vec<_>>().join(", ")
}

/// Current and target value of the first two metrics.
fn hpa_targets(c: &Context<'_>) -> String {
    if let Some(target) = c.at("spec.targetCPUUtilizationPercentage") {
        let current = c.at("status.currentCPUUtilizationPercentage");
        let current = current.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
        return format!("cpu: {current}/{target}%");
    }
    let current: Vec<&Value> = c.items("status.currentMetrics").collect();
    let texts: Vec<String> = c
        .items("spec.metrics")
        .enumerate()
        .map(|(at, spec)| hpa_metric(spec, current.get(at).copied().unwrap_or(&Value::Null)))
        .collect();
    match texts.len() {
        0 => "<none>".to_owned(),
        n if n > 2 => format!("{} + {} more...", texts[..2].join(", "), n - 2),
        _ => texts.join(", "),
    }
}

fn hpa_metric(spec: &Value, status: &Value) -> String {
    let (member, by_resource) = match str_of(spec, "type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[member]["target"], &status[member]["current"]);
    let known = |value: &Value, suffix: &str, absent: &str| match value {
        Value::String(text) if !text.is_empty() => format!("{text}{suffix}"),
        Value::Number(number) => format!("{number}{suffix}"),
        _ => absent.to_owned(),
    };
    let average = target["averageValue"].is_string();
    let (value, suffix) = match (by_resource, average) {
        (true, true) => ("averageValue", ""),
        (true, false) => ("averageUtilization", "%"),
        (false, true) => ("averageValue", ""),
        (false, false) => ("value", ""),
    };
    let head = if by_resource { format!("{}: ", str_of(&spec[member], "name")) } else { String::new() };
    let tail = if average && matches!(member, "external" | "object") { " (avg)" } else { "" };
    let current = known(&current[value], suffix, "<unknown>");
    let target = known(&target[value], suffix, "<auto>");
    format!("{head}{current}/{target}{tail}")
}
