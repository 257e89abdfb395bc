//! Clusters of simulated nodes: how fast pods are scheduled and bound, Deployments grow and namespaces go, and what the
//! controllers and the scheduler cost meanwhile.
use super::client::{Call, Pool, Target};
use super::cluster::{knarr, watch};
use super::load::{self, Until};
use super::report::Report;
use super::{Scale, process};
use crate::cluster::{Cluster, paths};
use crate::progress::Progress;
use crate::supervisor::holder;
use anyhow::{Context, Result, bail};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long one measurement may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long no pod may come further while more are awaited: the rest will never be.
const STALL: Duration = Duration::from_secs(60);
/// Pods that a simulated node has room for.
const ROOM: usize = 110;
/// Connections that share the load.
const CONNECTIONS: usize = 4;
/// Pods that are created at once.
const CONCURRENCY: usize = 64;
/// Field selector of pods that have a node.
const BOUND: &str = "spec.nodeName%21%3D";
/// Field selector of pods that run.
const RUNNING: &str = "status.phase%3DRunning";
/// Only names and the like are read of what is watched.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Takes all measurements in clusters that are removed afterwards.
pub async fn measure(scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let largest = scale.simulated_nodes.iter().max().copied().unwrap_or_default();
    let smallest = scale.simulated_nodes.iter().min().copied().unwrap_or_default();
    for nodes in scale.simulated_nodes.iter().copied() {
        let name = format!("bench-{}-{nodes}", std::process::id());
        let parts = Parts { running: nodes == smallest, deployments: nodes == largest };
        let measured = play(&name, nodes, parts, scale, report, progress).await;
        progress.step("Removing the cluster");
        let removed = knarr(&["down", "--name", &name]).await;
        measured.with_context(|| format!("{nodes} nodes"))?;
        removed?;
    }
    Ok(())
}

/// What is measured on one of the clusters only.
struct Parts {
    running: bool,
    deployments: bool,
}

