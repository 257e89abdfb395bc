//! What clients rely on in the documents.
use super::*;
use crate::table::builtin;
use std::collections::BTreeSet;

fn served() -> Source<'static> {
    Source::builtin(builtin().kinds.iter().filter(|k| k.served_by_default))
}

/// All references of a document.
fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("$ref") {
                out.insert(name.rsplit('/').next().unwrap().to_owned());
            }
            members.values().for_each(|v| references(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves() {
    let source = served();
    let mut documents = vec![(v2(&source), "definitions")];
    let versions: BTreeSet<_> = source.kinds.iter().map(|k| (&*k.gvk.group, &*k.gvk.version)).collect();
    for (group, version) in versions {
        let mut document = v3(&source, group, version);
        documents.push((document["components"].take(), "schemas"));
        let mut paths = BTreeSet::new();
        references(&document["paths"], &mut paths);
        let schemas = documents.last().unwrap().0["schemas"].as_object().unwrap();
        assert!(paths.iter().all(|name| schemas.contains_key(name)));
    }
    for (document, key) in documents {
        let mut names = BTreeSet::new();
        references(&document, &mut names);
        let schemas = document[key].as_object().unwrap();
        for name in names {
            assert!(schemas.contains_key(&name), "{name}");
        }
        assert!(schemas.values().all(|s| !s.is_null()));
    }
}

#[test]
fn what_kubectl_reads_of_v3() {
    let document = v3(&served(), "", "v1");
    let schemas = &document["components"]["schemas"];
    let gvk = json!({"group": "", "kind": "Pod", "version": "v1"});
    let paths = &document["paths"];
    let item = &paths["/api/v1/namespaces/{namespace}/pods/{name}"];
    // explain
    assert_eq!(paths["/api/v1/namespaces/{namespace}/pods"]["get"]["x-kubernetes-group-version-kind"], gvk);
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([gvk]));
    assert!(pod["description"].as_str().unwrap().len() > 20);
    assert_eq!(
        pod["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.PodSpec"
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert!(containers["description"].as_str().unwrap().len() > 20);
    assert_eq!(containers["type"], "array");
    assert_eq!(
        containers["items"],
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}], "default": {}})
    );
    // strategic merge patch
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
    // dry run and validation by the server
    let names: Vec<_> =
        item["patch"]["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], gvk);
    assert!(item["patch"]["requestBody"]["content"]["application/apply-patch+yaml"].is_object());
    // inline members, subresources, special forms
    assert!(schemas["io.k8s.api.core.v1.Volume"]["properties"]["configMap"].is_object());
    assert!(schemas["io.k8s.api.core.v1.Volume"]["properties"]["configMap"]["description"].is_string());
    assert_eq!(
        paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"]["x-kubernetes-action"],
        "connect"
    );
    assert!(paths["/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}"]["get"].is_object());
    assert_eq!(schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"], "int-or-string");
    assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
}

#[test]
fn operation_ids_are_unique() {
    let document = v2(&served());
    let mut ids = BTreeSet::new();
    for entry in document["paths"].as_object().unwrap().values() {
        for operation in entry.as_object().unwrap().values().filter(|o| o.is_object()) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id}");
        }
    }
    for id in [
        "listCoreV1NamespacedPod",
        "replaceAppsV1NamespacedDeploymentScale",
        "listCoreV1PodForAllNamespaces",
        "deleteCoreV1CollectionNamespacedPod",
        "readCoreV1NamespacedPodLog",
        "createRbacAuthorizationV1ClusterRole",
    ] {
        assert!(ids.contains(id), "{id}");
    }
}

#[test]
fn v2_has_no_defaults_and_a_protobuf_form() {
    let document = v2(&served());
    let port = &document["definitions"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(port["default"], Value::Null);
    assert_eq!(
        document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.PodSpec"
    );
    let small = json!({"swagger": "2.0", "info": {"title": "K", "version": "v1"}, "definitions": {"a": {"type": "object",
        "properties": {"b": {"$ref": "#/definitions/c"}}, "x-k": {"v": 1}}}});
    let expected = [
        &b"\x0a\x032.0\x12\x07\x0a\x01K\x12\x02v1\x4a\x3e\x0a\x3c\x0a\x01a\x12\x37\xb2\x01\x08\x0a\x06object"[..],
        b"\xca\x01\x18\x0a\x16\x0a\x01b\x12\x11\x0a\x0f#/definitions/c\xfa\x01\x0e\x0a\x03x-k\x12\x07\x12\x05v: 1\n",
    ]
    .concat();
    assert_eq!(v2_protobuf(&small), expected);
    assert!(v2_protobuf(&document).len() > 500_000);
}

#[test]
fn v3_has_a_protobuf_form() {
    let small = json!({
        "openapi": "3.0.0",
        "paths": {"/p": {"get": {"operationId": "g", "responses": {"200": {"description": "OK",
            "content": {"m": {"schema": {"$ref": "#/c"}}}}}}}},
        "components": {"schemas": {"a": {"type": "object", "default": {}, "x-k": 1, "properties": {
            "b": {"type": "array", "items": {"$ref": "#/c"}, "default": "d"},
            "e": {"additionalProperties": {"allOf": [{"$ref": "#/c"}]}}}}}}});
    // A field whose content is a text or further fields.
    let field = |number: usize, parts: &[&[u8]]| {
        let content = parts.concat();
        let varint = |n: usize| if n < 128 { vec![n as u8] } else { vec![n as u8 | 128, (n >> 7) as u8] };
        [varint(number << 3 | 2), varint(content.len()), content].concat()
    };
    let reference = field(2, &[&field(1, &[b"#/c"])]);
    let named = |name: &[u8], value: &[u8]| [field(1, &[name]), field(2, &[value])].concat();
    let content = field(3, &[&field(1, &[&named(b"m", &field(1, &[&reference]))])]);
    let response = field(1, &[&field(1, &[b"OK"]), &content]);
    let responses = field(8, &[&field(2, &[&named(b"200", &response)])]);
    let get = field(4, &[&field(5, &[b"g"]), &responses]);
    let paths = field(4, &[&field(1, &[&named(b"/p", &get)])]);
    let b =
        [field(25, &[b"array"]), field(30, &[&field(1, &[&reference])]), field(33, &[&field(3, &[b"d"])])]
            .concat();
    let e = field(32, &[&field(1, &[&field(1, &[&field(26, &[&reference])])])]);
    let property = |name: &[u8], schema: &[u8]| field(1, &[&named(name, &field(1, &[schema]))]);
    let properties = field(31, &[&property(b"b", &b), &property(b"e", &e)]);
    let extension = field(36, &[&named(b"x-k", &field(2, &[b"1\n"]))]);
    let a = [field(25, &[b"object"]), properties, field(33, &[]), extension].concat();
    let components = field(5, &[&field(1, &[&property(b"a", &a)])]);
    let expected = [field(1, &[b"3.0.0"]), paths, components].concat();
    assert_eq!(v3_protobuf(&small), expected);
    assert!(v3_protobuf(&v3(&served(), "apps", "v1")).len() > 100_000);
}

#[test]
fn index_and_hashes() {
    let source = served();
    let hash = v3_hash(&source, "apps", "v1");
    assert_eq!(hash, v3_hash(&source, "apps", "v1"));
    assert_ne!(hash, v3_hash(&source, "batch", "v1"));
    let path = v3_path("apps", "v1");
    assert_eq!(
        v3_index([(&*path, &*hash)]),
        json!({"paths": {"apis/apps/v1": {"serverRelativeURL": format!("/openapi/v3/apis/apps/v1?hash={hash}")}}})
    );
}
