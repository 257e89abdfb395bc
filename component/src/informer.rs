//! Shared informers: one watch a kind for all controllers of a process.
//!
//! An informer lists and watches (`kube::runtime::watcher`), keeps what it saw in an indexed
//! [`Store`] and tells its handlers of every change, including deletions that it only learns of by
//! a relist. Handlers run one after the other in the informer's task: they put keys into queues
//! and do nothing slow.

mod factory;

use std::{collections::HashSet, fmt::Debug, future::Future, ops::Deref, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource,
    runtime::watcher::{self, Config, Event},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use factory::Informers;

use crate::{
    backoff::Backoff,
    store::{Key, Object, Store},
};

/// What happened to an object.
#[derive(Debug)]
pub enum Change<'a, V> {
    /// It appeared.
    Added(&'a Arc<V>),
    /// It changed.
    Updated {
        /// As it was known before.
        old: &'a Arc<V>,
        /// As it is now.
        new: &'a Arc<V>,
    },
    /// It is gone; this is its last known state.
    Deleted(&'a Arc<V>),
}

impl<'a, V> Change<'a, V> {
    /// The newest known state.
    pub fn object(&self) -> &'a Arc<V> {
        match self {
            Change::Added(object) | Change::Deleted(object) | Change::Updated { new: object, .. } => object,
        }
    }

    /// Whether the object is gone.
    pub fn is_deletion(&self) -> bool {
        matches!(self, Change::Deleted(_))
    }
}

type Handler<V> = Box<dyn Fn(Change<'_, V>) + Send>;

/// A running informer; clones share it. It gives the methods of its [`Store`].
pub struct Informer<V>(Arc<Shared<V>>);

struct Shared<V> {
    store: Store<V>,
    /// Also the lock under which changes are applied, so that a new handler misses none.
    handlers: Mutex<Vec<Handler<V>>>,
    synced: watch::Sender<bool>,
    stop: CancellationToken,
}

impl<V> Clone for Informer<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Deref for Informer<V> {
    type Target = Store<V>;

    fn deref(&self) -> &Store<V> {
        &self.0.store
    }
}

impl<V: Object> Informer<V> {
    /// Starts an informer for all objects of `api` that `config` selects, which keeps whole
    /// objects except their managed fields. It ends with `stop`.
    pub fn start(api: Api<V>, config: Config, stop: CancellationToken) -> Self
    where
        V: Resource + Clone + Debug + DeserializeOwned,
    {
        Self::start_mapped(api, config, stop, |mut object: V| {
            object.meta_mut().managed_fields = None;
            object
        })
    }

    /// Starts an informer that keeps a view `V` of each object `K`. With an `Api` of
    /// [`Metadata`](crate::meta::Metadata) the server is asked for metadata only.
    pub fn start_mapped<K>(
        api: Api<K>,
        config: Config,
        stop: CancellationToken,
        view: impl Fn(K) -> V + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        Self::spawn(watcher::watcher(api, config), stop, view)
    }

    /// Starts an informer over any stream of watch events, for example one made by a test.
    pub fn spawn<K: Send + 'static>(
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        stop: CancellationToken,
        view: impl Fn(K) -> V + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            store: Store::default(),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
            stop: stop.clone(),
        });
        let informer = Self(shared.clone());
        tokio::spawn(async move {
            let () = stop.run_until_cancelled_owned(follow(shared, events, view)).await.unwrap_or_default();
        });
        informer
    }

    /// The objects.
    pub fn store(&self) -> &Store<V> {
        &self.0.store
    }

    /// Calls `handler` for each change from now on, after an `Added` for each object already there.
    pub fn on_change(&self, handler: impl Fn(Change<'_, V>) + Send + 'static) {
        let mut handlers = self.0.handlers.lock();
        for object in self.0.store.list() {
            handler(Change::Added(&object));
        }
        handlers.push(Box::new(handler));
    }

    /// Whether the first list is complete and all handlers have seen it.
    pub fn has_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Waits for [`has_synced`](Self::has_synced), or for the end of the informer.
    pub fn synced(&self) -> impl Future<Output = ()> + Send + use<V> {
        let (mut synced, stop) = (self.0.synced.subscribe(), self.0.stop.clone());
        async move {
            // An error means that the informer is gone, as after `stop`.
            let _ = stop.run_until_cancelled(synced.wait_for(|synced| *synced)).await;
        }
    }
}

