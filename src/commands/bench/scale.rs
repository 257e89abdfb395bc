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
/// Connections that share the load.
const CONNECTIONS: usize = 4;
/// Pods that are created at once.
const CONCURRENCY: usize = 64;
/// Only names and the like are read of what is watched.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Takes all measurements in clusters that are removed afterwards.
pub async fn measure(scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let largest = scale.simulated_nodes.iter().max().copied().unwrap_or_default();
    for nodes in scale.simulated_nodes.iter().copied() {
        let name = format!("bench-{}-{nodes}", std::process::id());
        let measured = play(&name, nodes, nodes == largest, scale, report, progress).await;
        progress.step("Removing the cluster");
        let removed = knarr(&["down", "--name", &name]).await;
        measured.with_context(|| format!("{nodes} nodes"))?;
        removed?;
    }
    Ok(())
}

async fn play(
    name: &str,
    nodes: usize,
    variants: bool,
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
        progress.step(&format!("Scheduling {} pods", scale.scheduled_pods));
        bench.pods(nodes, scale, report).await?;
        progress.step("Waiting until everything rests");
        bench.costs(nodes, scale, report).await?;
        progress.step("Deleting the namespace");
        let gone = bench.delete_namespace("pods").await?;
        report.add_time(&format!("scale.{nodes}_nodes.namespace_deletion"), gone);
    }
    for (variant, constraint) in constraints() {
        if variants && scale.wants(&format!("scale.deployment_{variant}")) {
            progress.step(&format!("Scaling a Deployment ({variant})"));
            let time = bench.deployment(variant, constraint, scale.replicas).await?;
            report.add_time(&format!("scale.deployment_{variant}.bound"), time);
            bench.delete_namespace(variant).await?;
        }
    }
    Ok(())
}

/// What the pods of Deployments demand of their nodes.
fn constraints() -> [(&'static str, Value); 3] {
    let selector = json!({"matchLabels": {"app": "bench"}});
    let term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    let spread = json!({
        "labelSelector": selector, "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
    });
    [
        ("plain", json!({})),
        (
            "anti-affinity",
            json!({
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
            }),
        ),
        ("spread", json!({"topologySpreadConstraints": [spread]})),
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

    /// Creates pods and follows how they are bound.
    async fn pods(&self, nodes: usize, scale: &Scale, report: &mut Report) -> Result<()> {
        self.namespace("pods").await?;
        let bound = self.bound("pods", scale.scheduled_pods).await?;
        let make = |_, number| {
            let body = json!({"metadata": {"name": format!("pod-{number}")}, "spec": pod_spec()});
            Call::json(Method::POST, "/api/v1/namespaces/pods/pods", body.to_string())
        };
        let until = Until::Count(scale.scheduled_pods as u64);
        let begin = Instant::now();
        load::run(&self.pool, self.pid("apiserver")?, CONCURRENCY, until, make).await?;
        let span = bound.await.context("the watch panicked")?? - begin;
        let rate = scale.scheduled_pods as f64 / span.as_secs_f64();
        report.add(format!("scale.{nodes}_nodes.bound_per_second"), rate);
        Ok(())
    }

    /// Tells the time at which so many pods of a namespace have a node. The watch is open when this returns.
    async fn bound(&self, namespace: &str, count: usize) -> Result<tokio::task::JoinHandle<Result<Instant>>> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?watch=1&fieldSelector=spec.nodeName%21%3D");
        let mut connection = self.target.connect().await?;
        let mut body = connection.open(&Call { accept: METADATA, ..Call::get(path) }).await?;
        let counted = async move {
            let (mut seen, mut line) = (0, Vec::new());
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else { continue };
                for part in data.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(part);
                    if line.ends_with(b"\n") {
                        // A pod comes into the selection once: when it is bound.
                        seen += usize::from(line.starts_with(br#"{"type":"ADDED""#));
                        line.clear();
                    }
                }
                if seen >= count {
                    return Ok(Instant::now());
                }
            }
            bail!("the watch of bound pods ended after {seen} of {count}")
        };
        Ok(tokio::spawn(async move {
            tokio::time::timeout(PATIENCE, counted).await.context("not all pods were bound")?
        }))
    }

    /// Memory with all pods there, and CPU while nothing happens.
    async fn costs(&self, nodes: usize, scale: &Scale, report: &mut Report) -> Result<()> {
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
            report.add(format!("scale.{nodes}_nodes.{component}_idle_cpu_percent"), share * 100.0);
            report.add(format!("scale.{nodes}_nodes.{component}_memory_mb"), process::memory(pid)?);
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
        let bound = self.bound(name, replicas).await?;
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        let patch = Call::json(Method::PATCH, format!("{path}/bench/scale"), patch);
        let begin = Instant::now();
        connection.send(&Call { content_type: Some("application/merge-patch+json"), ..patch }).await?;
        Ok(bound.await.context("the watch panicked")?? - begin)
    }
}
