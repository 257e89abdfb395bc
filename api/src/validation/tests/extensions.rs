//! Kinds that extend the API: webhooks, policies, definitions of custom resources, aggregated APIs.
use super::*;

const ADMISSION: &str = "admissionregistration.k8s.io";

fn webhook(change: Value) -> Value {
    let mut webhook = json!({
        "name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "clientConfig": {"service": {"name": "s", "namespace": "n", "port": 443}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
            "scope": "*"}]});
    crate::patch::merge::apply(&mut webhook, change);
    webhook
}

#[test]
fn webhooks() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"name": "a.b"}),
            vec![
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated \
                 by dots",
            ],
        ),
        (
            json!({"sideEffects": "Some", "timeoutSeconds": 31, "failurePolicy": "Maybe"}),
            vec![
                "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        ),
        (
            json!({"sideEffects": null, "admissionReviewVersions": ["v2"]}),
            vec![
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            json!({"clientConfig": {"url": "https://x"}}),
            vec!["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            json!({"clientConfig": {"service": null, "url": "http://u@?q#f"}}),
            vec![
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired \
                 format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired format: \
                 https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            ],
        ),
        (
            json!({"rules": [{"operations": ["*", "CREATE"], "apiGroups": ["*", "a"], "apiVersions": [""],
                "resources": ["*", "pods", "pods/*", "pods/x"]}]}),
            vec![
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify \
                 other operations",
                "webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other \
                 API groups",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"pods/x\": if 'pods/*' is present, must not specify \
                 pods/x",
                "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\",\"pods/*\",\"pods/x\"]: if '*' is present, \
                 must not specify other resources without subresources",
            ],
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}]}),
            vec![
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
            ],
        ),
    ] {
        check(ADMISSION, "ValidatingWebhookConfiguration", json!({"webhooks": [webhook(change)]}), &expected);
    }
    check(
        ADMISSION,
        "MutatingWebhookConfiguration",
        json!({"webhooks": [webhook(json!({"reinvocationPolicy": "Often"})), webhook(json!({}))]}),
        &[
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"",
            "webhooks[1].name: Duplicate value: \"a.b.c\"",
        ],
    );
}

/// What an old configuration was allowed stays allowed.
#[test]
fn webhooks_keep_what_they_had() {
    let kind = kind(ADMISSION, "ValidatingWebhookConfiguration");
    let old = named(kind, json!({"webhooks": [webhook(json!({"sideEffects": "Some"}))]}));
    assert_eq!(texts(&update(kind, &old, &old)), Vec::<String>::new());
}

fn policy(change: Value) -> Value {
    let mut policy = json!({"spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
            "resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
        "validations": [{"expression": "true"}]}});
    crate::patch::merge::apply(&mut policy, change);
    policy
}

