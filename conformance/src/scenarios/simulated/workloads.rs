//! Controllers of workloads.
use super::{counts, own, pod, shows, spec, told, with, workload};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Rolls out, keeps its history, goes back, is paused, and says when it does not get on.
pub fn deployment(context: &Context) -> Result<()> {
    context.apply_json(&workload("Deployment", "web", json!({"replicas": 4})))?;
    context.rolled_out("deployment/web")?;
    let image = |image: &str| context.kubectl(&["set", "image", "deployment/web", &format!("main={image}")]);
    image("second")?;
    context.rolled_out("deployment/web")?;
    counts(context, &["replicasets"], 2)?;
    context.kubectl(&["rollout", "undo", "deployment/web"])?;
    context.rolled_out("deployment/web")?;
    same(context.value("deployment/web", ".spec.template.spec.containers[0].image")?.as_str(), "any")?;
    let revision =
        context.value("deployment/web", r".metadata.annotations.deployment\.kubernetes\.io/revision")?;
    same(revision.as_str(), "3")?;
    // Scaled in the middle of a rollout, both of its sets grow in proportion.
    context.kubectl(&["rollout", "pause", "deployment/web"])?;
    image("third")?;
    context.kubectl(&["scale", "deployment/web", "--replicas=6"])?;
    shows(context, "deployment/web", ".status.availableReplicas", "6")?;
    shows(
        context,
        "deployment/web",
        r#".status.conditions[?(@.type=="Progressing")].reason"#,
        "DeploymentPaused",
    )?;
    counts(context, &["replicasets"], 2)?;
    context.kubectl(&["rollout", "resume", "deployment/web"])?;
    context.rolled_out("deployment/web")?;
    context.apply_json(&workload("Deployment", "never-ready", json!({"progressDeadlineSeconds": 2})))?;
    let progressing = r#".status.conditions[?(@.type=="Progressing")].reason"#;
    shows(context, "deployment/never-ready", progressing, "ProgressDeadlineExceeded")
}

/// Keeps the number of its pods, adopts those that fit, and lets go of those that do not any more.
pub fn replica_set(context: &Context) -> Result<()> {
    context.apply_json(&pod("set", json!({})))?;
    context.apply_json(&workload("ReplicaSet", "set", json!({"replicas": 3})))?;
    shows(context, "replicaset/set", ".status.readyReplicas", "3")?;
    same(context.value("pod/set", ".metadata.ownerReferences[0].kind")?.as_str(), "ReplicaSet")?;
    context.kubectl(&["label", "pod/set", "app=other", "--overwrite"])?;
    eventually("it is let go", || same(context.value("pod/set", ".metadata.ownerReferences")?.as_str(), ""))?;
    counts(context, &["pods", "--selector", "app=set"], 3)?;
    context.kubectl(&["scale", "replicaset/set", "--replicas=1"])?;
    counts(context, &["pods", "--selector", "app=set"], 1)?;
    told(context, "set", "SuccessfulDelete", "Deleted pod: set-")
}

/// The same in the form of old.
pub fn replication_controller(context: &Context) -> Result<()> {
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "selector": {"app": "old"},
            "template": {"metadata": {"labels": {"app": "old"}}, "spec": spec()}},
    }))?;
    shows(context, "rc/old", ".status.readyReplicas", "2")?;
    context.kubectl(&["delete", "pods", "--selector", "app=old", "--wait=false"])?;
    shows(context, "rc/old", ".status.readyReplicas", "2")?;
    context.kubectl(&["scale", "rc/old", "--replicas=0"])?;
    counts(context, &["pods"], 0)
}

/// Pods in order with names of their own, replaced from the last one, down to the partition.
pub fn stateful_set(context: &Context) -> Result<()> {
    let partition = |from: u32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": from}});
    let set = |image: &str, from: u32| {
        let mut set = workload(
            "StatefulSet",
            "db",
            json!({"replicas": 3, "serviceName": "db", "updateStrategy": partition(from)}),
        );
        set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        set
    };
    context.apply_json(&set("first", 0))?;
    context.rolled_out("statefulset/db")?;
    counts(context, &["pod/db-0", "pod/db-1", "pod/db-2"], 3)?;
    context.apply_json(&set("second", 2))?;
    let image = |name: &str| context.value(&format!("pod/{name}"), ".spec.containers[0].image");
    eventually("the last one is replaced", || same(image("db-2")?.as_str(), "second"))?;
    shows(context, "statefulset/db", ".status.readyReplicas", "3")?;
    same(image("db-1")?.as_str(), "first")?;
    context.apply_json(&set("second", 0))?;
    context.rolled_out("statefulset/db")?;
    same(image("db-0")?.as_str(), "second")?;
    same(context.value("pod/db-1", r".metadata.labels.apps\.kubernetes\.io/pod-index")?.as_str(), "1")?;
    context.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
    counts(context, &["pods"], 1)?;
    context.kubectl(&["get", "pod/db-0"])?;
    lost_claim(context)
}

