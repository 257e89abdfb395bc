//! Services that carry traffic.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// ClusterIP from a pod, NodePort from outside, every pod gets its share.
pub fn kinds(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 2))?;
    context.apply_json(&context.service("web", "NodePort"))?;
    context.rolled_out("deployment/web")?;
    context.toolbox("client")?;
    eventually("both pods answer", || {
        let hosts = context.exec("client", &["testbox", "get", "http://web/hostname", "20"])?;
        same(hosts.lines().collect::<BTreeSet<_>>().len(), 2)
    })?;
    let port = context.value("service/web", ".spec.ports[0].nodePort")?;
    let address = context.value("nodes", r#".items[0].status.addresses[?(@.type=="InternalIP")].address"#)?;
    eventually("the node port answers", || contains(&get(&format!("{address}:{port}"))?, "web-"))?;
    // A pod that reaches itself through its own Service (hairpin).
    let pod =
        context.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let hosts = context.exec(&pod, &["testbox", "get", "http://web/hostname", "20"])?;
    same(hosts.lines().count(), 20)?;

    context.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    eventually("a Service without endpoints refuses", || {
        let refused = context.refused(&["exec", "client", "--", "testbox", "get", "http://web/"])?;
        contains(&refused, "refused")
    })
}

/// Pods that are not ready get no traffic.
pub fn readiness(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 2))?;
    context.apply_json(&context.service("web", "ClusterIP"))?;
    context.rolled_out("deployment/web")?;
    context.toolbox("client")?;
    let pod =
        context.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])?;
    context.exec(&pod, &["testbox", "get", "http://127.0.0.1:8080/fail?on"])?;
    context.wait(&format!("pod/{pod}"), "condition=Ready=False")?;
    eventually("only the ready pod answers", || {
        let hosts = context.exec("client", &["testbox", "get", "http://web/hostname", "20"])?;
        ensure!(!hosts.contains(&pod), "{hosts}");
        Ok(())
    })
}

/// Session affinity keeps a client with one pod.
pub fn affinity(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 3))?;
    let mut service = context.service("web", "ClusterIP");
    service["spec"]["sessionAffinity"] = "ClientIP".into();
    context.apply_json(&service)?;
    context.rolled_out("deployment/web")?;
    context.toolbox("client")?;
    eventually("the Service answers", || context.exec("client", &["testbox", "get", "http://web/"]))?;
    let hosts = context.exec("client", &["testbox", "get", "http://web/hostname", "20"])?;
    same(hosts.lines().collect::<BTreeSet<_>>().len(), 1)
}

/// UDP.
pub fn udp(context: &Context) -> Result<()> {
    context.apply_json(&context.pod("echo", &["udp-serve"]))?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"},
        "spec": {"selector": {"app": "echo"}, "ports": [{"port": 99, "targetPort": 8081, "protocol": "UDP"}]}});
    context.apply_json(&service)?;
    context.wait("pod/echo", "condition=Ready")?;
    context.toolbox("client")?;
    eventually("a datagram is answered", || {
        contains(&context.exec("client", &["testbox", "udp", "echo", "99"])?, "echo")
    })
}

fn get(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
