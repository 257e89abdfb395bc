//! What webhooks see and what they do to a write.
use crate::harness::{Client, Server};
use crate::remote::{Remote, answered, configuration, patched};
use http::Method;
use knarr_api::Value;
use serde_json::json;

pub const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn mutating(admin: &Client, name: &str, webhooks: Vec<Value>) {
    admin.create(MUTATING, &configuration("MutatingWebhookConfiguration", name, webhooks)).await;
}

async fn validating(admin: &Client, name: &str, webhooks: Vec<Value>) {
    admin.create(VALIDATING, &configuration("ValidatingWebhookConfiguration", name, webhooks)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_tell_the_whole_write() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    validating(&admin, "v", vec![remote.webhook("a.example.com", json!({}))]).await;
    let path = format!("{MAPS}?fieldManager=me&dryRun=All");
    admin.create(&path, &map("one")).await;
    let asked = remote.asked().pop().expect("a call");
    assert_eq!(asked.uri, "/hook?timeout=5s");
    assert_eq!(asked.headers["user-agent"], "kube-apiserver-admission");
    assert_eq!(
        (&asked.body["apiVersion"], &asked.body["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let mut request = asked.body["request"].clone();
    assert_eq!(request["object"]["kind"], "ConfigMap");
    assert!(request["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    for taken in ["uid", "object"] {
        request.as_object_mut().expect("object").remove(taken);
    }
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let expected = json!({
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": "one",
        "namespace": "default", "operation": "CREATE", "dryRun": true, "oldObject": null,
        "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"],
            "extra": request["userInfo"]["extra"]},
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"},
    });
    let mut found = request;
    if found["userInfo"]["extra"].is_null() {
        found["userInfo"]["extra"] = Value::Null;
    }
    assert_eq!(found, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_made_and_seen_by_those_that_check() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let changing = Remote::start(|asked| {
        if asked.body["request"]["operation"] == "DELETE" {
            return answered(asked, json!({}));
        }
        let object = &asked.body["request"]["object"];
        assert!(object["metadata"].get("uid").is_none_or(|_| asked.body["request"]["operation"] == "UPDATE"));
        patched(
            asked,
            json!([{"op": "add", "path": "/metadata/labels", "value": {"made": "yes"}},
            {"op": "add", "path": "/unknown", "value": 1}]),
        )
    })
    .await;
    let checking = Remote::start(|asked| {
        let request = &asked.body["request"];
        let allowed =
            request["operation"] == "DELETE" || request["object"]["metadata"]["labels"]["made"] == "yes";
        answered(asked, json!({"allowed": allowed, "warnings": ["careful"]}))
    })
    .await;
    mutating(&admin, "m", vec![changing.webhook("a.example.com", json!({}))]).await;
    validating(&admin, "v", vec![checking.webhook("b.example.com", json!({}))]).await;
    let headers = [("content-type", "application/json")];
    let response = admin.raw(Method::POST, MAPS, &headers, map("one").to_string()).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"careful\"");
    let made: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(made["metadata"]["labels"], json!({"made": "yes"}));
    assert!(made.get("unknown").is_none());
    let (code, _) = admin.send(Method::DELETE, &format!("{MAPS}/one"), "").await;
    assert_eq!(code, 200);
    let last = checking.reviews().pop().expect("a call");
    assert_eq!(
        (&last["operation"], &last["object"], &last["name"]),
        (&json!("DELETE"), &Value::Null, &json!("one"))
    );
    assert_eq!(last["oldObject"]["metadata"]["labels"]["made"], "yes");
    assert_eq!(last["options"]["kind"], "DeleteOptions");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_passed_on() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| {
        let status = match asked.body["request"]["name"].as_str() {
            Some("bare") => Value::Null,
            _ => json!({"code": 418, "reason": "Teapot", "message": "too hot", "details": {"causes": [{"field": "x"}]}}),
        };
        answered(asked, json!({"allowed": false, "status": status, "warnings": ["told"]}))
    })
    .await;
    validating(&admin, "v", vec![remote.webhook("a.example.com", json!({}))]).await;
    let headers = [("content-type", "application/json")];
    let response = admin.raw(Method::POST, MAPS, &headers, map("one").to_string()).await;
    assert_eq!(response.headers()["warning"], "299 - \"told\"");
    let status: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 418,
            "reason": "Teapot", "message": "admission webhook \"a.example.com\" denied the request: too hot",
            "details": {"causes": [{"field": "x"}]}})
    );
    let (code, status) = admin.post(MAPS, &map("bare")).await;
    let text = "admission webhook \"a.example.com\" denied the request without explanation";
    assert_eq!((code, &status["message"]), (400, &json!(text)));
    let (_, metrics) = admin.get("/metrics").await;
    let line = "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"a.example.com\",\
                operation=\"CREATE\",rejection_code=\"418\",type=\"validating\"} 1";
    assert!(metrics.as_str().is_some_and(|text| text.contains(line)), "{metrics}");
    server.stop().await;
}

