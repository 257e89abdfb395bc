//! Rules of labels, label selectors and node selectors.
use super::cursor::At;
use crate::names;
use crate::selector::LabelSelector;

/// A map of labels; faults stand at the map itself.
pub(super) fn labels(labels: &At<'_>) {
    for (key, value) in labels.entries() {
        for fault in names::qualified_name(key) {
            labels.invalid_text(key, fault);
        }
        for fault in names::label_value(value.text()) {
            labels.invalid_text(value.text(), fault);
        }
    }
}

/// A `LabelSelector` object.
pub(super) fn selector(selector: &At<'_>) {
    labels(&selector.get("matchLabels"));
    for expression in selector.get("matchExpressions").items() {
        requirement(&expression, &["In", "NotIn"], &["Exists", "DoesNotExist"], &[]);
        for value in expression.get("values").items() {
            value.format(names::label_value);
        }
    }
}

/// An expression with an operator: `listed` need values, `bare` forbid them, `single` need exactly one.
pub(super) fn requirement(expression: &At<'_>, listed: &[&str], bare: &[&str], single: &[&str]) {
    let (operator, values) = (expression.get("operator"), expression.get("values"));
    if listed.contains(&operator.text()) {
        if values.is_empty() {
            values.required("must be specified when `operator` is 'In' or 'NotIn'");
        }
    } else if bare.contains(&operator.text()) {
        if !values.is_empty() {
            values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
    } else if single.contains(&operator.text()) {
        if values.len() != 1 {
            values.required("must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
    } else {
        operator.invalid_text(operator.text(), "not a valid selector operator");
    }
    expression.get("key").format(names::qualified_name);
}

/// The selector of a workload: there, not empty, and matching the template's labels.
pub(super) fn workload(spec: &At<'_>, template: &At<'_>, empty: &str) {
    let object = spec.get("selector");
    if !object.is_set() {
        object.required("");
        return;
    }
    selector(&object);
    if object.get("matchLabels").is_empty() && object.get("matchExpressions").is_empty() {
        object.invalid(empty);
    }
    match LabelSelector::from_object(Some(object.value())) {
        Ok(found) => matches_template(&found, template),
        Err(_) => object.invalid("invalid label selector"),
    }
}

/// A selector must match the labels of the template; one that matches everything is not asked.
pub(super) fn matches_template(selector: &LabelSelector, template: &At<'_>) {
    let labels = template.get("metadata.labels");
    if !selector.is_everything() && !selector.matches(labels.value()) {
        labels.invalid("`selector` does not match template `labels`");
    }
}
