//! Rules of jobs and cron jobs; of the status of jobs in [`status`].
mod schedule;
mod status;

use super::cursor::{At, same};
use super::{Rules, labels, pod};
use crate::selector::LabelSelector;
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[
    ("CronJob", Rules { name: cron_job_name, object: cron_job, ..Rules::PLAIN }),
    ("Job", Rules { object: job, update: job_update, status: status::job, ..Rules::PLAIN }),
];

/// Members of a template that may change while its job is suspended and has not started.
const FREE_IN_SUSPENDED: [&str; 4] = ["nodeSelector", "tolerations", "schedulingGates", "affinity"];

/// Room is left for the suffix that names the jobs.
fn cron_job_name(name: &str) -> Vec<String> {
    let mut faults = names::dns_subdomain(name);
    if name.len() > 52 {
        faults.push("must be no more than 52 characters".to_owned());
    }
    faults
}

fn cron_job(at: &At<'_>) {
    let spec = at.get("spec");
    let cron = spec.get("schedule");
    if cron.need() {
        if cron.text().contains("TZ") {
            cron.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if let Err(fault) = schedule::check(cron.text()) {
            cron.invalid(fault);
        }
    }
    spec.get("startingDeadlineSeconds").not_negative();
    spec.get("concurrencyPolicy").need_one_of(&["Allow", "Forbid", "Replace"]);
    let zone = spec.get("timeZone");
    match zone.text() {
        "" if zone.is_set() => zone.invalid("timeZone must be nil or non-empty string"),
        "" => {}
        "Local" => {
            zone.invalid(
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        }
        name if jiff::tz::TimeZone::get(name).is_err() => zone.invalid(format!("unknown time zone {name}")),
        _ => {}
    }
    spec.get("successfulJobsHistoryLimit").not_negative();
    spec.get("failedJobsHistoryLimit").not_negative();
    let template = spec.get("jobTemplate.spec");
    if template.get("selector").is_set() {
        template.get("selector").invalid("`selector` will be auto-generated");
    }
    if template.get("manualSelector").is_true() {
        template.get("manualSelector").not_supported(&["nil", "false"]);
    }
    job_spec(&template);
}

fn job(at: &At<'_>) {
    let spec = at.get("spec");
    let selector = spec.get("selector");
    if selector.is_set() {
        labels::selector(&selector);
        if let Ok(found) = LabelSelector::from_object(Some(selector.value())) {
            labels::matches_template(&found, &spec.get("template"));
        }
    } else {
        selector.required("");
    }
    job_spec(&spec);
    if spec.get("completionMode").text() == "Indexed" && spec.get("completions").int().is_some() {
        let last = spec.get("completions").int().unwrap_or(1) - 1;
        let pod = format!("{}-{}", at.get("metadata.name").text(), last.max(0));
        for fault in names::dns_label(&pod) {
            at.get("metadata.name").invalid_text(
                at.get("metadata.name").text(),
                format!("will not able to create pod with invalid DNS label: {pod}: {fault}"),
            );
        }
    }
}

fn job_spec(spec: &At<'_>) {
    for number in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(number).not_negative();
    }
    managed_by(&spec.get("managedBy"));
    let mode = spec.get("completionMode");
    mode.one_of_if_set(&["Indexed", "NonIndexed"]);
    if mode.text() == "Indexed" {
        indexed(spec);
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"].map(|name| spec.get(name)) {
            if name.is_set() {
                name.invalid("requires indexed completion mode");
            }
        }
    }
    spec.get("podReplacementPolicy").one_of_if_set(&["Failed", "TerminatingOrFailed"]);
    failure_policy(spec);
    success_policy(spec);
    let template = spec.get("template");
    pod::template(&template);
    let policy = template.get("spec.restartPolicy");
    match policy.text() {
        "Always" => policy.required("valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.get("podFailurePolicy").is_set() => {
            policy.invalid("only \"Never\" is supported when podFailurePolicy is specified");
        }
        _ => {}
    }
}

fn indexed(spec: &At<'_>) {
    if !spec.get("completions").is_set() {
        spec.get("completions").required("when completion mode is Indexed");
    }
    let parallelism = spec.get("parallelism");
    if parallelism.int().is_some_and(|n| n > 100_000) {
        parallelism.invalid("must be less than or equal to 100000 when completion mode is Indexed");
    }
    let failed = spec.get("maxFailedIndexes");
    if failed.is_set() && !spec.get("backoffLimitPerIndex").is_set() {
        spec.get("backoffLimitPerIndex").required("when maxFailedIndexes is specified");
    }
    if let (Some(failed_count), Some(completions)) = (failed.int(), spec.get("completions").int())
        && failed_count > completions
    {
        failed.invalid("must be less than or equal to completions");
    }
}

