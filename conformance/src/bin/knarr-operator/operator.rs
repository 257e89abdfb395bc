//! The controller: each garden has a plan of its own, and leaves a note when it is cleared.
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Keeps a garden until it is cleared.
pub const FINALIZER: &str = "operators.knarr.test/clear";
const MANAGER: &str = "gardener";

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("operators.knarr.test", "v1", "Garden"))
}

/// The gardens of a namespace.
pub fn gardens(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource())
}

/// Works for ever.
pub async fn run(client: Client, namespace: &'static str) {
    let plans: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let world = Arc::new((gardens(&client, namespace), plans.clone()));
    let settings = watcher::Config::default;
    Controller::new_with(gardens(&client, namespace), settings(), resource())
        .owns(plans, settings())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), world)
        .for_each(|done| async move {
            if let Err(error) = done {
                eprintln!("kube-rs: {error}");
            }
        })
        .await;
}

type World = (Api<DynamicObject>, Api<ConfigMap>);

async fn reconcile(
    garden: Arc<DynamicObject>,
    world: Arc<World>,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let (gardens, plans) = &*world;
    finalizer(gardens, FINALIZER, garden, |event| async move {
        match event {
            Event::Apply(garden) => plan(&garden, gardens, plans).await,
            Event::Cleanup(garden) => clear(&garden, plans).await,
        }
    })
    .await
}

async fn plan(
    garden: &DynamicObject,
    gardens: &Api<DynamicObject>,
    plans: &Api<ConfigMap>,
) -> kube::Result<Action> {
    let (name, beds) = (garden.name_any(), &garden.data["spec"]["beds"]);
    let plan = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("{name}-plan"), "ownerReferences": [garden.controller_owner_ref(&resource())]},
        "data": {"beds": beds.to_string()}});
    let apply = PatchParams::apply(MANAGER).force();
    plans.patch(&format!("{name}-plan"), &apply, &Patch::Apply(plan)).await?;
    let status = json!({"apiVersion": "operators.knarr.test/v1", "kind": "Garden",
        "status": {"phase": "Planned", "beds": beds, "observedGeneration": garden.metadata.generation}});
    gardens.patch_status(&name, &apply, &Patch::Apply(status)).await?;
    Ok(Action::await_change())
}

async fn clear(garden: &DynamicObject, plans: &Api<ConfigMap>) -> kube::Result<Action> {
    let name = format!("{}-cleared", garden.name_any());
    let note = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    plans.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(note)).await?;
    Ok(Action::await_change())
}
