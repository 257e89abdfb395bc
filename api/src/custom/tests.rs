//! Tables of custom resources: pruning, defaults, validation, columns.
use super::{table, validate};
use crate::columns::IncludeObject;
use crate::json::{self, StrictError};
use crate::table::Api;
use crate::time::Timestamp;
use crate::{Value, defaults};
use serde_json::json;

fn api(spec: &Value) -> Api {
    let crd = json!({"spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{
            "name": "v1", "served": true, "storage": true,
            "additionalPrinterColumns": [
                {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            ],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        }],
    }});
    table(&crd).unwrap()
}

/// Decodes and defaults a spec; gives it back with the unknown fields and the faults.
fn run(schema: Value, spec: Value) -> (Value, Vec<StrictError>, Vec<String>) {
    let api = api(&schema);
    let ty = api.kinds[0].ty;
    let mut strict = Vec::new();
    let object =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});
    let mut value = json::decode(&api.schema, ty, object.to_string().as_bytes(), &mut strict).unwrap();
    defaults::apply(&api, ty, &mut value);
    let (faults, _) = validate(&api.custom[&ty], &value, None);
    let stored: Value = serde_json::from_slice(&json::to_vec(&api.schema, ty, &value)).unwrap();
    assert_eq!(stored["spec"], value["spec"], "what is stored is what was judged");
    (value["spec"].clone(), strict, faults.iter().map(ToString::to_string).collect())
}

#[test]
fn unknown_fields_are_pruned_where_they_are_not_kept() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string"},
        "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                 "properties": {"b": {"type": "object", "properties": {"c": {"type": "integer"}}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "integer"}}}},
    }});
    let given = json!({"a": "1", "z": 1, "kept": {"any": {"q": 1}, "b": {"c": 1, "d": 2}},
                       "list": [{"x": 1, "w": 2}], "map": {"k": {"y": 1, "v": 2}}});
    let (spec, strict, faults) = run(schema, given);
    let wanted = json!({"a": "1", "kept": {"any": {"q": 1}, "b": {"c": 1}}, "list": [{"x": 1}], "map": {"k": {"y": 1}}});
    assert_eq!(spec, wanted);
    let mut named: Vec<String> = strict.iter().map(ToString::to_string).collect();
    named.sort();
    let paths = ["spec.kept.b.d", "spec.list[0].w", "spec.map.k.v", "spec.z"];
    assert_eq!(named, paths.map(|path| format!("unknown field {path:?}")));
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn defaults_fill_what_is_absent_or_a_forbidden_null() {
    let schema = json!({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3},
        "name": {"type": "string", "nullable": true, "default": "x"},
        "gone": {"type": "string"},
        "in": {"type": "object", "default": {}, "properties": {"b": {"type": "boolean", "default": true}}},
    }});
    let (spec, _, faults) = run(schema, json!({"size": null, "name": null, "gone": null}));
    assert_eq!(spec, json!({"size": 3, "name": null, "in": {"b": true}}));
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn faults_are_worded_as_in_the_original() {
    let check = |schema: Value, value: Value, wanted: &[&str]| {
        let schema = json!({"type": "object", "properties": {"f": schema}});
        let (_, _, faults) = run(schema, json!({"f": value}));
        assert_eq!(faults, wanted);
    };
    check(
        json!({"type": "integer"}),
        json!("a"),
        &[r#"spec.f: Invalid value: "string": spec.f in body must be of type integer: "string""#],
    );
    check(
        json!({"type": "object", "properties": {}}),
        json!([1]),
        &[r#"spec.f: Invalid value: "array": spec.f in body must be of type object: "array""#],
    );
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &[r#"spec.f: Unsupported value: "c": supported values: "a", "b""#],
    );
    check(
        json!({"type": "integer", "minimum": 1, "maximum": 5}),
        json!(9),
        &["spec.f: Invalid value: 9: spec.f in body should be less than or equal to 5"],
    );
    check(
        json!({"type": "string", "pattern": "^a+$", "minLength": 2}),
        json!("b"),
        &[
            r#"spec.f: Invalid value: "b": spec.f in body should be at least 2 chars long"#,
            r#"spec.f: Invalid value: "b": spec.f in body should match '^a+$'"#,
        ],
    );
    check(
        json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}),
        json!({}),
        &["spec.f.x: Required value"],
    );
    check(
        json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
        json!(["a", "b"]),
        &["spec.f: Too many: 2: must have at most 1 items"],
    );
    check(
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
        json!(["a", "a"]),
        &[r#"spec.f[1]: Duplicate value: "a""#],
    );
    check(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &[r#"spec.f: Invalid value: "boolean": spec.f in body must be of type integer,string: "boolean""#],
    );
    check(json!({"x-kubernetes-int-or-string": true}), json!("50%"), &[]);
    check(json!({"type": "string", "format": "date-time"}), json!("2026-01-02T03:04:05Z"), &[]);
}

#[test]
fn what_did_not_change_is_not_judged_again() {
    let api = api(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 1}, "b": {"type": "integer"},
    }}));
    let custom = &api.custom[&api.kinds[0].ty];
    let old = json!({"spec": {"a": 5, "b": 1}});
    assert!(validate(custom, &json!({"spec": {"a": 5, "b": 2}}), Some(&old)).0.is_empty());
    assert_eq!(validate(custom, &json!({"spec": {"a": 6, "b": 1}}), Some(&old)).0.len(), 1);
}

