//! What must hold when nothing is asked of the cluster any more.
use crate::LOOK;
use crate::api::{Api, condition, is_deleting, is_over, number, owner, path, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Looks until `look` is satisfied; the error says what was wrong last.
pub async fn eventually(patience: Duration, mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(e) if Instant::now() > deadline => {
                return Err(e).context("the cluster does not come to rest");
            }
            Err(_) => tokio::time::sleep(LOOK).await, // that all is well announces itself nowhere
        }
    }
}

/// Everything in the namespace at one moment.
struct Scene {
    pods: Vec<Value>,
    deployments: Vec<Value>,
    replica_sets: Vec<Value>,
    sets: Vec<Value>,
    jobs: Vec<Value>,
}

/// Whether everything is as it was asked for.
pub async fn check(api: &Api) -> Result<()> {
    let scene = Scene {
        deployments: api.list(&path("apps/v1/deployments")).await?,
        replica_sets: api.list(&path("apps/v1/replicasets")).await?,
        sets: api.list(&path("apps/v1/statefulsets")).await?,
        jobs: api.list(&path("batch/v1/jobs")).await?,
        pods: api.list(&path("pods")).await?,
    };
    scene.owners()?;
    scene.pods()?;
    scene.deployments()?;
    scene.sets()?;
    scene.jobs()?;
    nodes(api).await?;
    quota(api, &scene).await?;
    endpoints(api, &scene).await
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

impl Scene {
    /// No orphans: whoever controls an object exists.
    fn owners(&self) -> Result<()> {
        let owners = [&self.deployments, &self.replica_sets, &self.sets, &self.jobs];
        let known: BTreeSet<&str> =
            owners.into_iter().flatten().map(|object| text(object, "/metadata/uid")).collect();
        for object in self.pods.iter().chain(&self.replica_sets) {
            ensure!(known.contains(owner(object)), "{} has no owner any more", name(object));
        }
        Ok(())
    }

    fn pods(&self) -> Result<()> {
        for pod in &self.pods {
            ensure!(!is_deleting(pod), "pod {} is still being deleted", name(pod));
            ensure!(!text(pod, "/spec/nodeName").is_empty(), "pod {} has no node", name(pod));
            let well = is_over(pod) || condition(pod, "Ready");
            ensure!(well, "pod {} is not ready", name(pod));
        }
        Ok(())
    }

    fn live_pods_of(&self, uid: &str) -> Vec<&Value> {
        self.pods.iter().filter(|pod| owner(pod) == uid && !is_over(pod)).collect()
    }

    fn deployments(&self) -> Result<()> {
        for one in &self.deployments {
            let (wanted, name) = (number(one, "/spec/replicas"), name(one));
            ensure!(!is_deleting(one), "Deployment {name} is still being deleted");
            let sets = self.replica_sets.iter().filter(|set| owner(set) == text(one, "/metadata/uid"));
            let pods: Vec<_> = sets.flat_map(|set| self.live_pods_of(text(set, "/metadata/uid"))).collect();
            ensure!(pods.len() as i64 == wanted, "Deployment {name} has {} pods of {wanted}", pods.len());
            let seen = number(one, "/status/observedGeneration") == number(one, "/metadata/generation");
            ensure!(seen, "the newest Deployment {name} was not seen");
            for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
                let told = number(one, &format!("/status/{field}"));
                ensure!(told == wanted, "Deployment {name} tells {field} {told} of {wanted}");
            }
        }
        Ok(())
    }

    fn sets(&self) -> Result<()> {
        for one in &self.sets {
            let (wanted, set) = (number(one, "/spec/replicas"), name(one));
            let pods = self.live_pods_of(text(one, "/metadata/uid"));
            let found: BTreeSet<String> = pods.into_iter().map(|pod| name(pod).to_owned()).collect();
            let expected: BTreeSet<String> = (0..wanted).map(|ordinal| format!("{set}-{ordinal}")).collect();
            ensure!(found == expected, "StatefulSet {set} has {found:?}");
            let told = number(one, "/status/readyReplicas");
            ensure!(told == wanted, "StatefulSet {set} tells {told} ready of {wanted}");
        }
        Ok(())
    }

    fn jobs(&self) -> Result<()> {
        for one in &self.jobs {
            let (wanted, job) = (number(one, "/spec/completions"), name(one));
            ensure!(condition(one, "Complete"), "Job {job} is not complete");
            let told = number(one, "/status/succeeded");
            ensure!(told == wanted, "Job {job} tells {told} successes of {wanted}");
            ensure!(number(one, "/status/active") == 0, "Job {job} is still active");
            let live = self.live_pods_of(text(one, "/metadata/uid")).len();
            ensure!(live == 0, "Job {job} is complete and has {live} live pods");
        }
        for pod in &self.pods {
            let held = pod
                .pointer("/metadata/finalizers")
                .and_then(Value::as_array)
                .is_some_and(|all| !all.is_empty());
            ensure!(!held, "pod {} is held by {}", name(pod), pod["metadata"]["finalizers"]);
        }
        Ok(())
    }
}

/// No node has more than it can take.
async fn nodes(api: &Api) -> Result<()> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for pod in api.list("/api/v1/pods").await?.iter().filter(|pod| !is_over(pod)) {
        *counts.entry(text(pod, "/spec/nodeName").to_owned()).or_default() += 1;
    }
    for node in api.list("/api/v1/nodes").await? {
        ensure!(condition(&node, "Ready"), "node {} is not ready", name(&node));
        let pods: i64 = text(&node, "/status/allocatable/pods").parse()?;
        // Pods request a tenth of a CPU each.
        let cpus: i64 = text(&node, "/status/allocatable/cpu").parse()?;
        let (room, taken) = (pods.min(cpus * 10), counts.remove(name(&node)).unwrap_or_default());
        ensure!(taken <= room, "node {} has {taken} pods and room for {room}", name(&node));
    }
    ensure!(counts.keys().all(String::is_empty), "pods on nodes that there are not: {counts:?}");
    Ok(())
}

async fn quota(api: &Api, scene: &Scene) -> Result<()> {
    let quota = api.send("GET", &format!("{}/quota", path("resourcequotas")), &Value::Null).await?;
    let counted = scene.pods.iter().filter(|pod| !is_over(pod)).count();
    let told = text(&quota, "/status/used/pods");
    ensure!(told == counted.to_string(), "the quota tells {told} pods of {counted}");
    Ok(())
}

/// A Service leads to the pods it selects, and to no others.
async fn endpoints(api: &Api, scene: &Scene) -> Result<()> {
    let slices = format!(
        "{}?labelSelector=kubernetes.io/service-name%3Dapp-0",
        path("discovery.k8s.io/v1/endpointslices")
    );
    let slices = api.list(&slices).await?;
    let found = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let found: BTreeSet<&str> = found.map(|endpoint| text(endpoint, "/addresses/0")).collect();
    let app = scene.pods.iter().filter(|pod| text(pod, "/metadata/labels/app") == "app-0");
    let expected: BTreeSet<&str> = app.map(|pod| text(pod, "/status/podIP")).collect();
    ensure!(found == expected, "the Service leads to {found:?}, its pods are {expected:?}");
    Ok(())
}