/// A webhook that asked for it sees again what later ones changed, once; the others do not.
#[tokio::test(flavor = "multi_thread")]
async fn reinvocation() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| {
        let path = asked.uri.split('?').next().unwrap_or_default().to_owned();
        let name = path.trim_start_matches('/');
        let object = &asked.body["request"]["object"];
        if object["data"][name] == "1" {
            return answered(asked, json!({}));
        }
        let mut data = object["data"].clone();
        data[name] = "1".into();
        patched(asked, json!([{"op": "add", "path": "/data", "value": data}]))
    })
    .await;
    let hook = |name: &str, more: Value| {
        let mut webhook = remote.webhook(&format!("{name}.example.com"), more);
        webhook["clientConfig"] = remote.client_config(&format!("/{name}"));
        webhook
    };
    let needed = json!({"reinvocationPolicy": "IfNeeded"});
    mutating(&admin, "b", vec![hook("last", needed.clone())]).await;
    mutating(&admin, "a", vec![hook("eager", needed), hook("once", json!({}))]).await;
    let made = admin.create(MAPS, &map("one")).await;
    assert_eq!(made["data"], json!({"eager": "1", "once": "1", "last": "1"}));
    let called: Vec<String> =
        remote.asked().iter().map(|asked| asked.uri.replace("?timeout=5s", "")).collect();
    assert_eq!(called, ["/eager", "/once", "/last", "/eager"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_and_rules_choose() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let labels = json!({"matchLabels": {"watched": "yes"}});
    let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["configmaps", "namespaces"],
        "operations": ["CREATE", "UPDATE"]}]);
    let by_object = remote.webhook("o.example.com", json!({"objectSelector": labels, "rules": rules}));
    let by_namespace = remote.webhook("n.example.com", json!({"namespaceSelector": labels, "rules": rules}));
    validating(&admin, "v", vec![by_object]).await;
    admin.create(MAPS, &map("plain")).await;
    assert_eq!(remote.reviews().len(), 0);
    let mut marked = map("marked");
    marked["metadata"]["labels"] = json!({"watched": "yes"});
    admin.create(MAPS, &marked).await;
    assert_eq!(remote.reviews().len(), 1);
    // An update that takes the label away is still of an object that had it.
    let (code, _) = admin.send(Method::PUT, &format!("{MAPS}/marked"), map("marked").to_string()).await;
    assert_eq!((code, remote.reviews().len()), (200, 2));
    let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/v"), "").await;
    assert_eq!(code, 200);
    remote.forget();
    validating(&admin, "w", vec![by_namespace]).await;
    let namespace = json!({"metadata": {"name": "watched", "labels": {"watched": "yes"}}});
    admin.create("/api/v1/namespaces", &namespace).await;
    admin.create("/api/v1/namespaces/watched/configmaps", &map("one")).await;
    admin.create(MAPS, &map("two")).await;
    let seen: Vec<_> = remote.reviews().iter().map(|review| review["name"].clone()).collect();
    assert_eq!(seen, [json!("watched"), json!("one")]);
    server.stop().await;
}

/// A webhook for another version of a resource sees the object in that version, unless it says `Exact`.
#[tokio::test(flavor = "multi_thread")]
async fn equivalent_versions() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| {
        patched(asked, json!([{"op": "add", "path": "/spec/targetCPUUtilizationPercentage", "value": 42}]))
    })
    .await;
    let rules = json!([{"apiGroups": ["autoscaling"], "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"], "operations": ["CREATE"]}]);
    let exact = remote.webhook("e.example.com", json!({"rules": rules, "matchPolicy": "Exact"}));
    mutating(&admin, "exact", vec![exact]).await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment",
            "name": "d", "apiVersion": "apps/v1"}}})
    };
    admin.create(path, &scaler("one")).await;
    assert_eq!(remote.reviews().len(), 0);
    mutating(&admin, "any", vec![remote.webhook("a.example.com", json!({"rules": rules}))]).await;
    let made = admin.create(path, &scaler("two")).await;
    assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 42);
    let review = remote.reviews().pop().expect("a call");
    assert_eq!(review["kind"]["version"], "v1");
    assert_eq!(review["requestKind"]["version"], "v2");
    assert_eq!(review["object"]["apiVersion"], "autoscaling/v1");
    server.stop().await;
}

