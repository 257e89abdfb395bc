//! Group versions that another server answers, as APIServices say.
use crate::harness::{Client, PATIENCE, Server, client_tls, eventually};
use crate::remote::{Asked, Remote, own_address};
use http::Method;
use knarr_api::Value;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// A sample API server.
fn wardle(asked: &Asked) -> Value {
    let path = asked.uri.split('?').next().unwrap_or_default();
    match path {
        "/apis/wardle.example.com/v1alpha1" => json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "wardle.example.com/v1alpha1", "resources": [{"name": "flunders",
                "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"]}]}),
        "/openapi/v3" => json!({"paths": {"apis/wardle.example.com/v1alpha1":
            {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1"}}}),
        "/openapi/v2" => json!({"swagger": "2.0", "paths": {"/apis/wardle.example.com/v1alpha1/": {}},
            "definitions": {"com.example.wardle.Flunder": {"type": "object"}}}),
        path => json!({"path": path, "uri": asked.uri, "method": asked.method.as_str(), "body": asked.body}),
    }
}

async fn start() -> (tempfile::TempDir, Server, Client, Remote) {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--enable-aggregator-routing=true"]).await;
    let admin = server.admin();
    let remote = Remote::start_named("wardle.default.svc", wardle).await;
    (directory, server, admin, remote)
}

async fn publish(admin: &Client, remote: &Remote) {
    let service = json!({"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}});
    admin.create("/api/v1/namespaces/default/services", &service).await;
    let slice = json!({"metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": remote.port}],
        "endpoints": [{"addresses": [own_address()]}]});
    admin.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
}

fn api_service(remote: &Remote) -> Value {
    json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {"group": "wardle.example.com",
        "version": "v1alpha1", "service": {"namespace": "default", "name": "wardle"},
        "caBundle": remote.bundle(), "groupPriorityMinimum": 2000, "versionPriority": 10}})
}

