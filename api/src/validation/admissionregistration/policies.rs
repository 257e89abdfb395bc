//! Rules of admission policies and their bindings.
use super::super::constraints::Rule::{By, Need, NeedFormat, NeedOneOf, OneOf, Selector, Unique};
use super::super::constraints::{Row, check};
use super::super::cursor::At;
use super::super::{Rules, metadata};
use super::{FAILURE_POLICIES, MATCH_POLICIES, compiles, match_conditions, rule_with_operations, unchanged};
use crate::cel::admission::{Composition, Options, environment, object_type, patch_type};
use crate::cel::{Env, Type};
use crate::names;
use std::collections::HashMap;

pub(super) const VALIDATING: Rules =
    Rules { object: validating, status: |at, _| validating_status(at), ..Rules::PLAIN };
pub(super) const MUTATING: Rules = Rules { object: mutating, ..Rules::PLAIN };
pub(super) const VALIDATING_BINDING: Rules = Rules {
    object: |at| {
        binding(at);
        actions(&at.get("spec.validationActions"));
    },
    ..Rules::PLAIN
};
pub(super) const MUTATING_BINDING: Rules = Rules {
    object: |at| {
        binding(at);
        mutable_operations(&at.get("spec.matchResources"));
    },
    ..Rules::PLAIN
};

/// Longest expression of an audit annotation.
const AUDIT_EXPRESSION_MAX: usize = 5 * 1024;
const AUDIT_ANNOTATIONS_MAX: usize = 20;

const MATCH: &[Row] = &[
    ("matchPolicy", NeedOneOf(MATCH_POLICIES)),
    ("namespaceSelector", By(needed)),
    ("namespaceSelector", Selector),
    ("objectSelector", By(needed)),
    ("objectSelector", Selector),
    ("resourceRules[]", By(named_rule)),
    ("excludeResourceRules[]", By(named_rule)),
];

/// What both kinds of policies have.
const POLICY: &[Row] = &[
    ("failurePolicy", NeedOneOf(FAILURE_POLICIES)),
    ("paramKind?", By(param_kind)),
    ("matchConstraints", By(needed)),
    ("matchConstraints?", By(match_resources)),
    ("matchConstraints?.resourceRules", Need),
];

fn needed(at: &At<'_>) {
    if !at.is_set() {
        at.required("");
    }
}

fn match_resources(at: &At<'_>) {
    check(at, MATCH);
}

fn named_rule(rule: &At<'_>) {
    for name in rule.get("resourceNames").items() {
        name.format(names::path_segment);
    }
    check(rule, &[("resourceNames", Unique(""))]);
    rule_with_operations(rule);
}

fn param_kind(kind: &At<'_>) {
    let version = kind.get("apiVersion");
    if version.need() {
        let (group, name) = crate::kind::split_api_version(version.text());
        if name.contains('/') {
            version.invalid(format!("unexpected GroupVersion string: {}", version.text()));
        } else {
            joined(&version, group, if group.is_empty() { Vec::new() } else { names::dns_subdomain(group) });
            if name.is_empty() {
                version.invalid("version must be specified");
            } else {
                joined(&version, name, names::dns1035_label(name));
            }
        }
    }
    let name = kind.get("kind");
    if name.need() {
        let faults = names::dns1035_label(&name.text().to_lowercase());
        if !faults.is_empty() {
            name.invalid(format!("may have mixed case, but should otherwise match: {}", faults.join(",")));
        }
    }
}

/// All faults of a text as one.
fn joined(at: &At<'_>, text: &str, faults: Vec<String>) {
    if !faults.is_empty() {
        at.invalid_text(text, faults.join(","));
    }
}

/// Gives the environment that expressions after the variables have.
fn variables(list: &At<'_>, base: Env) -> Env {
    let (composition, env) = Composition::new(base, &named(list));
    let mut faults: HashMap<usize, &str> = composition.faults().collect();
    for (index, variable) in list.items().enumerate() {
        let (name, expression) = (variable.get("name"), variable.get("expression"));
        if name.text().trim().is_empty() {
            name.required("name is not specified");
        } else if !is_identifier(name.text()) {
            name.invalid("name is not a valid CEL identifier");
        }
        if expression.text().trim().is_empty() {
            expression.required("expression is not specified");
        } else if let Some(fault) = faults.remove(&index) {
            expression.invalid(fault);
        }
    }
    env
}

/// The names and expressions of a list.
fn named(list: &At<'_>) -> Vec<(String, String)> {
    let text = |one: &At<'_>, name: &str| one.get(name).text().to_owned();
    list.items().map(|one| (text(&one, "name"), text(&one, "expression"))).collect()
}

fn is_identifier(text: &str) -> bool {
    let good = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let starts = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    starts && text.chars().all(good) && !crate::cel::schema::RESERVED.contains(&text)
}

/// What both kinds have; gives the environment of the policy's own expressions.
fn common(at: &At<'_>, mutations: bool) -> Env {
    let spec = at.get("spec");
    check(&spec, POLICY);
    let params = spec.get("paramKind").is_set();
    if !unchanged(at, &["paramKind", "matchConditions"]) {
        match_conditions(&spec.get("matchConditions"), params);
    }
    variables(&spec.get("variables"), environment(Options { params, authorizer: true, mutations }))
}

