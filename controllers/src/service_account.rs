//! Each active namespace has a ServiceAccount `default`.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    api::{ObjectMeta, PostParams},
    runtime::watcher::Config,
};

use crate::{
    context::Context,
    meta::{is_code, is_deleting, is_namespace_terminating, name, namespace},
};

const NAME: &str = "default";

/// Whether the account has to be made.
fn is_missing(space: Option<&Namespace>, account: Option<&ServiceAccount>) -> bool {
    account.is_none() && space.is_some_and(is_active)
}

/// Whether things can be created in a namespace.
pub(crate) fn is_active(space: &Namespace) -> bool {
    let phase = space.status.as_ref().and_then(|status| status.phase.as_deref());
    !is_deleting(&space.metadata) && phase != Some("Terminating")
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let spaces: Informer<Namespace> = context.informers.get();
    let only_default = Config::default().fields(&format!("metadata.name={NAME}"));
    let accounts: Informer<ServiceAccount> = context.informers.get_selected(only_default);
    let queue = Queue::new();
    let added = queue.clone();
    spaces.on_change(move |change| added.add(name(&change.object().metadata).to_string()));
    let added = queue.clone();
    accounts.on_change(move |change| {
        if change.is_deletion() {
            added.add(namespace(&change.object().metadata).to_string());
        }
    });
    let synced = {
        let (spaces, accounts) = (spaces.synced(), accounts.synced());
        async {
            futures::join!(spaces, accounts);
        }
    };
    let this = context.clone();
    context
        .work("serviceaccount-controller", synced, queue, 1, move |space| {
            let (context, spaces, accounts) = (this.clone(), spaces.clone(), accounts.clone());
            async move { sync(&context, &spaces, &accounts, &space).await }
        })
        .await
}

async fn sync(
    context: &Context,
    spaces: &Informer<Namespace>,
    accounts: &Informer<ServiceAccount>,
    space: &str,
) -> SyncResult {
    let known = spaces.get(&Key::new("", space));
    if !is_missing(known.as_deref(), accounts.get(&Key::new(space, NAME)).as_deref()) {
        return Ok(None);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some(NAME.to_string()), ..Default::default() },
        ..Default::default()
    };
    match context.api::<ServiceAccount>(space).create(&PostParams::default(), &account).await {
        Err(error) if !is_code(&error, 409) && !is_code(&error, 404) && !is_namespace_terminating(&error) => {
            Err(error.into())
        }
        _ => Ok(None),
    }
}
