//! Rules of flow schemas and priority levels.
use super::Rules;
use super::constraints::Rule::{Need, NeedFor, Unique};
use super::constraints::check;
use super::cursor::{At, same};
use crate::{Value, names};
use serde_json::json;

pub(super) const RULES: &[(&str, Rules)] = &[
    (
        "FlowSchema",
        Rules {
            object: |at| {
                schema(at);
                conditions(at);
            },
            status: |at, _| conditions(at),
            ..Rules::PLAIN
        },
    ),
    (
        "PriorityLevelConfiguration",
        Rules {
            object: |at| {
                level(at);
                conditions(at);
            },
            status: |at, _| conditions(at),
            ..Rules::PLAIN
        },
    ),
];

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals queues to flows.
const HASH_BITS: f64 = 60.0;

fn conditions(at: &At<'_>) {
    check(
        at,
        &[("status.conditions", Unique("type")), ("status.conditions[].type", NeedFor("must not be empty"))],
    );
}

fn schema(at: &At<'_>) {
    let (spec, name) = (at.get("spec"), at.get("metadata.name").text());
    let precedence = spec.get("matchingPrecedence");
    let number = precedence.int().unwrap_or(0);
    if number <= 0 {
        precedence.invalid("must be a positive value");
    }
    if number > PRECEDENCE_MAX {
        precedence.invalid(format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if number == 1 && name != "exempt" {
        precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if let Some(method) = spec.find("distinguisherMethod") {
        method.get("type").one_of(&["ByNamespace", "ByUser"]);
    }
    let level = spec.get("priorityLevelConfiguration.name");
    if level.is_empty() {
        level.required("must reference a priority level");
    } else {
        level.format(names::dns_subdomain);
    }
    spec.get("rules").items().for_each(|rule| rules(&rule));
    let fixed = match name {
        "exempt" => fixed_schema("exempt", 1, "system:masters"),
        "catch-all" => fixed_catch_all(),
        _ => return,
    };
    fixed_spec(&spec, name, &fixed);
}

/// The specification of an object that the server itself needs may not differ.
fn fixed_spec(spec: &At<'_>, name: &str, fixed: &Value) {
    if !same(spec.value(), fixed) {
        spec.invalid(format!("spec of '{name}' must equal the fixed value"));
    }
}

fn everything() -> (Value, Value) {
    (
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}]),
        json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]),
    )
}

fn fixed_schema(level: &str, precedence: i64, group: &str) -> Value {
    let (resources, urls) = everything();
    json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": group}}],
            "resourceRules": resources, "nonResourceRules": urls}]})
}

fn fixed_catch_all() -> Value {
    let mut fixed = fixed_schema("catch-all", PRECEDENCE_MAX, "system:unauthenticated");
    fixed["distinguisherMethod"] = json!({"type": "ByUser"});
    fixed["rules"][0]["subjects"] = json!([
        {"kind": "Group", "group": {"name": "system:unauthenticated"}},
        {"kind": "Group", "group": {"name": "system:authenticated"}}]);
    fixed
}

