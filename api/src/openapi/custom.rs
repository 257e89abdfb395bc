//! Schemas of custom resources: what the server publishes of a structural schema.
//!
//! Version 3 shows the schema as it is, with what the server knows beside it: `apiVersion`, `kind` and `metadata` of the
//! object and of embedded resources, and the two types of an int-or-string. Version 2 cannot say all of that, and old
//! clients refuse what it says too narrowly: so alternatives go, a value that may be null loses its type and members,
//! and so does one that keeps unknown members. Source: "Publish Validation Schema in OpenAPI" of the documentation of
//! CustomResourceDefinitions, and the original's published documents.
use super::descriptions::of_member;
use super::schemas::META;
use super::{Form, gvk_value};
use crate::kind::Kind;
use crate::{Object, Value};
use serde_json::json;

/// Members of a schema that describe its values' own members, by name.
const NAMED: &str = "properties";
/// Members that hold one schema.
const SINGLE: [&str; 2] = ["items", "additionalProperties"];
/// What a structural schema does not keep.
const DROPPED: [&str; 4] = ["$schema", "id", "example", "externalDocs"];

/// Names the members that objects can be selected by.
const SELECTABLE: &str = "x-kubernetes-selectable-fields";

/// The schema of a custom resource in a form of the documents.
pub(super) fn published(schema: &Value, kind: &Kind, form: Form) -> Value {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let mut out = match schema.as_object() {
        // With any members in sight kubectl would refuse all others.
        _ if form == Form::V2 && open => Object::from_iter([("type".to_owned(), "object".into())]),
        Some(root) => {
            let mut root = root.clone();
            adapt(&mut root, form);
            type_meta(&mut root, form);
            root
        }
        None => Object::from_iter([("type".to_owned(), "object".into())]),
    };
    out.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk_value(&kind.gvk)]));
    // Those that every object can be selected by are not named.
    let own = |label: &&std::sync::Arc<str>| !label.starts_with("metadata.");
    let selectable: Vec<Value> =
        kind.field_selectors.iter().filter(own).map(|label| json!({"fieldPath": &**label})).collect();
    if !selectable.is_empty() {
        out.insert(SELECTABLE.to_owned(), selectable.into());
    }
    Value::Object(out)
}

/// Adds the members that every object has.
fn type_meta(schema: &mut Object, form: Form) {
    let members = schema.entry(NAMED).or_insert_with(|| json!({}));
    members["apiVersion"] = json!({"type": "string", "description": of_member("apiVersion")});
    members["kind"] = json!({"type": "string", "description": of_member("kind")});
    let mut meta = form.reference(&format!("{META}.ObjectMeta"));
    if form == Form::V3 {
        // In OpenAPI 3.0 nothing may stand beside a reference.
        meta = json!({ "allOf": [meta] });
    }
    meta["description"] = of_member("metadata").into();
    members["metadata"] = meta;
}

/// Brings a schema and all below it into a form.
fn adapt(schema: &mut Object, form: Form) {
    DROPPED.iter().for_each(|name| {
        schema.remove(*name);
    });
    if form == Form::V2 {
        narrow(schema);
    } else {
        int_or_string(schema);
    }
    for (name, child) in schema.iter_mut() {
        if SINGLE.contains(&name.as_str()) {
            child.as_object_mut().into_iter().for_each(|child| adapt(child, form));
        } else if name == NAMED {
            let members = child.as_object_mut().into_iter().flat_map(|members| members.values_mut());
            members.filter_map(Value::as_object_mut).for_each(|child| adapt(child, form));
        }
    }
    embedded(schema, form);
}

/// Says of an int-or-string that it is one or the other, unless the schema does.
fn int_or_string(schema: &mut Object) {
    if is_true(schema, "x-kubernetes-int-or-string") && !schema.contains_key("anyOf") {
        let said = schema["x-kubernetes-int-or-string"] == true
            && schema.get("allOf").and_then(|all| all.pointer("/0/anyOf")).is_some();
        if !said {
            schema.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
        }
    }
}

/// Takes away what version 2 cannot say of one schema.
fn narrow(schema: &mut Object) {
    for name in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(name);
    }
    let nullable = is_true(schema, "nullable");
    schema.remove("nullable");
    if nullable {
        schema.remove("type");
    }
    if nullable || is_true(schema, "x-kubernetes-preserve-unknown-fields") {
        schema.remove("items");
        schema.remove(NAMED);
    }
    if schema.get("type").is_some_and(|ty| ty == "array") && !schema.contains_key("items") {
        schema.remove("type");
    }
    let may_be_null = |child: Option<&Value>| child.is_some_and(|child| child["nullable"] == true);
    if may_be_null(schema.get("additionalProperties")) {
        schema.remove("required");
        return;
    }
    let Some(required) = schema.get("required").and_then(Value::as_array).cloned() else { return };
    let members = schema.get(NAMED);
    let kept: Vec<Value> = required
        .into_iter()
        .filter(|name| !may_be_null(members.and_then(|members| members.get(name.as_str()?))))
        .collect();
    if kept.is_empty() {
        schema.remove("required");
    } else {
        schema.insert("required".to_owned(), kept.into());
    }
}

