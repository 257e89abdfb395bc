//! What every controller is given.

use std::{fmt::Display, future::Future, hash::Hash, sync::Arc};

use k8s_openapi::NamespaceResourceScope;
use knarr_component::{
    events::Recorder,
    informer::Informers,
    queue::Queue,
    runner::{self, SyncResult},
};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

use crate::{args::Args, queue_names};

/// Client, informers and flags, shared by all controllers of the process.
#[derive(Clone)]
pub(crate) struct Context {
    pub client: Client,
    pub informers: Informers,
    pub stop: CancellationToken,
    pub args: Arc<Args>,
    /// Certificate authority of the API server in PEM, if known.
    pub root_ca: Option<Arc<str>>,
}

impl Context {
    pub fn new(
        client: Client,
        informers: Informers,
        stop: CancellationToken,
        args: Arc<Args>,
        root_ca: Option<String>,
    ) -> Self {
        Self { client, informers, stop, args, root_ca: root_ca.map(Arc::from) }
    }

    /// A recorder of events that reports as `component`.
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self.client.clone(), component, "", self.stop.clone())
    }

    /// The API of a namespaced kind in one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of a kind in all namespaces, or of a cluster-scoped kind.
    pub fn api_all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Works on a queue until the process stops, as soon as `synced` says that all the informers
    /// a decision needs are complete: decisions on half of the world would be wrong.
    pub async fn work<T, F, Fut>(
        &self,
        name: &'static str,
        synced: impl Future<Output = ()>,
        queue: Queue<T>,
        workers: usize,
        sync: F,
    ) -> anyhow::Result<()>
    where
        T: Clone + Eq + Hash + Display + Send + Sync + 'static,
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = SyncResult> + Send + 'static,
    {
        queue.observe(queue_names::of(name));
        if self.stop.run_until_cancelled(synced).await.is_some() {
            runner::run(name, queue, workers, self.stop.clone(), sync).await;
        }
        Ok(())
    }
}
