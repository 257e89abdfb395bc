//! Paging over a consistent view while others write.
use super::harness::Server;
use serde_json::json;
use std::collections::BTreeSet;

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
