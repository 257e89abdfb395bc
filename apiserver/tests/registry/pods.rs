//! Pods: binding, graceful deletion, eviction, status and scale.
use super::harness::Server;
use base64::Engine;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &Server, name: &str) -> Value {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(PODS, &pod).await.expect(201)
}

async fn bind(server: &Server, name: &str) -> super::harness::Reply {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    server.post(&format!("{PODS}/{name}/binding"), &binding).await
}

#[tokio::test]
async fn life_of_a_pod() {
    let server = Server::start().await;
    let created = pod(&server, "p").await;
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["status"]["qosClass"], "BestEffort");
    assert_eq!(created["metadata"]["generation"], 1);
    bind(&server, "p").await.expect(201);
    let bound = server.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = bind(&server, "p").await.expect(409);
    assert_eq!(
        again["message"],
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
    let on_node = server.get(&format!("{PODS}?fieldSelector=spec.nodeName%3Dn1")).await.expect(200);
    assert_eq!(on_node["items"].as_array().unwrap().len(), 1);

    let mut status = bound.clone();
    status["status"]["phase"] = "Running".into();
    status["spec"]["nodeName"] = "elsewhere".into();
    let running = server.put(&format!("{PODS}/p/status"), &status).await.expect(200);
    assert_eq!(
        (&running["status"]["phase"], &running["spec"]["nodeName"]),
        (&json!("Running"), &json!("n1"))
    );

    // A scheduled pod gets its grace; the kubelet ends it.
    let marked = server.delete(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = server.delete(&format!("{PODS}/p?gracePeriodSeconds=5")).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    server.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await.expect(200);
    server.get(&format!("{PODS}/p")).await.expect(404);
}

#[tokio::test]
async fn unscheduled_pods_go_at_once() {
    let server = Server::start().await;
    pod(&server, "p").await;
    server.delete(&format!("{PODS}/p")).await.expect(200);
    server.get(&format!("{PODS}/p")).await.expect(404);
}

#[tokio::test]
async fn budgets_hold_evictions() {
    let server = Server::start().await;
    pod(&server, "p").await;
    bind(&server, "p").await.expect(201);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    server.patch(&format!("{PODS}/p/status"), "merge-patch+json", &status).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    server.post(budgets, &budget).await.expect(201);
    let eviction = json!({"metadata": {"name": "p"}});
    let evict = async || server.post(&format!("{PODS}/p/eviction"), &eviction).await;
    assert_eq!(evict().await.expect(429)["reason"], "TooManyRequests");
    let allowed = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    server.patch(&format!("{budgets}/b/status"), "merge-patch+json", &allowed).await.expect(200);
    evict().await.expect(201);
    let charged = server.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!(charged["status"]["disruptionsAllowed"], 0);
    assert!(charged["status"]["disruptedPods"]["p"].is_string());
    let pod = server.get(&format!("{PODS}/p")).await.expect(200);
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let told = &pod["status"]["conditions"][1];
    assert_eq!(
        (&told["type"], &told["status"], &told["reason"], &told["message"]),
        (
            &json!("DisruptionTarget"),
            &json!("True"),
            &json!("EvictionByEvictionAPI"),
            &json!("Eviction API: evicting")
        )
    );
}

#[tokio::test]
async fn scale_is_a_view() {
    let server = Server::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    server.post(path, &deployment).await.expect(201);
    let scale = server.get(&format!("{path}/d/scale")).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!(2), &json!("app=a"))
    );
    let scaled =
        server.patch(&format!("{path}/d/scale"), "merge-patch+json", &json!({"spec": {"replicas": 5}})).await;
    assert_eq!(scaled.expect(200)["spec"]["replicas"], 5);
    let read = server.get(&format!("{path}/d")).await.expect(200);
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(5), &json!(2)));
}

#[tokio::test]
async fn jobs_select_their_own_pods() {
    let server = Server::start().await;
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let created = server.post("/apis/batch/v1/namespaces/default/jobs", &job).await.expect(201);
    let uid = &created["metadata"]["uid"];
    assert_eq!(&created["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    assert_eq!(&created["spec"]["template"]["metadata"]["labels"]["controller-uid"], uid);
    let marked = server.delete("/apis/batch/v1/namespaces/default/jobs/j").await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn approval_changes_conditions_only() {
    let server = Server::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let kind = knarr_api::table::builtin()
        .resource("certificates.k8s.io", "v1", "certificatesigningrequests")
        .unwrap();
    let mut request = super::kinds::minimal(kind);
    request["metadata"] = json!({"name": "r"});
    let mut created = server.post(path, &request).await.expect(201);
    assert_eq!(created["spec"]["username"], "system:apiserver");
    created["status"] = json!({"certificate": "eA==", "conditions": [{"type": "Approved", "status": "True", "reason": "x", "message": "y"}]});
    let approved = server.put(&format!("{path}/r/approval"), &created).await.expect(200);
    assert!(approved["status"].get("certificate").is_none());
    assert!(approved["status"]["conditions"][0]["lastUpdateTime"].is_string());
    // The signer adds the certificate and cannot take the approval away.
    let pem = base64::engine::general_purpose::STANDARD
        .encode("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    let signature = json!({"status": {"certificate": pem, "conditions": null}});
    let signed = server.patch(&format!("{path}/r/status"), "merge-patch+json", &signature).await.expect(200);
    assert_eq!(
        (&signed["status"]["certificate"], &signed["status"]["conditions"][0]["type"]),
        (&json!(pem), &json!("Approved"))
    );
}
