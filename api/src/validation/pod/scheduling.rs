//! Rules of what steers a pod to nodes: affinity, tolerations, spreading, gates.
use super::super::cursor::At;
use super::super::labels;
use crate::names;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn affinity(affinity: &At<'_>) {
    if let Some(node) = affinity.find("nodeAffinity") {
        if let Some(required) = node.find("requiredDuringSchedulingIgnoredDuringExecution") {
            node_selector(&required);
        }
        for preferred in node.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&preferred);
            node_term(&preferred.get("preference"));
        }
    }
    for pods in ["podAffinity", "podAntiAffinity"].iter().filter_map(|name| affinity.find(name)) {
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term);
        }
        for preferred in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&preferred);
            pod_term(&preferred.get("podAffinityTerm"));
        }
    }
}

fn weight(preferred: &At<'_>) {
    let weight = preferred.get("weight");
    if !(1..=100).contains(&weight.int().unwrap_or(0)) {
        weight.invalid("must be in the range 1-100");
    }
}

/// A `NodeSelector`, also of persistent volumes.
pub(in super::super) fn node_selector(selector: &At<'_>) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required("must have at least one node selector term");
    }
    terms.items().for_each(|term| node_term(&term));
}

fn node_term(term: &At<'_>) {
    for expression in term.get("matchExpressions").items() {
        labels::requirement(&expression, &["In", "NotIn"], &["Exists", "DoesNotExist"], &["Gt", "Lt"]);
        for value in expression.get("values").items() {
            value.format(names::label_value);
        }
    }
    for expression in term.get("matchFields").items() {
        let (operator, values) = (expression.get("operator"), expression.get("values"));
        if !matches!(operator.text(), "In" | "NotIn") {
            operator.invalid_text(operator.text(), "not a valid selector operator");
        } else if values.len() != 1 {
            values.required(
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            );
        }
        if expression.get("key").text() != "metadata.name" {
            expression.get("key").invalid("not a valid field selector key");
        }
        for value in values.items() {
            value.format(names::dns_subdomain);
        }
    }
}

fn pod_term(term: &At<'_>) {
    labels::selector(&term.get("labelSelector"));
    labels::selector(&term.get("namespaceSelector"));
    for namespace in term.get("namespaces").items() {
        term.get("namespace").with(namespace.value()).format(names::dns_label);
    }
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required("can not be empty");
    } else {
        key.format(names::qualified_name);
    }
    match_label_keys(term);
}

/// `matchLabelKeys` and `mismatchLabelKeys` beside a selector.
fn match_label_keys(term: &At<'_>) {
    let selector = term.get("labelSelector");
    let keys = term.get("matchLabelKeys");
    for list in [&keys, &term.get("mismatchLabelKeys")] {
        if !list.is_empty() && !selector.is_set() {
            list.forbidden("must not be specified when labelSelector is not set");
        }
        for key in list.items() {
            key.format(names::qualified_name);
        }
    }
    for mismatch in term.get("mismatchLabelKeys").items() {
        if keys.items().any(|key| key.text() == mismatch.text()) {
            mismatch.invalid("exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

pub(in super::super) fn tolerations(list: &At<'_>) {
    for toleration in list.items() {
        let (key, operator, effect) =
            (toleration.get("key"), toleration.get("operator"), toleration.get("effect"));
        key.format_if_set(names::qualified_name);
        if key.is_empty() && operator.text() != "Exists" {
            operator.invalid_text(
                operator.text(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            effect.invalid_text(effect.text(), "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        let value = toleration.get("value");
        match operator.text() {
            "Equal" | "" => {
                let faults = names::label_value(value.text());
                if !faults.is_empty() {
                    operator.invalid_text(value.text(), faults.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                operator.with(toleration.value()).invalid("value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => operator.not_supported(&["Equal", "Exists"]),
        }
        effect.one_of_if_set(&EFFECTS);
    }
}

/// Taints of a node.
pub(in super::super) fn taints(list: &At<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for taint in list.items() {
        taint.get("key").format(names::qualified_name);
        let value = taint.get("value");
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            value.invalid(faults.join(";"));
        }
        taint.get("effect").need_one_of(&EFFECTS);
        let identity = (taint.get("key").text(), taint.get("effect").text());
        if seen.contains(&identity) {
            taint.duplicate();
        }
        seen.push(identity);
    }
}

pub(super) fn spread(list: &At<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for constraint in list.items() {
        let (skew, key, action) =
            (constraint.get("maxSkew"), constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        if skew.int().unwrap_or(0) <= 0 {
            skew.invalid("must be greater than zero");
        }
        if key.is_empty() {
            key.required("can not be empty");
        } else {
            key.format(names::qualified_name);
        }
        action.one_of(&["DoNotSchedule", "ScheduleAnyway"]);
        let identity = (key.text(), action.text());
        if seen.contains(&identity) {
            let both = constraint.get("{topologyKey, whenUnsatisfiable}");
            both.duplicate_text(&format!("{{{}, {}}}", key.text(), action.text()));
        }
        seen.push(identity);
        let domains = constraint.get("minDomains");
        if domains.int().is_some_and(|n| n <= 0) {
            domains.invalid("must be greater than zero");
        }
        if domains.is_set() && action.text() != "DoNotSchedule" {
            let action = action.text();
            domains
                .invalid(format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"));
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.get(policy).one_of_if_set(&["Honor", "Ignore"]);
        }
        labels::selector(&constraint.get("labelSelector"));
        match_label_keys(&constraint);
    }
}

/// Scheduling and readiness gates.
pub(super) fn gates(spec: &At<'_>) {
    for gate in spec.get("readinessGates").items() {
        gate.get("conditionType").format(names::qualified_name);
    }
    let gates = spec.get("schedulingGates");
    let mut seen: Vec<&str> = Vec::new();
    for gate in gates.items() {
        let name = gate.get("name").text();
        names::qualified_name(name).into_iter().for_each(|fault| gate.invalid_text(name, fault));
        if seen.contains(&name) {
            gate.duplicate_text(name);
        }
        seen.push(name);
    }
    if !gates.is_empty() && !spec.get("nodeName").is_empty() {
        spec.get("nodeName").forbidden("cannot be set until all schedulingGates have been cleared");
    }
}
