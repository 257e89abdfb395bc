//! Paging over a consistent view while others write.
use super::harness::Server;
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
    assert!(error["object"]["message"].as_str().unwrap().starts_with("too old resource version: "), "{error}");
    assert!(events.next().await.is_none());
}
