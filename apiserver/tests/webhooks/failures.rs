//! Webhooks that fail: what the client is told, and that nothing else suffers.
use crate::admission::{MAPS, MUTATING, VALIDATING, map};
use crate::harness::{Client, Server};
use crate::remote::{Remote, answered, configuration, patched};
use bytes::Bytes;
use http::Method;
use knarr_api::Value;
use serde_json::json;
use std::time::Duration;

async fn validating(admin: &Client, webhook: Value) {
    let configuration = configuration("ValidatingWebhookConfiguration", "v", vec![webhook]);
    admin.create(VALIDATING, &configuration).await;
}

/// The message of the refusal of a new ConfigMap.
async fn refused(admin: &Client, name: &str) -> String {
    let (code, status) = admin.post(MAPS, &map(name)).await;
    assert_eq!((code, &status["reason"]), (500, &json!("InternalError")), "{status}");
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    let cause = status["details"]["causes"][0]["message"].as_str().unwrap_or_default();
    assert_eq!(message, format!("Internal error occurred: {cause}"));
    message
}

const FAILED: &str = "Internal error occurred: failed calling webhook \"a.example.com\": ";

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_worded_as_in_the_original() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start_raw(|asked| {
        Box::pin(async move {
            let json = "application/json";
            let wrong_uid = json!({"uid": "other", "allowed": true});
            match asked.body["request"]["name"].as_str().unwrap_or_default() {
                "text" => (200, json, Bytes::from_static(b"oops")),
                "uid" => (200, json, answered(&asked, wrong_uid).to_string().into()),
                "absent" => (
                    200,
                    json,
                    "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}".into(),
                ),
                "broken" => (500, "text/plain", "boom".into()),
                "missing" => (404, "text/plain", "".into()),
                "moved" => (307, "text/plain", "".into()),
                "large" => (200, json, vec![b' '; 17 * 1024 * 1024].into()),
                "patch" => (200, json, patched(&asked, json!([])).to_string().into()),
                "slow" => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    (200, json, Bytes::new())
                }
                _ => (200, json, answered(&asked, json!({})).to_string().into()),
            }
        })
    })
    .await;
    validating(&admin, remote.webhook("a.example.com", json!({"timeoutSeconds": 1}))).await;
    let url = format!("https://127.0.0.1:{}/hook?timeout=1s", remote.port);
    for (name, text) in [
        ("text", "failed to call webhook: couldn't get version/kind; json parse error: invalid character 'o' looking for beginning of value".to_owned()),
        ("uid", "received invalid webhook response: expected response.uid=".to_owned()),
        ("absent", "received invalid webhook response: webhook response was absent".to_owned()),
        (
            "broken",
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"
                .to_owned(),
        ),
        ("missing", "failed to call webhook: the server could not find the requested resource".to_owned()),
        (
            "moved",
            "failed to call webhook: the server responded with the status code 307 but did not return more information"
                .to_owned(),
        ),
        ("large", format!("failed to call webhook: Post \"{url}\": response is larger than the limit")),
        ("patch", "received invalid webhook response: validating webhook may not return response.patch".to_owned()),
        ("slow", format!("failed to call webhook: Post \"{url}\": context deadline exceeded")),
    ] {
        let message = refused(&admin, name).await;
        assert!(message.starts_with(&format!("{FAILED}{text}")), "{name}: {message}");
    }
    admin.create(MAPS, &map("fine")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_and_untrusted() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let other = Remote::start(|asked| answered(asked, json!({}))).await;
    let named = Remote::start_named("a.b", |asked| answered(asked, json!({}))).await;
    let closed = json!({"url": "https://127.0.0.1:1/x"});
    let foreign = json!({"clientConfig": {"caBundle": other.bundle()}});
    let service = json!({"url": null, "service": {"namespace": "default", "name": "gone"}});
    let verify = "tls: failed to verify certificate: x509: ";
    for (remote, more, text) in [
        (
            &remote,
            json!({"clientConfig": closed}),
            "dial tcp 127.0.0.1:1: connect: connection refused".to_owned(),
        ),
        (&remote, foreign, format!("{verify}certificate signed by unknown authority")),
        (&named, json!({}), format!("{verify}certificate is valid for a.b, not 127.0.0.1")),
        (&remote, json!({"clientConfig": service}), "service \"gone\" not found".to_owned()),
    ] {
        validating(&admin, remote.webhook("a.example.com", more)).await;
        let message = refused(&admin, "one").await;
        assert!(
            message.starts_with(&format!("{FAILED}failed to call webhook: Post \"https://")),
            "{message}"
        );
        assert!(message.ends_with(&format!("?timeout=5s\": {text}")), "{message}");
        let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/v"), "").await;
        assert_eq!(code, 200);
    }
    assert!(remote.asked().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_are_ignored() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let dead = json!({"clientConfig": {"url": "https://127.0.0.1:1/x"}, "failurePolicy": "Ignore"});
    let webhook = remote.webhook("a.example.com", dead);
    validating(&admin, webhook.clone()).await;
    let configuration = configuration("MutatingWebhookConfiguration", "m", vec![webhook]);
    admin.create(MUTATING, &configuration).await;
    admin.create(MAPS, &map("one")).await;
    let (_, metrics) = admin.get("/metrics").await;
    let text = metrics.as_str().unwrap_or_default();
    for kind in ["admit", "validating"] {
        let line = format!(
            "apiserver_admission_webhook_fail_open_count{{name=\"a.example.com\",type=\"{kind}\"}} 1"
        );
        assert!(text.contains(&line), "{text}");
    }
    server.stop().await;
}

/// Patches that break the object are the webhook's fault and told as such; what validation refuses is told as ever.
#[tokio::test(flavor = "multi_thread")]
async fn patches_that_do_not_fit() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| {
        let patch = match asked.body["request"]["name"].as_str().unwrap_or_default() {
            "path" => json!([{"op": "remove", "path": "/data/none"}]),
            "type" => json!([{"op": "add", "path": "/data", "value": 7}]),
            "kind" => json!([{"op": "replace", "path": "/kind", "value": "Secret"}]),
            "operation" => json!([{"op": "dance", "path": "/data"}]),
            "moved" => json!([{"op": "replace", "path": "/metadata/namespace", "value": "other"}]),
            "invalid" => json!([{"op": "add", "path": "/data", "value": {"a b": "c"}}]),
            _ => json!([{"op": "add", "path": "/metadata/labels", "value": {"gone": "yes"}}]),
        };
        patched(asked, patch)
    })
    .await;
    let configuration =
        configuration("MutatingWebhookConfiguration", "m", vec![remote.webhook("a.example.com", json!({}))]);
    admin.create(MUTATING, &configuration).await;
    for name in ["path", "type", "kind", "operation"] {
        refused(&admin, name).await;
    }
    let (code, status) = admin.post(MAPS, &map("invalid")).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let (code, status) = admin.post(MAPS, &map("moved")).await;
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!((code, &status["message"]), (400, &json!(text)));
    admin.create(MAPS, &map("fine")).await;
    let (code, status) = admin.send(Method::DELETE, &format!("{MAPS}/fine"), "").await;
    let text = "Internal error occurred: admission webhook \"a.example.com\" attempted to modify the object, which is \
                not supported for this operation";
    assert_eq!((code, &status["message"]), (500, &json!(text)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_needs_a_webhook_without_effects() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let webhook = remote.webhook("a.example.com", json!({"sideEffects": "NoneOnDryRun"}));
    validating(&admin, webhook).await;
    let path = format!("{MAPS}?dryRun=All");
    admin.create(&path, &map("one")).await;
    assert_eq!(remote.reviews()[0]["dryRun"], true);
    assert_eq!(admin.get(&format!("{MAPS}/one")).await.0, 404);
    server.stop().await;
}

/// A webhook whose server writes what the webhook is called for only hurts itself.
#[tokio::test(flavor = "multi_thread")]
async fn loops_end() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let (port, pem) = (server.port, server.authority.pem.clone());
    let identity = server.authority.user("hook", &["system:masters"]);
    let client = std::sync::Arc::new(Client::new(port, &pem, Some(identity)));
    let depth = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let remote = Remote::start_raw(move |asked| {
        let (client, depth) = (client.clone(), depth.clone());
        Box::pin(async move {
            let number = depth.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            client.post(MAPS, &map(&format!("loop-{number}"))).await;
            (200, "application/json", answered(&asked, json!({})).to_string().into())
        })
    })
    .await;
    validating(&admin, remote.webhook("a.example.com", json!({"timeoutSeconds": 1}))).await;
    let message = refused(&admin, "one").await;
    assert!(message.ends_with("context deadline exceeded"), "{message}");
    let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/v"), "").await;
    assert_eq!(code, 200);
    admin.create(MAPS, &map("one")).await;
    server.stop().await;
}

/// With a dead webhook for everything a cluster still starts, and the configuration can be taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_webhook_stops_no_start() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let rules =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    let dead = json!({"clientConfig": {"url": "https://127.0.0.1:1/x"}, "rules": rules});
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/view";
    let (code, _) = admin.send(Method::DELETE, role, "").await;
    assert_eq!(code, 200);
    validating(&admin, remote.webhook("a.example.com", dead)).await;
    server.stop().await;
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    assert_eq!(admin.get(role).await.0, 200);
    refused(&admin, "one").await;
    let (code, _) = admin.send(Method::DELETE, &format!("{VALIDATING}/v"), "").await;
    assert_eq!(code, 200);
    admin.create(MAPS, &map("one")).await;
    server.stop().await;
}
