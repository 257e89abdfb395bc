//! Network policies, seen from pods.
use crate::context::{Context, eventually};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// What `from` gets of a web server within two seconds; empty where nothing passes.
fn answer(context: &Context, from: &str, host: &str, port: u16) -> Result<String> {
    let script = format!("printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {host} {port} || true");
    context.exec(from, &["sh", "-c", &script])
}

fn open(context: &Context, from: &str, host: &str, port: u16) -> Result<()> {
    eventually(&format!("{from} reaches {host}:{port}"), || {
        let found = answer(context, from, host, port)?;
        ensure!(found.contains("200"), "{found:?}");
        Ok(())
    })
}

fn closed(context: &Context, from: &str, host: &str, port: u16) -> Result<()> {
    eventually(&format!("{from} does not reach {host}:{port}"), || {
        let found = answer(context, from, host, port)?;
        ensure!(found.is_empty(), "{found:?}");
        Ok(())
    })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Pods of the scenario: a server that is probed, behind a Service, and two clients.
fn pods(context: &Context) -> Result<String> {
    let mut web = context.pod("web", &["serve"]);
    web["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2});
    web["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    context.apply_json(&web)?;
    context.apply_json(&context.service("web", "ClusterIP"))?;
    context.toolbox("friend")?;
    context.toolbox("stranger")?;
    context.wait("pod/web", "condition=Ready")?;
    context.value("pod/web", ".status.podIP")
}

/// Who may come in: nobody, some pods, a port by its name, a namespace; probes always.
pub fn ingress(context: &Context) -> Result<()> {
    let ip = pods(context)?;
    open(context, "friend", &ip, 8080)?;
    let web = json!({"matchLabels": {"app": "web"}});
    context.apply_json(&policy("deny", &json!({"podSelector": web})))?;
    closed(context, "friend", &ip, 8080)?;
    closed(context, "friend", "web", 80)?;
    let friend = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
    let rule = json!([{"from": friend, "ports": [{"port": "http"}]}]);
    context.apply_json(&policy("friends", &json!({"podSelector": web, "ingress": rule})))?;
    open(context, "friend", &ip, 8080)?;
    open(context, "friend", "web", 80)?;
    closed(context, "stranger", &ip, 8080)?;
    // The kubelet's probes were let in all the time.
    context.kubectl(&["exec", "web", "--", "testbox", "get", "http://127.0.0.1:8080/fail?on"])?;
    context.wait("pod/web", "condition=Ready=False")?;
    context.kubectl(&["exec", "web", "--", "testbox", "get", "http://127.0.0.1:8080/fail?off"])?;
    context.wait("pod/web", "condition=Ready")?;
    // A label makes a friend of a stranger; a namespace of them all.
    context.kubectl(&["label", "pod/stranger", "app=friend", "--overwrite"])?;
    open(context, "stranger", &ip, 8080)?;
    context.kubectl(&["label", "pod/stranger", "app=stranger", "--overwrite"])?;
    closed(context, "stranger", &ip, 8080)?;
    let own = json!({"matchLabels": {"kubernetes.io/metadata.name": context.namespace}});
    let rule = json!([{"from": [{"namespaceSelector": own}]}]);
    context.apply_json(&policy("friends", &json!({"podSelector": web, "ingress": rule})))?;
    open(context, "stranger", &ip, 8080)?;
    context.kubectl(&["delete", "networkpolicy", "--all"])?;
    open(context, "stranger", "web", 80)
}

/// What may be reached: names always, addresses by ranges with exceptions, ports by ranges.
pub fn egress(context: &Context) -> Result<()> {
    let ip = pods(context)?;
    let stranger = json!({"matchLabels": {"app": "stranger"}});
    let out = |rules: Value| {
        policy("out", &json!({"podSelector": stranger, "policyTypes": ["Egress"], "egress": rules}))
    };
    context.apply_json(&out(json!([])))?;
    closed(context, "stranger", &ip, 8080)?;
    open(context, "friend", &ip, 8080)?;
    // The node answers for names, whatever the policy says.
    context.exec("stranger", &["testbox", "lookup", "web"])?;
    let range = json!([{"port": 8000, "endPort": 8100}]);
    let block = json!([{"ipBlock": {"cidr": format!("{ip}/32")}}]);
    context.apply_json(&out(json!([{"to": block, "ports": range}])))?;
    open(context, "stranger", &ip, 8080)?;
    let except = json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": [format!("{ip}/32")]}}]);
    context.apply_json(&out(json!([{"to": except}])))?;
    closed(context, "stranger", &ip, 8080)?;
    let friend = context.value("pod/friend", ".status.podIP")?;
    open(context, "stranger", &friend, 8080)
}