/// A Service stands for the server; its certificate must be of the Service's name.
#[tokio::test(flavor = "multi_thread")]
async fn services_are_called_at_their_endpoints() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--enable-aggregator-routing=true"]).await;
    let admin = server.admin();
    let remote = Remote::start_named("hook.default.svc", |asked| answered(asked, json!({}))).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    admin.create("/api/v1/namespaces/default/services", &service).await;
    let config = json!({"url": null, "service": {"namespace": "default", "name": "hook", "path": "/x"}});
    let webhook = remote.webhook("a.example.com", json!({"clientConfig": config}));
    validating(&admin, "v", vec![webhook]).await;
    let (code, status) = admin.post(MAPS, &map("one")).await;
    let text = "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \
                \"https://hook.default.svc:443/x?timeout=5s\": no endpoints available for service \"hook\"";
    assert_eq!((code, &status["message"]), (500, &json!(text)));
    let slice = json!({"metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": remote.port}],
        "endpoints": [{"addresses": ["127.0.0.1"]}]});
    // Slices may not name loopback addresses, so the address is another one of this host.
    let mut slice = slice;
    slice["endpoints"][0]["addresses"] = json!([crate::remote::own_address()]);
    admin.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    admin.create(MAPS, &map("one")).await;
    assert_eq!(remote.asked().pop().expect("a call").uri, "/x?timeout=5s");
    server.stop().await;
}

/// Match conditions decide before the webhook is called; one that cannot be told counts as the webhook's failure.
#[tokio::test(flavor = "multi_thread")]
async fn match_conditions() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({"allowed": false}))).await;
    let conditions = json!([
        {"name": "not-ann", "expression": "request.userInfo.username != 'ann'"},
        {"name": "named", "expression": "object.metadata.name.startsWith('bad')"},
    ]);
    validating(&admin, "v", vec![remote.webhook("a.example.com", json!({"matchConditions": conditions}))])
        .await;
    admin.create(MAPS, &map("good")).await;
    assert!(remote.asked().is_empty());
    assert_eq!(admin.post(MAPS, &map("bad")).await.0, 400);
    assert_eq!(server.user("ann", &["system:masters"]).post(MAPS, &map("bad")).await.0, 201);
    let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/v"), "").await;
    assert_eq!(code, 200);
    let unknown = json!([{"name": "typo", "expression": "object.data.absent == 'x'"}]);
    let webhook = remote.webhook("b.example.com", json!({"matchConditions": unknown}));
    validating(&admin, "w", vec![webhook]).await;
    let (code, status) = admin.post(MAPS, &map("one")).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{status}");
    let (_, metrics) = admin.get("/metrics").await;
    let text = metrics.as_str().unwrap_or_default();
    for line in [
        "apiserver_admission_match_condition_exclusions_total{kind=\"webhook\",name=\"a.example.com\",operation=\"CREATE\",type=\"validating\"} 2",
        "apiserver_admission_match_condition_evaluation_errors_total{kind=\"webhook\",name=\"b.example.com\",operation=\"CREATE\",type=\"validating\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    server.stop().await;
}

/// `kubeConfigFile`: each webhook is shown what is meant for it.
#[tokio::test(flavor = "multi_thread")]
async fn credentials() {
    let directory = tempfile::tempdir().expect("directory");
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let user = |name: String, token: &str| json!({"name": name, "user": {"token": token}});
    let users = [user(format!("127.0.0.1:{}", remote.port), "of-this"), user("*".to_owned(), "of-others")];
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "users": users});
    std::fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).expect("file");
    let told = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": "kubeconfig"});
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": told}]});
    let path = directory.path().join("admission.json");
    std::fs::write(&path, config.to_string()).expect("file");
    let path = path.display().to_string();
    let server = Server::start(directory.path(), &["--admission-control-config-file", &path]).await;
    let admin = server.admin();
    mutating(&admin, "m", vec![remote.webhook("m.example.com", json!({}))]).await;
    validating(&admin, "v", vec![remote.webhook("v.example.com", json!({}))]).await;
    admin.create(MAPS, &map("one")).await;
    let shown: Vec<_> =
        remote.asked().into_iter().map(|asked| asked.headers.get("authorization").cloned()).collect();
    assert_eq!(shown, [None, Some("Bearer of-this".parse().expect("header"))]);
    server.stop().await;
}
