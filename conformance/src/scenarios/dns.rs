//! Names that every Kubernetes answers: the DNS specification, asked from a pod.
use crate::context::{Context, contains, eventually};
use anyhow::Result;
use serde_json::json;

/// A, SRV, PTR, CNAME, headless and negative answers.
pub fn records(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 2))?;
    context.apply_json(&context.service("web", "ClusterIP"))?;
    let mut headless = context.service("members", "ClusterIP");
    headless["spec"]["clusterIP"] = "None".into();
    headless["spec"]["selector"] = json!({"app": "web"});
    context.apply_json(&headless)?;
    let external = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"},
        "spec": {"type": "ExternalName", "externalName": "web.example.org"}});
    context.apply_json(&external)?;
    context.rolled_out("deployment/web")?;
    context.toolbox("client")?;

    let lookup = |name: &str, kind: &str| context.exec("client", &["testbox", "lookup", name, kind]);
    let ip = context.value("service/web", ".spec.clusterIP")?;
    let full = format!("web.{}.svc.cluster.local", context.namespace);
    eventually("the Service has a name", || contains(&lookup("web", "A")?, &ip))?;
    contains(&lookup(&full, "A")?, &ip)?;
    contains(&lookup(&format!("_http._tcp.{full}"), "SRV")?, &format!(" 80 {full}."))?;
    let reverse: Vec<&str> = ip.split('.').rev().collect();
    contains(&lookup(&format!("{}.in-addr.arpa.", reverse.join(".")), "PTR")?, &full)?;
    eventually("the headless Service names both pods", || {
        let answers = lookup("members", "A")?;
        anyhow::ensure!(answers.lines().count() == 2, "{answers}");
        Ok(())
    })?;
    contains(&lookup("outside", "CNAME")?, "web.example.org.")?;
    contains(&lookup("kubernetes.default", "A")?, "kubernetes.default.svc.cluster.local. A ")?;
    let missing = context.refused(&["exec", "client", "--", "testbox", "lookup", &format!("no.{full}.")])?;
    contains(&missing, "NXDOMAIN")
}
