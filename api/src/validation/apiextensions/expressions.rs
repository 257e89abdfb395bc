//! CEL rules of schemas: they must compile, and what they may cost at worst is limited. Defaults must be what the schema
//! and its rules allow.
use super::super::cursor::At;
use crate::Value;
use crate::cel::types::{Decl, Type};
use crate::cel::{self, Checked, cost, schema as declarations};
use crate::custom::rule_environment;
use crate::field::{Error, ErrorType};
use serde_json::json;
use std::sync::Arc;

/// The most one expression may cost, as often as it can be evaluated for one object.
const EXPRESSION: u64 = 10_000_000;
/// The most all expressions of a schema may cost.
const TOTAL: u64 = 100_000_000;

/// Where in a schema the rules are.
#[derive(Clone)]
struct Place {
    /// How often values can be here; none where nothing limits it.
    times: Option<u64>,
    /// The part of the schema from which on old values cannot be told.
    uncorrelated: Option<String>,
    root: bool,
}

/// What was found of costs.
#[derive(Default)]
struct Costs {
    total: u64,
    each: Vec<(String, u64)>,
}

/// Checks the expressions of a whole schema.
pub(super) fn check(schema: &At<'_>) {
    let mut costs = Costs::default();
    let place = Place { times: Some(1), uncorrelated: None, root: true };
    node(schema, schema.value(), &place, &mut costs);
    if costs.total > TOTAL {
        let mut dearest = costs.each;
        dearest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in dearest.iter().take(4).filter(|(_, cost)| *cost > TOTAL / 100) {
            let text = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire \
                        OpenAPIv3 schema";
            schema.push(Error::forbidden(path, text));
        }
        schema.forbidden(exceeds(
            "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema",
            costs.total,
            TOTAL,
        ));
    }
}

/// By how much a limit is exceeded.
#[allow(clippy::cast_precision_loss)]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule(s), or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// The rules at `at`, over values that `shape` describes, and all below.
fn node(at: &At<'_>, shape: &Value, place: &Place, costs: &mut Costs) {
    let rules = at.get("x-kubernetes-validations");
    if !rules.is_empty() {
        match declarations::declare(shape, place.root, "selfType") {
            Some(decl) => {
                let decl = Arc::new(decl);
                rules.items().for_each(|rule| expressions(&rule, shape, &decl, place, costs));
            }
            None => {
                let keeps = shape["x-kubernetes-preserve-unknown-fields"] == true;
                rules.push(Error::new(ErrorType::Internal, rules.path(), format!(
                    "Internal error: rule declared on schema that does not support validation rules type: '{}' \
                     x-kubernetes-preserve-unknown-fields: '{keeps}'",
                    shape["type"].as_str().unwrap_or_default()
                )));
            }
        }
    }
    if let Some(default) = at.find("default") {
        let faults = crate::custom::validate_default(shape, default.value(), default.path());
        faults.into_iter().for_each(|fault| default.push(fault));
    }
    for part in at.get("allOf").items() {
        node(&part, shape, place, costs);
    }
    let limit = |name: &str| shape[name].as_i64().map(|n| u64::try_from(n).unwrap_or_default());
    let inner = |limit: Option<u64>, told: bool| Place {
        times: place.times.zip(limit).map(|(times, limit)| times.saturating_mul(limit)),
        uncorrelated: place.uncorrelated.clone().or_else(|| (!told).then(|| at.path().to_owned())),
        root: false,
    };
    let granular = shape["x-kubernetes-map-type"] != "atomic";
    for (name, property) in at.get("properties").entries() {
        node(&property, &shape["properties"][name], &inner(Some(1), granular), costs);
    }
    let additional = at.get("additionalProperties");
    if additional.value().is_object() {
        let place = inner(limit("maxProperties"), granular);
        node(&additional, &shape["additionalProperties"], &place, costs);
    }
    let items = at.get("items");
    if items.value().is_object() {
        let place = inner(limit("maxItems"), shape["x-kubernetes-list-type"] == "map");
        node(&items, &shape["items"], &place, costs);
    }
}

