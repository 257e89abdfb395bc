//! [`Objects`] over the cache.
use super::{Change, Objects};
use crate::storage::{Key, Scope, Start, Store, Watcher};
use futures::StreamExt;
use futures::stream::BoxStream;
use knarr_api::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Pause before a feed that could not begin is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// `‹group›/‹resource›`, as keys begin.
fn prefix(group: &str, resource: &str) -> String {
    format!("{}/{resource}", if group.is_empty() { "core" } else { group })
}

impl Objects for Store {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let stored = Self::get(self, &Key::new(&prefix(group, resource), namespace, name))?;
        stored.value().ok().map(Arc::new)
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let snapshot = self.snapshot(&prefix(group, resource));
        snapshot.iter(namespace, None).filter_map(|stored| stored.value().ok().map(Arc::new)).collect()
    }

    fn stamp(&self, group: &str, resource: &str) -> u64 {
        // Every write has a revision of its own, so the revisions tell which objects there are.
        let mut hasher = DefaultHasher::new();
        let snapshot = self.snapshot(&prefix(group, resource));
        snapshot.iter(None, None).for_each(|stored| stored.revision.0.hash(&mut hasher));
        hasher.finish()
    }

    fn follow(&self, group: &str, resource: &str) -> BoxStream<'static, Change> {
        let feed = Feed { store: self.clone(), resource: prefix(group, resource), watcher: None };
        futures::stream::unfold(feed, |mut feed| async move { Some((feed.next().await, feed)) })
            .flat_map(futures::stream::iter)
            .boxed()
    }
}

/// A list followed by a watch, again and again.
struct Feed {
    store: Store,
    resource: String,
    watcher: Option<Watcher>,
}

impl Feed {
    async fn next(&mut self) -> Vec<Change> {
        loop {
            let Some(watcher) = &mut self.watcher else {
                if let Some(state) = self.begin() {
                    return state;
                }
                tokio::time::sleep(RETRY).await;
                continue;
            };
            match watcher.next().await {
                Ok(batch) => return batch.iter().filter_map(|d| change(&d.event.change)).collect(),
                Err(end) => {
                    tracing::debug!(resource = self.resource, %end, "feed of changes begins anew");
                    self.watcher = None;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn begin(&mut self) -> Option<Vec<Change>> {
        let snapshot = self.store.snapshot(&self.resource);
        let start = Start::After(snapshot.revision());
        self.watcher = Some(self.store.watch(&self.resource, Scope::default(), start, None).ok()?);
        let mut state: Vec<Change> = snapshot.iter(None, None).filter_map(|stored| put(stored)).collect();
        state.push(Change::Synced);
        Some(state)
    }
}

fn put(stored: &crate::storage::Stored) -> Option<Change> {
    Some(Change::Put {
        namespace: stored.key.namespace().into(),
        name: stored.key.name().into(),
        object: Arc::new(stored.value().ok()?),
    })
}

fn change(change: &crate::storage::Change) -> Option<Change> {
    match &change.current {
        Some(stored) => put(stored),
        None => Some(Change::Gone {
            namespace: change.key().namespace().into(),
            name: change.key().name().into(),
        }),
    }
}
