//! Deep documents: what is taken can be read, changed and deleted by everybody, and nothing makes a stack run out.
use super::custom::{CRDS, WIDGETS, definition};
use super::harness::Server;
use http::Method;
use knarr_api::Value;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// A server with a resource whose objects may hold anything.
async fn with_anything() -> Server {
    let server = Server::start().await;
    let mut definition = definition();
    let version = definition["spec"]["versions"][0].as_object_mut().unwrap();
    version["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    version.retain(|name, _| matches!(name.as_str(), "name" | "served" | "storage" | "schema"));
    server.post(CRDS, &definition).await.expect(201);
    server
}

/// An object with so many more levels.
fn body(name: &str, levels: usize) -> Vec<u8> {
    let deep = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let head = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":""#;
    format!("{head}{name}\"}},\"deep\":{deep}}}").into_bytes()
}

#[tokio::test]
async fn what_is_taken_lives_like_everything_else() {
    let server = with_anything().await;
    let (mut taken, mut refused) = (0, 0);
    for levels in (100..140).chain([199, 500, 9_000, 20_000]) {
        for form in ["json", "yaml"] {
            let media = format!("application/{form}");
            let name = format!("w{levels}-{form}");
            let one = format!("{WIDGETS}/{name}");
            let reply =
                server.send(Method::POST, WIDGETS, &[("content-type", &media)], body(&name, levels)).await;
            if reply.code != 201 {
                let message = reply.expect(400)["message"].as_str().unwrap_or_default().to_owned();
                assert!(message.contains("exceeded max depth"), "{levels} {message}");
                server.get(&one).await.expect(404);
                refused += 1;
                continue;
            }
            taken += 1;
            for accept in ["application/json", "application/yaml", TABLE] {
                let read = server.send(Method::GET, &one, &[("accept", accept)], Vec::new()).await;
                assert_eq!(read.code, 200, "{levels} {accept}");
            }
            let list = server.get(WIDGETS).await.expect(200);
            assert_eq!(list["items"].as_array().unwrap().len(), 1);
            let patch = json!({"metadata": {"labels": {"l": "1"}}});
            server.patch(&one, "merge-patch+json", &patch).await.expect(200);
            server.delete(&one).await.expect(200);
        }
    }
    assert!(taken > 10 && refused > 20, "{taken} taken, {refused} refused");
}

/// Operations of JSON patches build on each other, so that little text would make what no stack bears.
#[tokio::test]
async fn patches_do_not_nest_without_limit() {
    let server = Server::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let one = format!("{MAPS}/a");
    let before = server.get(&one).await.expect(200);
    let begin = json!({"op": "add", "path": "/x", "value": {"a": {}}});
    // Each holds the former twice over, is moved below itself, or adds as much as one value can hold.
    let (mut copies, mut path) = (vec![begin.clone()], "/x/a".to_owned());
    for _ in 0..14 {
        copies.push(json!({"op": "copy", "from": "/x", "path": format!("{path}/a")}));
        path = format!("{path}/a{}", &path[2..]);
    }
    let deep = (0..90).fold(json!({}), |inner, _| json!({"a": inner}));
    let (mut additions, mut replacements) = (vec![begin.clone()], vec![begin.clone()]);
    let mut path = "/x/a".to_owned();
    for _ in 0..40 {
        additions.push(json!({"op": "add", "path": format!("{path}/a"), "value": deep}));
        replacements.push(json!({"op": "replace", "path": path, "value": {"a": deep}}));
        path.push_str(&"/a".repeat(90));
    }
    let mut moves = Vec::new();
    for at in 0..1_000 {
        moves.push(json!({"op": "add", "path": "/y", "value": {}}));
        moves.push(json!({"op": "move", "from": if at == 0 { "/y" } else { "/x" }, "path": "/y/z"}));
        moves.push(json!({"op": "move", "from": "/y", "path": "/x"}));
    }
    moves.remove(1);
    moves.remove(1);
    moves[0] = json!({"op": "add", "path": "/x", "value": {}});
    for (name, operations) in
        [("copy", copies), ("add", additions), ("replace", replacements), ("move", moves)]
    {
        let refused = server.patch(&one, "json-patch+json", &Value::Array(operations)).await.expect(400);
        assert_eq!(refused["message"], "exceeded max depth", "{name}");
        assert_eq!(server.get(&one).await.expect(200), before, "{name}");
    }
}

/// A definition whose schema is as deep as can be, and an object that fills it: defaulted, validated, owned, described.
#[tokio::test]
async fn deep_schemas() {
    let server = Server::start().await;
    let levels = 52;
    let leaf = json!({"type": "string", "default": "d", "maxLength": 3});
    let schema = (0..levels)
        .fold(leaf, |inner, _| json!({"type": "object", "default": {}, "properties": {"a": inner}}));
    let mut definition = definition();
    let version = definition["spec"]["versions"][0].as_object_mut().unwrap();
    version["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {"deep": schema}});
    version.retain(|name, _| matches!(name.as_str(), "name" | "served" | "storage" | "schema"));
    definition["spec"]["versions"].as_array_mut().unwrap().truncate(1);
    server.post(CRDS, &definition).await.expect(201);
    let path = format!("/deep{}", "/a".repeat(levels));
    let object =
        |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    let made = server.post(WIDGETS, &object("defaulted")).await.expect(201);
    assert_eq!(made.pointer(&path), Some(&json!("d")));
    let filled = |text: &str| (0..levels).fold(json!(text), |inner, _| json!({"a": inner}));
    let mut long = object("long");
    long["deep"] = filled("long");
    let refused = server.post(WIDGETS, &long).await.expect(422);
    assert!(refused["message"].as_str().unwrap_or_default().contains("Too long"), "{refused}");
    let mut applied = object("applied");
    applied["deep"] = filled("x");
    let one = format!("{WIDGETS}/applied?fieldManager=m");
    let made = server.patch(&one, "apply-patch+yaml", &applied).await.expect(201);
    assert_eq!(made.pointer(&path), Some(&json!("x")));
    assert!(made["metadata"]["managedFields"][0]["fieldsV1"].is_object());
    let document = server.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    assert!(document.to_string().contains("maxLength"));
    server.get("/openapi/v2").await.expect(200);
    server.delete(&format!("{CRDS}/widgets.example.com")).await.expect(200);
}
