//! The errors clients branch on, word for word.
use super::harness::Server;
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

async fn check(server: &Server, method: Method, path: &str, body: Value, expected: Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let reply = server.send(method.clone(), path, &[], body).await;
    let mut whole = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"});
    for (name, value) in expected.as_object().unwrap() {
        whole[name] = value.clone();
    }
    assert_eq!(reply.json(), whole, "{method} {path}");
    assert_eq!(u64::from(reply.code), whole["code"].as_u64().unwrap());
}

#[tokio::test]
async fn statuses() {
    let server = Server::start().await;
    let map = json!({"metadata": {"name": "a"}});
    let made = server.post(MAPS, &map).await.expect(201);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    check(
        &server,
        Method::GET,
        &format!("{MAPS}/b"),
        Value::Null,
        json!({
            "message": "configmaps \"b\" not found", "reason": "NotFound",
            "details": {"name": "b", "kind": "configmaps"}, "code": 404,
        }),
    )
    .await;
    check(
        &server,
        Method::POST,
        MAPS,
        map.clone(),
        json!({
            "message": "configmaps \"a\" already exists", "reason": "AlreadyExists",
            "details": {"name": "a", "kind": "configmaps"}, "code": 409,
        }),
    )
    .await;
    check(&server, Method::GET, "/api/v1/nonsense", Value::Null, json!({
        "message": "the server could not find the requested resource", "reason": "NotFound", "details": {}, "code": 404,
    })).await;
    check(
        &server,
        Method::PUT,
        MAPS,
        map.clone(),
        json!({
            "message": "the server does not allow this method on the requested resource",
            "reason": "MethodNotAllowed", "details": {}, "code": 405,
        }),
    )
    .await;
    check(
        &server,
        Method::POST,
        &format!("{MAPS}/n"),
        json!({"metadata": {"name": "n"}}),
        json!({
            "message": "the server does not allow this method on the requested resource",
            "reason": "MethodNotAllowed", "details": {}, "code": 405,
        }),
    )
    .await;
    check(
        &server,
        Method::PUT,
        &format!("{MAPS}/a"),
        json!({"metadata": {"name": "c"}}),
        json!({
            "message": "the name of the object (c) does not match the name on the URL (a)",
            "reason": "BadRequest", "code": 400,
        }),
    )
    .await;
    check(&server, Method::POST, MAPS, json!({"metadata": {"name": "x", "namespace": "other"}}), json!({
        "message": "the namespace of the provided object does not match the namespace sent on the request",
        "reason": "BadRequest", "code": 400,
    })).await;
    check(&server, Method::PUT, &format!("{MAPS}/a"), json!({"metadata": {"name": "a", "resourceVersion": "1"}}), json!({
        "message": "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
        "reason": "Conflict", "details": {"name": "a", "kind": "configmaps"}, "code": 409,
    })).await;
    check(&server, Method::PUT, &format!("{MAPS}/a"), json!({"metadata": {"name": "a", "uid": "u"}}), json!({
        "message": format!("Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: \
            /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
            precondition: u, UID in object meta: {uid}"),
        "reason": "Conflict", "details": {"name": "a", "kind": "configmaps"}, "code": 409,
    })).await;
    let lease = json!({"metadata": {"name": "cu"}});
    server.post(LEASES, &lease).await.expect(201);
    let detail = "Invalid value: 0: must be specified for an update";
    check(&server, Method::PUT, &format!("{LEASES}/cu"), lease, json!({
        "message": format!("leases.coordination.k8s.io \"cu\" is invalid: metadata.resourceVersion: {detail}"),
        "reason": "Invalid", "code": 422,
        "details": {"name": "cu", "group": "coordination.k8s.io", "kind": "leases", "causes": [
            {"reason": "FieldValueInvalid", "message": detail, "field": "metadata.resourceVersion"},
        ]},
    })).await;
    check(&server, Method::GET, "/apis/apps/v1/deployments?fieldSelector=spec.x%3D1", Value::Null, json!({
        "message": "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        "reason": "BadRequest", "code": 400,
    })).await;
    check(&server, Method::GET, &format!("{MAPS}?resourceVersion=999999"), Value::Null, json!({
        "message": "Timeout: Too large resource version: 999999, current: 4", "reason": "Timeout", "code": 504,
        "details": {"retryAfterSeconds": 1, "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
    })).await;
    let page = server.get("/apis/nowhere.example/v1/things").await;
    assert_eq!((page.code, &page.bytes[..]), (404, &b"404 page not found\n"[..]));
}

/// What the body of a write says of the object's name, uid and version.
#[tokio::test]
async fn identities_in_bodies() {
    let server = Server::start().await;
    let (map, lease) = (format!("{MAPS}/a"), format!("{LEASES}/a"));
    let of_another = json!({"metadata": {"name": "a", "uid": "11111111-1111-1111-1111-111111111111"}});
    // A PUT that creates does not bring back an object that is gone, whatever version it names.
    let refused = server.put(&lease, &of_another).await;
    assert!(refused.expect(409)["message"].as_str().unwrap().contains("UID in precondition"));
    server.put(&lease, &json!({"metadata": {"name": "a", "resourceVersion": "77"}})).await.expect(201);
    // Nor does an apply care for a version where there is nothing.
    let applied =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "12"}});
    server.patch(&format!("{map}?fieldManager=m"), "apply-patch+yaml", &applied).await.expect(201);
    let refused = server.patch(&map, "merge-patch+json", &of_another).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.uid");
    let nameless = "the name of the object (a based on URL) was undeterminable: name must be provided";
    for reply in [
        server.put(&map, &json!({"metadata": {}})).await,
        server.patch(&map, "merge-patch+json", &json!({"metadata": {"name": null}})).await,
    ] {
        assert_eq!(reply.expect(400)["message"], nameless);
    }
}

