//! Publishes the certificate authority of the API server as config map `kube-root-ca.crt` to each
//! namespace, from where it is mounted into pods beside their tokens.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::{
    api::{ObjectMeta, PostParams},
    runtime::watcher::Config,
};

use crate::{
    context::Context,
    meta::{Map, is_code, is_namespace_terminating, name, namespace},
    metrics,
    service_account::is_active,
};

/// Name of the config map.
pub(crate) const CONFIG_MAP: &str = "kube-root-ca.crt";
/// Its only key.
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create,
    Repair,
}

fn step(map: Option<&ConfigMap>, certificates: &str) -> Step {
    let Some(map) = map else { return Step::Create };
    let annotation = crate::meta::annotation(&map.metadata, DESCRIPTION.0);
    let right = map
        .data
        .as_ref()
        .is_some_and(|data| data.len() == 1 && data.get(DATA_KEY).is_some_and(|have| have == certificates));
    if right && annotation == Some(DESCRIPTION.1) { Step::Nothing } else { Step::Repair }
}

/// Runs the controller; it has nothing to publish when no certificate authority is known.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let Some(certificates) = context.root_ca.clone() else {
        tracing::info!("no --root-ca-file: no certificate authority is published");
        return Ok(());
    };
    let spaces: Informer<Namespace> = context.informers.get();
    let selected = Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let maps: Informer<ConfigMap> = context.informers.get_selected(selected);
    let queue = Queue::new();
    let added = queue.clone();
    spaces.on_change(move |change| added.add(name(&change.object().metadata).to_string()));
    let added = queue.clone();
    maps.on_change(move |change| added.add(namespace(&change.object().metadata).to_string()));
    let synced = {
        let (spaces, maps) = (spaces.synced(), maps.synced());
        async {
            futures::join!(spaces, maps);
        }
    };
    let this = context.clone();
    context
        .work("root-ca-certificate-publisher-controller", synced, queue, 1, move |space| {
            let (context, spaces, maps) = (this.clone(), spaces.clone(), maps.clone());
            let certificates = certificates.clone();
            async move { sync(&context, &spaces, &maps, &space, certificates).await }
        })
        .await
}

async fn sync(
    context: &Context,
    spaces: &Informer<Namespace>,
    maps: &Informer<ConfigMap>,
    space: &str,
    certificates: Arc<str>,
) -> SyncResult {
    if !spaces.get(&Key::new("", space)).is_some_and(|space| is_active(&space)) {
        return Ok(None);
    }
    let started = Instant::now();
    let api = context.api::<ConfigMap>(space);
    let annotations = Map::from([(DESCRIPTION.0.to_string(), DESCRIPTION.1.to_string())]);
    let result = match step(maps.get(&Key::new(space, CONFIG_MAP)).as_deref(), &certificates) {
        Step::Nothing => return Ok(None),
        Step::Create => {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(CONFIG_MAP.to_string()),
                    annotations: Some(annotations),
                    ..Default::default()
                },
                data: Some(Map::from([(DATA_KEY.to_string(), certificates.to_string())])),
                ..Default::default()
            };
            api.create(&PostParams::default(), &map).await
        }
        Step::Repair => {
            let Some(known) = maps.get(&Key::new(space, CONFIG_MAP)) else { return Ok(None) };
            let mut map = (*known).clone();
            map.metadata.annotations.get_or_insert_default().extend(annotations);
            map.data = Some(Map::from([(DATA_KEY.to_string(), certificates.to_string())]));
            api.replace(CONFIG_MAP, &PostParams::default(), &map).await
        }
    };
    let code = match &result {
        Ok(_) => "200".to_string(),
        Err(kube::Error::Api(status)) => status.code.to_string(),
        Err(_) => "500".to_string(),
    };
    metrics::ROOT_CA_SYNCS.one(&[&code]);
    metrics::ROOT_CA_TIME.took(&[&code], started.elapsed());
    match result {
        Err(error) if !is_code(&error, 409) && !is_code(&error, 404) && !is_namespace_terminating(&error) => {
            Err(error.into())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_contents_are_repaired() {
        let map = |key: &str, value: &str| ConfigMap {
            metadata: ObjectMeta {
                annotations: Some([(DESCRIPTION.0.to_string(), DESCRIPTION.1.to_string())].into()),
                ..Default::default()
            },
            data: Some([(key.to_string(), value.to_string())].into()),
            ..Default::default()
        };
        assert_eq!(step(None, "ca"), Step::Create);
        assert_eq!(step(Some(&map(DATA_KEY, "ca")), "ca"), Step::Nothing);
        assert_eq!(step(Some(&map(DATA_KEY, "other")), "ca"), Step::Repair);
        assert_eq!(step(Some(&map("other", "ca")), "ca"), Step::Repair);
        assert_eq!(step(Some(&ConfigMap::default()), "ca"), Step::Repair);
    }
}
