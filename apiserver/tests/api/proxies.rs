//! Requests passed on to pods and Services.
use crate::harness::{PATIENCE, Server};
use http::Method;
use serde_json::{Value, json};
use std::net::{IpAddr, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SPACE: &str = "/api/v1/namespaces/default";

/// An address of this host that others could reach; none where it has none. Nothing is sent.
fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Answers one request a connection with the head of it.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let answer = format!(
            "HTTP/1.1 418 I\r\nX-From: pod\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            head.len()
        );
        let whole = [answer.as_bytes(), &head].concat();
        stream.write_all(&whole).await.expect("an answer is taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_services_are_reached() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    admin.create(&format!("{SPACE}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    admin.create(&format!("{SPACE}/pods"), &pod).await;
    let status = async |ip: &str| {
        let patch = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
        let headers = [("content-type", "application/merge-patch+json")];
        let path = format!("{SPACE}/pods/p/status");
        let reply = admin.raw(Method::PATCH, &path, &headers, patch.to_string()).await;
        assert_eq!(reply.status(), 200, "{:?}", reply.body());
    };
    status("127.0.0.1").await;
    let (code, refused) = admin.get(&format!("{SPACE}/pods/p:8080/proxy/")).await;
    assert_eq!((code, &refused["message"]), (400, &json!("address not allowed")));
    let Some(ip) = address() else {
        eprintln!("left out: this host has no address that others reach");
        return server.stop().await;
    };
    let listener = TcpListener::bind((ip, 0)).await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let pods = tokio::spawn(serve(listener));
    status(&ip.to_string()).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}]}});
    admin.create(&format!("{SPACE}/services"), &service).await;
    let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "web", "port": port}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    admin.create(slices, &slice).await;
    for (path, line) in [
        (format!("pods/p:{port}/proxy/a/b%2Fc?x=1&y"), "PUT /a/b%2Fc?x=1&y HTTP/1.1"),
        (format!("pods/http:p:{port}/proxy/"), "PUT / HTTP/1.1"),
        ("services/s:web/proxy/deep/path".to_owned(), "PUT /deep/path HTTP/1.1"),
        ("services/http:s:80/proxy/?q".to_owned(), "PUT /?q HTTP/1.1"),
    ] {
        let headers = [("x-mine", "1"), ("authorization", "Bearer secret")];
        let path = format!("{SPACE}/{path}");
        let sent = admin.raw(Method::PUT, &path, &headers, "");
        let reply = tokio::time::timeout(PATIENCE, sent).await.expect("an answer in time");
        let head = String::from_utf8_lossy(reply.body()).to_ascii_lowercase();
        assert_eq!(reply.status(), 418, "{path}: {head}");
        assert_eq!(reply.headers()["x-from"], "pod");
        assert!(head.starts_with(&line.to_ascii_lowercase()), "{path}: {head}");
        let told = format!("x-forwarded-uri: {}\r\n", path.split('?').next().unwrap_or_default());
        for line in ["x-mine: 1\r\n", "x-forwarded-for: 127.0.0.1\r\n", &told.to_ascii_lowercase()] {
            assert!(head.contains(line), "{line} in {head}");
        }
        assert!(!head.contains("secret"), "credentials are for this server only: {head}");
    }
    let redirected = admin.raw(Method::GET, &format!("{SPACE}/services/s:web/proxy?x=1"), &[], "").await;
    assert_eq!(redirected.status(), 301);
    assert_eq!(redirected.headers()["location"], format!("{SPACE}/services/s:web/proxy/?x=1"));
    let none: Vec<(String, u16)> = vec![
        (format!("{SPACE}/pods/none/proxy/"), 404),
        (format!("{SPACE}/services/none/proxy/"), 404),
        (format!("{SPACE}/services/s:other/proxy/"), 503),
    ];
    for (path, wanted) in none {
        let (code, status): (u16, Value) = admin.get(&path).await;
        assert_eq!(code, wanted, "{path}: {status}");
    }
    pods.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_reached() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let status = async |ip: &str, port: u16| {
        let patch = json!({"status": {"addresses": [{"type": "InternalIP", "address": ip}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
        let headers = [("content-type", "application/merge-patch+json")];
        let reply = admin.raw(Method::PATCH, "/api/v1/nodes/n/status", &headers, patch.to_string()).await;
        assert_eq!(reply.status(), 200, "{:?}", reply.body());
    };
    let closed =
        TcpListener::bind("127.0.0.1:0").await.expect("listener").local_addr().expect("address").port();
    status("127.0.0.1", closed).await;
    let dialled = format!("dial tcp 127.0.0.1:{closed}: connect: connection refused");
    for (name, code, message) in [
        ("n".to_owned(), 503, format!("error trying to reach service: {dialled}")),
        (format!("n:{closed}"), 503, format!("error trying to reach service: {dialled}")),
        ("n:1".to_owned(), 400, "address not allowed".to_owned()),
        ("n:x".to_owned(), 400, "invalid port \"x\"".to_owned()),
        ("other".to_owned(), 404, "nodes \"other\" not found".to_owned()),
    ] {
        let (was, refused) = admin.get(&format!("/api/v1/nodes/{name}/proxy/healthz")).await;
        assert_eq!((was, &refused["message"]), (code, &json!(message)), "{name}");
    }
    let Some(ip) = address() else {
        eprintln!("left out: this host has no address that others reach");
        return server.stop().await;
    };
    let listener = TcpListener::bind((ip, 0)).await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let node = tokio::spawn(serve(listener));
    status(&ip.to_string(), closed).await;
    let path = format!("/api/v1/nodes/n:{port}/proxy/logs/a?x=1");
    let sent = admin.raw(Method::PUT, &path, &[], "");
    let reply = tokio::time::timeout(PATIENCE, sent).await.expect("an answer in time");
    assert_eq!(reply.status(), 418);
    assert!(reply.body().starts_with(b"PUT /logs/a?x=1 HTTP/1.1"), "{:?}", reply.body());
    node.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_asked_how_they_are() {
    let directory = tempfile::tempdir().expect("directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let ill = listener.local_addr().expect("address");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("listener").local_addr().expect("address");
    let component = tokio::spawn(serve(listener));
    let flag = format!("--component-health=ill=http://{ill}/healthz,gone=https://{closed}/healthz");
    let server = Server::start(directory.path(), &[&flag]).await;
    let (code, list) = server.admin().get("/api/v1/componentstatuses").await;
    assert_eq!(code, 200, "{list}");
    let told: Vec<[&Value; 3]> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            let condition = &item["conditions"][0];
            [&item["metadata"]["name"], &condition["status"], &condition["message"]]
        })
        .collect();
    let gone = format!("Get \"https://{closed}/healthz\": dial tcp {closed}: connect: connection refused");
    let wanted = [
        ["ill", "False", "HTTP probe failed with statuscode: 418"],
        ["gone", "False", &gone],
        ["etcd-0", "True", "ok"],
    ];
    assert_eq!(told, wanted);
    component.abort();
    server.stop().await;
}
