//! Admission plugins that are off by default or take a configuration, through the real HTTP server.
#![allow(missing_docs, clippy::expect_used)]
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "webhooks/remote.rs"]
mod remote;

use harness::{Client, Server, eventually};
use http::Method;
use knarr_api::Value;
use remote::Remote;
use serde_json::json;
use std::path::Path;

/// Writes an AdmissionConfiguration; returns the flag.
fn configure(directory: &Path, plugins: Value) -> String {
    let path = directory.join("admission.yaml");
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
    std::fs::write(&path, config.to_string()).expect("file");
    format!("--admission-control-config-file={}", path.display())
}

async fn namespace(admin: &Client, name: &str, metadata: Value) {
    let mut object = json!({"metadata": metadata});
    object["metadata"]["name"] = name.into();
    admin.create("/api/v1/namespaces", &object).await;
    let account = json!({"metadata": {"name": "default"}});
    admin.create(&format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await;
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": spec});
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    pod
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_choose_nodes() {
    let directory = tempfile::tempdir().expect("directory");
    // The plugin's own file, next to the other.
    let own =
        "podNodeSelectorPluginConfig:\n  clusterDefaultNodeSelector: pool=shared\n  b: pool=b,disk=ssd\n";
    std::fs::write(directory.path().join("selector.yaml"), own).expect("file");
    let flag = configure(directory.path(), json!([{"name": "PodNodeSelector", "path": "selector.yaml"}]));
    let server =
        Server::start(directory.path(), &[&flag, "--enable-admission-plugins=PodNodeSelector"]).await;
    let admin = server.admin();
    namespace(&admin, "a", json!({})).await;
    let annotated = json!({"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "pool=b"}});
    namespace(&admin, "b", annotated).await;
    let made =
        admin.create("/api/v1/namespaces/a/pods", &pod("p", json!({"nodeSelector": {"x": "y"}}))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"pool": "shared", "x": "y"}));
    let (code, status) =
        admin.post("/api/v1/namespaces/a/pods", &pod("q", json!({"nodeSelector": {"pool": "mine"}}))).await;
    let text =
        "pods \"q\" is forbidden: pod node label selector conflicts with its namespace node label selector";
    assert_eq!((code, message(&status)), (403, text));
    let made =
        admin.create("/api/v1/namespaces/b/pods", &pod("p", json!({"nodeSelector": {"disk": "ssd"}}))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"pool": "b", "disk": "ssd"}));
    let (code, status) =
        admin.post("/api/v1/namespaces/b/pods", &pod("q", json!({"nodeSelector": {"disk": "hdd"}}))).await;
    let text =
        "pods \"q\" is forbidden: pod node label selector labels conflict with its namespace whitelist";
    assert_eq!((code, message(&status)), (403, text));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_restrict_tolerations() {
    let directory = tempfile::tempdir().expect("directory");
    let plugins = "--enable-admission-plugins=PodTolerationRestriction";
    let server =
        Server::start(directory.path(), &[plugins, "--disable-admission-plugins=DefaultTolerationSeconds"])
            .await;
    let admin = server.admin();
    let annotations = json!({"annotations": {
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\":\"team\",\"operator\":\"Equal\",\"value\":\"a\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[{\"key\":\"team\",\"operator\":\"Exists\"}]"}});
    namespace(&admin, "a", annotations).await;
    let made = admin.create("/api/v1/namespaces/a/pods", &pod("p", json!({}))).await;
    assert_eq!(made["spec"]["tolerations"], json!([{"key": "team", "operator": "Equal", "value": "a"}]));
    let other = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
    let (code, status) = admin.post("/api/v1/namespaces/a/pods", &pod("q", other)).await;
    assert_eq!(code, 403);
    assert!(message(&status).ends_with("conflict with its namespace whitelist"), "{status}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited_and_namespaces_made() {
    let directory = tempfile::tempdir().expect("directory");
    let limits = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "limits": [{"type": "Namespace", "qps": 1, "burst": 2}]});
    let flag = configure(directory.path(), json!([{"name": "EventRateLimit", "configuration": limits}]));
    let enabled = "--enable-admission-plugins=EventRateLimit,NamespaceAutoProvision";
    let server = Server::start(directory.path(), &[&flag, enabled]).await;
    let admin = server.admin();
    let send = async |namespace: &str, name: &str| {
        let event = json!({"metadata": {"name": name}, "reason": "R", "type": "Normal", "message": "m",
            "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "p"}, "source": {"component": "c"}});
        admin.post(&format!("/api/v1/namespaces/{namespace}/events"), &event).await
    };
    // The namespace comes to be with the first.
    assert_eq!(admin.get("/api/v1/namespaces/fresh").await.0, 404);
    let mut refused = None;
    for number in 0..50 {
        let (code, status) = send("fresh", &format!("e{number}")).await;
        if code == 429 {
            refused = Some(status);
            break;
        }
        assert_eq!(code, 201, "{status}");
    }
    let refused = refused.expect("a limit");
    assert_eq!(
        (&refused["reason"], message(&refused)),
        (&json!("TooManyRequests"), "limit reached on type Namespace for key fresh")
    );
    assert_eq!(admin.get("/api/v1/namespaces/fresh").await.0, 200);
    assert_eq!(send("other", "e").await.0, 201);
    let map = json!({"metadata": {"name": "m"}});
    assert_ne!(admin.post("/api/v1/namespaces/tried/configmaps?dryRun=All", &map).await.0, 201);
    assert_eq!(admin.get("/api/v1/namespaces/tried").await.0, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_has_defaults_exemptions_and_versions() {
    let directory = tempfile::tempdir().expect("directory");
    let told = json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "enforce-version": "latest", "warn": "restricted", "warn-version": "v1.22"},
        "exemptions": {"usernames": ["system:trusted"], "namespaces": ["free"], "runtimeClasses": []}});
    let flag = configure(directory.path(), json!([{"name": "PodSecurity", "configuration": told}]));
    let server = Server::start(directory.path(), &[&flag]).await;
    let admin = server.admin();
    namespace(&admin, "a", json!({})).await;
    namespace(&admin, "free", json!({})).await;
    namespace(
        &admin,
        "old",
        json!({"labels": {"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.31"}}),
    )
    .await;
    let host = || pod("host", json!({"hostPID": true}));
    let (code, status) = admin.post("/api/v1/namespaces/a/pods", &host()).await;
    let text = "pods \"host\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((code, message(&status)), (403, text));
    assert_eq!(admin.post("/api/v1/namespaces/free/pods", &host()).await.0, 201);
    let trusted = server.user("system:trusted", &["system:masters"]);
    assert_eq!(trusted.post("/api/v1/namespaces/a/pods", &host()).await.0, 201);
    let tuned = || {
        pod(
            "tuned",
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "4096"}]}}),
        )
    };
    let (code, status) = admin.post("/api/v1/namespaces/old/pods", &tuned()).await;
    assert_eq!(code, 403, "{status}");
    assert!(
        message(&status).contains("\"baseline:v1.31\": forbidden sysctls (net.ipv4.tcp_rmem)"),
        "{status}"
    );
    let answer = admin
        .raw(
            Method::POST,
            "/api/v1/namespaces/a/pods",
            &[("content-type", "application/json")],
            tuned().to_string(),
        )
        .await;
    assert_eq!(answer.status().as_u16(), 201);
    let warning = answer.headers()["warning"].to_str().expect("text");
    assert!(warning.contains("would violate PodSecurity \\\"restricted:v1.22\\\": "), "{warning}");
    namespaces_ask_for_levels_that_are_known(&admin).await;
    server.stop().await;
}