fn validating(at: &At<'_>) {
    let env = common(at, false);
    let spec = at.get("spec");
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for list in [&validations, &annotations] {
            list.required("validations or auditAnnotations must contain at least one item");
        }
    }
    validations.items().for_each(|one| validation(&one, &env));
    if annotations.len() > AUDIT_ANNOTATIONS_MAX {
        annotations.invalid(format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations"));
    }
    let name = at.get("metadata.name").text();
    for annotation in annotations.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        if name.is_empty() {
            key.invalid_text(key.text(), "requires metadata.name be non-empty");
        } else {
            let full = format!("{name}/{}", key.text());
            names::qualified_name(&full).into_iter().for_each(|fault| key.invalid_text(&full, fault));
        }
        match value.text().trim() {
            "" => value.required("valueExpression is not specified"),
            text if text.len() > AUDIT_EXPRESSION_MAX => {
                value.required(format!("must not exceed {AUDIT_EXPRESSION_MAX} bytes in length"));
            }
            _ => compiles(&value, &env, &[Type::String, Type::Null]),
        }
    }
    check(&annotations, &[("", Unique("key"))]);
}

fn validation(at: &At<'_>, env: &Env) {
    const REASONS: &[Row] = &[("reason", OneOf(&["Forbidden", "Invalid", "RequestEntityTooLarge"]))];
    let (expression, made, message) = (at.get("expression"), at.get("messageExpression"), at.get("message"));
    if expression.text().trim().is_empty() {
        expression.required("expression is not specified");
    } else {
        compiles(&expression, env, &[Type::Bool]);
    }
    if !made.is_empty() && made.text().trim().is_empty() {
        made.invalid("must be non-empty if specified");
    } else if !made.is_empty() {
        compiles(&made, env, &[Type::String]);
    }
    let text = message.text().trim();
    if !message.is_empty() && text.is_empty() {
        message.invalid("message must be non-empty if specified");
    } else if text.contains(['\n', '\r']) {
        message.invalid("message must not contain line breaks");
    } else if expression.text().trim().contains(['\n', '\r']) && text.is_empty() {
        message.required("message must be specified if expression contains line breaks");
    }
    check(at, REASONS);
}

fn validating_status(at: &At<'_>) {
    const WARNING: &[Row] = &[("warning", Need), ("fieldRef", Need)];
    let status = at.get("status");
    status.get("typeChecking.expressionWarnings").items().for_each(|warning| check(&warning, WARNING));
    metadata::conditions(&status.get("conditions"));
}

/// What is deleted cannot be changed: the original notes that at the operations of all rules as one.
fn mutable_operations(resources: &At<'_>) {
    let operations = resources.get("resourceRules.operations");
    for operation in resources.get("resourceRules").items().flat_map(|rule| rule.get("operations").items()) {
        operations.with(operation.value()).one_of(&["*", "CONNECT", "CREATE", "UPDATE"]);
    }
}

fn mutating(at: &At<'_>) {
    let env = common(at, true);
    mutable_operations(&at.get("spec.matchConstraints"));
    let spec = at.get("spec");
    let (mutations, again) = (spec.get("mutations"), spec.get("reinvocationPolicy"));
    if mutations.is_empty() {
        mutations.required("mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        let ty = mutation.get("patchType");
        let (member, other) = match ty.text() {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "" => {
                ty.required("");
                continue;
            }
            _ => {
                ty.not_supported(&["ApplyConfiguration", "JSONPatch"]);
                continue;
            }
        };
        if mutation.find(other).is_some() {
            let fault = format!("must not be specified when patchType is {}", ty.text());
            mutation.get(other).invalid_text(&format!("{{{other}}}"), fault);
        }
        let body = mutation.get(member);
        if !body.is_set() {
            body.required(format!("must be specified when patchType is {}", ty.text()));
        } else if body.get("expression").text().trim().is_empty() {
            body.get("expression").required("expression is not specified");
        } else {
            let wanted = if member == "jsonPatch" { patch_type() } else { object_type() };
            compiles(&body.get("expression"), &env, &[wanted]);
        }
    }
    if again.is_empty() {
        again.required("");
    } else {
        again.one_of(&["IfNeeded", "Never"]);
    }
}

fn binding(at: &At<'_>) {
    const BINDING: &[Row] =
        &[("spec.policyName", NeedFormat(names::dns_subdomain)), ("spec.paramRef?", By(param_ref))];
    check(at, BINDING);
    if let Some(resources) = at.get("spec").find("matchResources") {
        match_resources(&resources);
    }
}

fn param_ref(at: &At<'_>) {
    let (name, selector) = (at.get("name"), at.get("selector"));
    name.format_if_set(names::path_segment);
    super::super::labels::selector(&selector);
    match (!name.is_empty(), selector.is_set()) {
        (true, true) => {
            for both in [&name, &selector] {
                both.forbidden("name and selector are mutually exclusive");
            }
        }
        (false, false) => at.required("one of name or selector must be specified"),
        _ => {}
    }
    at.get("parameterNotFoundAction").need_one_of(&["Deny", "Allow"]);
}

fn actions(list: &At<'_>) {
    list.items().for_each(|action| action.one_of(&["Audit", "Deny", "Warn"]));
    check(list, &[("", Unique(""))]);
    if list.has("Deny") && list.has("Warn") {
        list.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)",
        );
    }
    if list.is_empty() {
        list.required("at least one validation action is required");
    }
}