/// Bodies that are no object of the resource, and patches that lead to none.
#[tokio::test]
async fn unfit_bodies() {
    let server = Server::start().await;
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json \
                        parse error: ";
    let unfit = |text: &str| format!("{text} cannot be handled as a ConfigMap: ");
    for (body, message) in [
        ("", format!("{unrecognized}unexpected end of JSON input (<empty>)")),
        ("xx", format!("{unrecognized}invalid character 'x' looking for beginning of value (7878)")),
        (
            r#"{"apiVersion":"v1","kind":"Pod","spec":1}"#,
            format!(
                "{}converting (v1.Pod) to (core.ConfigMap): unknown conversion",
                unfit("Pod in version \"v1\"")
            ),
        ),
        (
            r#"{"apiVersion":"v2","kind":"ConfigMap"}"#,
            format!(
                "{}no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                unfit("ConfigMap in version \"v2\"")
            ),
        ),
        (
            r#"{"data":{"a":1}}"#,
            format!(
                "{}json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
                unfit("ConfigMap in version \"v1\"")
            ),
        ),
    ] {
        let refused = server.send(Method::POST, MAPS, &[], body.as_bytes().to_vec()).await.expect(400);
        assert_eq!(refused["message"], message, "{body}");
    }
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    for (media, query, body, begin, end) in [
        (
            "merge-patch",
            "",
            r#"{"data":{"a":1}}"#,
            r#"Invalid value: "{\"apiVersion\":"#,
            ": json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "json-patch",
            "?fieldValidation=Strict",
            r#"[{"op":"add","path":"/zz","value":1}]"#,
            r#"Invalid value: "{\"apiVersion\":"#,
            ": strict decoding error: unknown field \"zz\"",
        ),
        (
            "json-patch",
            "?fieldValidation=Strict",
            r#"[{"op":"add","path":"/data","value":{"a":"1"},"zz":1,"op":"add"}]"#,
            r#"Invalid value: "{\"apiVersion\":"#,
            ": strict decoding error: json patch duplicate field \"[0].op\", json patch unknown field \"[0].zz\"",
        ),
        (
            "merge-patch",
            "?fieldValidation=Strict",
            r#"{"data":{"a":"1"},"zz":1,"data":{"b":"2"}}"#,
            r#"Invalid value: "{\"apiVersion\":"#,
            ": strict decoding error: duplicate field \"data\", unknown field \"zz\"",
        ),
        (
            "strategic-merge-patch",
            "",
            r#"{"data":{"a":1}}"#,
            r#"Invalid value: "map[data:map[a:1]]""#,
            ": cannot convert int64 to string",
        ),
        (
            "strategic-merge-patch",
            "?fieldValidation=Strict",
            r#"{"zz":1}"#,
            r#"Invalid value: "map[zz:1]""#,
            ": strict decoding error: unknown field \"zz\"",
        ),
    ] {
        let media = format!("application/{media}+json");
        let headers = [("content-type", media.as_str())];
        let path = format!("{MAPS}/a{query}");
        let refused = server.send(Method::PATCH, &path, &headers, body.as_bytes().to_vec()).await.expect(422);
        let cause = &refused["details"]["causes"][0];
        let text = cause["message"].as_str().unwrap();
        assert!(cause["field"] == "patch" && text.starts_with(begin) && text.ends_with(end), "{refused}");
        assert_eq!(refused["message"], format!(" \"\" is invalid: patch: {text}"));
    }
}

