//! Requests that nobody would write, the same ones at every run: whatever comes, the answer is one of the API and the
//! server goes on. `KNARR_FUZZ_SEED` and `KNARR_FUZZ_ROUNDS` look further.
use super::harness::Server;
use http::Method;
use knarr_api::Value;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Collections with an object that each takes.
fn seeds() -> Vec<(&'static str, Value)> {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "v"}],
         "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    vec![
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "a"}, "data": {"x": "1"}, "binaryData": {"y": "AAE="}}),
        ),
        (
            "/api/v1/namespaces/default/pods",
            json!({"metadata": {"name": "a", "labels": {"a": "b"}}, "spec": template["spec"]}),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"metadata": {"name": "a", "annotations": {"k": "v"}}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}}),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"metadata": {"name": "a"}, "spec": {"schedule": "*/5 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
        ),
        (
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
            json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            json!({"metadata": {"name": "a"}, "spec": {"podSelector": {},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80}]}]}}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"metadata": {"name": "a"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({"metadata": {"name": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        (
            "/api/v1/nodes",
            json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "4"}}}),
        ),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            json!({"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "x"}, "rules": []}}),
        ),
    ]
}

struct Fuzz(StdRng);

impl Fuzz {
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len());
        of[at].clone()
    }

    fn value(&mut self) -> Value {
        let long = "x".repeat(300);
        self.one(&[
            Value::Null,
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1.5),
            json!(1e300),
            json!(""),
            json!("a"),
            json!("A_"),
            json!("50%"),
            json!("1Gi"),
            json!("-1"),
            json!("2024-01-01T00:00:00Z"),
            json!("10.0.0.1"),
            json!("\u{0}"),
            json!("é\u{1F600}"),
            json!(long),
            json!([]),
            json!([null]),
            json!([[1]]),
            json!({}),
            json!({"": null}),
            json!({"name": "a"}),
            json!([{"name": "a"}, {"name": "a"}]),
        ])
    }

    /// Changes one place of a document.
    fn twist(&mut self, value: &mut Value) {
        let go_on = self.below(4) > 0;
        match value {
            Value::Object(members) if go_on && !members.is_empty() => {
                let names: Vec<String> = members.keys().cloned().collect();
                let name = self.one(&names);
                match self.below(8) {
                    0 => drop(members.remove(&name)),
                    1 => drop(members.insert(format!("{name}x"), self.value())),
                    _ => self.twist(&mut members[&name]),
                }
            }
            Value::Array(items) if go_on && !items.is_empty() => {
                let at = self.below(items.len());
                match self.below(6) {
                    0 => drop(items.remove(at)),
                    1 => items.push(items[at].clone()),
                    _ => self.twist(&mut items[at]),
                }
            }
            other => *other = self.value(),
        }
    }

    /// Changes some bytes.
    fn garble(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] = self.0.random(),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), self.one(b"{}[]\",:\\0\xff\x00-e")),
            }
        }
    }

    fn query(&mut self) -> String {
        let names = [
            "labelSelector",
            "fieldSelector",
            "resourceVersion",
            "resourceVersionMatch",
            "limit",
            "continue",
            "sendInitialEvents",
            "timeoutSeconds",
            "dryRun",
            "fieldManager",
            "fieldValidation",
            "force",
            "pretty",
            "gracePeriodSeconds",
            "propagationPolicy",
            "includeObject",
            "watch",
            "allowWatchBookmarks",
        ];
        let values = [
            "",
            "1",
            "0",
            "-1",
            "a",
            "true",
            "false",
            "a%3Db",
            "a%20in%20%28b%29",
            "%21a",
            "metadata.name%3Da",
            "spec.nodeName%3Dn",
            "Exact",
            "NotOlderThan",
            "All",
            "Strict",
            "Orphan",
            "Object",
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
            "%00",
            "%ff",
            "99999999999999999999",
            "%2C%2C",
            "a%3D%3D%3Db",
        ];
        let pairs: Vec<String> =
            (0..self.below(4)).map(|_| format!("{}={}", self.one(&names), self.one(&values))).collect();
        // Watches end by themselves.
        format!("{}&timeoutSeconds=1", pairs.join("&"))
    }
}

