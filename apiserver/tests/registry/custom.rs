//! Custom resources: a definition comes, its resource is served, and both go.
use super::harness::{Reply, Server};
use http::Method;
use knarr_api::Value;
use knarr_api::table::ApiRef;
use knarr_apiserver::custom;
use knarr_apiserver::loopback::Loopback;
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use knarr_apiserver::storage::postgres::Postgres;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

pub(super) fn definition() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "red"},
            "replicas": {"type": "integer"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                      "items": {"type": "object", "required": ["name"], "properties": {
                          "name": {"type": "string"}, "weight": {"type": "integer"}}}},
        }},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    }});
    let old = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                       "labelSelectorPath": ".status.selector"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "listKind": "WidgetCollection", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}, "scale": scale},
                 "selectableFields": [{"jsonPath": ".spec.color"}],
                 "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                 "schema": {"openAPIV3Schema": old}},
            ],
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn start() -> Server {
    let server = Server::start().await;
    server.get(WIDGETS).await.code_is(404);
    let created = server.post(CRDS, &definition()).await.expect(201);
    let conditions = created["status"]["conditions"].as_array().unwrap();
    let state: Vec<_> =
        conditions.iter().map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap())).collect();
    assert_eq!(state, [("NamesAccepted", "True"), ("Established", "True")]);
    assert_eq!(created["status"]["acceptedNames"]["singular"], "widget");
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    server
}

impl Reply {
    #[track_caller]
    fn code_is(&self, code: u16) {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
    }
}

#[tokio::test]
async fn objects_live_as_those_of_other_kinds() {
    let server = start().await;
    let made = server.post(WIDGETS, &widget("a", json!({"size": 2, "other": 1}))).await.expect(201);
    assert_eq!(made["spec"], json!({"size": 2, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{WIDGETS}/a");
    let mut object = server.get(&path).await.expect(200);
    assert_eq!(object, made);
    object["spec"]["size"] = 3.into();
    object["status"] = json!({"phase": "No"});
    let updated = server.put(&path, &object).await.expect(200);
    assert_eq!((&updated["metadata"]["generation"], updated.get("status")), (&json!(2), None));
    server.put(&path, &object).await.code_is(409);
    let mut status = updated.clone();
    status["status"] = json!({"phase": "Ready", "replicas": 4, "selector": "a=b"});
    status["spec"]["size"] = 9.into();
    let status = server.put(&format!("{path}/status"), &status).await.expect(200);
    assert_eq!((&status["spec"]["size"], &status["status"]["phase"]), (&json!(3), &json!("Ready")));
    assert_eq!(status["metadata"]["generation"], 2);
    let patched =
        server.patch(&path, "merge-patch+json", &json!({"spec": {"color": "blue"}})).await.expect(200);
    assert_eq!(patched["spec"]["color"], "blue");
    server.patch(&path, "strategic-merge-patch+json", &json!({"spec": {}})).await.code_is(415);
    let list = server.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue")).await.expect(200);
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("WidgetCollection"), 1));
    let none = server.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dred")).await.expect(200);
    assert_eq!(none["items"], json!([]));
    let none = server.get(&format!("{path}/scale")).await.expect(500);
    assert_eq!(
        none["message"],
        "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
    );
    let scale =
        server.patch(&format!("{path}/scale"), "merge-patch+json", &json!({"spec": {"replicas": 7}})).await;
    let scale = scale.expect(200);
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(7), &json!({"replicas": 4, "selector": "a=b"}))
    );
    assert_eq!(server.get(&path).await.expect(200)["spec"]["replicas"], 7);
    // A scale need not name the version that it changes, as the object itself must.
    let bare = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"},
        "spec": {"replicas": 8}});
    assert_eq!(server.put(&format!("{path}/scale"), &bare).await.expect(200)["spec"]["replicas"], 8);
    assert_eq!(server.delete(&path).await.expect(200)["status"], "Success");
    server.get(&path).await.code_is(404);
}

