//! Paging over a consistent view while others write.
use super::harness::Server;
use http::Method;
use http_body_util::BodyExt;
use knarr_api::Value;
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn pages_see_one_revision() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let create = async |name: &str| server.post(path, &json!({"metadata": {"name": name}})).await.expect(201);
    for n in 0..25 {
        create(&format!("m{n:02}")).await;
    }
    let mut seen = BTreeSet::new();
    let mut next = String::new();
    let mut revision = None;
    for round in 0.. {
        let list = server.get(&format!("{path}?limit=10&continue={next}")).await.expect(200);
        let listed = list["metadata"]["resourceVersion"].clone();
        assert_eq!(revision.get_or_insert(listed.clone()), &listed);
        for item in list["items"].as_array().unwrap() {
            assert!(item.get("kind").is_none());
            assert!(seen.insert(item["metadata"]["name"].as_str().unwrap().to_owned()));
        }
        match list["metadata"].get("continue").and_then(|c| c.as_str()) {
            Some(token) => {
                assert_eq!(list["metadata"]["remainingItemCount"], 25 - 10 * (round + 1));
                next = token.to_owned();
            }
            None => break,
        }
        // Written between the pages: in no page of this list.
        create(&format!("a{round}")).await;
        create(&format!("z{round}")).await;
        server.delete(&format!("{path}/m{:02}", 24 - round)).await.expect(200);
    }
    assert_eq!(seen.len(), 25, "{seen:?}");
    let exact =
        format!("{path}?resourceVersion={}&resourceVersionMatch=Exact", revision.unwrap().as_str().unwrap());
    assert_eq!(server.get(&exact).await.expect(200)["items"].as_array().unwrap().len(), 25);
    assert_eq!(server.get(path).await.expect(200)["items"].as_array().unwrap().len(), 25 + 4 - 2);
    let bad = server.get(&format!("{path}?limit=1&continue=nonsense")).await.expect(400);
    assert_eq!(bad["reason"], "BadRequest");
}

