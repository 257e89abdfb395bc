//! What is asked of the cluster: workloads that are made, scaled, rolled, deleted; pods deleted and evicted; nodes
//! cordoned.
use crate::PATIENCE;
use crate::api::{Api, NAMESPACE, path, text};
use crate::end::eventually;
use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Pods that the namespace may have: fewer than all workloads together would like.
pub const QUOTA: usize = 70;
/// The Deployment that only evictions disturb.
pub const GUARDED: &str = "guarded";
/// Healthy pods that its budget demands, of [`GUARDED_REPLICAS`].
pub const MIN_AVAILABLE: usize = 8;
const GUARDED_REPLICAS: usize = 10;
/// Deployments and StatefulSets that come, change and go.
const DEPLOYMENTS: usize = 5;
const SETS: usize = 2;
/// Attempts of a change that must succeed, and the pause between them while a server is away.
const ATTEMPTS: usize = 600;
const RETRY: Duration = Duration::from_millis(100);

/// Makes namespace, quota, budget and the guarded Deployment.
pub async fn set_up(api: &Api) -> Result<()> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    api.send("POST", "/api/v1/namespaces", &namespace).await?;
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": {"pods": QUOTA.to_string()}}});
    api.send("POST", &path("resourcequotas"), &quota).await?;
    // Until it is counted for the first time it limits nothing, as in the original.
    let quota = format!("{}/quota", path("resourcequotas"));
    eventually(PATIENCE, async || {
        let told = api.send("GET", &quota, &Value::Null).await?;
        ensure!(told.pointer("/status/hard/pods").is_some(), "the quota is not in force");
        Ok(())
    })
    .await?;
    let budget = json!({
        "metadata": {"name": GUARDED},
        "spec": {"minAvailable": MIN_AVAILABLE, "selector": {"matchLabels": {"app": GUARDED}}},
    });
    api.send("POST", &path("policy/v1/poddisruptionbudgets"), &budget).await?;
    insist(api, "POST", &path("apps/v1/deployments"), &workload(GUARDED, GUARDED_REPLICAS, false)).await?;
    let service = json!({
        "metadata": {"name": "app-0"}, "spec": {"selector": {"app": "app-0"}, "ports": [{"port": 80}]},
    });
    insist(api, "POST", &path("services"), &service).await
}