#[test]
fn columns_are_paths() {
    let api = api(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let columns = &api.custom[&api.kinds[0].ty].columns;
    let names: Vec<Value> = columns.definitions().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["Name", "Ready", "Size"]);
    let object = json!({"metadata": {"name": "a"}, "spec": {"size": 3}, "status": {"conditions": [
        {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
    let row = columns.row(&object, IncludeObject::None, "meta.k8s.io/v1", Timestamp::now());
    assert_eq!(row["cells"], json!(["a", "True", 3]));
    let row = columns.row(
        &json!({"metadata": {"name": "b"}}),
        IncludeObject::None,
        "meta.k8s.io/v1",
        Timestamp::now(),
    );
    assert_eq!(row["cells"], json!(["b", null, null]));
}

#[test]
fn combined_schemas_say_why() {
    let part = |name: &str| json!({"required": [name], "properties": {name: {"minimum": 5}}});
    let members = json!({"a": {"type": "integer"}, "b": {"type": "integer"}});
    let check = |key: &str, given: Value, expected: &[&str]| {
        let mut schema = json!({"type": "object", "properties": members});
        schema[key] = if key == "not" { part("a") } else { json!([part("a"), part("b")]) };
        let faults = run(schema, given).2;
        assert_eq!(faults, expected, "{key}");
    };
    let whole = |text: &str| format!("<nil>: Invalid value: \"\": \"spec\" must {text}");
    let any = whole("validate at least one schema (anyOf)");
    check("anyOf", json!({"a": 6}), &[]);
    check(
        "anyOf",
        json!({"a": 1}),
        &[&any, "spec.a: Invalid value: 1: spec.a in body should be greater than or equal to 5"],
    );
    check("anyOf", json!({}), &[&any, "spec.a: Required value"]);
    let one = whole("validate one and only one schema (oneOf).");
    check(
        "oneOf",
        json!({"b": 1}),
        &[
            &format!("{one} Found none valid"),
            "spec.b: Invalid value: 1: spec.b in body should be greater than or equal to 5",
        ],
    );
    check("oneOf", json!({"a": 6, "b": 6}), &[&format!("{one} Found 2 valid alternatives")]);
    let all = whole("validate all the schemas (allOf)");
    check("allOf", json!({"a": 6}), &["spec.b: Required value", &all]);
    check(
        "allOf",
        json!({}),
        &["spec.a: Required value", "spec.b: Required value", &format!("{all}. None validated")],
    );
    check("not", json!({"a": 6}), &[&whole("not validate the schema (not)")]);
}

#[test]
fn numbers_are_what_go_takes_them_for() {
    let number = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "m": {"type": "number", "multipleOf": 0.1}}});
    let faults = |given: Value| run(number.clone(), given).2;
    assert!(faults(json!({"n": i64::MAX, "m": 0.3})).is_empty());
    assert_eq!(
        faults(json!({"n": 9_223_372_036_854_775_808_u64, "m": 0.35})),
        [
            "spec.m: Invalid value: 0.35: spec.m in body should be a multiple of 0.1",
            "spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\"",
        ]
    );
}

#[test]
fn objects_within_objects_are_objects() {
    let schema = json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true});
    let faults = |given: Value| run(schema.clone(), given).2;
    assert!(
        faults(json!({"apiVersion": "a/v1", "kind": "Some", "metadata": {"labels": {"a": "b"}}})).is_empty()
    );
    assert_eq!(
        faults(json!({"metadata": {}})),
        [
            "spec.apiVersion: Required value: must not be empty",
            "spec.kind: Required value: must not be empty"
        ]
    );
    let told = faults(
        json!({"apiVersion": "v1/x/y", "kind": "a b", "metadata": {"name": "a/b", "labels": {"a b": "c"}}}),
    );
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "spec.apiVersion: Invalid value: \"v1/x/y\": unexpected GroupVersion string: v1/x/y");
    assert!(
        told[1].starts_with(
            "spec.kind: Invalid value: \"a b\": may have mixed case, but should otherwise match: "
        )
    );
    assert!(
        told[2].contains("spec.metadata.name: Invalid value")
            || told[3].contains("spec.metadata.name: Invalid value")
    );
}