#[tokio::test]
async fn objects_say_what_they_are() {
    let server = start().await;
    let post = async |body: &str| server.send(Method::POST, WIDGETS, &[], body.as_bytes().to_vec()).await;
    let nameless = r#"{"apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"size":1}}"#;
    for (body, fault) in [
        (
            nameless.to_owned(),
            format!("Widget in version \"v1\" cannot be handled as a Widget: Object 'Kind' is missing in '{nameless}'"),
        ),
        (
            widget("a", json!({"size": 1})).to_string().replace("example.com/v1", "apps/v1"),
            "Widget in version \"v1\" cannot be handled as a Widget: apps/v1, Kind=Widget is unstructured and is not \
             suitable for converting to \"example.com/v1\""
                .to_owned(),
        ),
        (
            widget("a", json!({"size": 1})).to_string().replace("example.com/v1", "example.com/v9"),
            "Widget in version \"v9\" cannot be handled as a Widget: request to convert CR from an invalid \
             group/version: example.com/v9"
                .to_owned(),
        ),
        (
            widget("a", json!({"size": 1})).to_string().replace("example.com/v1", "example.com/v1beta1"),
            "the API version in the data (example.com/v1beta1) does not match the expected API version \
             (example.com/v1)"
                .to_owned(),
        ),
    ] {
        assert_eq!(post(&body).await.expect(400)["message"], fault, "{body}");
    }
    let other = widget("a", json!({"size": 1})).to_string().replace("Widget", "Gadget");
    let text = "Widget.example.com \"a\" is invalid: kind: Invalid value: \"Gadget\": must be Widget";
    assert_eq!(post(&other).await.expect(422)["message"], text);
    let definition = server.get(&format!("{CRDS}/widgets.example.com")).await.expect(200);
    assert_eq!(definition["status"]["observedGeneration"], 1);
    let patch = json!({"spec": {"names": {"categories": ["some"]}}});
    let path = format!("{CRDS}/widgets.example.com");
    let patched = server.patch(&path, "merge-patch+json", &patch).await.expect(200);
    let generation = &patched["metadata"]["generation"];
    assert_eq!((generation, &patched["status"]["observedGeneration"]), (&json!(2), &json!(2)));
    assert_eq!(patched["status"]["conditions"][0]["observedGeneration"], 2);
}

/// What a client says of the status is not read, and the names that are not accepted yet are not found fault with.
#[tokio::test]
async fn faulty_names_are_told_once() {
    let server = Server::start().await;
    let mut faulty = definition();
    faulty["spec"]["names"]["shortNames"] = json!(["W_d"]);
    faulty["status"] = json!({"acceptedNames": {"plural": "A_b", "kind": "B"}});
    let refused = server.post(CRDS, &faulty).await.expect(422);
    let causes = refused["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.names.shortNames[0]"], "{refused}");
}

