//! An operator written with kube-rs, and what it is to bring about: a child kept by server-side apply, a status, a
//! finalizer, and admission webhooks that it serves itself.
//!
//! Without arguments it does all of it on the host, which needs an API server alone. `in-cluster` is the operator in a pod,
//! its webhooks behind the Service `kube-rs/gardener`; `try` looks at what that brings about.
mod operator;
mod webhook;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use operator::FINALIZER;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use webhook::Place;

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at what has no watch.
const LOOK: Duration = Duration::from_millis(50);
const NAMESPACE: &str = "kube-rs";
const DEFINITION: &str = include_str!("../../../operators/garden.json");
const CREATE: fn() -> PostParams = PostParams::default;

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await?;
    let gardens = operator::gardens(&client, NAMESPACE);
    match std::env::args().nth(1).as_deref() {
        None => alone(client, &gardens).await?,
        Some("in-cluster") => {
            webhook::install(&client, Place::Service(NAMESPACE, "gardener")).await?;
            operator::run(client, NAMESPACE).await;
        }
        Some("try") => scenario(&client, &gardens).await?,
        Some(other) => bail!("no such command: {other}"),
    }
    Ok(())
}

/// The operator, its webhooks and the scenario in one process.
async fn alone(client: Client, gardens: &Api<DynamicObject>) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition: CustomResourceDefinition = serde_json::from_str(DEFINITION)?;
    let name = definition.name_any();
    definitions.create(&CREATE(), &definition).await.context("the definition")?;
    let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.context("the definition is not established")??;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
        .create(&CREATE(), &serde_json::from_value(namespace)?)
        .await?;
    webhook::install(&client, Place::Host).await.context("the webhooks")?;
    let running = tokio::spawn(operator::run(client.clone(), NAMESPACE));
    scenario(&client, gardens).await?;
    running.abort();
    webhook::remove(&client).await?;
    definitions.delete(&name, &DeleteParams::default()).await?;
    println!("kube-rs: definition, webhooks, server-side apply, status, finalizer and collection work");
    Ok(())
}

fn garden(beds: i64) -> Result<DynamicObject> {
    let garden = json!({"apiVersion": "operators.knarr.test/v1", "kind": "Garden", "metadata": {"name": "a"},
        "spec": {"beds": beds}});
    Ok(serde_json::from_value(garden)?)
}

async fn scenario(client: &Client, gardens: &Api<DynamicObject>) -> Result<()> {
    refused(gardens.create(&CREATE(), &garden(50)?).await, "50 beds are too many")?;
    let created = gardens.create(&CREATE(), &garden(2)?).await?;
    ensure!(created.labels().get("seen-by").map(String::as_str) == Some("webhook"), "{created:?}");
    ensure!(created.data["spec"]["soil"] == "loam", "no default: {created:?}");
    settled(gardens, 2).await?;
    let plans: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let plan = plans.get("a-plan").await?;
    ensure!(
        plan.owner_references().iter().any(|owner| Some(&owner.uid) == created.uid().as_ref()),
        "{plan:?}"
    );
    let beds = |count: i64| Patch::Merge(json!({"spec": {"beds": count}}));
    refused(gardens.patch("a", &PatchParams::default(), &beds(11)).await, "11 beds are too many")?;
    gardens.patch("a", &PatchParams::default(), &beds(3)).await?;
    settled(gardens, 3).await?;
    let plan = plans.get("a-plan").await?;
    ensure!(plan.data.is_some_and(|data| data["beds"] == "3"), "the child does not follow");
    // What the operator owns comes back when it is taken away.
    plans.delete("a-plan", &DeleteParams::default()).await?;
    eventually("the child comes back", async || plans.get_opt("a-plan").await.is_ok_and(|p| p.is_some()))
        .await?;
    let now = gardens.get("a").await?;
    ensure!(now.finalizers().iter().any(|finalizer| finalizer == FINALIZER), "{now:?}");
    gardens.delete("a", &DeleteParams::default()).await?;
    eventually("the garden ends", async || matches!(gardens.get_opt("a").await, Ok(None))).await?;
    plans.get("a-cleared").await.context("the finalizer's work")?;
    eventually("the child is collected", async || matches!(plans.get_opt("a-plan").await, Ok(None))).await
}

/// The status says that the operator has seen the present generation.
async fn settled(gardens: &Api<DynamicObject>, beds: i64) -> Result<()> {
    let holds = async || {
        let Ok(now) = gardens.get("a").await else { return false };
        let status: &Value = &now.data["status"];
        status["beds"] == beds && status["observedGeneration"].as_i64() == now.metadata.generation
    };
    eventually("a status", holds).await
}

fn refused(answer: kube::Result<DynamicObject>, reason: &str) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) => {
            ensure!(status.code == 403 && status.message.contains(reason), "{status:?}");
            Ok(())
        }
        other => bail!("not refused: {other:?}"),
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        ensure!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
