//! What events say.
use crate::audited::Audited;
use crate::harness::{PATIENCE, eventually};
use http::Method;
use http_body_util::BodyExt;
use knarr_api::Value;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap_or_default()).collect()
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_recorded_whole() {
    let directory = tempfile::tempdir().expect("directory");
    let policy = "rules:\n- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true}\n";
    let audited = Audited::start(directory.path(), policy, &[]).await;
    let admin = audited.server.admin();
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "auditor/1"),
        ("x-forwarded-for", "192.0.2.7"),
        ("audit-id", "my-id"),
    ];
    let answer = admin.raw(Method::POST, &format!("{MAPS}?x=1"), &headers, map("a").to_string()).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["audit-id"]),
        (201, &"my-id".parse().expect("id"))
    );
    let events = audited.of("x=1");
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    let (first, last) = (&events[0], &events[1]);
    assert_eq!(first["stageTimestamp"], first["requestReceivedTimestamp"]);
    assert!(first.get("requestObject").is_none() && first.get("responseStatus").is_none(), "{first}");
    assert_eq!((&last["kind"], &last["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!((&last["level"], &last["auditID"]), (&json!("RequestResponse"), &json!("my-id")));
    assert_eq!((&last["verb"], &last["userAgent"]), (&json!("create"), &json!("auditor/1")));
    assert_eq!(last["user"]["username"], "admin");
    assert_eq!(last["user"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(last["sourceIPs"], json!(["192.0.2.7", "127.0.0.1"]));
    assert_eq!(
        last["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(last["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(
        (&last["requestObject"]["data"]["k"], &last["responseObject"]["data"]["k"]),
        (&json!("v"), &json!("v"))
    );
    assert!(last["responseObject"]["metadata"].get("managedFields").is_none(), "{last}");
    assert_eq!(
        last["annotations"],
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""})
    );

    // The object's identity is in later events; a patch is kept as it was sent.
    let patch = [("content-type", "application/merge-patch+json")];
    let answer = admin.raw(Method::PATCH, &format!("{MAPS}/a"), &patch, r#"{"data":{"k":"w"}}"#).await;
    assert_eq!(answer.status().as_u16(), 200);
    let events = audited.of("configmaps/a");
    assert_eq!(events[1]["requestObject"], json!({"data": {"k": "w"}}));
    assert_eq!(events[1]["responseObject"]["data"]["k"], "w");
    let (_, stored) = admin.get(&format!("{MAPS}/a")).await;
    let (code, _) = admin.send(Method::PUT, &format!("{MAPS}/a?put=1"), stored.to_string()).await;
    assert_eq!(code, 200);
    let events = audited.of("put=1");
    assert_eq!(events[1]["objectRef"]["uid"], stored["metadata"]["uid"]);
    assert_eq!(events[1]["objectRef"]["resourceVersion"], stored["metadata"]["resourceVersion"]);

    // A list in the form it was sent in, a failure with its status.
    let (_, list) = admin.get(&format!("{MAPS}?list=1")).await;
    assert_eq!(
        audited.of("list=1")[1]["responseObject"]["items"].as_array().map(Vec::len),
        list["items"].as_array().map(Vec::len)
    );
    let binary = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(admin.raw(Method::GET, &format!("{MAPS}/a?pb=1"), &binary, "").await.status().as_u16(), 200);
    assert_eq!(audited.of("pb=1")[1]["responseObject"]["data"]["k"], "w");
    assert_eq!(admin.get(&format!("{MAPS}/nowhere")).await.0, 404);
    let status = &audited.of("nowhere")[1]["responseStatus"];
    assert_eq!(
        (&status["reason"], &status["status"], &status["code"]),
        (&json!("NotFound"), &json!("Failure"), &json!(404))
    );
    assert_eq!(status["details"], json!({"name": "nowhere", "kind": "configmaps"}));
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_and_stages() {
    let directory = tempfile::tempdir().expect("directory");
    let policy = "omitStages: [RequestReceived]\nrules:\n- {level: None, verbs: [get], resources: [{resources: [configmaps]}]}\n\
                  - {level: Metadata, resources: [{resources: [secrets, serviceaccounts/token]}]}\n- {level: Request, namespaces: [default]}\n";
    let audited = Audited::start(directory.path(), policy, &[]).await;
    let admin = audited.server.admin();
    admin.create(MAPS, &map("a")).await;
    let events = audited.of(MAPS);
    assert_eq!(stages(&events), ["ResponseComplete"]);
    assert!(
        events[0]["requestObject"].is_object() && events[0].get("responseObject").is_none(),
        "{}",
        events[0]
    );
    admin.get(&format!("{MAPS}/a")).await;
    assert!(audited.of("configmaps/a").is_empty());
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hush"}});
    admin.create("/api/v1/namespaces/default/secrets", &secret).await;
    let events = audited.of("/secrets");
    assert_eq!((events.len(), events[0].get("requestObject")), (1, None), "{events:?}");
    assert!(!std::fs::read_to_string(&audited.log).expect("log").contains("hush"));
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_recorded() {
    let directory = tempfile::tempdir().expect("directory");
    let audited = Audited::start(directory.path(), "rules: [{level: Metadata}]\n", &[]).await;
    let mut liar = audited.server.anonymous();
    liar.token = Some("wrong".to_owned());
    assert_eq!(liar.get("/version?liar").await.0, 401);
    let events = audited.of("liar");
    assert_eq!(stages(&events), ["ResponseStarted"]);
    assert_eq!((&events[0]["user"], &events[0]["responseStatus"]["code"]), (&json!({}), &json!(401)));
    assert_eq!(events[0]["responseStatus"]["message"], "Unauthorized");

    let ann = audited.server.user("ann", &[]);
    assert_eq!(ann.post(MAPS, &map("x")).await.0, 403);
    let events = audited.of(MAPS);
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[1]["responseStatus"]["reason"], "Forbidden");
    assert!(events[1].get("requestObject").is_none());

    // Impersonation tells both, allowed or not.
    let admin = audited.server.admin();
    let as_ann = [("impersonate-user", "ann"), ("impersonate-group", "dev")];
    assert_eq!(admin.raw(Method::GET, &format!("{MAPS}?as=1"), &as_ann, "").await.status().as_u16(), 403);
    let event = &audited.of("as=1")[1];
    assert_eq!(event["user"]["username"], "admin");
    assert_eq!(
        event["impersonatedUser"],
        json!({"username": "ann", "groups": ["dev", "system:authenticated"]})
    );
    let how = json!({"impersonationConstraint": "impersonate:user-info"});
    assert_eq!(event["authenticationMetadata"], how);
    assert_eq!(ann.raw(Method::GET, &format!("{MAPS}?as=2"), &as_ann[..1], "").await.status().as_u16(), 403);
    let event = &audited.of("as=2")[1];
    assert_eq!((&event["responseStatus"]["code"], event.get("impersonatedUser")), (&json!(403), None));
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_a_beginning_and_an_end() {
    let directory = tempfile::tempdir().expect("directory");
    let audited = Audited::start(directory.path(), "rules: [{level: Metadata}]\n", &[]).await;
    let admin = audited.server.admin();
    admin.create(MAPS, &map("a")).await;
    let mut watch = admin.open(Method::GET, &format!("{MAPS}?watch=1"), "").await.into_body();
    let first = tokio::time::timeout(PATIENCE, watch.frame()).await.expect("in time").expect("an event");
    assert!(first.is_ok());
    assert_eq!(stages(&audited.of("watch=1")), ["RequestReceived", "ResponseStarted"]);
    drop(watch);
    eventually(async || audited.of("watch=1").len() == 3).await;
    let events = audited.of("watch=1");
    assert_eq!(
        (&events[2]["stage"], &events[2]["responseStatus"]["code"]),
        (&json!("ResponseComplete"), &json!(200))
    );
    assert_eq!(events[2]["verb"], "watch");
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_tells_the_auditors() {
    let directory = tempfile::tempdir().expect("directory");
    let audited = Audited::start(directory.path(), "rules: [{level: Metadata}]\n", &[]).await;
    let admin = audited.server.admin();
    let (policies, bindings) = (
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    );
    let policy = json!({"metadata": {"name": "p.example"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["configmaps"]}]},
        "validations": [{"expression": "object.metadata.name != 'bad'", "message": "bad name"}],
        "auditAnnotations": [{"key": "named", "valueExpression": "'name ' + object.metadata.name"}]}});
    admin.create(policies, &policy).await;
    admin
        .create(bindings, &json!({"metadata": {"name": "b"}, "spec": {"policyName": "p.example", "validationActions": ["Audit"]}}))
        .await;
    let mut number = 0;
    eventually(async || {
        number += 1;
        let path = format!("{MAPS}?try={number}.&dryRun=All");
        admin.create(&path, &map("bad")).await;
        let events = audited.of(&format!("try={number}."));
        events[1]["annotations"]["p.example/named"] == "name bad"
    })
    .await;
    let events = audited.of(&format!("try={number}."));
    let failure = events[1]["annotations"]["validation.policy.admission.k8s.io/validation_failure"].as_str();
    let failure: Value = serde_json::from_str(failure.expect("the failure")).expect("JSON");
    assert_eq!(
        failure,
        json!([{"message": "bad name", "policy": "p.example", "binding": "b", "expressionIndex": 0, "validationActions": ["Audit"]}])
    );

    let labels = json!({"pod-security.kubernetes.io/audit": "baseline", "pod-security.kubernetes.io/enforce": "privileged"});
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "n", "labels": labels}})).await;
    admin.create("/api/v1/namespaces/n/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}});
    admin.create("/api/v1/namespaces/n/pods", &pod).await;
    let event = &audited.of("/namespaces/n/pods")[1];
    let told = &event["annotations"];
    assert_eq!(told["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    assert_eq!(
        told["pod-security.kubernetes.io/audit-violations"],
        "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    audited.server.stop().await;
}