#[tokio::test]
async fn faults_are_those_of_the_schema() {
    let server = start().await;
    let refused = server.post(WIDGETS, &widget("a", json!({"size": "big"}))).await.expect(422);
    let text = r#"Widget.example.com "a" is invalid: spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#;
    assert_eq!(refused["message"], text);
    server.post(WIDGETS, &widget("a", json!({}))).await.code_is(422);
    server.post(WIDGETS, &widget("A_b", json!({"size": 1}))).await.code_is(422);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let unknown = server.post(&strict, &widget("a", json!({"size": 1, "zise": 1}))).await.expect(400);
    assert!(unknown["message"].as_str().unwrap().contains(r#"unknown field "spec.zise""#), "{unknown}");
    let warned = server
        .post(&format!("{WIDGETS}?fieldValidation=Warn"), &widget("a", json!({"size": 1, "zise": 1})))
        .await;
    warned.code_is(201);
    assert!(warned.headers["warning"].to_str().unwrap().contains("spec.zise"));
}

#[tokio::test]
async fn managers_share_lists_by_their_keys() {
    let server = start().await;
    let path = format!("{WIDGETS}/a");
    for (manager, part) in [("one", "x"), ("two", "y")] {
        let config = widget("a", json!({"size": 1, "parts": [{"name": part, "weight": 1}]}));
        let applied =
            server.patch(&format!("{path}?fieldManager={manager}"), "apply-patch+yaml", &config).await;
        assert!(applied.code < 300, "{applied:?}");
    }
    let parts = server.get(&path).await.expect(200)["spec"]["parts"].clone();
    assert_eq!(parts, json!([{"name": "x", "weight": 1}, {"name": "y", "weight": 1}]));
}

#[tokio::test]
async fn versions_tables_and_discovery_show_it() {
    let server = start().await;
    server.post(WIDGETS, &widget("a", json!({"size": 2}))).await.code_is(201);
    let beta = server.get("/apis/example.com/v1beta1/namespaces/default/widgets/a").await;
    assert_eq!(beta.headers["warning"], "299 - \"example.com/v1beta1 Widget is deprecated\"");
    assert_eq!(beta.expect(200)["apiVersion"], "example.com/v1beta1");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = server.send(Method::GET, WIDGETS, &[("accept", accept)], Vec::new()).await.expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 2]));
    let only = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let list = server.send(Method::GET, WIDGETS, &only, Vec::new()).await;
    assert_eq!(list.headers["content-type"], "application/json");
    let yaml = server.send(Method::GET, WIDGETS, &[("accept", "application/yaml")], Vec::new()).await;
    yaml.code_is(200);
    let groups = server.get("/apis").await.expect(200);
    let group =
        groups["groups"].as_array().unwrap().iter().find(|g| g["name"] == "example.com").unwrap().clone();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = server.get("/apis/example.com/v1").await.expect(200);
    let names: Vec<_> =
        resources["resources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = server.get(url).await.expect(200);
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"], json!({"type": "integer", "minimum": 1}));
    assert!(document["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    assert!(
        document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"].is_object()
    );
}

/// A definition may stand beside built-in kinds: the document of their group version describes both.
#[tokio::test]
async fn a_builtin_group_version_is_described_with_it() {
    let server = Server::start().await;
    let mut crd = definition();
    crd["metadata"]["name"] = json!("widgets.coordination.k8s.io");
    crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a test"});
    crd["spec"]["group"] = json!("coordination.k8s.io");
    server.post(CRDS, &crd).await.code_is(201);
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/coordination.k8s.io/v1"]["serverRelativeURL"].as_str().expect("a path");
    let document = server.get(url).await.expect(200);
    let schemas = &document["components"]["schemas"];
    assert!(schemas["io.k8s.api.coordination.v1.Lease"]["properties"]["spec"].is_object());
    assert_eq!(schemas["io.k8s.coordination.v1.Widget"]["properties"]["spec"]["required"], json!(["size"]));
    for plural in ["widgets", "leases"] {
        assert!(
            document["paths"][format!("/apis/coordination.k8s.io/v1/namespaces/{{namespace}}/{plural}")]
                .is_object()
        );
    }
}

/// The objects' own form has no messages, their metadata has.
#[tokio::test]
async fn metadata_has_a_protobuf_form() {
    let server = start().await;
    server.post(WIDGETS, &widget("a", json!({"size": 2}))).await.code_is(201);
    let accept = |kind: &str| {
        format!(
            "application/vnd.kubernetes.protobuf;as={kind};g=meta.k8s.io;v=v1,application/json;as={kind};g=meta.k8s.io;v=v1"
        )
    };
    let api = knarr_api::table::builtin();
    for (path, kind) in [
        (format!("{WIDGETS}/a"), "PartialObjectMetadata"),
        (WIDGETS.to_owned(), "PartialObjectMetadataList"),
        ("/api/v1/namespaces/default".to_owned(), "PartialObjectMetadata"),
    ] {
        let reply = server.send(Method::GET, &path, &[("accept", &accept(kind))], Vec::new()).await;
        assert_eq!(reply.headers["content-type"], "application/vnd.kubernetes.protobuf", "{path}");
        let value = knarr_api::protobuf::decode(api, &reply.bytes).unwrap().value;
        assert_eq!(value["kind"], kind);
        let metadata = value.pointer("/items/0/metadata").unwrap_or(&value["metadata"]);
        assert!(metadata["uid"].is_string() && value.get("spec").is_none(), "{value}");
    }
    let watch = format!("{WIDGETS}?watch=1&timeoutSeconds=1");
    let headers = [("accept", &*accept("PartialObjectMetadata"))];
    let reply = server.send(Method::GET, &watch, &headers, Vec::new()).await;
    assert_eq!(reply.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let at = reply.bytes.windows(4).position(|w| w == b"k8s\0").unwrap();
    let end = 4 + u32::from_be_bytes(reply.bytes[..4].try_into().unwrap()) as usize;
    let value = knarr_api::protobuf::decode(api, &reply.bytes[at..end]).unwrap().value;
    assert_eq!((&value["kind"], &value["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
    // Tables have none: the next form is taken, and without one there is none.
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    server.send(Method::GET, WIDGETS, &[("accept", table)], Vec::new()).await.code_is(406);
    let next = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    let reply = server.send(Method::GET, WIDGETS, &[("accept", &*next)], Vec::new()).await;
    assert_eq!(reply.expect(200)["kind"], "Table");
}

#[tokio::test]
async fn a_watch_tells_of_changes() {
    let server = start().await;
    let mut watch = server.watch(&format!("{WIDGETS}?watch=true")).await;
    server.post(WIDGETS, &widget("a", json!({"size": 2}))).await.code_is(201);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Widget")));
}

#[tokio::test]
async fn a_status_may_have_defaults() {
    let server = start().await;
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
    let patch = json!([
        {"op": "add", "path": format!("{status}/default"), "value": {"phase": "Unknown"}},
        {"op": "add", "path": format!("{status}/properties/phase"), "value": {"type": "string"}},
        {"op": "add", "path": format!("{status}/properties/round"), "value": {"type": "integer", "default": 3}},
    ]);
    server.patch(&format!("{CRDS}/widgets.example.com"), "json-patch+json", &patch).await.code_is(200);
    let mut sent = widget("a", json!({"size": 2}));
    sent["status"] = json!({"phase": "Mine"});
    let made = server.post(WIDGETS, &sent).await.expect(201);
    assert_eq!(made["status"], json!({"phase": "Unknown", "round": 3}));
    assert_eq!(server.get(&format!("{WIDGETS}/a")).await.expect(200)["status"], made["status"]);
    // kubectl asks the document which patches there are.
    let document = server.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    let (_, path) = paths.iter().find(|(path, _)| path.ends_with("/widgets/{name}")).unwrap();
    let content: Vec<&str> =
        path["patch"]["requestBody"]["content"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        content,
        ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]
    );
}

#[tokio::test]
async fn a_namespace_is_nothing_to_objects_of_the_cluster() {
    let server = start().await;
    let role = json!({"metadata": {"name": "r", "namespace": "default"}, "rules": []});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let made = server.post(roles, &role).await.expect(201);
    assert!(made["metadata"].get("namespace").is_none(), "{made}");
    let mut again = made.clone();
    again["metadata"]["namespace"] = "default".into();
    again["metadata"]["labels"] = json!({"a": "b"});
    let changed = server.put(&format!("{roles}/r"), &again).await.expect(200);
    assert!(changed["metadata"].get("namespace").is_none(), "{changed}");
}

#[tokio::test]
async fn finalizers_may_have_any_name() {
    let server = start().await;
    let mut held = widget("held", json!({"size": 2}));
    held["metadata"]["finalizers"] = json!(["resources-finalizer.example.com"]);
    let made = server.post(WIDGETS, &held).await;
    made.code_is(201);
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("metadata.finalizers: \\\"resources-finalizer.example.com\\\": prefer a domain"),
        "{warning}"
    );
    let patch = json!({"spec": {"size": 3}});
    let changed = server.patch(&format!("{WIDGETS}/held"), "merge-patch+json", &patch).await;
    changed.code_is(200);
    assert!(!changed.headers.contains_key("warning"), "{:?}", changed.headers);
}

#[tokio::test]
async fn a_definition_outlives_its_objects() {
    let server = start().await;
    server.post(WIDGETS, &widget("a", json!({"size": 2}))).await.code_is(201);
    let mut held = widget("held", json!({"size": 2}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.post(WIDGETS, &held).await.code_is(201);
    let path = format!("{CRDS}/widgets.example.com");
    let marked = server.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    server.post(WIDGETS, &widget("b", json!({"size": 2}))).await.code_is(405);
    let stop = CancellationToken::new();
    let client = Loopback::new(server.registry.clone(), stop.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(custom::keep(server.registry.clone(), client)));
    until(async || server.get(&format!("{WIDGETS}/a")).await.code == 404).await;
    until(async || {
        let told = server.get(&path).await.expect(200)["status"]["conditions"].to_string();
        told.contains("InstanceDeletionInProgress")
    })
    .await;
    server
        .patch(&format!("{WIDGETS}/held"), "merge-patch+json", &json!({"metadata": {"finalizers": null}}))
        .await
        .code_is(200);
    until(async || server.get(&path).await.code == 404).await;
    until(async || server.get(WIDGETS).await.code == 404).await;
    let groups = server.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().all(|g| g["name"] != "example.com"));
    stop.cancel();
}

#[tokio::test]
async fn a_changed_schema_counts_for_objects_there_are() {
    let server = start().await;
    let made = server.post(WIDGETS, &widget("a", json!({"size": 2}))).await.expect(201);
    let path = format!("{CRDS}/widgets.example.com");
    let size = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([
        {"op": "add", "path": format!("{size}/shape"), "value": {"type": "string", "default": "round"}},
        {"op": "add", "path": format!("{size}/size/maximum"), "value": 1},
        {"op": "add", "path": format!("{size}/color/x-kubernetes-validations"),
         "value": [{"rule": "self != 'green'", "message": "no"}]},
    ]);
    let changed = server.patch(&path, "json-patch+json", &patch).await;
    changed.code_is(200);
    assert!(!changed.headers.contains_key("warning"), "{:?}", changed.headers);
    let read = server.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(read["spec"], json!({"size": 2, "color": "red", "shape": "round"}));
    assert_eq!(read["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    // The size was there before its limit, and stays until it is changed.
    let merge = |spec: Value| json!({"spec": spec});
    let one = format!("{WIDGETS}/a");
    server.patch(&one, "merge-patch+json", &merge(json!({"shape": "flat"}))).await.code_is(200);
    server.patch(&one, "merge-patch+json", &merge(json!({"size": 3}))).await.code_is(422);
    let refused = server.patch(&one, "merge-patch+json", &merge(json!({"color": "green"}))).await.expect(422);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"a\" is invalid: spec.color: Invalid value: \"string\": no"
    );
    let cause = &refused["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueInvalid"), &json!("spec.color")));
}

#[tokio::test]
async fn a_definition_whose_rules_do_not_compile_is_refused() {
    let server = Server::start().await;
    let mut definition = definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.spec.sizes > 1"}]);
    let refused = server.post(CRDS, &definition).await.expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("compilation failed: ERROR: <input>:1:10: undefined field 'sizes'"),
        "{message}"
    );
}

#[tokio::test]
async fn cluster_scope_and_names_that_are_taken() {
    let server = start().await;
    let mut other = definition();
    other["metadata"]["name"] = "wands.example.com".into();
    other["spec"]["scope"] = "Cluster".into();
    other["spec"]["names"] = json!({"plural": "wands", "kind": "Wand", "shortNames": ["wd"]});
    let refused = server.post(CRDS, &other).await.expect(201);
    let text = refused["status"]["conditions"].to_string();
    assert!(text.contains("ShortNamesConflict") && text.contains("NotAccepted"), "{text}");
    server.get("/apis/example.com/v1/wands").await.code_is(404);
    let stop = CancellationToken::new();
    let client = Loopback::new(server.registry.clone(), stop.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(custom::keep(server.registry.clone(), client)));
    server.delete(&format!("{CRDS}/widgets.example.com")).await.code_is(200);
    until(async || server.get("/apis/example.com/v1/wands").await.code == 200).await;
    let wand = json!({"apiVersion": "example.com/v1", "kind": "Wand", "metadata": {"name": "w"}, "spec": {"size": 1}});
    server.post("/apis/example.com/v1/wands", &wand).await.code_is(201);
    server.get("/apis/example.com/v1/namespaces/default/wands").await.code_is(404);
    let all = server.delete("/apis/example.com/v1/wands").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    stop.cancel();
}

/// Skipped where PostgreSQL is not installed.
#[tokio::test]
async fn servers_learn_of_each_others_definitions() {
    let Some(url) = crate::database::database().await else { return };
    let server = async || {
        let backend = Arc::new(Postgres::open(&url).await.unwrap());
        Server::over(backend, Options::default(), Settings::default()).await
    };
    let (one, two) = (server().await, server().await);
    one.post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await.code_is(201);
    one.post(CRDS, &definition()).await.code_is(201);
    // Without a follower: what is asked for is learnt of.
    two.post(WIDGETS, &widget("a", json!({"size": 2}))).await.code_is(201);
    one.get(&format!("{WIDGETS}/a")).await.code_is(200);
    let path = format!("{CRDS}/widgets.example.com");
    one.delete(&path).await.code_is(200);
    // With one, what nobody asks for.
    let stop = CancellationToken::new();
    let client = Loopback::new(two.registry.clone(), stop.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(custom::keep(two.registry.clone(), client)));
    until(async || one.get(&path).await.code == 404).await;
    one.registry.sync_custom().await.unwrap();
    one.get(WIDGETS).await.code_is(404);
    let groups = async || two.get("/apis").await.expect(200)["groups"].to_string();
    until(async || !groups().await.contains("example.com")).await;
    stop.cancel();
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < end, "it did not come to hold in time");
        tokio::task::yield_now().await;
    }
}

