//! Where events go.
use crate::audited::Audited;
use crate::harness::{Client, PATIENCE, Server, eventually};
use crate::remote::Remote;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_api::Value;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ALL: &str = "rules: [{level: Request, resources: [{resources: [configmaps]}]}]\n";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn kubeconfig(directory: &Path, remote: &Remote) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": format!("https://127.0.0.1:{}/audit", remote.port),
            "certificate-authority-data": STANDARD.encode(&remote.authority.pem)}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    });
    let path = directory.join("webhook.kubeconfig");
    std::fs::write(&path, config.to_string()).expect("file");
    format!("--audit-webhook-config-file={}", path.display())
}

async fn write(client: &Client, name: &str) -> u16 {
    client.post(MAPS, &json!({"metadata": {"name": name}, "data": {"k": "x".repeat(2000)}})).await.0
}

fn events(remote: &Remote) -> Vec<Value> {
    let lists = remote.asked().into_iter().map(|asked| asked.body);
    lists.flat_map(|list| list["items"].as_array().cloned().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_batches_and_failures_are_sent_again() {
    let directory = tempfile::tempdir().expect("directory");
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = failures.clone();
    let remote = Remote::start_raw(move |_| {
        let code = if counted.fetch_add(1, Ordering::SeqCst) < 2 { 503 } else { 200 };
        Box::pin(async move { (code, "text/plain", "busy".into()) })
    })
    .await;
    let config = kubeconfig(directory.path(), &remote);
    let flags = ["--audit-webhook-batch-max-wait=20ms", "--audit-webhook-initial-backoff=5ms", &config];
    let audited = Audited::start(directory.path(), ALL, &flags).await;
    let admin = audited.server.admin();
    for name in ["a", "b", "c"] {
        assert_eq!(write(&admin, name).await, 201);
    }
    // The first list is sent three times.
    eventually(async || events(&remote).len() >= 6 && failures.load(Ordering::SeqCst) >= 3).await;
    let asked = remote.asked();
    assert_eq!(asked[0].uri, "/audit");
    assert_eq!(asked[0].headers["authorization"], "Bearer secret");
    assert_eq!(
        (&asked[0].body["kind"], &asked[0].body["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    assert_eq!((&asked[0].body, &asked[1].body), (&asked[1].body, &asked[2].body));
    // What is queued goes out before the server ends.
    assert_eq!(write(&admin, "last").await, 201);
    drop(admin);
    audited.server.stop().await;
    let names: Vec<Value> =
        events(&remote).into_iter().map(|event| event["objectRef"]["name"].clone()).collect();
    assert!(names.contains(&json!("last")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_stops_nobody() {
    let directory = tempfile::tempdir().expect("directory");
    let remote = Remote::start_raw(|_| {
        Box::pin(async {
            std::future::pending::<()>().await;
            (200, "text/plain", "".into())
        })
    })
    .await;
    let config = kubeconfig(directory.path(), &remote);
    let flags = [
        "--audit-webhook-batch-max-wait=0s",
        "--audit-webhook-batch-max-size=1",
        "--audit-webhook-batch-buffer-size=2",
        &config,
    ];
    let audited = Audited::start(directory.path(), ALL, &flags).await;
    let admin = audited.server.admin();
    let writes = async {
        for number in 0..20 {
            assert_eq!(write(&admin, &format!("m{number}")).await, 201);
        }
    };
    tokio::time::timeout(PATIENCE, writes).await.expect("nobody waits for the webhook");
    let (_, metrics) = admin.get("/metrics").await;
    let lost = metrics.as_str().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("apiserver_audit_error_total{plugin=\"buffered\"} "))
    });
    assert!(
        lost.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number >= 30),
        "{lost:?}"
    );
    for line in [
        "apiserver_audit_level_total{level=\"Request\"} 20",
        "apiserver_audit_event_total 40",
        "# TYPE authentication_attempts counter",
        "authentication_attempts{result=\"success\"} ",
        "# TYPE authenticated_user_requests counter",
        "authenticated_user_requests{username=\"admin\"} ",
        "authorization_attempts_total{result=\"allowed\"} ",
        "authorization_duration_seconds_count{result=\"allowed\"} ",
        "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"false\",type=\"validate\"} ",
        "apiserver_admission_controller_admission_duration_seconds_count{name=\"NamespaceLifecycle\",operation=\"CREATE\",rejected=\"false\",type=\"admit\"} ",
    ] {
        let text = metrics.as_str().unwrap_or_default();
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}");
    }
    audited.server.begin_stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_refuses_what_it_cannot_record() {
    let directory = tempfile::tempdir().expect("directory");
    let remote = Remote::start_raw(|_| Box::pin(async { (400, "text/plain", "no".into()) })).await;
    let config = kubeconfig(directory.path(), &remote);
    let flags = ["--audit-webhook-mode=blocking-strict", &config];
    let audited = Audited::start(directory.path(), ALL, &flags).await;
    let admin = audited.server.admin();
    let (code, status) = admin.post(MAPS, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        (code, &status["message"]),
        (500, &json!("Internal error occurred: failed to store audit event"))
    );
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_lose_their_objects() {
    let directory = tempfile::tempdir().expect("directory");
    let flags = ["--audit-log-truncate-enabled", "--audit-log-truncate-max-event-size=1500"];
    let audited = Audited::start(directory.path(), ALL, &flags).await;
    assert_eq!(write(&audited.server.admin(), "a").await, 201);
    let events = audited.of(MAPS);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["annotations"]["audit.k8s.io/truncated"], "true");
    assert!(events[1].get("requestObject").is_none());
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_lines() {
    let directory = tempfile::tempdir().expect("directory");
    let audited =
        Audited::start(directory.path(), ALL, &["--audit-log-format=legacy", "--audit-log-mode=batch"]).await;
    let log = audited.log.clone();
    assert_eq!(write(&audited.server.admin(), "a").await, 201);
    audited.server.stop().await;
    let text = std::fs::read_to_string(log).expect("log");
    assert!(
        text.contains(" AUDIT: id=")
            && text.contains("stage=\"ResponseComplete\" ip=\"127.0.0.1\" method=\"create\" user=\"admin\""),
        "{text}"
    );
    assert!(text.contains("namespace=\"default\"") && text.contains("response=\"201\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_stops_the_start() {
    let directory = tempfile::tempdir().expect("directory");
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, verb: [get]}]\n";
    let file = directory.path().join("policy.yaml");
    std::fs::write(&file, text).expect("file");
    let error =
        Server::refused(directory.path(), &[&format!("--audit-policy-file={}", file.display())]).await;
    assert!(error.contains("loading audit policy file") && error.contains("unknown field `verb`"), "{error}");
}
