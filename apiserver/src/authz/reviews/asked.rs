//! What an access review asks: its attributes checked and read, selectors in either of their forms.
//!
//! A requirement that this server does not understand makes the question broader, never narrower, so it is left out and
//! said so in the evaluation error. Source: KEP-4601 and the original's validation.
use super::text;
use crate::authz::Attributes;
use knarr_api::selector::{FieldRequirement, FieldSelector, LabelSelector, Operator, Requirement};
use knarr_api::{Value, field, names};
use std::borrow::Cow;

/// What is asked, and what of it could not be understood.
pub struct Asked<'a> {
    /// The attributes to decide.
    pub attributes: Attributes<'a>,
    /// Parts of the evaluation error.
    pub ignored: Vec<&'static str>,
}

/// Exactly one of resource and non-resource attributes, with selectors in one form each.
pub fn faults(spec: &Value) -> Vec<field::Error> {
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    let mut errors = match (has("resourceAttributes"), has("nonResourceAttributes")) {
        (true, true) => vec![field::Error::invalid(
            "spec.nonResourceAttributes",
            &spec["nonResourceAttributes"],
            "cannot be specified in combination with resourceAttributes",
        )],
        (false, false) => vec![field::Error::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    };
    for (name, check_key) in [("fieldSelector", false), ("labelSelector", true)] {
        let selector = &spec["resourceAttributes"][name];
        if !selector.is_null() {
            selector_faults(selector, &format!("spec.resourceAttributes.{name}"), check_key, &mut errors);
        }
    }
    errors
}

fn selector_faults(selector: &Value, path: &str, of_labels: bool, errors: &mut Vec<field::Error>) {
    let (raw, listed) = (text(selector, "rawSelector"), requirements(selector));
    if !raw.is_empty() && !listed.is_empty() {
        let detail = "may not specified at the same time as requirements";
        errors.push(field::Error::invalid(format_args!("{path}.rawSelector"), &Value::from(raw), detail));
    }
    if raw.is_empty() && listed.is_empty() {
        let detail = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(field::Error::required(format_args!("{path}.requirements"), detail));
    }
    for (index, requirement) in listed.iter().enumerate() {
        let path = format!("{path}.requirements[{index}]");
        if !of_labels && text(requirement, "key").is_empty() {
            errors.push(field::Error::required(format_args!("{path}.key"), "must be specified"));
        }
        operator_faults(requirement, &path, errors);
        if of_labels {
            label_faults(requirement, &path, errors);
        }
    }
}

/// Operators of newer clients pass.
fn operator_faults(requirement: &Value, path: &str, errors: &mut Vec<field::Error>) {
    let (path, count) = (format!("{path}.values"), values(requirement).len());
    match text(requirement, "operator") {
        "In" | "NotIn" if count == 0 => {
            errors.push(field::Error::required(path, "must be specified when `operator` is 'In' or 'NotIn'"))
        }
        "Exists" | "DoesNotExist" if count > 0 => errors.push(field::Error::forbidden(
            path,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => {}
    }
}

fn label_faults(requirement: &Value, path: &str, errors: &mut Vec<field::Error>) {
    let key = text(requirement, "key");
    for fault in names::qualified_name(key) {
        errors.push(field::Error::invalid(format_args!("{path}.key"), &Value::from(key), fault));
    }
    for (index, value) in values(requirement).into_iter().enumerate() {
        for fault in names::label_value(value) {
            let path = format_args!("{path}.values[{index}]").to_string();
            errors.push(field::Error::invalid(path, &Value::from(value), fault));
        }
    }
}

/// Reads what a checked spec asks.
pub fn read(spec: &Value) -> Asked<'_> {
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let mut ignored = Vec::new();
    if resource.is_null() {
        let attributes =
            Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() };
        return Asked { attributes, ignored };
    }
    let version = text(resource, "version");
    let attributes = Attributes {
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        version: if version.is_empty() { "*" } else { version },
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        is_resource: true,
        field_selector: field_selector(&resource["fieldSelector"], &mut ignored),
        label_selector: label_selector(&resource["labelSelector"], &mut ignored),
        ..Attributes::default()
    };
    Asked { attributes, ignored }
}

fn field_selector<'a>(selector: &'a Value, ignored: &mut Vec<&'static str>) -> Option<Cow<'a, str>> {
    let (raw, listed) = (text(selector, "rawSelector"), requirements(selector));
    let (all, part) = (
        "spec.resourceAttributes.fieldSelector ignored due to parse error",
        "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
    );
    if listed.is_empty() {
        return raw_selector(raw, raw.parse::<FieldSelector>().is_ok(), all, ignored);
    }
    let read = |requirement: &Value| {
        let negated = match text(requirement, "operator") {
            "In" => false,
            "NotIn" => true,
            _ => return None,
        };
        let &[value] = values(requirement).as_slice() else { return None };
        let (field, value) = (text(requirement, "key").into(), value.into());
        Some(FieldRequirement { field, value, negated })
    };
    let known: Vec<_> = listed.iter().filter_map(read).collect();
    if known.len() < listed.len() {
        ignored.push(if known.is_empty() { all } else { part });
    }
    (!known.is_empty()).then(|| Cow::Owned(FieldSelector::new(known).to_string()))
}

fn label_selector<'a>(selector: &'a Value, ignored: &mut Vec<&'static str>) -> Option<Cow<'a, str>> {
    let (raw, listed) = (text(selector, "rawSelector"), requirements(selector));
    let (all, part) = (
        "spec.resourceAttributes.labelSelector ignored due to parse error",
        "spec.resourceAttributes.labelSelector partially ignored due to parse error",
    );
    if listed.is_empty() {
        return raw_selector(raw, raw.parse::<LabelSelector>().is_ok(), all, ignored);
    }
    let read = |requirement: &Value| {
        let operator = match text(requirement, "operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = values(requirement).into_iter().map(str::to_owned).collect();
        Requirement::new(text(requirement, "key"), operator, values).ok()
    };
    let known: Vec<_> = listed.iter().filter_map(read).collect();
    if known.len() < listed.len() {
        ignored.push(if known.is_empty() { all } else { part });
    }
    (!known.is_empty()).then(|| Cow::Owned(LabelSelector::new(known).to_string()))
}

fn raw_selector<'a>(
    raw: &'a str,
    is_understood: bool,
    fault: &'static str,
    ignored: &mut Vec<&'static str>,
) -> Option<Cow<'a, str>> {
    if !is_understood {
        ignored.push(fault);
    }
    (is_understood && !raw.is_empty()).then_some(Cow::Borrowed(raw))
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn values(requirement: &Value) -> Vec<&str> {
    requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_checked() {
        let check = |resource: Value, expected: &[&str]| {
            let found: Vec<String> =
                faults(&json!({"resourceAttributes": resource})).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{resource}");
        };
        let at = "spec.resourceAttributes";
        check(json!({"fieldSelector": {"rawSelector": "a=b"}}), &[]);
        check(
            json!({"labelSelector": {"rawSelector": "x", "requirements": [{"key": "a", "operator": "Exists"}]}}),
            &[&format!(
                "{at}.labelSelector.rawSelector: Invalid value: \"x\": may not specified at the same time as requirements"
            )],
        );
        check(
            json!({"fieldSelector": {}}),
            &[&format!(
                "{at}.fieldSelector.requirements: Required value: when {at}.fieldSelector is specified, requirements or rawSelector is required"
            )],
        );
        check(
            json!({"fieldSelector": {"requirements": [{"operator": "In"}, {"key": "a", "operator": "Newer"}]}}),
            &[
                &format!("{at}.fieldSelector.requirements[0].key: Required value: must be specified"),
                &format!(
                    "{at}.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                ),
            ],
        );
        check(
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
            &[&format!(
                "{at}.labelSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )],
        );
    }

    #[test]
    fn selectors_are_read() {
        let check = |resource: Value, fields: Option<&str>, labels: Option<&str>, ignored: &[&str]| {
            let spec = json!({"resourceAttributes": resource});
            let asked = read(&spec);
            assert_eq!(asked.attributes.field_selector.as_deref(), fields, "{spec}");
            assert_eq!(asked.attributes.label_selector.as_deref(), labels, "{spec}");
            assert_eq!(asked.ignored, ignored, "{spec}");
            assert_eq!(asked.attributes.version, "*");
        };
        check(json!({}), None, None, &[]);
        check(
            json!({"fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["a,b"]},
                {"key": "x", "operator": "Exists"}]}}),
            Some("spec.nodeName=a\\,b"),
            None,
            &["spec.resourceAttributes.fieldSelector partially ignored due to parse error"],
        );
        check(
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "NotIn", "values": ["b"]}]},
                "fieldSelector": {"rawSelector": "a=b=c"}}),
            None,
            Some("a notin (b)"),
            &["spec.resourceAttributes.fieldSelector ignored due to parse error"],
        );
        check(
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "Newer"}]}}),
            None,
            None,
            &["spec.resourceAttributes.labelSelector ignored due to parse error"],
        );
    }
}
