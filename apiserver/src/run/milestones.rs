//! What has to be done before a server is well, and the health checks that tell of it: by the names of the original's
//! hooks, so that monitors find those they ask for. Hooks that the original has for one thing of ours share its step.
use crate::health::{Check, Step};
use crate::storage::Store;
use async_trait::async_trait;
use std::sync::Arc;

/// The steps of a start, and of an end.
#[derive(Default)]
pub struct Milestones {
    /// The authorizers know what is stored.
    pub synced: Arc<Step>,
    /// Roles and bindings of every cluster.
    pub roles: Arc<Step>,
    /// Priority classes of every cluster.
    pub classes: Arc<Step>,
    /// Namespaces of every cluster.
    pub namespaces: Arc<Step>,
    /// The Service `default/kubernetes`.
    pub service: Arc<Step>,
    /// Priority and fairness.
    pub flows: Arc<Step>,
    /// What servers that extend this one read of it.
    pub settings: Arc<Step>,
    /// APIService objects of what this server serves itself.
    pub registered: Arc<Step>,
    /// It is to end.
    pub stopping: Arc<Step>,
}

impl Milestones {
    /// The checks in the order they are listed.
    pub fn checks(&self, store: &Store) -> Vec<Arc<dyn Check>> {
        let hook = |name: &'static str, step: &Arc<Step>| step.named(name);
        vec![
            Arc::new(Ping("ping")),
            Arc::new(Ping("log")),
            Arc::new(StorageCheck(store.clone())),
            self.synced.named_of_ready("informer-sync"),
            hook("poststarthook/start-kube-apiserver-admission-initializer", &self.synced),
            hook("poststarthook/generic-apiserver-start-informers", &self.synced),
            hook("poststarthook/priority-and-fairness-config-producer", &self.flows),
            hook("poststarthook/start-apiextensions-informers", &self.synced),
            hook("poststarthook/start-apiextensions-controllers", &self.synced),
            hook("poststarthook/crd-informer-synced", &self.synced),
            hook("poststarthook/start-system-namespaces-controller", &self.namespaces),
            hook("poststarthook/start-cluster-authentication-info-controller", &self.settings),
            hook("poststarthook/bootstrap-controller", &self.service),
            hook("poststarthook/rbac/bootstrap-roles", &self.roles),
            hook("poststarthook/scheduling/bootstrap-system-priority-classes", &self.classes),
            hook("poststarthook/start-kube-aggregator-informers", &self.synced),
            hook("poststarthook/apiservice-registration-controller", &self.registered),
            // One until v1.30, two since.
            hook("poststarthook/apiservice-status-available-controller", &self.registered),
            hook("poststarthook/apiservice-status-local-available-controller", &self.registered),
            hook("poststarthook/apiservice-status-remote-available-controller", &self.registered),
            hook("poststarthook/apiservice-discovery-controller", &self.registered),
            hook("poststarthook/kube-apiserver-autoregistration", &self.registered),
            hook("autoregister-completion", &self.registered),
            hook("poststarthook/apiservice-openapi-controller", &self.registered),
            hook("poststarthook/apiservice-openapiv3-controller", &self.registered),
            self.stopping.until_done("shutdown"),
        ]
    }
}

/// Answers, so it lives.
struct Ping(&'static str);

#[async_trait]
impl Check for Ping {
    fn name(&self) -> &str {
        self.0
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Named `etcd` as in the original, since tools exclude it by that name.
struct StorageCheck(Store);

#[async_trait]
impl Check for StorageCheck {
    fn name(&self) -> &str {
        "etcd"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.ready().await
    }
}