/// Applies events until the stream ends, waiting longer after each failure in a row.
async fn follow<V: Object, K>(
    shared: Arc<Shared<V>>,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    view: impl Fn(K) -> V,
) {
    let mut events = std::pin::pin!(events);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    // Keys of a list in progress; what is missing at its end was deleted meanwhile.
    let mut listed: HashSet<Key> = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) {
                    backoff.reset();
                }
                shared.apply(event, &view, &mut listed);
            }
            Err(error) => {
                let delay = backoff.next_delay();
                tracing::debug!(kind = std::any::type_name::<V>(), %error, "watch failed, retrying in {delay:?}");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

impl<V: Object> Shared<V> {
    fn apply<K>(&self, event: Event<K>, view: &impl Fn(K) -> V, listed: &mut HashSet<Key>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                let object = Arc::new(view(object));
                listed.insert(object.key());
                self.put(&object, true);
            }
            Event::Apply(object) => self.put(&Arc::new(view(object)), false),
            Event::Delete(object) => self.delete(&view(object).key()),
            Event::InitDone => {
                for key in self.store.keys() {
                    if !listed.contains(&key) {
                        self.delete(&key);
                    }
                }
                *listed = HashSet::new();
                self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
            }
        }
    }

    fn put(&self, object: &Arc<V>, relist: bool) {
        let handlers = self.handlers.lock();
        let old = self.store.insert(object);
        match old {
            None => handlers.iter().for_each(|handler| handler(Change::Added(object))),
            // A name that was deleted and made anew between two lists.
            Some(old) if old.uid() != object.uid() => {
                handlers.iter().for_each(|handler| {
                    handler(Change::Deleted(&old));
                    handler(Change::Added(object));
                });
            }
            Some(old) if relist && same_version(&*old, &**object) => {}
            Some(old) => {
                handlers.iter().for_each(|handler| handler(Change::Updated { old: &old, new: object }));
            }
        }
    }

    fn delete(&self, key: &Key) {
        let handlers = self.handlers.lock();
        if let Some(old) = self.store.remove(key) {
            handlers.iter().for_each(|handler| handler(Change::Deleted(&old)));
        }
    }
}

fn same_version<V: Object>(old: &V, new: &V) -> bool {
    !old.resource_version().is_empty() && old.resource_version() == new.resource_version()
}

#[cfg(test)]
mod tests {
    use futures::{channel::mpsc, stream};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn map(name: &str, uid: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                uid: Some(uid.into()),
                resource_version: Some(version.into()),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    /// Feeds events to an informer and returns what a handler saw.
    async fn check(events: Vec<Event<ConfigMap>>, expected: &[&str]) {
        let (send, mut seen) = mpsc::unbounded();
        let events = stream::iter(events.into_iter().map(Ok)).chain(stream::pending());
        let stop = CancellationToken::new();
        let informer = Informer::spawn(events, stop.clone(), |map: ConfigMap| map);
        informer.on_change(move |change| {
            let name = change.object().key().name;
            let line = match change {
                Change::Added(_) => format!("+{name}"),
                Change::Updated { .. } => format!("~{name}"),
                Change::Deleted(_) => format!("-{name}"),
            };
            send.unbounded_send(line).expect("the test listens");
        });
        for expected in expected {
            let line = tokio::time::timeout(Duration::from_secs(5), seen.next()).await;
            assert_eq!(line.expect("a change in time").as_deref(), Some(*expected));
        }
        informer.synced().await;
        stop.cancel();
    }

    #[tokio::test]
    async fn relists_find_deletions_and_replacements() {
        let events = vec![
            Event::Init,
            Event::InitApply(map("a", "1", "1")),
            Event::InitApply(map("b", "2", "2")),
            Event::InitApply(map("c", "3", "3")),
            Event::InitDone,
            Event::Apply(map("a", "1", "4")),
            Event::Init,
            Event::InitApply(map("a", "1", "4")),
            Event::InitApply(map("b", "9", "5")),
            Event::InitDone,
            Event::Delete(map("a", "1", "6")),
        ];
        check(events, &["+a", "+b", "+c", "~a", "-b", "+b", "-c", "-a"]).await;
    }
}
