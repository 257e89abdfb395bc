//! Rules of the schema of a custom resource: it must be structural, and lists and maps must make sense. Of a schema
//! that does, the CEL rules are checked too.
use super::super::cursor::At;
use crate::Value;
use crate::re2::Regex;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Members that no schema may have.
const UNSUPPORTED: [&str; 5] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies"];
/// Members that may stand at the root when status is a subresource, whose schema is taken out of it.
const ROOT: [&str; 24] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "$schema",
    "nullable",
];
/// What only a schema itself may say, not the conditions (`allOf`, `anyOf`, `oneOf`, `not`) inside it.
const STRUCTURAL: [(&str, &str); 14] = [
    ("type", "must be empty to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
    ("externalDocs", "must be undefined to be structural"),
];

/// Where in the tree a schema is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The schema of a version; `status`: the version has a status subresource.
pub(super) fn root(schema: &At<'_>, status: bool) {
    if !schema.is_set() {
        return;
    }
    if status {
        let ty = schema.get("type");
        if !ty.is_empty() && ty.text() != "object" {
            ty.invalid(
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                 enabled",
            );
        }
        let zero = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let mut members = schema.value().as_object().into_iter().flatten();
        if members.any(|(name, value)| !zero(value) && !ROOT.contains(&name.as_str())) {
            let listed = ROOT[..22].join(" ");
            schema.invalid(format!(
                "only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            ));
        }
    }
    if schema.get("nullable").is_true() {
        schema.get("nullable").forbidden("nullable cannot be true at the root");
    }
    let before = schema.faults();
    node(schema, Level::Root);
    if schema.faults() == before {
        super::expressions::check(schema);
    }
}

/// A schema and all below it.
fn node(schema: &At<'_>, level: Level) {
    let flag = |name: &str| schema.get(name).is_true();
    let ty = schema.get("type");
    let (embedded, keeps) =
        (flag("x-kubernetes-embedded-resource"), flag("x-kubernetes-preserve-unknown-fields"));
    let either = flag("x-kubernetes-int-or-string");
    if embedded && ty.text() != "object" {
        wrong_type(&ty, "must be object if x-kubernetes-embedded-resource is true");
    } else if ty.is_empty() && !either && !keeps {
        ty.required(match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        });
    }
    if !ty.is_empty() && !TYPES.contains(&ty.text()) {
        ty.not_supported(&TYPES);
    } else if level == Level::Root && !ty.is_empty() && ty.text() != "object" {
        ty.invalid("must be object at the root");
    }
    if ty.text() == "array" && !schema.get("items").is_set() {
        schema.get("items").required("must be specified");
    }
    let (properties, additional) = (schema.get("properties"), schema.get("additionalProperties"));
    if embedded && !keeps && properties.is_empty() {
        properties.required(
            "must not be empty if x-kubernetes-embedded-resource is true without \
             x-kubernetes-preserve-unknown-fields",
        );
    }
    if embedded && additional.is_set() {
        additional.forbidden("must not be used if x-kubernetes-embedded-resource is set");
    }
    if additional.is_set() && !properties.is_empty() && !additional.is_true() {
        additional.forbidden("additionalProperties and properties are mutual exclusive");
    }
    if properties.is_empty() && additional.value() == &Value::Bool(false) {
        additional.forbidden("additionalProperties cannot be set to false");
    }
    for both in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if either && flag(both) {
            schema.get(both).invalid("must be false if x-kubernetes-int-or-string is true");
        }
    }
    if schema.get("x-kubernetes-preserve-unknown-fields").value() == &Value::Bool(false) {
        schema.get("x-kubernetes-preserve-unknown-fields").invalid("must be true or undefined");
    }
    if flag("uniqueItems") {
        let fault = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        schema.get("uniqueItems").forbidden(fault);
    }
    for name in UNSUPPORTED.iter().filter_map(|name| schema.find(name)) {
        let plain = name.path().rsplit('.').next().unwrap_or_default().to_owned();
        name.forbidden(format!("{plain} is not supported"));
    }
    if schema.find("$ref").is_some() {
        schema.get("$ref").forbidden("$ref is not supported");
    }
    if level == Level::Root && additional.is_set() {
        additional.forbidden("must not be used at the root");
    }
    if level == Level::Root || embedded {
        resource_members(&properties, level);
    }
    lists(schema);
    pattern(&schema.get("pattern"));
    rules(&schema.get("x-kubernetes-validations"));
    let value = schema.value();
    conditions(schema, schema, [is_number_or_text(value), is_number_or_text(&value["allOf"][0])]);
    for (_, property) in properties.entries() {
        node(&property, Level::Field);
    }
    if additional.value().is_object() {
        node(&additional, Level::Field);
    }
    let items = schema.get("items");
    if items.value().is_array() {
        items.forbidden("items must be a schema object and not an array");
    } else if items.is_set() {
        node(&items, Level::Item);
    }
}

fn pattern(pattern: &At<'_>) {
    if let Err(fault) = Regex::new(pattern.text()) {
        pattern.invalid(format!("must be a valid regular expression, but isn't: {fault}"));
    }
}

fn wrong_type(ty: &At<'_>, fault: &str) {
    if ty.is_empty() { ty.required(fault) } else { ty.invalid(fault) }
}

/// Kind, version and metadata of a whole object say little of their own.
fn resource_members(properties: &At<'_>, level: Level) {
    for name in ["kind", "apiVersion"] {
        let ty = properties.key(name).get("type");
        if properties.find(name).is_some() && ty.text() != "string" {
            wrong_type(&ty, "must be string");
        }
    }
    if level == Level::Root {
        for name in ["apiVersion", "kind", "metadata"].map(|name| properties.key(name)) {
            if name.get("default").is_set() {
                let plain =
                    name.path().rsplit('[').next().unwrap_or_default().trim_end_matches(']').to_owned();
                name.get("default").forbidden(format!("must not be set in top-level {plain}"));
            }
        }
    }
    let metadata = properties.key("metadata");
    if !metadata.is_set() {
        return;
    }
    if metadata.get("type").text() != "object" {
        wrong_type(&metadata.get("type"), "must be object");
    }
    let free = |name: &str| matches!(name, "type" | "properties" | "description" | "title");
    let members = metadata.value().as_object().into_iter().flatten().all(|(name, _)| free(name));
    let named = |name: &str| matches!(name, "name" | "generateName");
    if level == Level::Root
        && (!members || !metadata.get("properties").entries().all(|(name, _)| named(name)))
    {
        metadata.forbidden(
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// How lists and maps are merged.
fn lists(schema: &At<'_>) {
    let (ty, map, list) =
        (schema.get("type"), schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type"));
    let (keys, items) = (schema.get("x-kubernetes-list-map-keys"), schema.get("items"));
    if map.is_set() {
        if ty.text() != "object" {
            wrong_type(&ty, "must be object if x-kubernetes-map-type is specified");
        }
        map.one_of(&["atomic", "granular"]);
    }
    if list.is_set() {
        if ty.text() != "array" {
            wrong_type(&ty, "must be array if x-kubernetes-list-type is specified");
        }
        list.one_of(&["atomic", "set", "map"]);
    }
    if !keys.is_empty() && list.text() != "map" {
        wrong_type(&list, "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    if matches!(list.text(), "set" | "map") && items.get("nullable").is_true() {
        let fault = format!("cannot be nullable when x-kubernetes-list-type is {}", list.text());
        items.get("nullable").forbidden(fault);
    }
    match list.text() {
        "set" => {
            let fault = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let (inner_list, inner_map) =
                (items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type"));
            match items.get("type").text() {
                "array" if inner_list.is_set() && inner_list.text() != "atomic" => inner_list.invalid(fault),
                "object" if inner_map.text() != "atomic" => inner_map.invalid(fault),
                _ => {}
            }
        }
        "map" => list_map(&keys, &items),
        _ => {}
    }
}

fn list_map(keys: &At<'_>, items: &At<'_>) {
    if keys.is_empty() {
        keys.required("must not be empty if x-kubernetes-list-type is map");
    }
    if !items.is_set() {
        items.required("must have a schema if x-kubernetes-list-type is map");
        return;
    }
    if items.get("type").text() != "object" {
        let ty = items.get("type");
        ty.invalid_text(ty.text(), "must be object if parent array's x-kubernetes-list-type is map");
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for key in keys.items() {
        let property = items.get("properties").key(key.text());
        if !property.is_set() {
            keys.invalid("entries must all be names of item properties");
        } else if matches!(property.get("type").text(), "array" | "object") {
            property
                .get("type")
                .invalid("must be a scalar type if parent array's x-kubernetes-list-type is map");
        }
        if seen.contains(&key.text()) {
            keys.invalid("must not contain duplicate entries");
        }
        seen.push(key.text());
        if !property.is_set() {
            continue;
        }
        if !items.get("required").has(key.text()) && !property.get("default").is_set() {
            property.get("default").required(
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
        if property.get("nullable").is_true() {
            property
                .get("nullable")
                .forbidden("this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
        }
    }
}

/// CEL rules, but for the expressions themselves.
fn rules(list: &At<'_>) {
    const BREAKS: [char; 2] = ['\n', '\r'];
    for rule in list.items() {
        let (text, message, made, path) =
            (rule.get("rule"), rule.get("message"), rule.get("messageExpression"), rule.get("fieldPath"));
        if text.text().trim().is_empty() {
            text.required("rule is not specified");
        } else if !message.is_empty() && message.text().trim().is_empty() {
            message.invalid("message must be non-empty if specified");
        } else if message.text().trim().contains(BREAKS) {
            message.invalid("message must not contain line breaks");
        } else if text.text().trim().contains(BREAKS) && message.text().trim().is_empty() {
            message.required("message must be specified if rule contains line breaks");
        }
        if !made.is_empty() && made.text().trim().is_empty() {
            made.required("messageExpression must be non-empty if specified");
        }
        if rule.get("reason").is_set() {
            rule.get("reason").one_of(&[
                "FieldValueDuplicate",
                "FieldValueForbidden",
                "FieldValueInvalid",
                "FieldValueRequired",
            ]);
        }
        if !path.is_empty() && path.text().trim().is_empty() {
            path.invalid("fieldPath must be non-empty if specified");
        }
        if path.text().contains(BREAKS) {
            path.invalid("fieldPath must not contain line breaks");
        }
    }
}

/// What stands in `allOf`, `anyOf`, `oneOf` and `not`: conditions on fields that the schema outside has. A schema may say
/// that it is a number or a text by naming the two types, itself or in the first of
/// `allOf`.
fn conditions(at: &At<'_>, schema: &At<'_>, [in_any, in_first]: [bool; 2]) {
    for (name, is_free) in [("allOf", false), ("anyOf", in_any), ("oneOf", false)] {
        for (index, condition) in at.get(name).items().enumerate().filter(|_| !is_free) {
            nested(&condition, schema, in_first && name == "allOf" && index == 0);
        }
    }
    if let Some(condition) = at.find("not") {
        nested(&condition, schema, false);
    }
}

/// Exactly `anyOf: [{type: integer}, {type: string}]`.
fn is_number_or_text(schema: &Value) -> bool {
    let types = ["integer", "string"].map(|name| serde_json::json!({"type": name}));
    schema["anyOf"].as_array().is_some_and(|list| **list == types)
}

fn nested(condition: &At<'_>, schema: &At<'_>, names_types: bool) {
    for (name, fault) in STRUCTURAL {
        let Some(member) = condition.find(name) else { continue };
        if !member.is_empty() && member.value() != &Value::Bool(false) {
            member.forbidden(fault);
        }
    }
    if condition.get("properties").find("metadata").is_some() {
        let metadata = condition.get("properties").key("metadata");
        metadata.forbidden("must not be specified in a nested context");
    }
    pattern(&condition.get("pattern"));
    for (name, property) in condition.get("properties").entries() {
        let outer = schema.get("properties").key(name);
        if outer.is_set() {
            nested(&property, &outer, false);
        } else if !schema.get("additionalProperties").is_set() {
            outer.required(format!("because it is defined in {}", property.path()));
        }
    }
    let items = condition.get("items");
    if items.is_set() {
        if schema.get("items").is_set() {
            nested(&items, &schema.get("items"), false);
        } else {
            schema.get("items").required(format!("because it is defined in {}", items.path()));
        }
    }
    conditions(condition, schema, [names_types, false]);
}