/// The document of version 2 and the schema of a name in it; its protobuf form must name it too.
async fn v2_schema(server: &Server, name: &str) -> (Value, Option<Value>) {
    let document = server.get("/openapi/v2").await.expect(200);
    let accept = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let binary = server.send(Method::GET, "/openapi/v2", &accept, Vec::new()).await;
    binary.code_is(200);
    let schema = document["definitions"].get(name).cloned();
    let named = binary.bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert_eq!(named, schema.is_some(), "{name}");
    (document, schema)
}

#[tokio::test]
async fn openapi_v2_follows_the_definitions() {
    let server = Server::start().await;
    let (before, none) = v2_schema(&server, "com.example.v1.Widget").await;
    assert_eq!(none, None);
    server.post(CRDS, &definition()).await.code_is(201);
    let (document, schema) = v2_schema(&server, "com.example.v1.Widget").await;
    let schema = schema.unwrap();
    let gvk = |version: &str| json!([{"group": "example.com", "kind": "Widget", "version": version}]);
    assert_eq!(schema["x-kubernetes-group-version-kind"], gvk("v1"));
    assert_eq!(schema["properties"]["spec"]["properties"]["size"], json!({"type": "integer", "minimum": 1}));
    let list = &document["definitions"]["com.example.v1.WidgetCollection"];
    assert_eq!(list["properties"]["items"]["items"]["$ref"], "#/definitions/com.example.v1.Widget");
    assert_eq!(list["x-kubernetes-group-version-kind"][0]["kind"], "WidgetCollection");
    assert_eq!(list["required"], json!(["items"]));
    let path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}";
    assert_eq!(document["paths"][path]["get"]["x-kubernetes-group-version-kind"], gvk("v1")[0]);
    for member in ["swagger", "info", "securityDefinitions"] {
        assert_eq!(document[member], before[member]);
    }
    assert_eq!(
        document["definitions"]["io.k8s.api.core.v1.Pod"],
        before["definitions"]["io.k8s.api.core.v1.Pod"]
    );
    let (_, beta) = v2_schema(&server, "com.example.v1beta1.Widget").await;
    assert_eq!(beta.unwrap()["x-kubernetes-group-version-kind"], gvk("v1beta1"));
    // A version that is renamed, and one that is served no more.
    let crd = format!("{CRDS}/widgets.example.com");
    let patch = json!([
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v1beta2"},
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/more", "value": {"type": "string"}},
    ]);
    server.patch(&crd, "json-patch+json", &patch).await.code_is(200);
    assert_eq!(v2_schema(&server, "com.example.v1beta1.Widget").await.1, None);
    assert!(v2_schema(&server, "com.example.v1beta2.Widget").await.1.is_some());
    assert!(v2_schema(&server, "com.example.v1.Widget").await.1.unwrap()["properties"]["more"].is_object());
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    server.patch(&crd, "json-patch+json", &patch).await.code_is(200);
    let (document, gone) = v2_schema(&server, "com.example.v1beta2.Widget").await;
    assert_eq!(gone, None);
    let changed =
        server.send(Method::GET, "/openapi/v2", &[("accept", "application/json")], Vec::new()).await;
    let etag = changed.headers["etag"].to_str().unwrap().to_owned();
    let same = server.send(Method::GET, "/openapi/v2", &[("if-none-match", &etag)], Vec::new()).await;
    same.code_is(304);
    assert!(document["paths"].get("/apis/example.com/v1beta2/widgets").is_none());
}

#[tokio::test]
async fn a_table_that_nobody_serves_is_freed() {
    let server = start().await;
    let table = || {
        let row = server.registry.rows.find("example.com", "v1", "widgets").unwrap();
        match &row.api {
            ApiRef::Custom(api) => Arc::downgrade(api),
            ApiRef::Builtin(_) => panic!("a custom resource in the built-in table"),
        }
    };
    let first = table();
    let crd = format!("{CRDS}/widgets.example.com");
    // What the table does not tell of keeps it.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    server.patch(&crd, "merge-patch+json", &label).await.code_is(200);
    assert!(first.ptr_eq(&table()));
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/more";
    let patch = json!([{"op": "add", "path": path, "value": {"type": "string"}}]);
    server.patch(&crd, "json-patch+json", &patch).await.code_is(200);
    assert!(!first.ptr_eq(&table()));
    until(async || first.strong_count() == 0).await;
}