#[tokio::test]
async fn doubtful_patches() {
    let server = Server::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let send = async |media: &str, query: &str, body: &str| {
        let headers = [("content-type", media)];
        let path = format!("{MAPS}/a?fieldManager=m{query}");
        server.send(Method::PATCH, &path, &headers, body.as_bytes().to_vec()).await
    };
    let merge = "application/merge-patch+json";
    let body = r#"{"data":{"a":"1","a":"2"}}"#;
    let warned = send(merge, "", body).await;
    assert_eq!(warned.headers["warning"], "299 - \"duplicate field \\\"data.a\\\"\"");
    assert_eq!(warned.expect(200)["data"]["a"], "2");
    assert!(!send(merge, "&fieldValidation=Ignore", body).await.headers.contains_key("warning"));
    let apply = "application/apply-patch+yaml";
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  c: one\n  c: two\n";
    let refused = send(apply, "&force=true&fieldValidation=Strict", body).await.expect(400);
    let text = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"c\" \
                already set in map";
    assert_eq!(refused["message"], text);
    assert_eq!(send(apply, "&force=true", body).await.expect(200)["data"]["c"], "two");
    for (media, body, text) in [
        (
            merge,
            "[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (merge, "{", "error decoding patch: unexpected end of JSON input"),
        (
            apply,
            "a: 1\nb: c: d\n",
            "error decoding YAML: error converting YAML to JSON: yaml: line 2: mapping values are not allowed in this \
             context",
        ),
        (
            apply,
            "[]",
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go \
             value of type map[string]interface {}",
        ),
        (
            "application/strategic-merge-patch+json",
            "1",
            "json: cannot unmarshal number into Go value of type map[string]interface {}",
        ),
        (
            "application/json-patch+json",
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
    ] {
        assert_eq!(send(media, "", body).await.expect(400)["message"], text, "{media} {body}");
    }
}

#[tokio::test]
async fn strict_fields() {
    let server = Server::start().await;
    let map = json!({"metadata": {"name": "a"}, "dat": {}});
    let refused = server.post(&format!("{MAPS}?fieldValidation=Strict"), &map).await.expect(400);
    let text = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dat\"";
    assert_eq!(refused["message"], text);
    let warned = server.post(MAPS, &map).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"dat\\\"\"");
    let ignored = server
        .post(&format!("{MAPS}?fieldValidation=Ignore"), &json!({"metadata": {"name": "b"}, "dat": 1}))
        .await;
    assert!(ignored.code == 201 && !ignored.headers.contains_key("warning"));
}

#[tokio::test]
async fn media_types() {
    let server = Server::start().await;
    let reply = server.send(Method::GET, MAPS, &[("accept", "text/html")], Vec::new()).await;
    assert_eq!(reply.expect(406)["reason"], "NotAcceptable");
    let reply = server.send(Method::POST, MAPS, &[("content-type", "text/plain")], b"{}".to_vec()).await;
    assert_eq!(reply.expect(415)["reason"], "UnsupportedMediaType");
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let reply = server
        .send(Method::PATCH, &format!("{MAPS}/a"), &[("content-type", "application/json")], b"{}".to_vec())
        .await;
    assert_eq!(reply.expect(415)["reason"], "UnsupportedMediaType");
}

/// Errors take the form that the request asks for, as objects do.
#[tokio::test]
async fn forms() {
    let server = Server::start().await;
    let missing = format!("{MAPS}/zz");
    let yaml = server.send(Method::GET, &missing, &[("accept", "application/yaml")], Vec::new()).await;
    assert_eq!((yaml.code, &yaml.headers["content-type"]), (404, &"application/yaml".parse().unwrap()));
    assert!(yaml.bytes.starts_with(b"apiVersion: v1\ncode: 404\n"), "{:?}", yaml.bytes);
    let pretty = server.get(&format!("{missing}?pretty=true")).await;
    assert!(pretty.bytes.starts_with(b"{\n  \"kind\": \"Status\",\n"), "{:?}", pretty.bytes);
    let agent = [("user-agent", "curl/8.5.0")];
    let plain = server.send(Method::GET, &format!("{missing}?pretty=false"), &agent, Vec::new()).await;
    assert!(plain.bytes.starts_with(b"{\"kind\":\"Status\","), "{:?}", plain.bytes);
}

/// A list has no metadata of its own kind, nor one object a list of them.
#[tokio::test]
async fn transformations_that_do_not_fit() {
    let server = Server::start().await;
    server.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect(201);
    let one = format!("{MAPS}/a");
    for (path, form, message) in [
        (
            MAPS,
            "PartialObjectMetadata",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            &*one,
            "PartialObjectMetadataList",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ] {
        let accept = format!("application/json;as={form};g=meta.k8s.io;v=v1");
        let refused = server.send(Method::GET, path, &[("accept", &accept)], Vec::new()).await.expect(406);
        assert_eq!((&refused["reason"], &refused["message"]), (&json!("NotAcceptable"), &json!(message)));
    }
    for format in ["json", "yaml"] {
        let accept = format!("application/{format};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        let list = server.send(Method::GET, MAPS, &[("accept", &accept)], Vec::new()).await;
        let text = String::from_utf8_lossy(&list.bytes).replace(['"', ' '], "");
        assert!(
            text.contains("kind:PartialObjectMetadata\n") || text.contains("kind:PartialObjectMetadata,"),
            "{text}"
        );
    }
}