/// A path below a domain, at most 63 characters.
fn managed_by(at: &At<'_>) {
    if !at.is_set() {
        return;
    }
    domain_prefixed_path(at);
    if at.text().len() > 63 {
        at.too_long(63);
    }
}

/// `domain/path`.
pub(super) fn domain_prefixed_path(at: &At<'_>) {
    if !at.need() {
        return;
    }
    for (part, fault) in names::domain_prefixed_path(at.text()) {
        at.invalid_text(part, fault);
    }
}

fn failure_policy(spec: &At<'_>) {
    let Some(policy) = spec.find("podFailurePolicy") else { return };
    let rules = policy.get("rules");
    rules.at_most(20);
    for rule in rules.items() {
        let action = rule.get("action");
        action.need_one_of(&["Count", "FailIndex", "FailJob", "Ignore"]);
        if action.text() == "FailIndex" && !spec.get("backoffLimitPerIndex").is_set() {
            action.invalid("requires the backoffLimitPerIndex to be set");
        }
        let (codes, conditions) = (rule.find("onExitCodes"), rule.get("onPodConditions"));
        match (codes.is_some(), !conditions.is_empty()) {
            (true, true) => rule.invalid("specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, false) => rule.invalid("specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
        if let Some(codes) = codes {
            exit_codes(&codes);
        }
        for condition in conditions.items() {
            condition.get("type").format(names::qualified_name);
            condition.get("status").need_one_of(&["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(codes: &At<'_>) {
    let (operator, values) = (codes.get("operator"), codes.get("values"));
    operator.need_one_of(&["In", "NotIn"]);
    if values.is_empty() {
        values.invalid("at least one value is required");
    }
    values.at_most(255);
    let mut last: Option<i64> = None;
    for value in values.items() {
        let code = value.int().unwrap_or(0);
        if code == 0 && operator.text() == "In" {
            value.invalid("must not be 0 for the In operator");
        }
        if last == Some(code) {
            value.duplicate();
        } else if last.is_some_and(|last| last > code) {
            values.invalid("must be ordered");
        }
        last = Some(code);
    }
}

fn success_policy(spec: &At<'_>) {
    let Some(policy) = spec.find("successPolicy") else { return };
    if spec.get("completionMode").text() != "Indexed" {
        policy.invalid("requires indexed completion mode");
        return;
    }
    let rules = policy.get("rules");
    if rules.is_empty() {
        rules.required("at least one rules must be specified when the successPolicy is specified");
    }
    rules.at_most(20);
    for rule in rules.items() {
        let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
        if !indexes.is_set() && !count.is_set() {
            rule.required("at least one of succeededCount or succeededIndexes must be specified");
        }
        if indexes.text().len() > 65_536 {
            indexes.too_long(65_536);
        }
        count.not_negative();
        let completions = spec.get("completions").int().unwrap_or(i64::MAX);
        if count.int().is_some_and(|n| n > completions) {
            count.invalid(format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            ));
        }
    }
}

fn job_update(at: &At<'_>, old: &Value) {
    let (spec, old_spec) = (at.get("spec"), &old["spec"]);
    let completions = spec.get("completions");
    let elastic = spec.get("completionMode").text() == "Indexed"
        && completions.value() == spec.get("parallelism").value()
        && old_spec["completions"] == old_spec["parallelism"];
    if !elastic {
        completions.immutable(&old_spec["completions"]);
    }
    spec.get("selector").immutable(&old_spec["selector"]);
    let (template, old_template) = (spec.get("template"), &old_spec["template"]);
    let movable = old_spec["suspend"] == true && old["status"]["startTime"].is_null();
    let fixed = |template: &Value| if movable { without_placement(template) } else { template.clone() };
    if !same(&fixed(template.value()), &fixed(old_template)) {
        template.invalid(super::cursor::IMMUTABLE);
    }
    for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        spec.get(name).immutable(&old_spec[name]);
    }
}

/// A template without what decides where its pods go.
fn without_placement(template: &Value) -> Value {
    let mut template = template.clone();
    let remove = |object: Option<&mut Value>, names: &[&str]| {
        if let Some(object) = object.and_then(Value::as_object_mut) {
            object.retain(|name: &String, _| !names.contains(&name.as_str()));
        }
    };
    remove(template.get_mut("metadata"), &["labels", "annotations"]);
    remove(template.get_mut("spec"), &FREE_IN_SUSPENDED);
    for list in ["containers", "initContainers"] {
        let containers = template.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(|container| remove(Some(container), &["resources"]));
    }
    template
}
