//! The scheduler: where pods go, why not, and who makes room.
use super::{counts, own, pod, shows, told, with, workload};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn container(requests: Value) -> Value {
    json!([{"name": "main", "image": "any", "resources": {"requests": requests}}])
}

/// How many pods with the label `app=name` each node, or each value of a label of nodes, has.
fn spread_of(context: &Context, name: &str) -> Result<BTreeMap<String, usize>> {
    let path = "jsonpath={.items[*].spec.nodeName}";
    let placed = context.kubectl(&["get", "pods", "--selector", &format!("app={name}"), "--output", path])?;
    let mut counts = BTreeMap::new();
    for node in placed.split_whitespace() {
        *counts.entry(node.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// What stands in the way is said as the original says it.
pub fn diagnosis(context: &Context) -> Result<()> {
    let here = json!({"kubernetes.io/hostname": "sim-4"});
    let condition = |name: &str, part: &str| {
        context.value(
            &format!("pod/{name}"),
            &format!(r#".status.conditions[?(@.type=="PodScheduled")].{part}"#),
        )
    };
    context.apply_json(&pod("nowhere", json!({"nodeSelector": {"no": "node"}})))?;
    told(context, "nowhere", "FailedScheduling", "node(s) didn't match Pod's node affinity/selector")?;
    same(condition("nowhere", "reason")?.as_str(), "Unschedulable")?;
    context.apply_json(&pod("tainted", json!({"nodeSelector": here})))?;
    told(context, "tainted", "FailedScheduling", "node(s) had untolerated taint(s)")?;
    context.apply_json(&pod("huge", json!({"containers": container(json!({"cpu": "9000"}))})))?;
    told(context, "huge", "FailedScheduling", "Insufficient cpu")?;
    told(context, "huge", "FailedScheduling", "preemption: 0/")?;
    // Told in the newer form: with what was done, and by which instance.
    let event = |part: &str| {
        let fields = "regarding.name=huge,reason=FailedScheduling";
        let path = format!("jsonpath={{.items[0].{part}}}");
        context.kubectl(&["get", "events.v1.events.k8s.io", "--field-selector", fields, "--output", &path])
    };
    same(event("action")?.trim(), "Scheduling")?;
    same(event("reportingController")?.trim(), "default-scheduler")?;
    contains(&event("reportingInstance")?, "default-scheduler-")?;
    // Refused before nodes are looked at.
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]);
    context.apply_json(&pod("unclaimed", json!({"volumes": volumes})))?;
    let words = "nodes are available: persistentvolumeclaim \"none\" not found. not found";
    told(context, "unclaimed", "FailedScheduling", words)?;
    context.apply_json(&pod("elsewhere", json!({"schedulerName": "somebody-else"})))?;
    // What another scheduler is to place is left alone.
    context.apply_json(&pod("witness", json!({})))?;
    context.wait("pod/witness", "condition=Ready")?;
    same(condition("elsewhere", "status")?.as_str(), "")
}

/// Pods are spread over zones as evenly as they ask for.
pub fn spread(context: &Context) -> Result<()> {
    let mut set = workload("Deployment", "web", json!({"replicas": 6}));
    set["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor", "labelSelector": {"matchLabels": {"app": "web"}},
    }]);
    set["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["sim-1", "sim-2", "sim-3"]},
        ]}]},
    }});
    context.apply_json(&set)?;
    context.rolled_out("deployment/web")?;
    let counts = spread_of(context, "web")?;
    ensure!(counts.len() == 3 && counts.values().all(|count| *count == 2), "{counts:?}");
    Ok(())
}

/// Pods that must be apart are; those that must be together are.
pub fn affinity(context: &Context) -> Result<()> {
    let term = |app: &str| json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]);
    let rule =
        |kind: &str, app: &str| json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": term(app)}});
    let mut apart = workload("Deployment", "apart", json!({"replicas": 3}));
    apart["spec"]["template"]["spec"]["affinity"] = rule("podAntiAffinity", "apart");
    context.apply_json(&apart)?;
    context.rolled_out("deployment/apart")?;
    same(spread_of(context, "apart")?.len(), 3)?;
    context.apply_json(&pod("alone", json!({"affinity": rule("podAffinity", "nobody")})))?;
    told(context, "alone", "FailedScheduling", "node(s) didn't match pod affinity rules")?;
    context.apply_json(&pod("nobody", json!({})))?;
    context.wait("pod/alone", "condition=Ready")?;
    let node = |name: &str| context.value(&format!("pod/{name}"), ".spec.nodeName");
    same(node("alone")?, node("nobody")?)
}

/// A pod with a gate waits until it is taken away.
pub fn gates(context: &Context) -> Result<()> {
    context.apply_json(&pod("gated", json!({"schedulingGates": [{"name": "example.com/wait"}]})))?;
    shows(
        context,
        "pod/gated",
        r#".status.conditions[?(@.type=="PodScheduled")].reason"#,
        "SchedulingGated",
    )?;
    context.kubectl(&[
        "patch",
        "pod/gated",
        "--type=json",
        "--patch",
        r#"[{"op":"remove","path":"/spec/schedulingGates"}]"#,
    ])?;
    context.wait("pod/gated", "condition=Ready").map(drop)
}

