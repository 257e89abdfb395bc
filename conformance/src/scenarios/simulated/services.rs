//! Controllers of Services.
use super::{shows, workload};
use crate::context::{Context, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

fn service(context: &Context, more: Value) -> Value {
    super::with(
        context.service("web", "ClusterIP"),
        json!({"spec": super::with(
            json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}), more,
        )}),
    )
}

/// Addresses of pods, sorted.
fn addresses(context: &Context, arguments: &[&str]) -> Result<Vec<String>> {
    let text = context.kubectl(&[&["get"], arguments].concat())?;
    let mut all: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    all.sort();
    Ok(all)
}

fn of_pods(context: &Context) -> Result<Vec<String>> {
    addresses(context, &["pods", "--selector", "app=web", "--output", "jsonpath={.items[*].status.podIP}"])
}

/// The Endpoints of a Service are its ready pods.
pub fn endpoints(context: &Context) -> Result<()> {
    context.apply_json(&service(context, json!({})))?;
    context.apply_json(&workload("Deployment", "web", json!({"replicas": 2})))?;
    context.rolled_out("deployment/web")?;
    let told =
        || addresses(context, &["endpoints/web", "--output", "jsonpath={.subsets[*].addresses[*].ip}"]);
    eventually("both are endpoints", || same(told()?, of_pods(context)?))?;
    same(context.value("endpoints/web", ".subsets[0].ports[0].port")?.as_str(), "8080")?;
    context.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    eventually("none is", || same(told()?, Vec::new()))
}

/// EndpointSlices follow pods; with many nodes in two zones, each pod serves its own.
pub fn slices(context: &Context) -> Result<()> {
    let auto = json!({"service.kubernetes.io/topology-mode": "Auto"});
    let mut annotated = service(context, json!({}));
    annotated["metadata"]["annotations"] = auto;
    context.apply_json(&annotated)?;
    context.apply_json(&workload("Deployment", "web", json!({"replicas": 4})))?;
    context.rolled_out("deployment/web")?;
    let chosen = ["endpointslices", "--selector", "kubernetes.io/service-name=web", "--output"];
    let told = |path: &str| {
        addresses(context, &[&chosen[..], &[&format!("jsonpath={{.items[*].endpoints[*]{path}}}")]].concat())
    };
    eventually("all are endpoints", || same(told(".addresses[0]")?, of_pods(context)?))?;
    eventually("each has a hint", || {
        let hints = told(".hints.forZones[0].name")?;
        ensure!(
            hints.len() == 4 && hints.contains(&"zone-1".to_owned()) && hints.contains(&"zone-2".to_owned()),
            "{hints:?}"
        );
        Ok(())
    })?;
    context.kubectl(&["annotate", "service/web", "service.kubernetes.io/topology-mode-"])?;
    eventually("no hint is left", || same(told(".hints.forZones[0].name")?, Vec::new()))?;
    context.kubectl(&[
        "patch",
        "service/web",
        "--patch",
        r#"{"spec":{"trafficDistribution":"PreferSameZone"}}"#,
    ])?;
    eventually("each is for its zone", || same(told(".hints.forZones[0].name")?, told(".zone")?))
}

/// Endpoints kept by hand are mirrored.
pub fn mirrored(context: &Context) -> Result<()> {
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"}, "spec": {"ports": [{"port": 80}]},
    }))?;
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"},
        "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 8080}]}],
    }))?;
    let chosen = ["endpointslices", "--selector", "kubernetes.io/service-name=outside", "--output"];
    let told =
        |path: &str| addresses(context, &[&chosen[..], &[&format!("jsonpath={{.items[*]{path}}}")]].concat());
    eventually("they are mirrored", || {
        same(told(".endpoints[*].addresses[0]")?, vec!["192.0.2.7".to_owned()])
    })?;
    let by = told(r".metadata.labels.endpointslice\.kubernetes\.io/managed-by")?;
    same(by, vec!["endpointslicemirroring-controller.k8s.io".to_owned()])?;
    context.kubectl(&["delete", "endpoints/outside"])?;
    eventually("they go too", || same(told(".metadata.name")?, Vec::new()))
}

/// A balanced Service has the nodes' addresses; one whose traffic stays local those with its pods, at once.
pub fn balancer(context: &Context) -> Result<()> {
    let mut set = workload("Deployment", "web", json!({"replicas": 1}));
    set["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "sim-1"});
    context.apply_json(&set)?;
    context.rolled_out("deployment/web")?;
    let more = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 7070, "targetPort": 8080}]});
    context.apply_json(&service(context, more))?;
    let address = |node: &str| {
        context.value(&format!("node/{node}"), r#".status.addresses[?(@.type=="InternalIP")].address"#)
    };
    let told = || context.value("service/web", ".status.loadBalancer.ingress[*].ip");
    eventually("its node's address", || same(told()?, address("sim-1")?))?;
    context.kubectl(&[
        "patch",
        "deployment/web",
        "--patch",
        r#"{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"sim-2"}}}}}"#,
    ])?;
    eventually("the other node's address", || same(told()?, address("sim-2")?))?;
    context.kubectl(&[
        "patch",
        "service/web",
        "--patch",
        r#"{"spec":{"type":"ClusterIP","externalTrafficPolicy":null}}"#,
    ])?;
    eventually("none any more", || same(told()?.as_str(), ""))
}

/// A further range of addresses is taken into use, and kept while a Service has one of them.
pub fn ranges(context: &Context) -> Result<()> {
    let name = super::own(context, "range");
    let range = format!("servicecidr/{name}");
    context.apply_json(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "spec": {"cidrs": ["198.51.100.0/24"]},
    }))?;
    context.wait(&range, "condition=Ready")?;
    context.apply_json(&service(context, json!({"clusterIP": "198.51.100.9"})))?;
    context.kubectl(&["delete", &range, "--wait=false"])?;
    let ready = r#".status.conditions[?(@.type=="Ready")].reason"#;
    shows(context, &range, ready, "Terminating")?;
    context.kubectl(&["delete", "service/web"])?;
    context.wait(&range, "delete").map(drop)
}
