//! Rules of webhook configurations; admission policies lie in [`policies`].
mod policies;

use super::constraints::Rule::{OneOf, Selector, Unique};
use super::constraints::{Row, check};
use super::cursor::{At, Report, same};
use super::{Rules, webhook_client};
use crate::cel::admission::{Options, compile, environment};
use crate::cel::{Env, Type};
use crate::{Value, names};

const WEBHOOKS: Rules = Rules { object: configuration, ..Rules::PLAIN };

pub(super) const RULES: &[(&str, Rules)] = &[
    ("MutatingAdmissionPolicy", policies::MUTATING),
    ("MutatingAdmissionPolicyBinding", policies::MUTATING_BINDING),
    ("MutatingWebhookConfiguration", WEBHOOKS),
    ("ValidatingAdmissionPolicy", policies::VALIDATING),
    ("ValidatingAdmissionPolicyBinding", policies::VALIDATING_BINDING),
    ("ValidatingWebhookConfiguration", WEBHOOKS),
];

const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const ALL_SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// Most conditions that one webhook or policy may have.
const CONDITIONS_MAX: usize = 64;

const WEBHOOK: &[Row] = &[
    ("failurePolicy", OneOf(FAILURE_POLICIES)),
    ("matchPolicy", OneOf(MATCH_POLICIES)),
    ("namespaceSelector", Selector),
    ("objectSelector", Selector),
    ("reinvocationPolicy", OneOf(&["IfNeeded", "Never"])),
];

/// What the stored configuration already got away with, which then stays allowed.
struct Lenient {
    side_effects: bool,
    versions: bool,
    names: bool,
}

impl Lenient {
    fn of(old: Option<&Value>) -> Self {
        let report = Report::default();
        let Some(old) = old else { return Self { side_effects: false, versions: false, names: false } };
        let hooks: Vec<At<'_>> = At::root(old, &report).get("webhooks").items().collect();
        let name = |hook: &At<'_>| hook.get("name").text().to_owned();
        Self {
            side_effects: hooks.iter().any(|h| !SIDE_EFFECTS.contains(&h.get("sideEffects").text())),
            versions: hooks
                .iter()
                .map(|h| h.get("admissionReviewVersions"))
                .any(|versions| !versions.is_empty() && !webhook_client::knows(&versions)),
            names: hooks.iter().enumerate().any(|(n, h)| hooks[..n].iter().any(|o| name(o) == name(h))),
        }
    }
}

fn configuration(at: &At<'_>) {
    let lenient = Lenient::of(at.before());
    let old_hooks = at.before().map(|old| &old["webhooks"]);
    let conditions = |hooks: &Value| -> Vec<Value> {
        hooks.as_array().into_iter().flatten().map(|hook| hook["matchConditions"].clone()).collect()
    };
    let hooks = at.get("webhooks");
    let same_conditions = old_hooks.is_some_and(|old| conditions(old) == conditions(hooks.value()));
    for hook in hooks.items() {
        webhook(&hook, &lenient);
        if !same_conditions {
            match_conditions(&hook.get("matchConditions"), false);
        }
    }
    if !lenient.names {
        check(at, &[("webhooks", Unique("name"))]);
    }
}

fn webhook(hook: &At<'_>, lenient: &Lenient) {
    fully_qualified(&hook.get("name"));
    hook.get("rules").items().for_each(|rule| rule_with_operations(&rule));
    check(hook, WEBHOOK);
    let effects = hook.get("sideEffects");
    let allowed: &[&str] = if lenient.side_effects { &ALL_SIDE_EFFECTS } else { &SIDE_EFFECTS };
    if effects.is_set() {
        effects.one_of(allowed);
    } else {
        effects.required(format!("must specify one of {}", allowed.join(", ")));
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        timeout.invalid("the timeout value must be between 1 and 30 seconds");
    }
    webhook_client::config(&hook.get("clientConfig"));
    let versions = hook.get("admissionReviewVersions");
    if versions.is_empty() {
        versions.required("must specify one of v1, v1beta1");
    }
    webhook_client::review_versions(&versions, !lenient.versions);
}

/// A domain name of at least three labels.
fn fully_qualified(name: &At<'_>) {
    if !name.need() {
        return;
    }
    let faults = names::dns_subdomain(name.text());
    if !faults.is_empty() {
        name.invalid(faults.join(","));
    } else if name.text().split('.').count() < 3 {
        name.invalid("should be a domain with at least three segments separated by dots");
    }
}

/// A list in which `*` stands alone, if it is there.
fn wildcard_alone(list: &At<'_>, what: &str) {
    if list.len() > 1 && list.has("*") {
        list.invalid(format!("if '*' is present, must not specify other {what}"));
    }
}

/// A `RuleWithOperations`.
fn rule_with_operations(rule: &At<'_>) {
    const SCOPES: &[Row] = &[("scope", OneOf(&["*", "Cluster", "Namespaced"]))];
    let operations = rule.get("operations");
    operations.need();
    wildcard_alone(&operations, "operations");
    operations.items().for_each(|operation| operation.one_of(&OPERATIONS));
    let (groups, versions) = (rule.get("apiGroups"), rule.get("apiVersions"));
    groups.need();
    wildcard_alone(&groups, "API groups");
    versions.need();
    wildcard_alone(&versions, "API versions");
    versions.items().for_each(|version| {
        version.need();
    });
    resources(&rule.get("resources"));
    check(rule, SCOPES);
}

/// Resources and subresources: `*`, `*/*`, `x/*` and `*/y` leave no room for what they contain.
fn resources(list: &At<'_>) {
    list.need();
    let mut resources: Vec<&str> = Vec::new();
    let mut subresources: Vec<&str> = Vec::new();
    let mut plain = false;
    for entry in list.items() {
        if !entry.need() {
            continue;
        }
        let Some((resource, sub)) = entry.text().split_once('/') else {
            plain = plain || entry.text() != "*";
            continue;
        };
        let text = entry.text();
        if resources.contains(&resource) {
            entry.invalid(format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if subresources.contains(&sub) {
            entry.invalid(format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            resources.push(resource);
        }
        if resource == "*" {
            subresources.push(sub);
        }
    }
    if list.len() > 1 && list.has("*/*") {
        list.invalid("if '*/*' is present, must not specify other resources");
    }
    if list.has("*") && plain {
        list.invalid("if '*' is present, must not specify other resources without subresources");
    }
}

/// Conditions of a webhook, or of a policy, which may have parameters.
fn match_conditions(list: &At<'_>, params: bool) {
    list.at_most(CONDITIONS_MAX);
    let env = environment(Options { params, authorizer: true, mutations: false });
    for condition in list.items() {
        if condition.get("expression").text().trim().is_empty() {
            condition.get("expression").required("");
        } else {
            compiles(&condition.get("expression"), &env, &[Type::Bool]);
        }
        condition.get("name").required_format(names::qualified_name);
    }
    check(list, &[("", Unique("name"))]);
}

/// An expression that must have one of the types.
fn compiles(expression: &At<'_>, env: &Env, wanted: &[Type]) {
    if let Err(fault) = compile(env, expression.text(), wanted) {
        expression.invalid(fault);
    }
}

/// Whether a part of the specification is as it was.
fn unchanged(at: &At<'_>, names: &[&str]) -> bool {
    let spec = at.get("spec");
    at.before().is_some_and(|old| names.iter().all(|name| same(spec.get(name).value(), &old["spec"][*name])))
}