/// A claim that is gone before its pod has started is made again.
fn lost_claim(context: &Context) -> Result<()> {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "nobody-provides", "resources": {"requests": {"storage": "1Gi"}}}});
    let set = json!({"replicas": 1, "serviceName": "own", "volumeClaimTemplates": [claim]});
    context.apply_json(&workload("StatefulSet", "own", set))?;
    let uid = || context.value("pvc/data-own-0", ".metadata.uid");
    let first = eventually("it has a claim", uid)?;
    shows(context, "pod/own-0", ".status.phase", "Pending")?;
    context.kubectl(&["delete", "pvc/data-own-0", "--wait=false"])?;
    eventually("it has another claim", || {
        ensure!(uid()? != first, "it is the first one");
        Ok(())
    })
}

/// One pod on each node that fits, closed or not, replaced node by node.
pub fn daemon_set(context: &Context) -> Result<()> {
    let mut set = workload("DaemonSet", "agent", json!({}));
    let hosts = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["sim-1", "sim-2", "sim-3", "sim-4"]});
    let terms = json!([{"matchExpressions": [hosts]}]);
    set["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    context.apply_json(&set)?;
    context.rolled_out("daemonset/agent")?;
    // The fourth has a taint.
    let places = context.kubectl(&["get", "pods", "--output", "jsonpath={.items[*].spec.nodeName}"])?;
    let places: BTreeSet<&str> = places.split_whitespace().collect();
    same(places, BTreeSet::from(["sim-1", "sim-2", "sim-3"]))?;
    same(context.value("daemonset/agent", ".status.numberAvailable")?.as_str(), "3")?;
    context.kubectl(&["set", "image", "daemonset/agent", "main=second"])?;
    context.rolled_out("daemonset/agent")?;
    counts(context, &["controllerrevisions"], 2)?;
    let elsewhere = r#"{"spec":{"template":{"spec":{"nodeSelector":{"no":"node"}}}}}"#;
    context.kubectl(&["patch", "daemonset/agent", "--patch", elsewhere])?;
    counts(context, &["pods"], 0)
}

fn a_job(name: &str, more: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": with(spec(), json!({"restartPolicy": "Never"}))});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": with(json!({"template": template}), more)})
}