#[test]
fn policies() {
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"spec": {"validations": null}}),
            vec![
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            json!({"spec": {"matchConstraints": null, "paramKind": {"kind": "1x"}}}),
            vec![
                "spec.paramKind.apiVersion: Required value",
                "spec.paramKind.kind: Invalid value: \"1x\": may have mixed case, but should otherwise match: a \
                 DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                 validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                "spec.matchConstraints: Required value",
            ],
        ),
        (
            json!({"spec": {"validations": [{"expression": "", "message": "a\nb", "reason": "Because"}],
                "variables": [{"name": "in", "expression": "1"}]}}),
            vec![
                "spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier",
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"Because\": supported values: \"Forbidden\", \
                 \"Invalid\", \"RequestEntityTooLarge\"",
            ],
        ),
    ] {
        check(ADMISSION, "ValidatingAdmissionPolicy", policy(change), &expected);
    }
    check(
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        json!({"spec": {"policyName": "p", "validationActions": ["Deny", "Warn"], "paramRef": {}}}),
        &[
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating \
             the same validation failure information in the API response and headers serves no purpose)",
        ],
    );
    check(
        ADMISSION,
        "MutatingAdmissionPolicy",
        policy(json!({"spec": {"validations": null, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch"}]}})),
        &["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"],
    );
    check(
        ADMISSION,
        "MutatingAdmissionPolicy",
        policy(json!({"spec": {"validations": null, "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [{
                "operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
            "mutations": [{"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}]}})),
        &[
            "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \
             \"CONNECT\", \"CREATE\", \"UPDATE\"",
            "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when \
             patchType is JSONPatch",
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
        ],
    );
}

fn definition(change: Value) -> Value {
    let mut definition = json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object"}}}}}]},
        "status": {"storedVersions": ["v1"]}});
    crate::patch::merge::apply(&mut definition, change);
    definition
}

/// A definition whose `spec` has the schema.
fn with_schema(schema: Value) -> Value {
    let mut definition = definition(json!({}));
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema;
    definition
}

#[test]
fn definitions() {
    let group = "apiextensions.k8s.io";
    for (change, expected) in [
        (json!({}), vec![]),
        (
            json!({"metadata": {"name": "bars.example.com"}}),
            vec![
                "metadata.name: Invalid value: \"bars.example.com\": must be spec.names.plural+\".\"+spec.group",
            ],
        ),
        (
            json!({"spec": {"names": {"listKind": "Foo"}, "scope": "World", "preserveUnknownFields": true}}),
            vec![
                "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
                "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same",
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
                 x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            ],
        ),
        (
            json!({"status": {"storedVersions": ["v0"]}}),
            vec![
                "status.storedVersions: Invalid value: [\"v0\"]: must have the storage version v1",
                "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a \
                 storage version, and must remain in spec.versions until a storage migration ensures no data remains \
                 persisted in v0 and removes v0 from status.storedVersions",
            ],
        ),
        (
            json!({"metadata": {"name": "foos.x.k8s.io"}, "spec": {"group": "x.k8s.io"}}),
            vec![
                "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval \
                 annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
            ],
        ),
        (
            json!({"spec": {"conversion": {"strategy": "Webhook"}}}),
            vec![
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
                "spec.conversion.conversionReviewVersions: Required value",
            ],
        ),
    ] {
        check(group, "CustomResourceDefinition", definition(change), &expected);
    }
    let root = "spec.validation.openAPIV3Schema.properties[spec]";
    for (schema, expected) in [
        (json!({}), vec![".type: Required value: must not be empty for specified object fields"]),
        (json!({"type": "array"}), vec![".items: Required value: must be specified"]),
        (
            json!({"type": "string", "pattern": "("}),
            vec![
                ".pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing \
                 regexp: missing closing ): `(`",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]}),
            vec![
                ".items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must \
                 have a default or be a required property",
                ".x-kubernetes-list-map-keys: Invalid value: [\"a\",\"b\"]: entries must all be names of item properties",
            ],
        ),
        (
            json!({"type": "object", "uniqueItems": true, "id": "x", "oneOf": [{"type": "string"}],
                "anyOf": [{"properties": {"z": {}}}]}),
            vec![
                ".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes \
                 quadratic",
                ".id: Forbidden: id is not supported",
                ".properties[z]: Required value: because it is defined in \
                 spec.validation.openAPIV3Schema.properties[spec].anyOf[0].properties[z]",
                ".oneOf[0].type: Forbidden: must be empty to be structural",
            ],
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            vec![],
        ),
        (
            json!({"x-kubernetes-int-or-string": true,
                "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^a"}]}),
            vec![],
        ),
        (json!({"type": "string", "anyOf": [{"type": "integer"}, {"type": "string"}]}), vec![]),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "string"}, {"type": "integer"}]}),
            vec![
                ".anyOf[0].type: Forbidden: must be empty to be structural",
                ".anyOf[1].type: Forbidden: must be empty to be structural",
            ],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object"}}, "oneOf": [
                {"properties": {"metadata": {"required": ["a"]}}},
                {"externalDocs": {"url": "x"}, "x-kubernetes-validations": [{"rule": "true"}]}]}),
            vec![
                ".oneOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
                ".oneOf[1].x-kubernetes-validations: Forbidden: must be empty to be structural",
                ".oneOf[1].externalDocs: Forbidden: must be undefined to be structural",
            ],
        ),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), vec![]),
        (
            json!({"type": "object", "additionalProperties": false}),
            vec![".additionalProperties: Forbidden: additionalProperties cannot be set to false"],
        ),
        (
            json!({"type": "object", "properties": {
                "a": {"type": "object", "properties": {"y": {"type": "string"}}, "default": {"x": 1}},
                "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "default": {"x": 1}},
                "c": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "default": [{"x": 1}]}}}),
            vec![".properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields"],
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": ""}, {"rule": "true", "reason": "X"}]}),
            vec![
                ".x-kubernetes-validations[0].rule: Required value: rule is not specified",
                ".x-kubernetes-validations[1].reason: Unsupported value: \"X\": supported values: \
                 \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
            ],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|text| format!("{root}{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(group, "CustomResourceDefinition", with_schema(schema), &expected);
    }
    expressions(group, root);
    check_update(
        group,
        "CustomResourceDefinition",
        definition(json!({"status": {"conditions": [{"type": "Established", "status": "True"}]}})),
        json!({"spec": {"scope": "Cluster"}}),
        &["spec.scope: Invalid value: \"Cluster\": field is immutable"],
    );
}

