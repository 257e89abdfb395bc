//! Custom resources whose versions a webhook converts.
use crate::harness::{Client, Server, eventually};
use crate::remote::{Asked, Remote};
use http::Method;
use http_body_util::BodyExt;
use knarr_api::Value;
use serde_json::json;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ports.x.example";

fn things(version: &str) -> String {
    format!("/apis/x.example/{version}/namespaces/default/ports")
}

/// `v1` has host and port in one text, `v2` in two fields.
fn definition(client_config: Value, storage: &str) -> Value {
    let version = |name: &str, properties: Value| {
        json!({"name": name, "served": true, "storage": name == storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
    };
    let text = json!({"type": "string"});
    let versions = [
        version("v1", json!({"hostPort": text})),
        version("v2", json!({"host": text, "port": text, "scheme": {"type": "string", "default": "http"}})),
    ];
    json!({"metadata": {"name": "ports.x.example"}, "spec": {"group": "x.example", "scope": "Namespaced",
        "names": {"plural": "ports", "kind": "Port"}, "versions": versions,
        "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client_config,
            "conversionReviewVersions": ["v1"]}}}})
}

fn converted(asked: &Asked) -> Value {
    let request = &asked.body["request"];
    let wanted = request["desiredAPIVersion"].clone();
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let convert = |mut object: Value| {
        assert_ne!(object["apiVersion"], wanted);
        assert!(object["metadata"].get("resourceVersion").is_none());
        object["apiVersion"] = wanted.clone();
        let spec = object["spec"].clone();
        let text = |name: &str| spec[name].as_str().unwrap_or_default();
        object["spec"] = if wanted == "x.example/v1" {
            json!({"hostPort": format!("{}:{}", text("host"), text("port"))})
        } else {
            let (host, port) = text("hostPort").split_once(':').unwrap_or_default();
            json!({"host": host, "port": port})
        };
        object
    };
    let objects: Vec<Value> = objects.into_iter().map(convert).collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
        "uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

async fn start() -> (tempfile::TempDir, Server, Client, Remote) {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(converted).await;
    admin.create(DEFINITIONS, &definition(remote.client_config("/convert"), "v1")).await;
    eventually(async || admin.get(&things("v2")).await.0 == 200).await;
    (directory, server, admin, remote)
}

fn port(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("x.example/{version}"), "kind": "Port", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_served() {
    let (_directory, server, admin, remote) = start().await;
    let made = admin.create(&things("v1"), &port("v1", "a", json!({"hostPort": "h:1"}))).await;
    assert!(remote.asked().is_empty(), "the stored version needs no conversion");
    assert_eq!(made["spec"], json!({"hostPort": "h:1"}));
    let made = admin.create(&things("v2"), &port("v2", "b", json!({"host": "g", "port": "2"}))).await;
    assert_eq!(made["apiVersion"], "x.example/v2");
    assert_eq!(made["spec"], json!({"host": "g", "port": "2", "scheme": "http"}));
    assert_eq!(admin.get(&format!("{}/b", things("v1"))).await.1["spec"], json!({"hostPort": "g:2"}));
    let (_, seen) = admin.get(&format!("{}/a", things("v2"))).await;
    assert_eq!(seen["spec"], json!({"host": "h", "port": "1", "scheme": "http"}));
    assert_eq!(remote.asked()[0].uri, "/convert?timeout=30s");
    let (code, list) = admin.get(&things("v2")).await;
    let hosts: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|i| &i["spec"]["host"]).collect();
    assert_eq!((code, hosts), (200, vec![&json!("h"), &json!("g")]));
    // Changes through the version that is not stored.
    let path = format!("{}/a", things("v2"));
    let media = [("content-type", "application/merge-patch+json")];
    let patch = json!({"spec": {"port": "9"}, "metadata": {"labels": {"l": "m"}}}).to_string();
    let response = admin.raw(Method::PATCH, &path, &media, patch).await;
    assert_eq!(response.status(), 200);
    let (_, stored) = admin.get(&format!("{}/a", things("v1"))).await;
    assert_eq!(
        (&stored["spec"]["hostPort"], &stored["metadata"]["labels"]["l"]),
        (&json!("h:9"), &json!("m"))
    );
    let patch = json!({"status": {"ok": true}}).to_string();
    let response = admin.raw(Method::PATCH, &format!("{path}/status"), &media, patch).await;
    assert_eq!(response.status(), 200);
    let apply = [("content-type", "application/apply-patch+yaml")];
    let body = port("v2", "c", json!({"host": "k", "port": "3"})).to_string();
    let path = format!("{}/c?fieldManager=me", things("v2"));
    assert_eq!(admin.raw(Method::PATCH, &path, &apply, body.clone()).await.status(), 201);
    assert_eq!(admin.raw(Method::PATCH, &path, &apply, body).await.status(), 200);
    assert_eq!(admin.get(&format!("{}/c", things("v1"))).await.1["spec"]["hostPort"], "k:3");
    assert_eq!(admin.send(Method::DELETE, &things("v2"), "").await.0, 200);
    assert_eq!(admin.get(&things("v1")).await.1["items"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_converted() {
    let (_directory, server, admin, _remote) = start().await;
    admin.create(&things("v1"), &port("v1", "a", json!({"hostPort": "h:1"}))).await;
    let path = format!("{}?watch=true", things("v2"));
    let mut body = admin.open(Method::GET, &path, "").await.into_body();
    let mut buffer = Vec::new();
    let mut next = async || loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            return serde_json::from_slice::<Value>(&line).expect("JSON");
        }
        let frame = tokio::time::timeout(crate::harness::PATIENCE, body.frame()).await.expect("in time");
        buffer.extend_from_slice(&frame.expect("open").expect("frame").into_data().expect("data"));
    };
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("ADDED"), &json!("h")));
    admin.create(&things("v1"), &port("v1", "b", json!({"hostPort": "g:2"}))).await;
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("ADDED"), &json!("g")));
    admin.send(Method::DELETE, &format!("{}/b", things("v1")), "").await;
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("DELETED"), &json!("g")));
    server.stop().await;
}