async fn reason(admin: &Client) -> String {
    let (_, object) = admin.get(&format!("{SERVICES}/v1alpha1.wardle.example.com")).await;
    object["status"]["conditions"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

async fn available(admin: &Client) {
    eventually(async || reason(admin).await == "Passed").await;
    eventually(async || admin.get(FLUNDERS).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn availability() {
    let (_directory, server, admin, remote) = start().await;
    admin.create(SERVICES, &api_service(&remote)).await;
    eventually(async || reason(&admin).await == "ServiceNotFound").await;
    let headers = [("accept", "application/json")];
    let response = admin.raw(Method::GET, FLUNDERS, &headers, "").await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (503, &b"service unavailable\n"[..]));
    let (_, groups) = admin.get("/apis").await;
    assert!(groups["groups"].as_array().expect("groups").iter().any(|g| g["name"] == "wardle.example.com"));
    let unavailable = "aggregator_unavailable_apiservice{name=\"v1alpha1.wardle.example.com\"} ";
    let counted = "aggregator_unavailable_apiservice_total{name=\"v1alpha1.wardle.example.com\",reason=\"ServiceNotFound\"} ";
    let metrics = async || {
        let answer = admin.raw(Method::GET, "/metrics", &[], "").await;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        (value(unavailable), value(counted).is_some())
    };
    assert_eq!(metrics().await, (Some("1".to_owned()), true));
    publish(&admin, &remote).await;
    available(&admin).await;
    assert_eq!(metrics().await, (Some("0".to_owned()), true));
    let (_, object) = admin.get(&format!("{SERVICES}/v1alpha1.wardle.example.com")).await;
    assert_eq!(object["status"]["conditions"][0]["message"], "all checks passed");
    // The wrong authority.
    let mut changed = object.clone();
    changed["spec"]["caBundle"] = Remote::start(wardle).await.bundle().into();
    changed["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    let path = format!("{SERVICES}/v1alpha1.wardle.example.com");
    let media = [("content-type", "application/merge-patch+json")];
    let patch = json!({"spec": {"caBundle": changed["spec"]["caBundle"]}}).to_string();
    assert_eq!(admin.raw(Method::PATCH, &path, &media, patch).await.status(), 200);
    eventually(async || reason(&admin).await == "FailedDiscoveryCheck").await;
    let (_, object) = admin.get(&path).await;
    let message = object["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
    let url = "https://wardle.default.svc:443/apis/wardle.example.com/v1alpha1";
    let text = format!(
        "failing or missing response from {url}: Get \"{url}\": tls: failed to verify certificate: x509: certificate \
         signed by unknown authority"
    );
    assert_eq!(message, text);
    let patch = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}}).to_string();
    assert_eq!(admin.raw(Method::PATCH, &path, &media, patch).await.status(), 200);
    available(&admin).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_passed_on_with_the_users_identity() {
    let (_directory, server, admin, remote) = start().await;
    publish(&admin, &remote).await;
    admin.create(SERVICES, &api_service(&remote)).await;
    available(&admin).await;
    remote.forget();
    let headers = [
        ("content-type", "application/json"),
        ("x-remote-user", "eve"),
        ("x-remote-group", "system:masters"),
        ("x-other", "kept"),
    ];
    let path = format!("{FLUNDERS}/a%2Fb?x=y");
    let response = admin.raw(Method::POST, &path, &headers, "{\"a\":1}").await;
    let answer: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(
        (&answer["uri"], &answer["method"], &answer["body"]),
        (&json!(path), &json!("POST"), &json!({"a": 1}))
    );
    let asked = remote.asked().into_iter().find(|asked| asked.uri == path).expect("a call");
    let all = |name: &str| {
        asked.headers.get_all(name).iter().map(|v| v.to_str().expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(all("x-remote-user"), ["admin"]);
    assert_eq!(all("x-remote-group"), ["system:masters", "system:authenticated"]);
    assert_eq!((all("x-other"), all("x-forwarded-for")), (vec!["kept"], vec!["127.0.0.1"]));
    assert!(!asked.headers.contains_key("authorization"));
    for more in [&[][..], &[("connection", "upgrade"), ("upgrade", "echo")]] {
        let moved = admin.raw(Method::GET, &format!("{FLUNDERS}/elsewhere"), more, "").await;
        assert_eq!((moved.status().as_u16(), moved.headers().get("location")), (502, None));
    }
    // Rights are asked for here as for any resource.
    let ann = server.user("ann", &[]);
    assert_eq!(ann.get(FLUNDERS).await.0, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_are_merged() {
    let (_directory, server, admin, remote) = start().await;
    publish(&admin, &remote).await;
    admin.create(SERVICES, &api_service(&remote)).await;
    available(&admin).await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let of_group = async |client: &Client| {
        let response = client.raw(Method::GET, "/apis", &[("accept", accept)], "").await;
        let list: Value = serde_json::from_slice(response.body()).expect("JSON");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|item| item["metadata"]["name"] == "wardle.example.com").unwrap_or_default()
    };
    eventually(async || of_group(&admin).await["versions"][0]["freshness"] == "Current").await;
    let group = of_group(&admin).await;
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "flunders");
    let (_, group) = admin.get("/apis/wardle.example.com").await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    let (_, groups) = admin.get("/apis").await;
    let names: Vec<&str> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    let at = |name: &str| names.iter().position(|n| *n == name).expect("the group");
    assert!(at("flowcontrol.apiserver.k8s.io") < at("wardle.example.com"));
    assert!(at("wardle.example.com") < at("metrics.k8s.io"));
    let key = "apis/wardle.example.com/v1alpha1";
    eventually(async || admin.get("/openapi/v3").await.1["paths"].get(key).is_some()).await;
    let (_, index) = admin.get("/openapi/v3").await;
    assert!(index["paths"].get("api/v1").is_some());
    let (code, document) = admin.get(&format!("/openapi/v3/{key}")).await;
    assert_eq!((code, &document["path"]), (200, &json!(format!("/openapi/v3/{key}"))));
    eventually(async || {
        let (_, document) = admin.get("/openapi/v2").await;
        document["definitions"].get("com.example.wardle.Flunder").is_some()
            && document["definitions"].get("io.k8s.api.core.v1.Pod").is_some()
    })
    .await;
    let response = admin.raw(Method::GET, "/openapi/v2", &[], "").await;
    let tag = response.headers()["etag"].to_str().expect("a tag").to_owned();
    let response = admin.raw(Method::GET, "/openapi/v2", &[("if-none-match", &tag)], "").await;
    assert_eq!(response.status(), 304);
    // What cannot be reached is still told of, as stale.
    drop(remote);
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/wardle-1";
    assert_eq!(admin.send(Method::DELETE, slice, "").await.0, 200);
    eventually(async || of_group(&admin).await["versions"][0]["freshness"] == "Stale").await;
    assert_eq!(of_group(&admin).await["versions"][0]["resources"][0]["resource"], "flunders");
    eventually(async || reason(&admin).await == "EndpointsNotFound").await;
    let (code, _) = admin.send(Method::DELETE, &format!("{SERVICES}/v1alpha1.wardle.example.com"), "").await;
    assert_eq!(code, 200);
    eventually(async || admin.get("/apis/wardle.example.com").await.0 == 404).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_upgraded() {
    let (_directory, server, admin, remote) = start().await;
    publish(&admin, &remote).await;
    admin.create(SERVICES, &api_service(&remote)).await;
    available(&admin).await;
    let identity = server.authority.user("admin", &["system:masters"]);
    let mut config = client_tls(&server.authority.pem, Some(identity));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connection");
    let name = ServerName::try_from("127.0.0.1").expect("name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let head = format!(
        "GET {FLUNDERS}/a/stream HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("open");
        answer.push(byte);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream.write_all(b"hello").await.expect("write");
    let mut echoed = [0; 5];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut echoed)).await.expect("in time").expect("open");
    assert_eq!(&echoed, b"hello");
    let asked = remote.asked().into_iter().find(|asked| asked.uri.ends_with("/stream")).expect("a call");
    assert_eq!(asked.headers["x-remote-user"], "admin");
    server.stop().await;
}

/// Every group version of the server itself has an object, those of custom resources as long as they are.
#[tokio::test(flavor = "multi_thread")]
async fn local_group_versions_have_objects() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let name = "v1.x.example";
    eventually(async || admin.get(&format!("{SERVICES}/v1.apps")).await.0 == 200).await;
    let (_, core) = admin.get(&format!("{SERVICES}/v1.")).await;
    assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
    assert_eq!(core["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(core["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    let crd = json!({"metadata": {"name": "things.x.example"}, "spec": {"group": "x.example", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    admin.create(definitions, &crd).await;
    eventually(async || admin.get(&format!("{SERVICES}/{name}")).await.0 == 200).await;
    let (_, object) = admin.get(&format!("{SERVICES}/{name}")).await;
    assert_eq!(
        (&object["spec"]["groupPriorityMinimum"], &object["spec"]["versionPriority"]),
        (&json!(1000), &json!(100))
    );
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let response = admin.raw(Method::GET, &format!("{SERVICES}/{name}"), &table, "").await;
    let table: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(
        table["rows"][0]["cells"].as_array().expect("cells")[..3],
        [json!(name), json!("Local"), json!("True")]
    );
    assert_eq!(admin.send(Method::DELETE, &format!("{definitions}/things.x.example"), "").await.0, 200);
    eventually(async || admin.get(&format!("{SERVICES}/{name}")).await.0 == 404).await;
    server.stop().await;
}

/// Usage is told from what a kubelet counts, unless somebody else tells it.
#[tokio::test(flavor = "multi_thread")]
async fn usage_of_nodes_and_pods() {
    let (_directory, server, admin, _) = start().await;
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let kubelet = Remote::start(move |_| {
        let used = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) * 500_000_000;
        let cpu = json!({"usageCoreNanoSeconds": used});
        let memory = json!({"workingSetBytes": 8 * 1024 * 1024});
        json!({"node": {"nodeName": "n", "cpu": cpu, "memory": memory},
            "pods": [{"podRef": {"uid": "u"}, "containers": [{"name": "c", "cpu": cpu, "memory": memory}]}]})
    })
    .await;
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n", "labels": {"a": "b"}}})).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}});
    let media = [("content-type", "application/merge-patch+json")];
    let response = admin.raw(Method::PATCH, "/api/v1/nodes/n/status", &media, status.to_string()).await;
    assert_eq!(response.status(), 200);
    let (code, list) = admin.get("/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!((code, &list["kind"]), (200, &json!("NodeMetricsList")));
    let node = &list["items"][0];
    assert_eq!((&node["metadata"]["name"], &node["usage"]["memory"]), (&json!("n"), &json!("8Mi")));
    assert!(node["usage"]["cpu"].as_str().is_some_and(|text| text != "0"), "{node}");
    assert_eq!(
        admin.get("/apis/metrics.k8s.io/v1beta1/nodes?labelSelector=a%3Dc").await.1["items"],
        json!([])
    );
    assert_eq!(admin.get("/apis/metrics.k8s.io/v1beta1/nodes/n").await.0, 200);
    let (code, status) = admin.get("/apis/metrics.k8s.io/v1beta1/nodes/m").await;
    assert_eq!((code, &status["message"]), (404, &json!("nodes.metrics.k8s.io \"m\" not found")));
    assert_eq!(admin.get("/apis/metrics.k8s.io/v1beta1/pods").await.1["items"], json!([]));
    let (_, group) = admin.get("/apis/metrics.k8s.io").await;
    assert_eq!(group["versions"][0]["version"], "v1beta1");
    assert_eq!(admin.get("/apis/metrics.k8s.io/v1beta1").await.1["kind"], "APIResourceList");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    for path in ["/apis/metrics.k8s.io/v1beta1/nodes", "/apis/metrics.k8s.io/v1beta1/nodes/n"] {
        let answer = admin.raw(Method::GET, path, &table, "").await;
        let table: Value = serde_json::from_slice(answer.body()).expect("JSON");
        let names = table["columnDefinitions"].as_array().expect("columns").iter().map(|c| c["name"].clone());
        assert_eq!(names.collect::<Vec<_>>(), ["Name", "cpu", "memory", "Window"]);
        assert_eq!(
            (&table["rows"][0]["cells"][0], &table["rows"][0]["cells"][2]),
            (&json!("n"), &json!("8Mi"))
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "NodeMetrics");
    }
    let (_, index) = admin.get("/openapi/v3").await;
    assert!(index["paths"]["apis/metrics.k8s.io/v1beta1"].is_object(), "{index}");
    let (_, v3) = admin.get("/openapi/v3/apis/metrics.k8s.io/v1beta1").await;
    let (_, v2) = admin.get("/openapi/v2").await;
    for (document, schemas) in [(&v3, &v3["components"]["schemas"]), (&v2, &v2["definitions"])] {
        let read =
            &document["paths"]["/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}"]["get"];
        assert_eq!(read["x-kubernetes-group-version-kind"]["kind"], "PodMetrics", "{read}");
        let pod = &schemas["io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"];
        assert_eq!(pod["required"], json!(["timestamp", "window", "containers"]), "{pod}");
        for described in [pod, &pod["properties"]["window"]] {
            assert!(described["description"].is_string(), "{pod}");
        }
    }
    let object = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {"group": "metrics.k8s.io",
        "version": "v1beta1", "service": {"namespace": "default", "name": "gone"}, "groupPriorityMinimum": 100,
        "versionPriority": 100}});
    admin.create(SERVICES, &object).await;
    eventually(async || admin.get("/apis/metrics.k8s.io/v1beta1/nodes").await.0 == 503).await;
    server.stop().await;
}
