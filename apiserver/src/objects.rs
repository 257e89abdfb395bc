//! How the parts around the registry see stored objects: point reads, lists and a feed of changes, without HTTP.
//!
//! The cache implements [`Objects`]; tests use [`Memory`]. All reads come from memory and never block.
mod store;

use futures::stream::BoxStream;
use knarr_api::Value;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::broadcast;

/// A change of one object, or the end of the initial state.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is now this.
    Put {
        /// Namespace; empty for cluster-scoped objects.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
        /// The object as stored.
        object: Arc<Value>,
    },
    /// The object is gone.
    Gone {
        /// Namespace; empty for cluster-scoped objects.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// Everything that existed when the feed began has been told.
    Synced,
}

/// Stored objects, in the version they are stored as, addressed by group (empty for core) and plural name.
pub trait Objects: Send + Sync + 'static {
    /// One object, as new as any write acknowledged before the call.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a resource, in one namespace or in all.
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// A number that differs whenever the objects of a resource do: to compile them once a change.
    fn stamp(&self, group: &str, resource: &str) -> u64;

    /// The state now as [`Change::Put`]s, then [`Change::Synced`], then every change; never ends while the server
    /// lives, and begins anew (with another `Synced`) should it fall behind.
    fn follow(&self, group: &str, resource: &str) -> BoxStream<'static, Change>;
}

type MemoryKey = (String, String, String, String);

/// Objects in a map: for tests of what reads them.
pub struct Memory {
    objects: RwLock<BTreeMap<MemoryKey, Arc<Value>>>,
    changes: broadcast::Sender<(String, String, Change)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { objects: RwLock::default(), changes: broadcast::channel(1024).0 }
    }
}

impl Memory {
    /// Adds or replaces an object by its `metadata`.
    pub fn put(&self, group: &str, resource: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let object = Arc::new(object);
        let key = (group.to_owned(), resource.to_owned(), namespace.clone(), name.clone());
        self.objects.write().insert(key, object.clone());
        let change = Change::Put { namespace: namespace.into(), name: name.into(), object };
        let _ = self.changes.send((group.to_owned(), resource.to_owned(), change));
    }
}

impl Objects for Memory {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.read().get(&key).cloned()
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let wanted = |key: &MemoryKey| {
            key.0 == group && key.1 == resource && namespace.is_none_or(|namespace| key.2 == namespace)
        };
        self.objects.read().iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect()
    }

    fn stamp(&self, group: &str, resource: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.list(group, resource, None).iter().for_each(|object| object.to_string().hash(&mut hasher));
        hasher.finish()
    }

    fn follow(&self, group: &str, resource: &str) -> BoxStream<'static, Change> {
        use futures::StreamExt;
        let (group, resource) = (group.to_owned(), resource.to_owned());
        let receiver = self.changes.subscribe();
        let objects = self.objects.read();
        let mut initial: Vec<Change> = objects
            .iter()
            .filter(|(key, _)| key.0 == group && key.1 == resource)
            .map(|(key, object)| Change::Put {
                namespace: key.2.as_str().into(),
                name: key.3.as_str().into(),
                object: object.clone(),
            })
            .collect();
        initial.push(Change::Synced);
        let later = futures::stream::unfold(receiver, move |mut receiver| {
            let (group, resource) = (group.clone(), resource.clone());
            async move {
                loop {
                    let (g, r, change) = receiver.recv().await.ok()?;
                    if g == group && r == resource {
                        return Some((change, receiver));
                    }
                }
            }
        });
        futures::stream::iter(initial).chain(later).boxed()
    }
}
