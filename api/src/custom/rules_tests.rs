//! CEL rules of custom resources.
use super::table;
use crate::Value;
use serde_json::json;

/// The faults and warnings of a spec under its schema.
fn judge(spec_schema: &Value, spec: Value, old: Option<Value>) -> (Vec<String>, Vec<String>) {
    let crd = json!({"spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec_schema}}}}],
    }});
    let api = table(&crd).unwrap();
    let custom = &api.custom[&api.kinds[0].ty];
    let whole = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let (errors, warnings) = super::validate(custom, &whole(spec), old.map(whole).as_ref());
    (errors.iter().map(ToString::to_string).collect(), warnings)
}

fn object(rules: Value, properties: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": properties})
}

#[test]
fn a_rule_that_fails_is_a_fault() {
    let properties = json!({"min": {"type": "integer"}, "max": {"type": "integer"}});
    let rows: [(Value, &str); 9] = [
        (
            json!({"rule": "self.min <= self.max"}),
            r#"spec: Invalid value: "object": failed rule: self.min <= self.max"#,
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "min first"}),
            r#"spec: Invalid value: "object": min first"#,
        ),
        (
            json!({"rule": "self.min <= self.max", "messageExpression": "'min %d is over %d'.format([self.min, self.max])"}),
            r#"spec: Invalid value: "object": min 5 is over 1"#,
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueForbidden", "fieldPath": ".max", "message": "no"}),
            "spec.max: Forbidden: no",
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueRequired"}),
            "spec: Required value: failed rule: self.min <= self.max",
        ),
        (
            json!({"rule": "self.min <= self.max", "reason": "FieldValueDuplicate"}),
            r#"spec: Duplicate value: "object""#,
        ),
        (
            json!({"rule": "self.min / 0 == 1"}),
            r#"spec: Invalid value: "object": division by zero evaluating rule: self.min / 0 == 1"#,
        ),
        (
            json!({"rule": "self.min <= self.max", "message": "plain", "messageExpression": "''"}),
            r#"spec: Invalid value: "object": plain"#,
        ),
        (
            json!({"rule": "dyn(self.min) + 'a' == ''"}),
            "spec: Invalid value: \"object\": 'no such overload: _+_(int, string)': call arguments did not match a supported \
             operator, function or macro signature for rule: dyn(self.min) + 'a' == ''",
        ),
    ];
    for (rule, wanted) in rows {
        let (errors, warnings) =
            judge(&object(json!([rule]), properties.clone()), json!({"min": 5, "max": 1}), None);
        assert_eq!(errors, [wanted]);
        assert!(warnings.is_empty());
    }
    let schema = object(json!([{"rule": "self.min <= self.max"}]), properties);
    assert!(judge(&schema, json!({"min": 1, "max": 5}), None).0.is_empty());
}

#[test]
fn rules_are_evaluated_where_they_stand() {
    let schema = object(
        json!([]),
        json!({
            "list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
            "map": {"type": "object", "additionalProperties": {"type": "string",
                    "x-kubernetes-validations": [{"rule": "self.size() < 3"}]}},
            "a-b": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'x'"}]},
            "any": {"type": "integer", "allOf": [{"x-kubernetes-validations": [{"rule": "self != 7"}]}]},
        }),
    );
    let spec = json!({"list": [1, -1], "map": {"k": "long"}, "a-b": "y", "any": 7});
    let wanted = [
        r#"spec.a-b: Invalid value: "string": failed rule: self == 'x'"#,
        r#"spec.any: Invalid value: "integer": failed rule: self != 7"#,
        r#"spec.list[1]: Invalid value: "integer": failed rule: self > 0"#,
        r#"spec.map[k]: Invalid value: "string": failed rule: self.size() < 3"#,
    ];
    assert_eq!(judge(&schema, spec, None).0, wanted);
}

#[test]
fn transition_rules_see_what_was() {
    let properties = json!({
        "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "no way back"}]},
        "once": {"type": "string", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() ? self == oldSelf.value() : self == 'first'", "optionalOldSelf": true}]},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                 "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                           "x-kubernetes-validations": [{"rule": "self.v == oldSelf.v", "message": "v stays"}]}},
    });
    let schema = object(json!([]), properties);
    assert!(judge(&schema, json!({"n": 1, "list": [{"k": "a", "v": 1}]}), None).0.is_empty());
    assert_eq!(judge(&schema, json!({"once": "x"}), None).0.len(), 1);
    assert!(judge(&schema, json!({"once": "first"}), None).0.is_empty());
    let old = json!({"n": 2, "once": "first", "list": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]});
    let new = json!({"n": 1, "once": "other", "list": [{"k": "b", "v": 3}, {"k": "c", "v": 9}, {"k": "a", "v": 1}]});
    let wanted = [
        r#"spec.list[0]: Invalid value: "object": v stays"#,
        r#"spec.n: Invalid value: "integer": no way back"#,
        r#"spec.once: Invalid value: "string": failed rule: oldSelf.hasValue() ? self == oldSelf.value() : self == 'first'"#,
    ];
    assert_eq!(judge(&schema, new, Some(old)).0, wanted);
}

#[test]
fn what_did_not_change_is_only_told_of() {
    let schema = object(
        json!([]),
        json!({"a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]}, "b": {"type": "integer"}}),
    );
    let (errors, warnings) = judge(&schema, json!({"a": 9, "b": 2}), Some(json!({"a": 9, "b": 1})));
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(warnings, [r#"spec.a: Invalid value: "integer": failed rule: self < 5"#]);
    assert_eq!(judge(&schema, json!({"a": 8, "b": 1}), Some(json!({"a": 9, "b": 1}))).0.len(), 1);
}

#[test]
fn objects_of_the_wrong_shape_are_not_evaluated() {
    let schema = object(json!([{"rule": "self.a < 5"}]), json!({"a": {"type": "integer"}}));
    let (errors, _) = judge(&schema, json!({"a": "x"}), None);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[1].starts_with("<nil>: Invalid value: \"null\": some validation rules were not checked"),
        "{errors:?}"
    );
}

#[test]
fn a_runaway_rule_ends_the_validation() {
    let rule = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))";
    let schema = object(
        json!([{"rule": rule}, {"rule": "false"}]),
        json!({"l": {"type": "array", "items": {"type": "integer"}}}),
    );
    let (errors, _) = judge(&schema, json!({"l": vec![1; 500]}), None);
    assert_eq!(
        errors,
        [format!(
            "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will \
         be run due to call cost exceeds limit for rule: {rule}"
        )]
    );
}