fn template(app: &str, more: Value) -> Value {
    let requests = json!({"cpu": "100m", "memory": "64Mi"});
    let mut spec =
        json!({"containers": [{"name": "main", "image": "churn", "resources": {"requests": requests}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"labels": {"app": app}}, "spec": spec})
}

/// A Deployment, or a StatefulSet.
fn workload(name: &str, replicas: usize, set: bool) -> Value {
    let mut spec = json!({
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, json!({})),
    });
    if set {
        spec["serviceName"] = json!(name);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Repeats a request until the server has it, through its restarts.
async fn insist(api: &Api, method: &str, path: &str, body: &Value) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match api.send(method, path, body).await {
            Ok(_) => return Ok(()),
            // What an earlier try has done.
            Err(kube::Error::Api(status))
                if matches!((method, status.code), ("POST", 409) | ("DELETE", 404)) =>
            {
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(_) => tokio::time::sleep(RETRY).await, // nothing announces that a server is back
        }
    }
    anyhow::bail!("{method} {path} did not succeed")
}

/// Makes changes until `end`; returns how many reached the server.
pub async fn run(api: &Api, mut chance: StdRng, end: Instant) -> Result<usize> {
    let mut done = 0;
    while Instant::now() < end {
        // A change that meets a dead server is no change; one that is refused is none either.
        done += usize::from(change(api, &mut chance).await.is_ok());
        tokio::time::sleep(Duration::from_millis(chance.random_range(20..250))).await; // the rhythm of the test
    }
    ensure!(done > 20, "only {done} changes reached the server");
    Ok(done)
}

async fn change(api: &Api, chance: &mut StdRng) -> Result<()> {
    let app = format!("app-{}", chance.random_range(0..DEPLOYMENTS));
    let set = format!("set-{}", chance.random_range(0..SETS));
    let (deployments, sets) = (path("apps/v1/deployments"), path("apps/v1/statefulsets"));
    let replicas = |count: usize| json!({"spec": {"replicas": count}});
    match chance.random_range(0..100) {
        0..25 => {
            let count = chance.random_range(0..25);
            match api.send("PATCH", &format!("{deployments}/{app}/scale"), &replicas(count)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    api.send("POST", &deployments, &workload(&app, count, false)).await?;
                }
                other => drop(other?),
            }
        }
        25..35 => {
            let mark = json!({"roll": chance.random::<u32>().to_string()});
            let patch = json!({"spec": {"template": {"metadata": {"annotations": mark}}}});
            api.send("PATCH", &format!("{deployments}/{app}"), &patch).await?;
        }
        35..41 => {
            let policy = ["Background", "Foreground"].choose(chance).context("a policy")?;
            api.send("DELETE", &format!("{deployments}/{app}"), &json!({"propagationPolicy": policy}))
                .await?;
        }
        41..53 => {
            let count = chance.random_range(0..6);
            match api.send("PATCH", &format!("{sets}/{set}/scale"), &replicas(count)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    api.send("POST", &sets, &workload(&set, count, true)).await?;
                }
                other => drop(other?),
            }
        }
        53..65 => new_job(api, chance).await?,
        65..70 => {
            let job = pick(api, &path("batch/v1/jobs"), chance).await?;
            let options = json!({"propagationPolicy": "Background"});
            api.send("DELETE", &format!("{}/{job}", path("batch/v1/jobs")), &options).await?;
        }
        70..82 => {
            let others = format!("{}?labelSelector=app%21%3D{GUARDED}", path("pods"));
            let pod = pick(api, &others, chance).await?;
            api.send("DELETE", &format!("{}/{pod}", path("pods")), &Value::Null).await?;
        }
        82..94 => {
            let guarded = format!("{}?labelSelector=app%3D{GUARDED}", path("pods"));
            let pod = pick(api, &guarded, chance).await?;
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
            api.send("POST", &format!("{}/{pod}/eviction", path("pods")), &eviction).await?;
        }
        _ => {
            let node = pick(api, "/api/v1/nodes", chance).await?;
            let cordon = json!({"spec": {"unschedulable": chance.random_bool(0.5)}});
            api.send("PATCH", &format!("/api/v1/nodes/{node}"), &cordon).await?;
        }
    }
    Ok(())
}

async fn new_job(api: &Api, chance: &mut StdRng) -> Result<()> {
    let name = format!("job-{:08x}", chance.random::<u32>());
    let indexed = if chance.random_bool(0.5) { "Indexed" } else { "NonIndexed" };
    let job = json!({"metadata": {"name": name}, "spec": {
        "completions": chance.random_range(1..6), "parallelism": chance.random_range(1..4), "completionMode": indexed,
        "backoffLimit": 100, "template": template(&name, json!({"restartPolicy": "Never"})),
    }});
    api.send("POST", &path("batch/v1/jobs"), &job).await?;
    Ok(())
}

/// The name of one of the listed objects.
async fn pick(api: &Api, path: &str, chance: &mut StdRng) -> Result<String> {
    let all = api.list(path).await?;
    let chosen = all.choose(chance).context("there are none")?;
    Ok(text(chosen, "/metadata/name").to_owned())
}

/// The last changes: all nodes take pods again, and everything fits into the quota.
pub async fn settle(api: &Api, chance: &mut StdRng) -> Result<()> {
    let (deployments, sets) = (path("apps/v1/deployments"), path("apps/v1/statefulsets"));
    for index in 0..DEPLOYMENTS {
        let scale = json!({"spec": {"replicas": chance.random_range(0..8)}});
        insist(api, "PATCH", &format!("{deployments}/app-{index}/scale"), &scale).await?;
    }
    for index in 0..SETS {
        let scale = json!({"spec": {"replicas": chance.random_range(0..4)}});
        insist(api, "PATCH", &format!("{sets}/set-{index}/scale"), &scale).await?;
    }
    for node in api.list("/api/v1/nodes").await? {
        let path = format!("/api/v1/nodes/{}", text(&node, "/metadata/name"));
        insist(api, "PATCH", &path, &json!({"spec": {"unschedulable": false}})).await?;
    }
    Ok(())
}