#[tokio::test]
async fn strange_requests() {
    let server = Server::start().await;
    let mut fuzz = Fuzz(StdRng::seed_from_u64(number("KNARR_FUZZ_SEED", 36)));
    let seeds = seeds();
    for (path, object) in &seeds {
        server.post(path, object).await.expect(201);
    }
    let medias = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    let patches = ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"];
    let subs = ["", "", "", "/status", "/scale", "/nonsense", "/eviction", "/binding", "/resize"];
    let accepts = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "*/*",
        "a/b;q",
    ];
    for round in 0..number("KNARR_FUZZ_ROUNDS", 800) {
        let (collection, object) = fuzz.one(&seeds);
        let mut value = object.clone();
        for _ in 0..=fuzz.below(3) {
            fuzz.twist(&mut value);
        }
        let (path, method, media) = match fuzz.below(6) {
            0 => (collection.to_owned(), Method::POST, fuzz.one(&medias).to_owned()),
            1 => (format!("{collection}/a{}", fuzz.one(&subs)), Method::PUT, fuzz.one(&medias).to_owned()),
            2 | 3 => {
                let patch = fuzz.one(&patches);
                if patch == "json-patch+json" {
                    let op = fuzz.one(&["add", "remove", "replace", "move", "copy", "test", "x"]);
                    let at = fuzz.one(&[
                        "",
                        "/",
                        "/metadata/labels/a",
                        "/spec/ports/0",
                        "/spec/ports/-",
                        "/metadata/name",
                        "/a~2",
                        "/spec",
                    ]);
                    value = json!([{"op": op, "path": at, "from": fuzz.one(&["/spec", "/metadata", ""]), "value": fuzz.value()}]);
                } else if patch == "apply-patch+yaml" && value.is_object() && fuzz.below(3) > 0 {
                    let group =
                        collection.split('/').skip(2).take_while(|p| *p != "namespaces").collect::<Vec<_>>();
                    value["apiVersion"] = json!(if collection.starts_with("/api/") {
                        "v1".to_owned()
                    } else {
                        group[..2.min(group.len())].join("/")
                    });
                    value["kind"] = json!(fuzz.one(&[
                        "ConfigMap",
                        "Pod",
                        "Service",
                        "Deployment",
                        "CronJob",
                        "HorizontalPodAutoscaler",
                        "Node"
                    ]));
                }
                (format!("{collection}/a{}", fuzz.one(&subs)), Method::PATCH, format!("application/{patch}"))
            }
            4 => (
                format!("{collection}/a{}", fuzz.one(&subs)),
                fuzz.one(&[Method::GET, Method::DELETE]),
                String::new(),
            ),
            _ => (collection.to_owned(), Method::GET, String::new()),
        };
        let deleted = method == Method::DELETE;
        let mut body = value.to_string().into_bytes();
        if media.contains("protobuf") || fuzz.below(5) == 0 {
            fuzz.garble(&mut body);
        }
        if media.is_empty() {
            body.clear();
        }
        let uri = format!("{path}?{}", fuzz.query());
        let headers = [("content-type", media.as_str()), ("accept", fuzz.one(&accepts))];
        let reply = server.send(method.clone(), &uri, &headers, body.clone()).await;
        let text = String::from_utf8_lossy(&reply.bytes);
        // A configuration that does not fit the schema is a 500 in the original too.
        let known = reply.code == 500
            && (text.contains("failed to create typed patch object")
                || text.contains("resourceVersion should not be set"));
        assert!(
            reply.code < 500 || known || reply.code == 504,
            "round {round}: {method} {uri} {headers:?}\n{}\n{} {text}",
            String::from_utf8_lossy(&body),
            reply.code
        );
        if deleted && reply.code < 300 {
            server.post(collection, &object).await;
        }
    }
    // It still works.
    let reply = server.get("/api/v1/namespaces/default").await;
    assert_eq!(reply.code, 200);
}
