//! Addresses and node ports of Services.
use super::harness::Server;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/namespaces/default/services";

async fn create(server: &Server, name: &str, spec: Value) -> super::harness::Reply {
    server.post(PATH, &json!({"metadata": {"name": name}, "spec": spec})).await
}

#[tokio::test]
async fn addresses_are_objects() {
    let server = Server::start().await;
    let service =
        create(&server, "a", json!({"ports": [{"port": 80}], "selector": {"x": "y"}})).await.expect(201);
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert_eq!(service["spec"]["clusterIPs"], json!([address]));
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
    let object = server.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{address}")).await.expect(200);
    assert_eq!(
        object["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );
    let taken =
        create(&server, "b", json!({"ports": [{"port": 80}], "clusterIP": address})).await.expect(422);
    assert_eq!(
        taken["message"],
        format!(
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: provided IP is already allocated"
        )
    );
    // That it may not change goes before that it cannot be had.
    let mut moved = service.clone();
    moved["spec"]["clusterIP"] = json!("1.2.3.4");
    moved["spec"]["clusterIPs"] = json!(["1.2.3.4"]);
    let refused = server.put(&format!("{PATH}/a"), &moved).await.expect(422);
    assert_eq!(
        refused["message"],
        "Service \"a\" is invalid: spec.clusterIPs[0]: Invalid value: [\"1.2.3.4\"]: may not change once set"
    );
    server.delete(&format!("{PATH}/a")).await.expect(200);
    server.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{address}")).await.expect(404);
    create(&server, "b", json!({"ports": [{"port": 80}], "clusterIP": address})).await.expect(201);
}

#[tokio::test]
async fn node_ports_are_unique() {
    let server = Server::start().await;
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let service = create(&server, "a", spec.clone()).await.expect(201);
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    let mut asked = spec.clone();
    asked["ports"][0]["nodePort"] = port.into();
    let taken = create(&server, "b", asked.clone()).await.expect(422);
    assert_eq!(
        taken["message"],
        format!(
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )
    );
    let back = json!({"spec": {"type": "ClusterIP"}});
    let changed = server.patch(&format!("{PATH}/a"), "merge-patch+json", &back).await.expect(200);
    assert!(changed["spec"]["ports"][0].get("nodePort").is_none());
    create(&server, "b", asked).await.expect(201);
}

#[tokio::test]
async fn headless_and_external() {
    let server = Server::start().await;
    let headless =
        create(&server, "h", json!({"clusterIP": "None", "ports": [{"port": 80}], "selector": {"a": "b"}}))
            .await;
    let headless = headless.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external =
        create(&server, "e", json!({"type": "ExternalName", "externalName": "x.example"})).await.expect(201);
    assert!(external["spec"].get("clusterIP").is_none());
    let list = server.get("/apis/networking.k8s.io/v1/ipaddresses").await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn many_at_once_never_share() {
    let server = Server::start().await;
    let creations = (0..60).map(|n| {
        let server = &server;
        async move {
            let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
            let made = create(server, &format!("s{n}"), spec).await.expect(201);
            (made["spec"]["clusterIP"].to_string(), made["spec"]["ports"][0]["nodePort"].to_string())
        }
    });
    let made = futures::future::join_all(creations).await;
    let addresses: std::collections::BTreeSet<_> = made.iter().map(|m| &m.0).collect();
    let ports: std::collections::BTreeSet<_> = made.iter().map(|m| &m.1).collect();
    assert_eq!((addresses.len(), ports.len()), (60, 60));
}