/// An embedded resource has the members of every object, of which two must be there.
fn embedded(schema: &mut Object, form: Form) {
    let open = form == Form::V2 && is_true(schema, "x-kubernetes-preserve-unknown-fields");
    if open || !is_true(schema, "x-kubernetes-embedded-resource") {
        return;
    }
    type_meta(schema, form);
    let required = schema.entry("required").or_insert_with(|| json!([]));
    for name in ["kind", "apiVersion"] {
        if let Some(list) = required.as_array_mut().filter(|list| !list.iter().any(|known| known == name)) {
            list.push(name.into());
        }
    }
}

fn is_true(schema: &Object, name: &str) -> bool {
    schema.get(name).is_some_and(|value| value == true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::GroupVersionKind;
    use crate::schema::TypeId;

    fn widget() -> Kind {
        let gvk = GroupVersionKind::new("example.com", "v1", "Widget");
        let mut kind = Kind::new(gvk, "widgets".into(), TypeId(0));
        kind.field_selectors = ["metadata.name", "spec.colour"].map(Into::into).into();
        kind
    }

    fn without_meta(mut schema: Value) -> Value {
        for name in ["x-kubernetes-group-version-kind", SELECTABLE] {
            schema.as_object_mut().unwrap().remove(name);
        }
        for name in ["apiVersion", "kind", "metadata"] {
            schema[NAMED].as_object_mut().unwrap().remove(name);
        }
        schema[NAMED].take()
    }

    #[test]
    fn version_2_leaves_out_what_it_cannot_say() {
        let cases = [
            (json!({"type": "string", "pattern": "a", "maxLength": 3}), None),
            (
                json!({"type": "string", "oneOf": [{"pattern": "a"}], "not": {"pattern": "b"}}),
                Some(json!({"type": "string"})),
            ),
            (
                json!({"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}, "description": "d"}),
                Some(json!({"description": "d"})),
            ),
            (
                json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "object"}}),
                Some(json!({"x-kubernetes-preserve-unknown-fields": true})),
            ),
            (
                json!({"type": "object", "required": ["a", "b"],
                       "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "string"}}}),
                Some(
                    json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
                ),
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "required": ["a"]}),
                Some(json!({"type": "object", "additionalProperties": {}})),
            ),
        ];
        for (given, wanted) in cases {
            let root = json!({"type": "object", "properties": {"spec": given}});
            let published = without_meta(published(&root, &widget(), Form::V2));
            assert_eq!(published["spec"], wanted.unwrap_or(given), "{root}");
        }
    }

    #[test]
    fn the_root_carries_its_kind_and_the_members_of_objects() {
        let root = json!({"type": "object", "properties": {"metadata": {"type": "object"}}});
        let three = published(&root, &widget(), Form::V3);
        let gvk = json!([{"group": "example.com", "kind": "Widget", "version": "v1"}]);
        assert_eq!(three["x-kubernetes-group-version-kind"], gvk);
        assert_eq!(
            three["properties"]["metadata"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        );
        let open =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}});
        let two = published(&open, &widget(), Form::V2);
        let selectable = json!([{"fieldPath": "spec.colour"}]);
        let bare = json!({"type": "object", "x-kubernetes-group-version-kind": gvk, SELECTABLE: selectable});
        assert_eq!(two, bare);
        for name in ["apiVersion", "kind", "metadata"] {
            let text = three["properties"][name]["description"].as_str();
            assert!(text.is_some_and(|text| text.contains("More info: https://")), "{name}: {text:?}");
        }
        assert!(published(&open, &widget(), Form::V3)["properties"]["a"].is_object());
    }

    #[test]
    fn embedded_resources_and_numbers_or_texts() {
        let embedded =
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind"]});
        let port = json!({"x-kubernetes-int-or-string": true});
        let root = json!({"type": "object", "properties": {"inner": embedded, "port": port}});
        for form in [Form::V2, Form::V3] {
            let published = without_meta(published(&root, &widget(), form));
            assert_eq!(published["inner"]["required"], json!(["kind", "apiVersion"]), "{form:?}");
            assert!(published["inner"]["properties"]["metadata"].is_object(), "{form:?}");
            let types = (form == Form::V3).then(|| json!([{"type": "integer"}, {"type": "string"}]));
            assert_eq!(published["port"].get("anyOf"), types.as_ref(), "{form:?}");
        }
    }
}
