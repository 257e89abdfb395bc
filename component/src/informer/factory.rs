//! One informer a kind and selection for a whole process.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::Debug,
    sync::Arc,
};

use futures::future::{BoxFuture, join_all};
use kube::{Api, Client, Resource, runtime::watcher::Config};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Informer;
use crate::meta::exact;

/// Hands out shared informers and starts each at its first use.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    stop: CancellationToken,
    trims: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
    informers: Mutex<HashMap<(TypeId, String), Entry>>,
}

struct Entry {
    /// An `Informer<K>` of the key's type.
    informer: Box<dyn Any + Send>,
    synced: Box<dyn Fn() -> BoxFuture<'static, ()> + Send>,
    has_synced: Box<dyn Fn() -> bool + Send>,
}

impl Informers {
    /// Informers that use `client` and end with `stop`.
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { client, stop, trims: Mutex::default(), informers: Mutex::default() }))
    }

    /// The client of all informers.
    pub fn client(&self) -> Client {
        self.0.client.clone()
    }

    /// Drops what no user of a kind reads from each of its objects before they are kept. Managed
    /// fields are always dropped. Must precede the first [`get`](Self::get) of that kind.
    #[must_use]
    pub fn with_trim<K: 'static>(self, trim: fn(&mut K)) -> Self {
        self.0.trims.lock().insert(TypeId::of::<K>(), Box::new(trim));
        self
    }

    /// The informer for all objects of a kind, in all namespaces.
    pub fn get<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.select(Api::all(self.client()), "", Config::default())
    }

    /// The informer for the objects of a kind in one namespace that `config` selects.
    pub fn get_namespaced<K>(&self, namespace: &str, config: Config) -> Informer<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        self.select(Api::namespaced(self.client(), namespace), namespace, config)
    }

    /// The informer for the objects of a kind in all namespaces that `config` selects.
    pub fn get_selected<K>(&self, config: Config) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.select(Api::all(self.client()), "", config)
    }

    /// Waits until all informers that were handed out so far have synced.
    pub async fn synced(&self) {
        let waits: Vec<_> = self.0.informers.lock().values().map(|entry| (entry.synced)()).collect();
        join_all(waits).await;
    }

    /// Whether all informers that were handed out so far have synced.
    pub fn have_synced(&self) -> bool {
        self.0.informers.lock().values().all(|entry| (entry.has_synced)())
    }

    fn select<K>(&self, api: Api<K>, namespace: &str, config: Config) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let id = (TypeId::of::<K>(), format!("{namespace} {config:?}"));
        let mut informers = self.0.informers.lock();
        let known = informers.get(&id).and_then(|entry| entry.informer.downcast_ref::<Informer<K>>());
        if let Some(informer) = known {
            return informer.clone();
        }
        let trim = self.0.trims.lock().get(&id.0).and_then(|trim| trim.downcast_ref::<fn(&mut K)>().copied());
        let informer = Informer::start_mapped(api, config, self.0.stop.clone(), move |mut object: K| {
            let meta = object.meta_mut();
            meta.managed_fields = None;
            meta.owner_references = meta.owner_references.take().map(exact);
            if let Some(trim) = trim {
                trim(&mut object);
            }
            object
        });
        let (waiting, asked) = (informer.clone(), informer.clone());
        let entry = Entry {
            informer: Box::new(informer.clone()),
            synced: Box::new(move || Box::pin(waiting.synced())),
            has_synced: Box::new(move || asked.has_synced()),
        };
        informers.insert(id, entry);
        informer
    }
}
