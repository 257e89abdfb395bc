//! Config maps and secrets that the node's pods refer to, each followed by a watch of its own: a kubelet
//! may see no others, and most are never used here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use knarr_component::informer::Informer;
use knarr_component::store::Key;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::container::{ConfigError, env};
use crate::pod;

/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which kind of object changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A config map.
    ConfigMap,
    /// A secret.
    Secret,
}

/// A followed object changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
}

/// The followed objects of one kind.
pub struct Objects<K> {
    client: Client,
    kind: Kind,
    followed: Mutex<HashMap<Key, Followed<K>>>,
    changes: UnboundedSender<Changed>,
}

struct Followed<K> {
    informer: Informer<K>,
    _stop: DropGuard,
}

impl<K> Objects<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Follows nothing yet; later changes go to `changes`.
    pub fn new(client: Client, kind: Kind, changes: UnboundedSender<Changed>) -> Self {
        Self { client, kind, followed: Mutex::default(), changes }
    }

    /// The object as it is now; from now on it is followed.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<K>>, ConfigError> {
        let key = Key::new(namespace, name);
        let informer = self.follow(&key);
        if tokio::time::timeout(PATIENCE, informer.synced()).await.is_err() {
            return Err(ConfigError::Unavailable(
                "failed to sync: timed out waiting for the condition".to_owned(),
            ));
        }
        Ok(informer.get(&key))
    }

    fn follow(&self, key: &Key) -> Informer<K> {
        let mut followed = self.followed.lock();
        if let Some(known) = followed.get(key) {
            return known.informer.clone();
        }
        let stop = CancellationToken::new();
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
        let informer = Informer::start(api, only, stop.clone());
        let (changes, kind, changed) = (self.changes.clone(), self.kind, key.clone());
        informer.on_change(move |_| {
            // Nobody listens only when the kubelet ends.
            let _ = changes.send(Changed { kind, key: changed.clone() });
        });
        followed.insert(key.clone(), Followed { informer: informer.clone(), _stop: stop.drop_guard() });
        informer
    }

    /// Stops following what none of these pods refers to.
    pub fn retain(&self, pods: &[Pod]) {
        self.followed.lock().retain(|key, _| {
            pods.iter().any(|pod| refers(pod, &Changed { kind: self.kind, key: key.clone() }))
        });
    }
}

/// Whether a pod's volumes, environment or image pulls refer to an object.
pub fn refers(pod: &Pod, object: &Changed) -> bool {
    if pod::namespace(pod) != object.key.namespace {
        return false;
    }
    let name = object.key.name.as_str();
    let ephemeral: Vec<_> = pod::ephemeral_containers(pod).iter().map(pod::as_container).collect();
    let in_env =
        pod::init_containers(pod).iter().chain(pod::containers(pod)).chain(&ephemeral).any(|container| {
            let (config_maps, secrets) = env::references(container);
            match object.kind {
                Kind::ConfigMap => config_maps.contains(&name),
                Kind::Secret => secrets.contains(&name),
            }
        });
    in_env || in_volumes(pod, object.kind, name) || {
        let secrets = pod::spec(pod).image_pull_secrets.iter().flatten();
        object.kind == Kind::Secret && secrets.into_iter().any(|secret| secret.name == name)
    }
}

fn in_volumes(pod: &Pod, kind: Kind, name: &str) -> bool {
    pod::spec(pod).volumes.iter().flatten().any(|volume| {
        let projections = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        match kind {
            Kind::ConfigMap => {
                volume.config_map.as_ref().is_some_and(|source| source.name == name)
                    || projections.into_iter().any(|p| p.config_map.as_ref().is_some_and(|s| s.name == name))
            }
            Kind::Secret => {
                volume.secret.as_ref().is_some_and(|source| source.secret_name.as_deref() == Some(name))
                    || projections.into_iter().any(|p| p.secret.as_ref().is_some_and(|s| s.name == name))
            }
        }
    })
}

/// Both kinds together.
pub struct AllObjects {
    /// The config maps.
    pub config_maps: Objects<ConfigMap>,
    /// The secrets.
    pub secrets: Objects<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_pods() {
        let check = |spec: &str, kind: Kind, expected: bool| {
            let pod = pod::tests::pod(&format!("{{metadata: {{namespace: n}}, spec: {spec}}}"));
            let object = Changed { kind, key: Key::new("n", "x") };
            assert_eq!(refers(&pod, &object), expected, "{spec}");
            assert!(!refers(&pod, &Changed { kind, key: Key::new("other", "x") }));
        };
        check("{containers: [], volumes: [{name: v, configMap: {name: x}}]}", Kind::ConfigMap, true);
        check("{containers: [], volumes: [{name: v, secret: {secretName: x}}]}", Kind::Secret, true);
        check("{containers: [], volumes: [{name: v, secret: {secretName: x}}]}", Kind::ConfigMap, false);
        check(
            "{containers: [], volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]}",
            Kind::ConfigMap,
            true,
        );
        check("{containers: [{name: a, envFrom: [{secretRef: {name: x}}]}]}", Kind::Secret, true);
        check("{containers: [], imagePullSecrets: [{name: x}]}", Kind::Secret, true);
        check("{containers: []}", Kind::Secret, false);
    }
}