fn rules(rule: &At<'_>) {
    let subjects = rule.get("subjects");
    if subjects.is_empty() {
        subjects.required("subjects must contain at least one value");
    }
    subjects.items().for_each(|one| subject(&one));
    let (resources, urls) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        rule.required("at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for rule in resources.items() {
        verbs(&rule.get("verbs"));
        wildcards(&rule.get("apiGroups"), "resource rules must supply at least one api group", "api groups");
        wildcards(&rule.get("resources"), "resource rules must supply at least one resource", "resources");
        namespaces(&rule);
    }
    for rule in urls.items() {
        verbs(&rule.get("verbs"));
        let urls = rule.get("nonResourceURLs");
        wildcards(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs");
        if !urls.has("*") {
            urls.items().for_each(|path| url_path(&path));
        }
    }
}

/// The member that goes with the kind is there, and no other.
fn subject(at: &At<'_>) {
    const MEMBERS: [(&str, &str); 3] =
        [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = at.get("kind");
    if !MEMBERS.iter().any(|(name, _)| *name == kind.text()) {
        kind.not_supported(&["Group", "ServiceAccount", "User"]);
        return;
    }
    for (name, member) in MEMBERS {
        let body = at.get(member);
        if name != kind.text() {
            if body.is_set() {
                body.forbidden(format!("{member} is forbidden when subject kind is not '{name}'"));
            }
        } else if !body.is_set() {
            body.required(format!("{member} is required when subject kind is '{name}'"));
        } else {
            check(&body, &[("name", Need)]);
            if name == "ServiceAccount" {
                let (name, namespace) = (body.get("name"), body.get("namespace"));
                if name.text() != "*" {
                    name.format_if_set(names::dns_subdomain);
                }
                if namespace.is_empty() {
                    namespace.required("must specify namespace for service account");
                } else {
                    namespace.format(names::dns_label);
                }
            }
        }
    }
}

fn verbs(list: &At<'_>) {
    wildcards(list, "verbs must contain at least one value", "verbs");
    if !list.has("*") && !list.items().all(|verb| VERBS.contains(&verb.text())) {
        list.not_supported(&VERBS);
    }
}

fn wildcards(list: &At<'_>, absent: &str, what: &str) {
    if list.is_empty() {
        list.required(absent);
    } else if list.len() > 1 && list.has("*") {
        list.invalid(format!("if '*' is present, must not specify other {what}"));
    }
}

fn namespaces(rule: &At<'_>) {
    let list = rule.get("namespaces");
    if list.is_empty() && !rule.get("clusterScope").is_true() {
        list.required("resource rules that are not cluster scoped must supply at least one namespace");
    } else if list.has("*") {
        wildcards(&list, "", "namespaces");
    } else {
        let intro = "each member of this list must be '*' or a DNS-1123 label; ";
        for namespace in list.items() {
            namespace.format(|text| names::prefix_each(names::dns_label(text), intro));
        }
    }
}

fn url_path(path: &At<'_>) {
    let text = path.text();
    let stars = text.matches('*').count();
    let fault = match text {
        "" => "must not be empty",
        "/" => return,
        _ if !text.starts_with('/') => "must start with slash",
        _ if text.contains(' ') => "must not contain white-space",
        _ if text.contains("//") => "must not contain double slash",
        _ if stars > 1 || stars == 1 && !text.ends_with("/*") => "wildcard can only do suffix matching",
        _ => return,
    };
    path.invalid_text(text, fault);
}

fn level(at: &At<'_>) {
    let (spec, name) = (at.get("spec"), at.get("metadata.name").text());
    let (ty, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (name == "exempt") != (ty.text() == "Exempt") {
        ty.invalid_text(ty.text(), "type must be 'Exempt' if and only if name is 'exempt'");
    }
    match ty.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden("must be nil if the type is not Limited");
            }
            lending(&exempt);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden("must be nil if the type is Limited");
            }
            if limited.is_set() {
                lending(&limited);
                limit_response(&limited.get("limitResponse"));
            } else {
                limited.required("must not be empty when type is Limited");
            }
        }
        _ => ty.not_supported(&["Exempt", "Limited"]),
    }
    if name == "catch-all" {
        let fixed = json!({
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
        fixed_spec(&spec, name, &fixed);
    }
}

/// Shares and what may be lent of them.
fn lending(at: &At<'_>) {
    let shares = at.get("nominalConcurrencyShares");
    if shares.int().is_some_and(|shares| shares < 0) {
        shares.invalid("must be a non-negative integer");
    }
    let (lend, borrow) = (at.get("lendablePercent"), at.get("borrowingLimitPercent"));
    if lend.int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        lend.invalid("must be between 0 and 100, inclusive");
    }
    if borrow.int().is_some_and(|percent| percent < 0) {
        borrow.invalid("if specified, must be a non-negative integer");
    }
}

fn limit_response(at: &At<'_>) {
    let (ty, queuing) = (at.get("type"), at.get("queuing"));
    match ty.text() {
        "Reject" if queuing.is_set() => {
            queuing.forbidden("must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if queuing.is_set() => queues(&queuing),
        "Queue" => queuing.required("must not be empty if limited.limitResponse.type is Limited"),
        _ => ty.not_supported(&["Queue", "Reject"]),
    }
}

fn queues(at: &At<'_>) {
    let (length, queues, hand) = (at.get("queueLengthLimit"), at.get("queues"), at.get("handSize"));
    let number = |at: &At<'_>| at.int().unwrap_or(0);
    for positive in [&length, &queues, &hand] {
        if number(positive) <= 0 {
            positive.invalid("must be positive");
        }
    }
    let (deck, dealt) = (number(&queues), number(&hand));
    if deck > QUEUES_MAX {
        queues.invalid(format!("must not be greater than {QUEUES_MAX}"));
    }
    if dealt <= 0 {
        return;
    }
    if dealt > deck {
        hand.invalid(format!("should not be greater than queues ({deck})"));
    } else if entropy_bits(deck, dealt) > HASH_BITS {
        hand.invalid(format!(
            "required entropy bits of deckSize {deck} and handSize {dealt} should not be greater than {HASH_BITS}"
        ));
    }
}

/// Bits needed to deal a hand: the logarithm of the product of what is left in the deck at each draw.
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    (0..hand.min(64)).map(|drawn| ((deck - drawn) as f64).log2()).sum::<f64>().ceil()
}
