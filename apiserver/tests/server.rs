//! The API server as its clients meet it: TLS, authentication, authorization, admission, tokens, streams, shutdown.
#![allow(missing_docs, clippy::expect_used)]
#[path = "server/connections.rs"]
mod connections;
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;

use harness::{Authority, Client, PATIENCE, Server, client_tls, eventually};
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn identities() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let anonymous = server.anonymous();
    assert_eq!(anonymous.get("/livez").await, (200, json!("ok")));
    let (code, version) = anonymous.get("/version").await;
    assert_eq!((code, &version["minor"]), (200, &json!("36")));
    let (code, status) = anonymous.get("/api").await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    let mut liar = server.anonymous();
    liar.token = Some("wrong".to_owned());
    assert_eq!(liar.get("/version").await.0, 401);
    let foreign = Authority::new("other").user("eve", &["system:masters"]);
    assert_eq!(Client::new(server.port, &server.authority.pem, Some(foreign)).get("/version").await.0, 401);
    assert_eq!(server.admin().get("/api/v1/namespaces/kube-system").await.0, 200);
    let response = server.admin().open(Method::GET, "/api/v1/nodes", "").await;
    assert_eq!(response.headers()["cache-control"], "no-cache, private");
    assert!(response.headers().contains_key("audit-id"));
    let (code, review) = server
        .user("ann", &["dev"])
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
        )
        .await;
    assert_eq!(
        (code, &review["status"]["userInfo"]["groups"]),
        (201, &json!(["dev", "system:authenticated"]))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let (admin, ann) = (server.admin(), server.user("ann", &[]));
    let (code, status) = ann.get(PODS).await;
    let text = "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, &status["message"]), (403, &json!(text)));
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let bind = |role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
        })
    };
    admin.create(bindings, &bind("admin")).await;
    eventually(async || ann.get(PODS).await.0 == 200).await;
    assert_eq!(ann.get("/api/v1/pods").await.0, 403);
    // Ann may write bindings in her namespace now, but not hand out more than she holds.
    let (code, status) = ann.post(bindings, &bind("cluster-admin")).await;
    assert_eq!(code, 403, "{status}");
    assert!(
        status["message"].as_str().is_some_and(|m| m.contains("attempting to grant RBAC permissions")),
        "{status}"
    );
    assert_eq!(ann.post(bindings, &bind("view")).await.0, 201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_their_tokens() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}});
    let (code, status) = admin.post(PODS, &pod).await;
    assert_eq!(code, 403, "{status}");
    assert!(
        status["message"].as_str().is_some_and(|m| m.contains("serviceaccount \"default\" not found")),
        "{status}"
    );
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin
        .create(
            accounts,
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        )
        .await;
    let pod = admin.create(PODS, &pod).await;
    assert_eq!(
        pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    assert_eq!(
        pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(
        (&pod["spec"]["priority"], &pod["spec"]["tolerations"][1]["tolerationSeconds"]),
        (&json!(0), &json!(300))
    );

    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "expirationSeconds": 3600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}}});
    let path = format!("{accounts}/default/token");
    let answer = admin.create(&path, &request).await;
    let mut bearer = server.anonymous();
    bearer.token = answer["status"]["token"].as_str().map(str::to_owned);
    let (code, status) = bearer.get(PODS).await;
    assert_eq!(code, 403);
    assert!(
        status["message"].as_str().is_some_and(|m| m.contains("system:serviceaccount:default:default")),
        "{status}"
    );
    // The node the pod runs on may ask for the same, no other may.
    let node = |name: &str| server.user(&format!("system:node:{name}"), &["system:nodes"]);
    eventually(async || node("n").post(&path, &request).await.0 == 201).await;
    assert_eq!(node("m").post(&path, &request).await.0, 403);
    assert_eq!(admin.send(Method::DELETE, &format!("{PODS}/p?gracePeriodSeconds=0"), "").await.0, 200);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": bearer.token, "audiences": ["https://kubernetes.default.svc.cluster.local"]}});
    let review = admin.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert!(!review["status"]["authenticated"].as_bool().unwrap_or_default(), "{review}");
    assert_eq!(review["status"]["error"], "service account token has been invalidated", "{review}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_cluster_has_comes_back() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let address = admin.get(service).await.1["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let settings = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    eventually(async || admin.get(settings).await.0 == 200).await;
    for path in [service, settings] {
        assert_eq!(admin.send(Method::DELETE, path, "").await.0, 200, "{path}");
    }
    for path in [service, settings] {
        eventually(async || admin.get(path).await.0 == 200).await;
    }
    assert_eq!(admin.get(service).await.1["spec"]["clusterIP"], address);
    // The address of a Service is taken again at once.
    let path = format!("/apis/networking.k8s.io/v1/ipaddresses/{address}");
    let before = admin.get(&path).await.1["metadata"]["uid"].clone();
    assert_eq!(admin.send(Method::DELETE, &path, "").await.0, 200);
    eventually(async || {
        let (code, address) = admin.get(&path).await;
        code == 200 && address["metadata"]["uid"] != before
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    let (code, status) = admin.send(Method::POST, maps, vec![b' '; 3 * 1024 * 1024 + 1]).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    admin
        .create(
            maps,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
        )
        .await;
    let mut watch = admin.open(Method::GET, &format!("{maps}?watch=1"), "").await.into_body();
    let first = watch.frame().await.expect("an event").expect("no error");
    assert!(first.into_data().is_ok_and(|bytes| bytes.starts_with(b"{\"type\":\"ADDED\"")));
    server.begin_stop();
    let rest = tokio::time::timeout(PATIENCE, watch.collect()).await.expect("the watch ends");
    assert!(rest.is_ok(), "{rest:?}");
    drop(admin);
    server.stop().await;
    let server = Server::start(directory.path(), &[]).await;
    let (code, object) = server.admin().get(&format!("{maps}/a")).await;
    assert_eq!((code, &object["data"]["k"]), (200, &json!("v")));
    server.stop().await;
}

/// A kubelet that checks the request line, switches protocols and echoes.
async fn kubelet(listener: TcpListener, tls: TlsAcceptor) -> String {
    let (stream, _) = listener.accept().await.expect("a connection");
    let mut stream = tls.accept(stream).await.expect("TLS");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("head"));
    }
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    stream.write_all(answer).await.expect("answer");
    let mut text = [0; 4];
    stream.read_exact(&mut text).await.expect("bytes");
    stream.write_all(&text).await.expect("echo");
    stream.flush().await.expect("flush");
    let _ = stream.shutdown().await;
    String::from_utf8(head).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reach_the_kubelet() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--kubelet-preferred-address-types=InternalIP"]).await;
    let admin = server.admin();
    admin
        .create("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let certificate = directory.path().join("tls.crt");
    let identity =
        knarr_reload::identity::load(&certificate, &directory.path().join("tls.key")).expect("identity");
    let serving = knarr_reload::identity::Shown::fixed(identity).expect("identity");
    let mut tls = knarr_apiserver::certs::server_config(
        Arc::new(serving),
        Vec::new(),
        &[],
        knarr_reload::protocol::Minimum::Tls12,
    )
    .expect("TLS");
    Arc::get_mut(&mut tls).expect("unshared").alpn_protocols.clear();
    let kubelet = tokio::spawn(kubelet(listener, TlsAcceptor::from(tls)));

    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let (_, mut node) = admin.get("/api/v1/nodes/n").await;
    node["status"] = json!({"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    let (code, answer) = admin.send(Method::PUT, "/api/v1/nodes/n/status", node.to_string()).await;
    assert_eq!(code, 200, "{answer}");
    admin
        .create(
            PODS,
            &json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}}),
        )
        .await;
    assert_eq!(admin.post(&format!("{PODS}/p/exec?command=ls"), &json!({})).await.0, 400);
    let (code, status) = admin.get(&format!("{PODS}/p/log?container=z")).await;
    assert_eq!((code, &status["message"]), (400, &json!("container z is not valid for pod p")));

    let identity = server.authority.user("admin", &["system:masters"]);
    let connector = TlsConnector::from(Arc::new(client_tls(&server.authority.pem, Some(identity))));
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.expect("connection");
    let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut stream = connector.connect(name, stream).await.expect("TLS");
    let request = format!(
        "POST {PODS}/p/exec?command=echo&command=a%20b&stdin=true&stdout=true HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\
         Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"ping").await.expect("bytes");
    let mut text = [0; 4];
    stream.read_exact(&mut text).await.expect("echo");
    assert_eq!(&text, b"ping");
    let head = kubelet.await.expect("kubelet");
    assert!(
        head.starts_with("POST /exec/default/p/c?input=1&output=1&command=echo&command=a%20b HTTP/1.1"),
        "{head}"
    );
    assert!(head.to_ascii_lowercase().contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
    drop(stream);
    server.stop().await;
}