/// Objects stay as they were stored when another version becomes the stored one, until they are written again.
#[tokio::test(flavor = "multi_thread")]
async fn the_stored_version_changes() {
    let (directory, server, admin, remote) = start().await;
    admin.create(&things("v1"), &port("v1", "a", json!({"hostPort": "h:1"}))).await;
    let (_, crd) = admin.get(NAME).await;
    let mut changed = definition(remote.client_config("/convert"), "v2");
    changed["metadata"]["resourceVersion"] = crd["metadata"]["resourceVersion"].clone();
    assert_eq!(admin.send(Method::PUT, NAME, changed.to_string()).await.0, 200);
    assert_eq!(admin.get(NAME).await.1["status"]["storedVersions"], json!(["v1", "v2"]));
    remote.forget();
    let (_, seen) = admin.get(&format!("{}/a", things("v1"))).await;
    assert_eq!((&seen["spec"]["hostPort"], remote.asked().len()), (&json!("h:1"), 0));
    let (_, seen) = admin.get(&format!("{}/a", things("v2"))).await;
    assert_eq!((&seen["spec"]["host"], remote.asked().len()), (&json!("h"), 1));
    assert_eq!(admin.send(Method::PUT, &format!("{}/a", things("v2")), seen.to_string()).await.0, 200);
    server.stop().await;
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let (_, seen) = admin.get(&format!("{}/a", things("v2"))).await;
    assert_eq!(seen["spec"]["host"], "h");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures() {
    let (_directory, server, admin, remote) = start().await;
    admin.create(&things("v1"), &port("v1", "a", json!({"hostPort": "h:1"}))).await;
    let bad = Remote::start(|asked| {
        let mut answer = converted(asked);
        let objects = &mut answer["response"]["convertedObjects"];
        match asked.uri.split('?').next().unwrap_or_default() {
            "/renamed" => objects[0]["metadata"]["name"] = "z".into(),
            "/none" => *objects = json!([]),
            "/same" => objects[0]["apiVersion"] = "x.example/v1".into(),
            "/failed" => {
                answer["response"]["result"] = json!({"status": "Failed", "message": "out of order"})
            }
            _ => answer["response"]["uid"] = "u".into(),
        }
        answer
    })
    .await;
    let text = "conversion webhook for x.example/v1, Kind=Port ";
    let dead = json!({"url": "https://127.0.0.1:1/convert"});
    let refused = "failed: Post \"https://127.0.0.1:1/convert?timeout=30s\": dial tcp 127.0.0.1:1: connect: connection refused";
    for (config, expected) in [
        (bad.client_config("/renamed"), "returned invalid object: must have the same name: a != z"),
        (bad.client_config("/none"), "returned 0 objects, expected 1"),
        (
            bad.client_config("/same"),
            "returned invalid object at index 0: invalid groupVersion (expected x.example/v2, received x.example/v1)",
        ),
        (bad.client_config("/failed"), "failed: out of order"),
        (bad.client_config("/uid"), "failed: expected response.uid="),
        (dead, refused),
    ] {
        let (_, crd) = admin.get(NAME).await;
        let mut changed = definition(config, "v1");
        changed["metadata"]["resourceVersion"] = crd["metadata"]["resourceVersion"].clone();
        assert_eq!(admin.send(Method::PUT, NAME, changed.to_string()).await.0, 200);
        let (code, status) = admin.get(&format!("{}/a", things("v2"))).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert!(code == 500 && message.starts_with(&format!("{text}{expected}")), "{status}");
        assert_eq!(admin.get(&things("v2")).await.0, 500);
        assert_eq!(admin.get(&format!("{}/a", things("v1"))).await.0, 200);
    }
    drop(remote);
    server.stop().await;
}

/// Entries of one version are looked at in that version when another one is written.
#[tokio::test(flavor = "multi_thread")]
async fn fields_are_owned_in_every_version() {
    let (_directory, server, admin, remote) = start().await;
    let apply = async |version: &str, query: &str, spec: Value, metadata: Value| {
        let mut object = port(version, "a", spec);
        knarr_api::patch::merge::apply(&mut object, json!({"metadata": metadata}));
        let media = [("content-type", "application/apply-patch+yaml")];
        let path = format!("{}/a?{query}", things(version));
        let answer = admin.raw(Method::PATCH, &path, &media, object.to_string()).await;
        let value: Value = serde_json::from_slice(answer.body()).expect("JSON");
        (answer.status().as_u16(), value)
    };
    let owners = |object: &Value| -> Vec<(String, String, Value)> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entry = |e: &Value| (text(&e["manager"]), text(&e["apiVersion"]), e["fieldsV1"].clone());
        entries.iter().map(entry).collect()
    };
    let labels = json!({"labels": {"l": "m"}});
    assert_eq!(apply("v1", "fieldManager=one", json!({"hostPort": "h:1"}), labels).await.0, 201);
    // What the other version calls the host is part of what the first one owns.
    let (code, status) = apply("v2", "fieldManager=two", json!({"host": "g"}), json!({})).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (409, &json!(".spec.hostPort")), "{status}");
    assert!(status["message"].as_str().expect("text").contains("conflict with \"one\""), "{status}");
    let (code, object) = apply("v2", "fieldManager=two&force=true", json!({"host": "g"}), json!({})).await;
    assert_eq!((code, &object["spec"]["host"], &object["spec"]["port"]), (200, &json!("g"), &json!("1")));
    let labels = json!({"f:metadata": {"f:labels": {"f:l": {}}}});
    let host = json!({"f:spec": {"f:host": {}}});
    let one = ("one".to_owned(), "x.example/v1".to_owned(), labels);
    let two = ("two".to_owned(), "x.example/v2".to_owned(), host);
    let mut found = owners(&object);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, [one.clone(), two.clone()]);
    // An update that leaves both alone, in the first version.
    let media = [("content-type", "application/merge-patch+json")];
    let patch = json!({"metadata": {"annotations": {"x": "y"}}}).to_string();
    let path = format!("{}/a?fieldManager=three", things("v1"));
    let answer = admin.raw(Method::PATCH, &path, &media, patch).await;
    assert_eq!(answer.status(), 200);
    let found = owners(&serde_json::from_slice(answer.body()).expect("JSON"));
    assert!(found.contains(&one) && found.contains(&two) && found.len() == 3, "{found:?}");
    // The conflict is named in the version of who owns the field; without the webhook an apply cannot tell, and says so.
    let again = async || apply("v1", "fieldManager=one", json!({"hostPort": "i:2"}), json!({})).await;
    let (code, status) = again().await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (409, &json!(".spec.host")), "{status}");
    let nobody =
        json!({"spec": {"conversion": {"webhook": {"clientConfig": {"url": "https://127.0.0.1:1/"}}}}});
    assert_eq!(admin.raw(Method::PATCH, NAME, &media, nobody.to_string()).await.status(), 200);
    eventually(async || {
        let (code, status) = again().await;
        code == 500 && status["message"].as_str().is_some_and(|text| text.contains("conversion webhook"))
    })
    .await;
    drop(remote);
    server.stop().await;
}