async fn namespaces_ask_for_levels_that_are_known(admin: &Client) {
    let labelled = |labels: Value| json!({"metadata": {"name": "new", "labels": labels}});
    let (code, status) = admin
        .post("/api/v1/namespaces", &labelled(json!({"pod-security.kubernetes.io/warn-version": "v2"})))
        .await;
    let text = "Namespace \"new\" is invalid: metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v2\": must be \"latest\" or \"v1.x\"";
    assert_eq!((code, message(&status)), (422, text));
    // Namespace free has the pod "host"; two more that are well under baseline alone.
    for name in ["x", "y"] {
        admin.create("/api/v1/namespaces/free/pods", &pod(name, json!({}))).await;
    }
    let label = async |level: &str| {
        let patch =
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}).to_string();
        let media = [("content-type", "application/merge-patch+json")];
        let answer = admin.raw(Method::PATCH, "/api/v1/namespaces/free", &media, patch).await;
        let warnings = answer.headers().get_all("warning").iter();
        (
            answer.status().as_u16(),
            warnings.map(|text| text.to_str().expect("text").to_owned()).collect::<Vec<_>>(),
        )
    };
    // It is exempt by the configuration; others are not.
    assert_eq!(label("restricted").await, (200, vec![]));
    assert_eq!(label("strict").await.0, 422);
    let patch =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}).to_string();
    let media = [("content-type", "application/merge-patch+json")];
    admin.create("/api/v1/namespaces/a/pods", &pod("w", json!({}))).await;
    let answer = admin.raw(Method::PATCH, "/api/v1/namespaces/a?dryRun=All", &media, patch).await;
    let warnings: Vec<&str> =
        answer.headers().get_all("warning").iter().map(|text| text.to_str().expect("text")).collect();
    let alike =
        "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile";
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"a\\\" violate the new PodSecurity enforce level \\\"restricted:latest\\\"\"".to_owned(),
            format!("299 - \"host: host namespaces, {alike}\""),
            format!("299 - \"tuned (and 1 other pod): {alike}\""),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_carry_their_nodes_topology() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    namespace(&admin, "a", json!({})).await;
    let labels =
        json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"});
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n", "labels": labels}})).await;
    admin.create("/api/v1/namespaces/a/pods", &pod("p", json!({}))).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    admin.create("/api/v1/namespaces/a/pods/p/binding", &binding).await;
    let bound = async || admin.get("/api/v1/namespaces/a/pods/p").await.1;
    eventually(async || bound().await["spec"]["nodeName"] == "n").await;
    let expected = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(bound().await["metadata"]["labels"], expected);
    let made = admin.create("/api/v1/namespaces/a/pods", &pod("q", json!({"nodeName": "n"}))).await;
    assert_eq!(made["metadata"]["labels"], expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configurations_stop_the_start() {
    let check = async |plugins: Value, part: &str| {
        // A database that was opened in vain is let go of a little later.
        let directory = tempfile::tempdir().expect("directory");
        let flag = configure(directory.path(), plugins);
        let error = Server::refused(directory.path(), &[&flag]).await;
        assert!(error.contains(part), "{error}");
    };
    check(
        json!([{"name": "LimitRanger", "configuration": {}}]),
        "plugin \"LimitRanger\" cannot be configured here",
    )
    .await;
    check(
        json!([{"name": "ImagePolicyWebhook", "configuration": {}}]),
        "plugin \"ImagePolicyWebhook\": missing field `imagePolicy`",
    )
    .await;
    check(
        json!([{"name": "ImagePolicyWebhook", "configuration":
            {"imagePolicy": {"kubeConfigFile": "none", "allowTTL": 9000}}}]),
        "valid value for \"allowTTL\" is 0 (default) or between 1 and 1800, found 9000",
    )
    .await;
    let told = json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "strict"}});
    check(
        json!([{"name": "PodSecurity", "configuration": told}]),
        "defaults.enforce: Invalid value: \"strict\"",
    )
    .await;
    check(json!([{"name": "EventRateLimit", "configuration": {"limits": []}}]), "Object 'Kind' is missing")
        .await;
    check(json!([{"name": "PodNodeSelector", "path": "nowhere"}]), "failed to read file path").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_change_as_their_node_can() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    namespace(&admin, "a", json!({})).await;
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let resources = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Mi"}, "limits": {"cpu": cpu, "memory": "1Mi"}});
    let containers = |cpu: &str| json!([{"name": "c", "image": "i", "resources": resources(cpu)}]);
    let spec = json!({"nodeName": "n", "containers": containers("1")});
    admin.create("/api/v1/namespaces/a/pods", &pod("p", spec)).await;
    let path = "/api/v1/namespaces/a/pods/p";
    let resize = async |cpu: &str| {
        let patch = json!({"spec": {"containers": containers(cpu)}}).to_string();
        let media = [("content-type", "application/strategic-merge-patch+json")];
        let answer = admin.raw(Method::PATCH, &format!("{path}/resize"), &media, patch).await;
        let status: Value = serde_json::from_slice(answer.body()).expect("JSON");
        (answer.status().as_u16(), status)
    };
    let (code, status) = resize("2").await;
    let text = "pods \"p\" is forbidden: pod update requires features GuaranteedQoSPodCPUResize which are not available on node \"n\"";
    assert_eq!((code, message(&status)), (403, text));
    let patch = json!({"status": {"declaredFeatures": ["GuaranteedQoSPodCPUResize"]}}).to_string();
    let media = [("content-type", "application/merge-patch+json")];
    assert_eq!(admin.raw(Method::PATCH, "/api/v1/nodes/n/status", &media, patch).await.status(), 200);
    assert_eq!(resize("2").await.0, 200);
    server.stop().await;
}