/// A page whose revision is forgotten is told so, with a token for the rest of what is there now.
#[tokio::test]
async fn expired_tokens() {
    let options = Options { history: Duration::from_millis(50), ring_bytes: 1, ..Options::default() };
    let server = Server::start_with(options, Settings::default()).await;
    let path = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b", "c"] {
        server.post(path, &json!({"metadata": {"name": name}})).await.expect(201);
    }
    let first = server.get(&format!("{path}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let next = format!("{path}?limit=1&continue={token}");
    let gone = loop {
        let name = uuid::Uuid::new_v4().to_string();
        server.post(path, &json!({"metadata": {"name": format!("x{name}")}})).await.expect(201);
        let reply = server.get(&next).await;
        if reply.code == 410 {
            break reply.json();
        }
    };
    let text = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                list without the continue parameter, or use the continue token in this response to retrieve the \
                remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
                that were created, modified, or deleted between the time the first chunk was returned and now may show \
                up in the list.";
    assert_eq!((&gone["message"], &gone["reason"]), (&json!(text), &json!("Expired")));
    let rest = gone["metadata"]["continue"].as_str().unwrap();
    let list = server.get(&format!("{path}?limit=1&continue={rest}")).await.expect(200);
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    let old = first["metadata"]["resourceVersion"].as_str().unwrap();
    for query in ["resourceVersionMatch=Exact", "limit=1"] {
        let gone = server.get(&format!("{path}?resourceVersion={old}&{query}")).await.expect(410);
        assert_eq!(gone["message"], "The resourceVersion for the provided list is too old.");
    }
    server.get(&format!("{path}?resourceVersion={old}&resourceVersionMatch=NotOlderThan")).await.expect(200);
    let mut events = server.watch(&format!("{path}?watch=1&resourceVersion={old}")).await;
    let error = events.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(
        error["object"]["message"].as_str().unwrap().starts_with("too old resource version: "),
        "{error}"
    );
    assert!(events.next().await.is_none());
}

/// A list that is streamed says the same as a small one, in every form.
#[tokio::test]
async fn forms_of_large_lists() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let filler = "x".repeat(100_000);
    for (at, size) in [10, 100_000, 10, 100_000, 100_000].into_iter().enumerate() {
        let map = json!({"metadata": {"name": format!("m{at}")}, "data": {"x": &filler[..size], "y": "<&>"}});
        server.post(path, &map).await.expect(201);
    }
    let list = async |path: &str, accept: &str| {
        let reply = server.send(Method::GET, path, &[("accept", accept)], Vec::new()).await;
        assert_eq!(reply.code, 200, "{accept}");
        if !accept.contains("protobuf") {
            return (reply.json(), reply.bytes);
        }
        (knarr_api::protobuf::decode(knarr_api::table::builtin(), &reply.bytes).unwrap().value, reply.bytes)
    };
    let names = |list: &Value, at: &str| {
        let items = list[at].as_array().unwrap().iter();
        let name = |item: &Value| {
            let object = if at == "rows" { &item["object"] } else { item };
            object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        };
        items.map(name).collect::<Vec<_>>()
    };
    let whole = names(&list(path, "application/json").await.0, "items");
    assert_eq!(whole, ["kube-root-ca.crt", "m0", "m1", "m2", "m3", "m4"][6 - whole.len()..]);
    let plain = list(path, "application/json").await.0;
    for (accept, kind, rows) in [
        ("application/vnd.kubernetes.protobuf", "ConfigMapList", "items"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", "Table", "rows"),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            "PartialObjectMetadataList",
            "items",
        ),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            "PartialObjectMetadataList",
            "items",
        ),
    ] {
        let large = list(path, accept).await.0;
        assert_eq!((large["kind"].as_str(), names(&large, rows)), (Some(kind), whole.clone()), "{accept}");
        assert_eq!(large["metadata"], plain["metadata"], "{accept}");
        if kind == "ConfigMapList" {
            assert_eq!(large, plain, "{accept}");
        }
        let none = format!("{path}?fieldSelector=metadata.name%3Dnone");
        assert_eq!(list(&none, accept).await.0[rows].as_array().map_or(0, Vec::len), 0);
    }
    // For people: what indenting the whole list would give.
    for query in ["pretty=1", "pretty=1&limit=1", "pretty=1&fieldSelector=metadata.name%3Dnone"] {
        let (value, bytes) = list(&format!("{path}?{query}"), "application/json").await;
        let compact = list(&format!("{path}?{}", &query[9.min(query.len())..]), "application/json").await.1;
        let mut indented = knarr_api::json::indent(compact.strip_suffix(b"\n").unwrap());
        indented.push(b'\n');
        assert!(bytes == indented, "{query}: {value}");
    }
}

/// Only the piece being sent is held: the rest is made when the client has taken it.
#[tokio::test]
async fn large_lists_are_made_as_they_are_read() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let filler = "x".repeat(500_000);
    for at in 0..20 {
        server
            .post(path, &json!({"metadata": {"name": format!("m{at}")}, "data": {"x": filler}}))
            .await
            .expect(201);
    }
    for accept in ["application/json", "application/vnd.kubernetes.protobuf"] {
        let response = server.open(Method::GET, path, &[("accept", accept)], Vec::new()).await;
        let mut body = response.into_body();
        assert!(matches!(body, knarr_apiserver::server::Body::Stream(_)));
        let (mut total, mut largest) = (0, 0);
        while let Some(frame) = body.frame().await {
            let length = frame.unwrap().into_data().unwrap().len();
            (total, largest) = (total + length, largest.max(length));
        }
        assert!(total > 20 * filler.len() && largest < 2 * filler.len(), "{accept}: {largest} of {total}");
    }
}

#[tokio::test]
async fn lists_in_another_version() {
    let server = Server::start().await;
    let scaler = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    server.post(path, &scaler).await.expect(201);
    for accept in ["application/json", "application/vnd.kubernetes.protobuf"] {
        let reply = server.send(Method::GET, path, &[("accept", accept)], Vec::new()).await;
        let list = match accept {
            "application/json" => reply.json(),
            _ => knarr_api::protobuf::decode(knarr_api::table::builtin(), &reply.bytes).unwrap().value,
        };
        assert_eq!(list["apiVersion"], "autoscaling/v1");
        assert_eq!(list["items"][0]["spec"]["targetCPUUtilizationPercentage"], 50, "{list}");
        assert!(list["items"][0].get("kind").is_none());
    }
}
