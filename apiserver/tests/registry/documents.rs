//! Discovery and OpenAPI documents.
use super::harness::Server;
use http::Method;
use serde_json::{Value, json};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn legacy_discovery() {
    let server = Server::start().await;
    assert_eq!(server.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = server.get("/apis").await.expect(200);
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(&names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
    let group = server.get("/apis/autoscaling").await.expect(200);
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "autoscaling/v2", "version": "v2"}));
    let core = server.get("/api/v1").await.expect(200);
    assert_eq!((&core["kind"], core.get("apiVersion")), (&json!("APIResourceList"), None));
    let resources = core["resources"].as_array().unwrap();
    let find = |name: &str| resources.iter().find(|r| r["name"] == name).unwrap();
    assert_eq!(find("pods")["shortNames"], json!(["po"]));
    assert_eq!(find("pods")["storageVersionHash"], "xPOwRZ+Yhw8=");
    let eviction = find("pods/eviction");
    let expected = json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy",
        "version": "v1", "kind": "Eviction", "verbs": ["create"]});
    assert_eq!(*eviction, expected);
    let accept = [("accept", "application/vnd.kubernetes.protobuf")];
    for (path, kind, member) in [
        ("/api", "APIVersions", "versions"),
        ("/apis", "APIGroupList", "groups"),
        ("/apis/apps", "APIGroup", "versions"),
        ("/api/v1", "APIResourceList", "resources"),
        ("/apis/apps/v1", "APIResourceList", "resources"),
    ] {
        let reply = server.send(Method::GET, path, &accept, Vec::new()).await;
        assert_eq!(reply.code, 200, "{path}");
        let decoded = knarr_api::protobuf::decode(knarr_api::table::builtin(), &reply.bytes).unwrap().value;
        assert_eq!((&decoded["kind"], &decoded["apiVersion"]), (&json!(kind), &json!("v1")), "{path}");
        let plain = server.get(path).await.expect(200);
        assert_eq!(
            decoded[member].as_array().map(Vec::len),
            plain[member].as_array().map(Vec::len),
            "{path}"
        );
    }
    assert_eq!(server.get("/apis/none.example").await.code, 404);
    let root = server.get("/").await.expect(200);
    assert!(root["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")), "{root}");
}

#[tokio::test]
async fn aggregated_discovery() {
    let server = Server::start().await;
    let reply = server.send(Method::GET, "/apis", &[("accept", AGGREGATED)], Vec::new()).await;
    assert_eq!(
        reply.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let list = reply.expect(200);
    assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
    let apps = list["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "apps").unwrap();
    let resources = apps["versions"][0]["resources"].as_array().unwrap();
    let deployments = resources.iter().find(|r| r["resource"] == "deployments").unwrap();
    assert_eq!(deployments["responseKind"], json!({"group": "", "version": "", "kind": "Deployment"}));
    assert_eq!(deployments["scope"], "Namespaced");
    assert_eq!(
        deployments["subresources"][0],
        json!({"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            "verbs": ["get", "patch", "update"]})
    );
    let etag = reply.headers["etag"].to_str().unwrap().to_owned();
    let again = [("accept", AGGREGATED), ("if-none-match", etag.as_str())];
    assert_eq!(server.send(Method::GET, "/apis", &again, Vec::new()).await.code, 304);
}

/// The facts of the original, where they lie beside the source tree.
#[tokio::test]
async fn discovery_is_the_originals() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kubernetes-api/resources.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let facts: Value = serde_json::from_str(&text).unwrap();
    let server = Server::start().await;
    for fact in facts["resources"].as_array().unwrap() {
        if fact["served_by_default"] != true || fact["external"] == true {
            continue;
        }
        let (group, version) = (fact["group"].as_str().unwrap(), fact["version"].as_str().unwrap());
        let path =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let list = server.get(&path).await.expect(200);
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == fact["plural"]);
        let found = found.unwrap_or_else(|| panic!("{path} lacks {}", fact["plural"]));
        for (name, fact_name) in [("kind", "kind"), ("namespaced", "namespaced"), ("verbs", "verbs")] {
            assert_eq!(found[name], fact[fact_name], "{path} {}", fact["plural"]);
        }
        if let Some(hash) = fact["storage"].get("hash") {
            assert_eq!(found["storageVersionHash"], *hash, "{path} {}", fact["plural"]);
        }
    }
}

#[tokio::test]
async fn openapi_documents() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = server.get(url).await;
    assert!(document.headers["cache-control"].to_str().unwrap().contains("immutable"));
    let document = document.expect(200);
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let moved = server.get("/openapi/v3/apis/apps/v1?hash=0").await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, url));
    let v2 = server.get("/openapi/v2").await;
    assert!(v2.expect(200)["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let etag = v2.headers["etag"].to_str().unwrap().to_owned();
    let known = [("if-none-match", etag.as_str())];
    assert_eq!(server.send(Method::GET, "/openapi/v2", &known, Vec::new()).await.code, 304);
    let accept = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let proto = server.send(Method::GET, "/openapi/v2", &accept, Vec::new()).await;
    assert_eq!(proto.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(proto.code == 200 && proto.bytes.starts_with(b"\x0a\x032.0"), "{:?}", &proto.bytes[..8]);
    let accept = [("accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")];
    let proto = server.send(Method::GET, url, &accept, Vec::new()).await;
    assert_eq!(proto.headers["content-type"], "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
    assert!(proto.code == 200 && proto.bytes.starts_with(b"\x0a\x053.0.0"), "{:?}", &proto.bytes[..8]);
}