#[test]
fn api_services() {
    let group = "apiregistration.k8s.io";
    let good = json!({"metadata": {"name": "v1.x.y"}, "spec": {
        "group": "x.y", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"name": "s", "namespace": "n", "port": 443}}});
    check(group, "APIService", good.clone(), &[]);
    let mut bad = good;
    crate::patch::merge::apply(
        &mut bad,
        json!({"metadata": {"name": "v1.x"},
            "spec": {"groupPriorityMinimum": 0, "service": null, "caBundle": "YWE=", "insecureSkipTLSVerify": true}}),
    );
    check(
        group,
        "APIService",
        bad,
        &[
            "metadata.name: Invalid value: \"v1.x\": must be `spec.version+\".\"+spec.group`: \"v1.x.y\"",
            "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            "spec.caBundle: Invalid value: \"2 bytes\": local APIServices may not have a caBundle",
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ],
    );
}

/// CEL rules: what does not compile, costs too much, or blames what is not there.
fn expressions(group: &str, root: &str) {
    let shown = |rule: &str, message: &str, optional: &str| {
        format!(
            r#"Invalid value: {{"Rule":"{rule}","Message":"","MessageExpression":"{message}","Reason":null,"FieldPath":"","OptionalOldSelf":{optional}}}"#
        )
    };
    let factor = "(try simplifying the rule(s), or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                  strings are declared)";
    let many = json!({"type": "array", "items": {"type": "integer"}});
    for (schema, expected) in [
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a"}]}),
            vec![format!(
                ".x-kubernetes-validations[0].rule: {}: compilation failed: ERROR: <input>:1:5: undefined field \
                 'a'\n | self.a\n | ....^",
                shown("self.a", "", "null")
            )],
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "1", "messageExpression": "2"}]}),
            vec![
                format!(
                    ".x-kubernetes-validations[0].rule: {}: cel expression must evaluate to a bool",
                    shown("1", "2", "null")
                ),
                format!(
                    ".x-kubernetes-validations[0].messageExpression: {}: messageExpression must evaluate to a string",
                    shown("1", "2", "null")
                ),
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": many}, "x-kubernetes-validations": [
                {"rule": "self.a.all(x, self.a.all(y, x == y))"}]}),
            vec![format!(
                ".x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than \
                 100x {factor}"
            )],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [
                {"rule": "true", "optionalOldSelf": true, "fieldPath": ".b"}]}),
            vec![
                ".x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used \
                 in rule"
                    .to_owned(),
                ".x-kubernetes-validations[0].fieldPath: Invalid value: \".b\": fieldPath must be a valid path: does not \
                 refer to a valid field"
                    .to_owned(),
            ],
        ),
        (
            json!({"type": "array", "maxItems": 5, "items": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self == oldSelf"}]}}),
            vec![format!(
                ".items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the \
                 uncorrelatable portion of the schema within {root}"
            )],
        ),
        (
            json!({"type": "object", "properties": {
                "a": {"type": "integer", "default": 7, "x-kubernetes-validations": [{"rule": "self < 5"}]},
                "b": {"type": "integer", "default": "x"}}}),
            vec![
                ".properties[a].default: Invalid value: \"integer\": failed rule: self < 5".to_owned(),
                format!(
                    ".properties[b].default: Invalid value: \"string\": {root}.properties[b].default in body must be of type \
                     integer: \"string\""
                ),
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 10}},
                "x-kubernetes-validations": [{"rule": "self.a.matches('^a+$')", "fieldPath": ".a"}]}),
            vec![],
        ),
        (
            json!({"type": "object", "properties": {
                "p": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [
                    {"rule": "type(self) == string ? self == '99%' : self == 42"}]},
                "q": {"type": "string", "maxLength": 20, "x-kubernetes-validations": [
                    {"rule": "quantity(self) == quantity('1') || ip.isCanonical('::1') && ip('::1') == ip('::1')"}]}}}),
            vec![],
        ),
    ] {
        let mut expected: Vec<String> = expected.iter().map(|text| format!("{root}{text}")).collect();
        if expected.iter().any(|text| text.contains("100x")) {
            expected.push(format!(
                "{root}.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule & messageExpression cost \
                 total exceeding cost limit for entire OpenAPIv3 schema"
            ));
            expected.push(format!(
                "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule & messageExpression \
                 cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {factor}"
            ));
        }
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(group, "CustomResourceDefinition", with_schema(schema), &expected);
    }
}