/// Indexed, limited, suspended: work to the end, and failures that end it.
pub fn job(context: &Context) -> Result<()> {
    let job = a_job;
    context
        .apply_json(&job("work", json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"})))?;
    context.wait("job/work", "condition=Complete")?;
    same(context.value("job/work", ".status.completedIndexes")?.as_str(), "0-3")?;
    same(context.value("job/work", ".status.succeeded")?.as_str(), "4")?;
    // Pods with this label fail.
    context.apply_json(&job("failing", json!({"backoffLimit": 0})))?;
    context.wait("job/failing", "condition=Failed")?;
    let failed = r#".status.conditions[?(@.type=="Failed")].reason"#;
    same(context.value("job/failing", failed)?.as_str(), "BackoffLimitExceeded")?;
    // Each pod knows how often its index has failed, whatever became of those before it.
    let mut limited =
        job("limited", json!({"completions": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 1}));
    limited["spec"]["template"]["metadata"]["labels"]["app"] = "failing".into();
    context.apply_json(&limited)?;
    let first = ["pods", "--selector", "job-name=limited"];
    shows(context, "job/limited", ".status.active", "1")?;
    context.kubectl(&[&["delete", "--wait=false"], &first[..]].concat())?;
    context.wait("job/limited", "condition=Failed")?;
    same(context.value("job/limited", failed)?.as_str(), "FailedIndexes")?;
    same(context.value("job/limited", ".status.failedIndexes")?.as_str(), "0")?;
    let count = r"jsonpath={.items[*].metadata.annotations.batch\.kubernetes\.io/job-index-failure-count}";
    same(context.kubectl(&[&["get", "--output", count], &first[..]].concat())?.as_str(), "1")?;
    context.apply_json(&job("waiting", json!({"suspend": true})))?;
    context.wait("job/waiting", "condition=Suspended")?;
    counts(context, &["pods", "--selector", "app=waiting"], 0)?;
    context.kubectl(&["patch", "job/waiting", "--patch", r#"{"spec":{"suspend":false}}"#])?;
    context.wait("job/waiting", "condition=Complete")?;
    told(context, "waiting", "Resumed", "Job resumed")?;
    lasting_job(context)
}

/// Pods that the Job ends itself are no failures, and those it lets go of are free to go.
fn lasting_job(context: &Context) -> Result<()> {
    let patch = |patch: &str| context.kubectl(&["patch", "job/lasting", "--patch", patch]);
    context.apply_json(&a_job("lasting", json!({"backoffLimit": 0, "completions": 3, "parallelism": 3})))?;
    shows(context, "job/lasting", ".status.ready", "3")?;
    patch(r#"{"spec":{"suspend":true}}"#)?;
    context.wait("job/lasting", "condition=Suspended")?;
    counts(context, &["pods", "--selector", "app=lasting"], 0)?;
    patch(r#"{"spec":{"suspend":false}}"#)?;
    shows(context, "job/lasting", ".status.ready", "3")?;
    patch(r#"{"spec":{"parallelism":2}}"#)?;
    shows(context, "job/lasting", ".status.ready", "2")?;
    counts(context, &["pods", "--selector", "app=lasting"], 2)?;
    same(context.value("job/lasting", ".status.failed")?.as_str(), "")?;
    let name = context.kubectl(&["get", "pods", "--selector", "app=lasting", "--output", "name"])?;
    let stray = name.lines().next().unwrap_or_default();
    let controller = "batch.kubernetes.io/controller-uid-";
    context.kubectl(&["label", stray, controller])?;
    eventually("it is let go", || {
        same(context.value(stray, ".metadata['ownerReferences','finalizers']")?.as_str(), "")
    })?;
    shows(context, "job/lasting", ".status.ready", "2")?;
    context.kubectl(&["delete", stray]).map(drop)
}

/// A Job each minute, and nothing while it is suspended.
pub fn cron_job(context: &Context) -> Result<()> {
    context.kubectl(&[
        "create",
        "cronjob",
        "tick",
        "--image=any",
        "--schedule=* * * * *",
        "--",
        "anything",
    ])?;
    context.kubectl(&[
        "create",
        "cronjob",
        "tock",
        "--image=any",
        "--schedule=* * * * *",
        "--",
        "anything",
    ])?;
    context.kubectl(&["patch", "cronjob/tock", "--patch", r#"{"spec":{"suspend":true}}"#])?;
    eventually("the minute is over", || {
        contains(
            &context.kubectl(&[
                "get",
                "jobs",
                "--output",
                "jsonpath={.items[*].metadata.ownerReferences[0].name}",
            ])?,
            "tick",
        )
    })?;
    eventually("the last success is told", || {
        ensure!(!context.value("cronjob/tick", ".status.lastSuccessfulTime")?.is_empty(), "not yet");
        Ok(())
    })?;
    same(context.value("cronjob/tock", ".status.lastScheduleTime")?.as_str(), "")
}

/// A finished Job goes when its time has come.
pub fn time_to_live(context: &Context) -> Result<()> {
    context.apply_json(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "brief"},
        "spec": {"ttlSecondsAfterFinished": 2, "template": {"spec": with(spec(), json!({"restartPolicy": "Never"}))}},
    }))?;
    context.wait("job/brief", "condition=Complete")?;
    context.wait("job/brief", "delete")?;
    counts(context, &["pods"], 0)
}

/// Evictions stop where the budget ends, and go on when there are more pods.
pub fn disruption(context: &Context) -> Result<()> {
    context.apply_json(&workload("Deployment", "web", json!({"replicas": 2})))?;
    context.kubectl(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2"])?;
    context.rolled_out("deployment/web")?;
    shows(context, "pdb/web", ".status.currentHealthy", "2")?;
    shows(context, "pdb/web", ".status.disruptionsAllowed", "0")?;
    let name = context.kubectl(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"])?;
    let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", context.namespace);
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}).to_string();
    let file = std::env::temp_dir().join(own(context, "eviction.json"));
    std::fs::write(&file, eviction)?;
    let evict = ["create", "--raw", &path, "--filename", &file.to_string_lossy()].map(str::to_owned);
    let evict: Vec<&str> = evict.iter().map(String::as_str).collect();
    contains(&context.refused(&evict)?, "violate the pod's disruption budget")?;
    context.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    shows(context, "pdb/web", ".status.disruptionsAllowed", "1")?;
    context.kubectl(&evict)?;
    std::fs::remove_file(&file)?;
    shows(context, "pdb/web", ".status.currentHealthy", "3")?;
    // Pods without a workload count nowhere, and are told of.
    context.apply_json(&pod("bare", json!({})))?;
    context.kubectl(&["create", "pdb", "bare", "--selector=app=bare", "--max-unavailable=1"])?;
    shows(context, "pdb/bare", ".status.conditions[0].reason", "InsufficientPods")?;
    told(context, "bare", "UnmanagedPods", "MatchLabels:map[string]string{app: bare,}")
}

/// Without metrics it says so; the least number of pods is kept all the same.
pub fn autoscaler(context: &Context) -> Result<()> {
    context.apply_json(&workload("Deployment", "web", json!({"replicas": 1})))?;
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    context.apply_json(&json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }))?;
    shows(context, "deployment/web", ".spec.replicas", "2")?;
    let active = r#".status.conditions[?(@.type=="ScalingActive")].reason"#;
    shows(context, "hpa/web", active, "FailedGetResourceMetric")?;
    context.kubectl(&["scale", "deployment/web", "--replicas=9"])?;
    shows(context, "deployment/web", ".spec.replicas", "4")
}