/// A rule as the original shows it in faults.
fn shown(rule: &Value) -> String {
    let text = |name: &str| Value::from(rule[name].as_str().unwrap_or_default());
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text("rule"),
        text("message"),
        text("messageExpression"),
        rule["reason"],
        text("fieldPath"),
        rule["optionalOldSelf"]
    )
}

fn expressions(rule: &At<'_>, shape: &Value, decl: &Arc<Decl>, place: &Place, costs: &mut Costs) {
    let env = rule_environment(decl, rule.get("optionalOldSelf").is_true());
    let compile = |name: &str, intro: &str, wanted: &Type, otherwise: &str| -> Option<Checked> {
        let text = rule.get(name);
        if text.text().trim().is_empty() {
            return None;
        }
        let fault = |detail: String| {
            let body = format!("Invalid value: {}: {detail}", shown(rule.value()));
            rule.push(Error::new(ErrorType::Invalid, text.path(), body));
            None
        };
        match cel::compile(&env, text.text()) {
            Err(issues) => fault(format!("{intro}{issues}")),
            Ok(checked) if checked.result() != wanted => fault(otherwise.to_owned()),
            Ok(checked) => Some(checked),
        }
    };
    let checked =
        compile("rule", "compilation failed: ", &Type::Bool, "cel expression must evaluate to a bool");
    let message = compile(
        "messageExpression",
        "messageExpression compilation failed: ",
        &Type::String,
        "messageExpression must evaluate to a string",
    );
    let root = |name: &str| matches!(name, "self" | "oldSelf").then(|| decl.clone());
    for (checked, name, what) in [
        (&checked, "rule", "estimated rule cost"),
        (&message, "messageExpression", "estimated messageExpression cost"),
    ] {
        let Some(checked) = checked else { continue };
        let times = place.times.unwrap_or_else(|| declarations::max_cardinality(decl));
        let cost = cost::estimate(checked, &root).max.saturating_mul(times);
        let at = rule.get(name);
        if cost > EXPRESSION {
            at.forbidden(exceeds(what, cost, EXPRESSION));
        }
        costs.total = costs.total.saturating_add(cost);
        costs.each.push((at.path().to_owned(), cost));
    }
    let uses_old = checked.as_ref().is_some_and(|checked| checked.uses("oldSelf"));
    if let Some(part) = place.uncorrelated.as_ref().filter(|_| uses_old) {
        let text = rule.get("rule");
        text.invalid(format!(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within {part}"
        ));
    }
    let optional = rule.get("optionalOldSelf");
    if checked.is_some() && optional.is_set() && !uses_old {
        optional.invalid("may not be set if oldSelf is not used in rule");
    }
    field_path(&rule.get("fieldPath"), shape);
}

/// The field that a rule blames must be there.
fn field_path(at: &At<'_>, shape: &Value) {
    if at.text().trim().is_empty() {
        return;
    }
    if let Err(fault) = follow(at.text(), shape) {
        at.invalid(format!("fieldPath must be a valid path: {fault}"));
    }
}

fn follow(path: &str, shape: &Value) -> Result<(), String> {
    let whole = json!({});
    let (mut rest, mut schema) = (path, shape);
    while !rest.is_empty() {
        let name = if let Some(quoted) = rest.strip_prefix("['") {
            let (name, after) = quoted.split_once("']").ok_or("unexpected end of JSON path")?;
            rest = after;
            name
        } else if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, after) = named.split_at(end);
            if name.is_empty() {
                return Err("unexpected end of JSON path".to_owned());
            }
            rest = after;
            name
        } else if let Some(index) = rest.strip_prefix('[') {
            let token = index.split(['.', '[', ']']).next().unwrap_or_default();
            return Err(format!("expected single quoted string but got {token}"));
        } else {
            let token = rest.split(['.', '[']).next().unwrap_or_default();
            return Err(format!("expected [ or . but got: {token}"));
        };
        let missing = || "does not refer to a valid field".to_owned();
        schema = if schema["properties"].is_object() {
            schema["properties"].get(name).ok_or_else(missing)?
        } else if schema["additionalProperties"].is_object() {
            &schema["additionalProperties"]
        } else if matches!(name, "kind" | "apiVersion" | "metadata") && std::ptr::eq(schema, shape) {
            &whole
        } else {
            return Err(missing());
        };
    }
    Ok(())
}