async fn play(
    name: &str,
    nodes: usize,
    parts: Parts,
    scale: &Scale,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<()> {
    progress.step(&format!("Creating a cluster of {nodes} nodes"));
    let begin = Instant::now();
    let count = nodes.to_string();
    let arguments = ["up", "--name", name, "--no-kubeconfig", "--runtime", "simulated", "--nodes", &count];
    knarr(&[&arguments[..], &["--output", "json", "--timeout", "600"]].concat()).await?;
    report.add_time(&format!("scale.{nodes}_nodes.up"), begin.elapsed());
    let cluster = Cluster::open(&paths::home(), name)?;
    let bench = Bench {
        target: Target::new(&cluster)?,
        pool: Target::new(&cluster)?.pool(CONNECTIONS).await?,
        cluster,
    };
    if scale.wants("scale.pods") {
        let (figures, count) = (format!("scale.{nodes}_nodes"), scale.scheduled_pods.min(nodes * ROOM));
        progress.step(&format!("Scheduling {count} pods"));
        let span = bench.pods("pods", count, BOUND).await?;
        report.add(format!("{figures}.bound_per_second"), count as f64 / span.as_secs_f64());
        bench.rest_and_delete("pods", &figures, scale, report, progress).await?;
    }
    if parts.running && scale.wants("scale.running") {
        let (figures, count) = ("scale.running", scale.running_pods.min(nodes * ROOM));
        progress.step(&format!("Running {count} pods"));
        let span = bench.pods("running", count, RUNNING).await?;
        report.add(format!("{figures}.pods"), count as f64);
        report.add_time(&format!("{figures}.all_running"), span);
        bench.rest_and_delete("running", figures, scale, report, progress).await?;
    }
    for Variant { name, constraint, most_a_node } in variants() {
        if parts.deployments && scale.wants(&format!("scale.deployment_{name}")) {
            let replicas = scale.replicas.min(nodes * most_a_node);
            progress.step(&format!("Scaling a Deployment to {replicas} ({name})"));
            let time = bench.deployment(name, constraint, replicas).await?;
            // With fewer replicas it is another measurement, and has no target.
            let fewer = if replicas < scale.replicas { format!("_{replicas}") } else { String::new() };
            report.add_time(&format!("scale.deployment_{name}{fewer}.bound"), time);
            bench.delete_namespace(name).await?;
        }
    }
    Ok(())
}

/// A Deployment that is measured.
struct Variant {
    name: &'static str,
    /// What its pods demand of their nodes, as part of their specification.
    constraint: Value,
    /// How many of its pods can be on one node.
    most_a_node: usize,
}

fn variants() -> [Variant; 3] {
    let selector = json!({"matchLabels": {"app": "bench"}});
    let term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    let spread = json!({
        "labelSelector": selector, "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
    });
    let alone = json!({
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
    });
    let spread = json!({"topologySpreadConstraints": [spread]});
    [
        Variant { name: "plain", constraint: json!({}), most_a_node: ROOM },
        Variant { name: "anti-affinity", constraint: alone, most_a_node: 1 },
        Variant { name: "spread", constraint: spread, most_a_node: ROOM },
    ]
}

fn pod_spec() -> Value {
    let requests = json!({"cpu": "10m", "memory": "16Mi"});
    json!({"containers": [{"name": "main", "image": "bench", "resources": {"requests": requests}}]})
}

struct Bench {
    cluster: Cluster,
    target: Target,
    pool: Pool,
}

impl Bench {
    fn pid(&self, component: &str) -> Result<u32> {
        let pid = holder(&self.cluster.paths.lock(component))?;
        pid.with_context(|| format!("{component} does not run"))
    }

    /// A namespace with its account, without which pods are refused.
    async fn namespace(&self, name: &str) -> Result<()> {
        let mut connection = self.pool.pick();
        let body = json!({"metadata": {"name": name}}).to_string();
        connection.send(&Call::json(Method::POST, "/api/v1/namespaces", body)).await?;
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts?watch=1");
        let account = watch(&mut connection, &path, |change, _| change == "ADDED");
        tokio::time::timeout(PATIENCE, account).await.context("no account was made")??;
        Ok(())
    }

    /// Creates pods one by one; returns how long it took until the selector found all of them.
    async fn pods(&self, namespace: &str, count: usize, selector: &str) -> Result<Duration> {
        self.namespace(namespace).await?;
        let found = self.follow(namespace, selector, count).await?;
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let make = move |_, number| {
            let body = json!({"metadata": {"name": format!("pod-{number}")}, "spec": pod_spec()});
            Call::json(Method::POST, path.as_str(), body.to_string())
        };
        let begin = Instant::now();
        load::run(&self.pool, self.pid("apiserver")?, CONCURRENCY, Until::Count(count as u64), make).await?;
        Ok(found.await.context("the watch panicked")?? - begin)
    }

    /// What the components take with a namespace's pods there, and how long they take to go.
    async fn rest_and_delete(
        &self,
        namespace: &str,
        figures: &str,
        scale: &Scale,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Result<()> {
        progress.step("Waiting until everything rests");
        self.costs(figures, scale, report).await?;
        progress.step("Deleting the namespace");
        let gone = self.delete_namespace(namespace).await?;
        report.add_time(&format!("{figures}.namespace_deletion"), gone);
        Ok(())
    }

    /// Tells the time at which a field selector has found so many pods of a namespace. The watch is open when this
    /// returns.
    async fn follow(
        &self,
        namespace: &str,
        selector: &str,
        count: usize,
    ) -> Result<tokio::task::JoinHandle<Result<Instant>>> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?watch=1&fieldSelector={selector}");
        let mut connection = self.target.connect().await?;
        let mut body = connection.open(&Call { accept: METADATA, ..Call::get(path) }).await?;
        let counted = async move {
            let (mut seen, mut line) = (0, Vec::new());
            loop {
                let Ok(frame) = tokio::time::timeout(STALL, body.frame()).await else {
                    bail!("after {seen} of {count} pods there were no more for {STALL:?}");
                };
                let Some(frame) = frame else { break };
                let Ok(data) = frame?.into_data() else { continue };
                for part in data.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(part);
                    if line.ends_with(b"\n") {
                        // A pod comes into the selection once: when it is bound, or runs.
                        seen += usize::from(line.starts_with(br#"{"type":"ADDED""#));
                        line.clear();
                    }
                }
                if seen >= count {
                    return Ok(Instant::now());
                }
            }
            bail!("the watch of pods ended after {seen} of {count}")
        };
        Ok(tokio::spawn(async move {
            tokio::time::timeout(PATIENCE, counted).await.context("not all pods came so far")?
        }))
    }

    /// Memory with all pods there, and CPU while nothing happens.
    async fn costs(&self, figures: &str, scale: &Scale, report: &mut Report) -> Result<()> {
        let components = ["controllers", "scheduler", "kubelet", "apiserver"];
        for component in components {
            process::rest(self.pid(component)?).await?;
        }
        let mut before = Vec::new();
        for component in components {
            before.push(process::cpu(self.pid(component)?)?);
        }
        tokio::time::sleep(scale.idle_span).await; // the idleness that is measured
        for (component, before) in components.into_iter().zip(before) {
            let pid = self.pid(component)?;
            let share = (process::cpu(pid)? - before).as_secs_f64() / scale.idle_span.as_secs_f64();
            report.add(format!("{figures}.{component}_idle_cpu_percent"), share * 100.0);
            report.add(format!("{figures}.{component}_memory_mb"), process::memory(pid)?);
        }
        Ok(())
    }

    /// Deletes a namespace; returns how long that took to the end.
    async fn delete_namespace(&self, name: &str) -> Result<Duration> {
        let path = format!("/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3D{name}");
        let (mut connection, mut watching) = (self.pool.pick(), self.pool.pick());
        let begin = Instant::now();
        let delete = Call { method: Method::DELETE, ..Call::get(format!("/api/v1/namespaces/{name}")) };
        let gone = watch(&mut watching, &path, |change, _| change == "DELETED");
        let (deleted, gone) = tokio::join!(connection.send(&delete), tokio::time::timeout(PATIENCE, gone));
        deleted?;
        Ok(gone.context("the namespace does not go")?? - begin)
    }

    /// Scales a Deployment from nothing; returns how long it took until all of its pods were bound.
    async fn deployment(&self, name: &str, constraint: Value, replicas: usize) -> Result<Duration> {
        self.namespace(name).await?;
        let mut spec = pod_spec();
        if let (Some(spec), Value::Object(constraint)) = (spec.as_object_mut(), constraint) {
            spec.extend(constraint);
        }
        let labels = json!({"app": "bench"});
        let deployment = json!({
            "metadata": {"name": "bench"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": spec}},
        });
        let mut connection = self.pool.pick();
        let path = format!("/apis/apps/v1/namespaces/{name}/deployments");
        connection.send(&Call::json(Method::POST, path.as_str(), deployment.to_string())).await?;
        let bound = self.follow(name, BOUND, replicas).await?;
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        let patch = Call::json(Method::PATCH, format!("{path}/bench/scale"), patch);
        let begin = Instant::now();
        connection.send(&Call { content_type: Some("application/merge-patch+json"), ..patch }).await?;
        Ok(bound.await.context("the watch panicked")?? - begin)
    }
}
