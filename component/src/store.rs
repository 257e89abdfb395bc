//! Indexed objects in memory: what an informer has seen.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use parking_lot::RwLock;

/// Namespace and name of an object; the namespace of cluster-scoped ones is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// A key of its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key that an object's metadata give.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What a store must know of its objects. Every Kubernetes type has it; a trimmed view of one
/// implements it by hand.
pub trait Object: Send + Sync + 'static {
    /// Where the object lives.
    fn key(&self) -> Key;
    /// Its unique identity, empty when unknown.
    fn uid(&self) -> &str;
    /// Its version, empty when unknown. Equal versions are not reported as changes after a relist.
    fn resource_version(&self) -> &str;
    /// UIDs of its owners; none for a view that does not keep them, and so is not found by owner.
    fn owners(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<K: Resource + Send + Sync + 'static> Object for K {
    fn key(&self) -> Key {
        Key::of(self.meta())
    }

    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn resource_version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }

    fn owners(&self) -> Vec<String> {
        self.meta().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
    }
}

/// Computes under which values an object is found in an index.
pub type IndexFn<V> = Arc<dyn Fn(&V) -> Vec<String> + Send + Sync>;

/// Name of the index by owner UID, which each store has.
pub const BY_OWNER: &str = "owner";

/// Objects by namespace and name, by owner and by the indexes that were added.
pub struct Store<V> {
    inner: RwLock<Inner<V>>,
}

struct Inner<V> {
    /// Ordered, so that a namespace is a range.
    objects: BTreeMap<Arc<Key>, Arc<V>>,
    indexes: HashMap<String, Index<V>>,
}

struct Index<V> {
    values: IndexFn<V>,
    /// Ordered and with the objects themselves: a workload asks for all of its pods at every step.
    found: HashMap<String, BTreeMap<Arc<Key>, Arc<V>>>,
}

impl<V> Index<V> {
    fn insert(&mut self, key: &Arc<Key>, object: &Arc<V>) {
        for value in (self.values)(object) {
            self.found.entry(value).or_default().insert(Arc::clone(key), Arc::clone(object));
        }
    }

    fn remove(&mut self, key: &Key, object: &V) {
        for value in (self.values)(object) {
            if let Some(found) = self.found.get_mut(&value) {
                found.remove(key);
                if found.is_empty() {
                    self.found.remove(&value);
                }
            }
        }
    }
}

impl<V: Object> Default for Store<V> {
    fn default() -> Self {
        let owners: IndexFn<V> = Arc::new(|object: &V| object.owners());
        let index = Index { values: owners, found: HashMap::new() };
        let indexes = HashMap::from([(BY_OWNER.to_string(), index)]);
        Self { inner: RwLock::new(Inner { objects: BTreeMap::new(), indexes }) }
    }
}

impl<V: Object> Store<V> {
    /// Adds an index and fills it with what is there. A second index of that name is ignored.
    pub fn add_index(&self, name: &str, values: IndexFn<V>) {
        let mut inner = self.inner.write();
        if inner.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, found: HashMap::new() };
        for (key, object) in &inner.objects {
            index.insert(key, object);
        }
        inner.indexes.insert(name.to_string(), index);
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<V>> {
        self.inner.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read();
        let from = Key::new(namespace, "");
        inner
            .objects
            .range::<Key, _>(&from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects found under a value of an index, ordered by key. An unknown index is empty.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read();
        let found = inner.indexes.get(index).and_then(|index| index.found.get(value));
        found.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The objects that name this UID among their owners.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<V>> {
        self.by_index(BY_OWNER, uid)
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an object in; returns the one it replaces.
    pub(crate) fn insert(&self, object: &Arc<V>) -> Option<Arc<V>> {
        let key = object.key();
        let mut inner = self.inner.write();
        // All maps share the key that is there already.
        let known = inner.objects.get_key_value(&key).map(|(key, old)| (Arc::clone(key), Arc::clone(old)));
        let (key, old) = known.map_or_else(|| (Arc::new(key), None), |(key, old)| (key, Some(old)));
        inner.objects.insert(Arc::clone(&key), object.clone());
        for index in inner.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, object);
        }
        old
    }

    /// Takes an object out.
    pub(crate) fn remove(&self, key: &Key) -> Option<Arc<V>> {
        let mut inner = self.inner.write();
        let old = inner.objects.remove(key)?;
        for index in inner.indexes.values_mut() {
            index.remove(key, &old);
        }
        Some(old)
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.inner.read().objects.keys().map(|key| Key::clone(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn pod(namespace: &str, name: &str, node: &str, owner: &str) -> Arc<Pod> {
        let owner = OwnerReference { uid: owner.to_string(), ..Default::default() };
        Arc::new(Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                owner_references: Some(vec![owner]),
                ..Default::default()
            },
            spec: Some(PodSpec { node_name: Some(node.into()), ..Default::default() }),
            status: None,
        })
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| pod.key().to_string()).collect()
    }

    #[test]
    fn indexes_follow_changes() {
        let store = Store::<Pod>::default();
        store.insert(&pod("b", "1", "n1", "o1"));
        store.insert(&pod("a", "2", "n1", "o1"));
        store.add_index(
            "node",
            Arc::new(|pod: &Pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect()),
        );
        store.insert(&pod("a", "1", "n2", "o2"));
        assert_eq!(names(&store.by_index("node", "n1")), ["a/2", "b/1"]);
        assert_eq!(names(&store.list_namespace("a")), ["a/1", "a/2"]);
        store.insert(&pod("a", "2", "n2", "o2"));
        assert_eq!(names(&store.by_index("node", "n1")), ["b/1"]);
        assert_eq!(names(&store.owned_by("o2")), ["a/1", "a/2"]);
        store.remove(&Key::new("a", "2"));
        assert_eq!(names(&store.owned_by("o2")), ["a/1"]);
        assert_eq!(store.len(), 2);
    }
}