/// Roots of a signer are told by who may attest for it; the plugin is on by default, the resource by flag.
#[tokio::test(flavor = "multi_thread")]
async fn roots_of_signers_are_attested() {
    let directory = tempfile::tempdir().expect("directory");
    let flag = "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true";
    let server = Server::start(directory.path(), &[flag]).await;
    let admin = server.admin();
    let bundles = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";
    let bundle = |name: &str, signer: Option<&str>| {
        let mut object = json!({"metadata": {"name": name}, "spec": {"trustBundle": server.authority.pem}});
        if let Some(signer) = signer {
            object["spec"]["signerName"] = signer.into();
        }
        object
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (name, group, resource, verbs, names) in [
        ("writer", "certificates.k8s.io", "clustertrustbundles", json!(["*"]), json!([])),
        ("attester", "certificates.k8s.io", "signers", json!(["attest"]), json!(["x.example/a"])),
    ] {
        let rule =
            json!({"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names});
        admin
            .create(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": name}, "rules": [rule]}))
            .await;
        let subject =
            |user: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
        let subjects =
            if name == "writer" { json!([subject("ann"), subject("bob")]) } else { json!([subject("ann")]) };
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": subjects});
        admin.create(&format!("{rbac}/clusterrolebindings"), &binding).await;
    }
    let (ann, bob) = (server.user("ann", &[]), server.user("bob", &[]));
    // Without a signer nobody is spoken for; for a signer the right has to be there, for this one.
    assert_eq!(bob.post(bundles, &bundle("plain", None)).await.0, 201);
    let mine = bundle("x.example:a:roots", Some("x.example/a"));
    let (code, status) = bob.post(bundles, &mine).await;
    let text = "clustertrustbundles.certificates.k8s.io \"x.example:a:roots\" is forbidden: user not permitted to attest \
                for signerName \"x.example/a\"";
    assert_eq!((code, message(&status)), (403, text));
    let (code, _) = ann.post(bundles, &bundle("x.example:b:roots", Some("x.example/b"))).await;
    assert_eq!(code, 403);
    let (code, made) = ann.post(bundles, &mine).await;
    assert_eq!((code, &made["spec"]["signerName"]), (201, &json!("x.example/a")), "{made}");
    let (code, status) = ann.post(bundles, &bundle("roots", Some("x.example/a"))).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.name")), "{status}");
    // Who may not attest may still label it, and change no root.
    let one = format!("{bundles}/x.example:a:roots");
    let patch = async |client: &Client, patch: Value| {
        let media = [("content-type", "application/merge-patch+json")];
        client.raw(Method::PATCH, &one, &media, patch.to_string()).await.status().as_u16()
    };
    assert_eq!(patch(&bob, json!({"metadata": {"labels": {"l": "1"}}})).await, 200);
    let other = harness::Authority::new("other").pem;
    assert_eq!(patch(&bob, json!({"spec": {"trustBundle": other}})).await, 403);
    assert_eq!(patch(&ann, json!({"spec": {"trustBundle": other}})).await, 200);
    assert_eq!(patch(&ann, json!({"spec": {"trustBundle": "none"}})).await, 422);
    let (_, list) = bob.get(&format!("{bundles}?fieldSelector=spec.signerName%3Dx.example/a")).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    server.stop().await;
}

/// A webhook says which images run, and is asked once for the same ones.
#[tokio::test(flavor = "multi_thread")]
async fn images_are_looked_at() {
    let directory = tempfile::tempdir().expect("directory");
    let remote = Remote::start(|asked| {
        let spec = &asked.body["spec"];
        let bad = spec["containers"].as_array().into_iter().flatten().any(|c| c["image"] == "bad");
        let reason = if spec["annotations"]["x.image-policy.k8s.io/why"] == "yes" { "it is bad" } else { "" };
        let status = match bad {
            true => json!({"allowed": false, "reason": reason}),
            false => json!({"allowed": true, "auditAnnotations": {"seen": "yes"}}),
        };
        json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "status": status})
    })
    .await;
    let found_at = |port: u16| {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": format!("https://127.0.0.1:{port}/images"),
                "certificate-authority-data": remote.bundle()}}],
            "users": [{"name": "u", "user": {"token": "of-the-server"}}]});
        std::fs::write(directory.path().join("images.json"), config.to_string()).expect("file");
    };
    found_at(remote.port);
    let plugin = |default_allow: bool| {
        let policy = json!({"kubeConfigFile": "images.json", "allowTTL": 50, "denyTTL": 50, "retryBackoff": 500,
            "defaultAllow": default_allow});
        configure(
            directory.path(),
            json!([{"name": "ImagePolicyWebhook", "configuration": {"imagePolicy": policy}}]),
        )
    };
    let enabled = "--enable-admission-plugins=ImagePolicyWebhook";
    let server = Server::start(directory.path(), &[&plugin(false), enabled]).await;
    let admin = server.admin();
    namespace(&admin, "a", json!({})).await;
    let pods = "/api/v1/namespaces/a/pods";
    let image = |name: &str, image: &str| pod(name, json!({"containers": [{"name": "c", "image": image}]}));
    admin.create(pods, &image("good", "good")).await;
    admin.create(pods, &image("good-2", "good")).await;
    let (code, status) = admin.post(pods, &image("bad", "bad")).await;
    assert_eq!(
        (code, message(&status)),
        (403, "pods \"bad\" is forbidden: one or more images rejected by webhook backend")
    );
    let mut told = image("bad", "bad");
    told["metadata"]["annotations"] = json!({"x.image-policy.k8s.io/why": "yes", "other": "no"});
    let (code, status) = admin.post(pods, &told).await;
    let text = "pods \"bad\" is forbidden: image policy webhook backend denied one or more images: it is bad";
    assert_eq!((code, message(&status)), (403, text));
    let asked = remote.asked();
    assert_eq!(asked.len(), 3, "verdicts hold for a while");
    let spec = json!({"containers": [{"image": "bad"}], "annotations": {"x.image-policy.k8s.io/why": "yes"}, "namespace": "a"});
    assert_eq!(asked[2].body["spec"], spec);
    server.stop().await;
    // Nobody answers: nothing runs, or everything, as the configuration has it.
    found_at(1);
    for (default_allow, code) in [(false, 403), (true, 201)] {
        let server = Server::start(directory.path(), &[&plugin(default_allow), enabled]).await;
        let (found, status) = server.admin().post(pods, &image("new", "new")).await;
        assert_eq!(found, code, "{status}");
        server.stop().await;
    }
    let refused = Server::refused(directory.path(), &[enabled]).await;
    assert!(refused.contains("no config specified"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_admitted() {
    let directory = tempfile::tempdir().expect("directory");
    let server =
        Server::start(directory.path(), &["--enable-admission-plugins=AlwaysAdmit,AlwaysDeny"]).await;
    let admin = server.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    let (code, status) = admin.post(maps, &json!({"metadata": {"name": "a"}})).await;
    let text = "configmaps \"a\" is forbidden: admission control is denying all modifications";
    assert_eq!((code, message(&status)), (403, text));
    assert_eq!(admin.get(&format!("{maps}/a")).await.0, 404);
    server.stop().await;
}