/// A resource of one node that others do not use: two of it.
fn extended(context: &Context, node: &str, name: &str) -> Result<String> {
    let resource = format!("{name}-{}", std::process::id());
    let patch = json!({"status": {"capacity": {format!("example.com/{resource}"): "2"}, "allocatable": {format!("example.com/{resource}"): "2"}}});
    context.kubectl(&[
        "patch",
        &format!("node/{node}"),
        "--subresource=status",
        "--patch",
        &patch.to_string(),
    ])?;
    Ok(format!("example.com/{resource}"))
}

fn classes(context: &Context) -> Result<()> {
    for (name, value) in [("low", 10), ("high", 1000)] {
        context.apply_json(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": own(context, name)}, "value": value}))?;
    }
    Ok(())
}

fn wanting(context: &Context, name: &str, class: &str, resource: &str, amount: &str) -> Value {
    let resources = json!({"requests": {resource: amount}, "limits": {resource: amount}});
    let containers = json!([{"name": "main", "image": "any", "resources": resources}]);
    pod(name, with(json!({"containers": containers}), json!({"priorityClassName": own(context, class)})))
}

/// The more important pod gets the room of others, of as few and as unimportant ones as possible.
pub fn preemption(context: &Context) -> Result<()> {
    classes(context)?;
    let resource = extended(context, "sim-3", "room")?;
    context.apply_json(&wanting(context, "first", "low", &resource, "1"))?;
    context.wait("pod/first", "condition=Ready")?;
    context.apply_json(&wanting(context, "second", "high", &resource, "1"))?;
    context.wait("pod/second", "condition=Ready")?;
    context.apply_json(&wanting(context, "equal", "low", &resource, "1"))?;
    told(context, "equal", "FailedScheduling", "No preemption victims found for incoming pod")?;
    context.apply_json(&wanting(context, "third", "high", &resource, "1"))?;
    context.wait("pod/first", "delete")?;
    context.wait("pod/third", "condition=Ready")?;
    told(context, "first", "Preempted", "Preempted by pod")?;
    same(context.value("pod/second", ".metadata.deletionTimestamp")?.as_str(), "")?;
    context.kubectl(&["delete", "pods", "--all"])?;
    context.kubectl(&["delete", "priorityclass", &own(context, "low"), &own(context, "high")]).map(drop)
}

/// The script's extender, which is asked about pods that want `example.com/extended`, lets nobody be driven from
/// `sim-1`.
pub fn extender_preemption(context: &Context) -> Result<()> {
    classes(context)?;
    let resource = "example.com/extended";
    for node in ["sim-1", "sim-2"] {
        let patch =
            json!({"status": {"capacity": {resource: "1"}, "allocatable": {resource: "1"}}}).to_string();
        context.kubectl(&["patch", &format!("node/{node}"), "--subresource=status", "--patch", &patch])?;
    }
    // By itself the scheduler would end the one that began last.
    for (name, node) in [("a", "sim-2"), ("b", "sim-1")] {
        let mut low = wanting(context, name, "low", resource, "1");
        low["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        context.apply_json(&low)?;
        context.wait(&format!("pod/{name}"), "condition=Ready")?;
    }
    context.apply_json(&wanting(context, "high", "high", resource, "1"))?;
    context.wait("pod/high", "condition=Ready")?;
    same(context.value("pod/high", ".spec.nodeName")?.as_str(), "sim-2")?;
    counts(context, &["pods"], 2)?;
    same(context.value("pod/b", ".metadata.deletionTimestamp")?.as_str(), "")?;
    context.kubectl(&["delete", "pods", "--all"])?;
    context.kubectl(&["delete", "priorityclass", &own(context, "low"), &own(context, "high")]).map(drop)
}

/// The server gives the scheduler its lease, has it make room for a candidate of an older version, and gives it back when
/// that one is silent.
pub fn election(context: &Context) -> Result<()> {
    let system = "--namespace=kube-system";
    let lease = |part: &str| {
        context.kubectl(&[
            "get",
            "lease/kube-scheduler",
            system,
            "--output",
            &format!("jsonpath={{.spec.{part}}}"),
        ])
    };
    same(lease("strategy")?.as_str(), "OldestEmulationVersion")?;
    let scheduler = lease("holderIdentity")?;
    context.kubectl(&["get", "leasecandidate", &scheduler, system])?;
    let name = own(context, "older");
    let time = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let candidate = json!({"apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate",
        "metadata": {"name": name}, "spec": {"leaseName": "kube-scheduler", "binaryVersion": "1.36.0",
            "emulationVersion": "1.35.0", "strategy": "OldestEmulationVersion", "renewTime": time()}});
    context.apply_json_in("kube-system", &candidate)?;
    eventually("the older one leads", || {
        // It answers whenever it is asked.
        let answer = json!({"spec": {"renewTime": time()}}).to_string();
        context.kubectl(&["patch", "leasecandidate", &name, system, "--type=merge", "--patch", &answer])?;
        same(lease("holderIdentity")?, name.clone())
    })?;
    context.kubectl(&["delete", "leasecandidate", &name, system])?;
    eventually("a scheduler leads again", || {
        let holder = lease("holderIdentity")?;
        ensure!(holder != name && !holder.is_empty(), "{holder:?} leads");
        Ok(())
    })?;
    context.apply_json(&pod("late", json!({})))?;
    context.wait("pod/late", "condition=Ready").map(drop)
}
