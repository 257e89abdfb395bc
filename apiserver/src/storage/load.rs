//! Fills memory from the database: the live objects of resources, and the recent changes for their rings.
use super::backend::{LogRow, Range};
use super::hub::Hub;
use super::resource::{Residence, Resource};
use super::snapshot::Objects;
use super::store::Inner;
use super::view::View;
use super::watcher::WatchEnd;
use super::{BackendError, Change, Key, Malformed, Revision, Stored};
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

/// Rows read at once.
const PAGE: usize = 500;

/// Revisions at most that rings are refilled from.
const REFILL: u64 = 20_000;

/// Works for the commit task, between transactions: nothing else changes memory meanwhile.
pub(super) struct Loader<'a> {
    inner: &'a Inner,
}

impl<'a> Loader<'a> {
    pub fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    /// Loads resources; those known before are rebuilt and their watches end.
    pub async fn register(&self, resources: Vec<Resource>) -> Result<(), BackendError> {
        let mut view = self.inner.view().as_ref().clone();
        for resource in &resources {
            remove(&mut view.objects, &resource.name);
        }
        self.load(resources, view).await
    }

    /// Loads resources into a view that holds none of their objects, and shows it. If that fails, nothing changes.
    async fn load(&self, resources: Vec<Resource>, view: View) -> Result<(), BackendError> {
        let View { revision, mut objects } = view;
        for resource in resources.iter().filter(|resource| resource.residence == Residence::Memory) {
            let prefix = format!("{}/", resource.name);
            self.inner.fetch(resource, prefix, revision, &mut objects).await?;
        }
        let compacted = self.inner.backend.extent().await?.compacted;
        let start = compacted.max(Revision(revision.0.saturating_sub(REFILL)));
        let ring = self.inner.options.ring_bytes;
        let hubs = resources.into_iter().map(|resource| {
            let name = resource.name.clone();
            (name, Arc::new(Hub::new(resource, start, ring)))
        });
        let hubs: HashMap<_, _> = hubs.collect();
        self.refill(&hubs, start, revision, &objects).await?;
        // The old ring does not lead to the new view: it ends before that can be seen.
        for old in hubs.keys().filter_map(|name| self.inner.hub(name)) {
            old.end(WatchEnd::Gone);
        }
        self.inner.replace(View { revision, objects });
        self.inner.hubs.write().extend(hubs);
        Ok(())
    }

    /// Forgets a resource.
    pub fn unregister(&self, name: &str) {
        self.end(name);
        let View { revision, mut objects } = self.inner.view().as_ref().clone();
        remove(&mut objects, name);
        self.inner.replace(View { revision, objects });
    }

    /// Starts anew from the head of the database, when the changes since are no longer known.
    pub async fn reload(&self) -> Result<(), BackendError> {
        let resources = self.inner.hubs.read().values().map(|hub| hub.resource.clone()).collect();
        let revision = self.inner.backend.extent().await?.head;
        self.load(resources, View { revision, objects: Objects::new() }).await
    }

    fn end(&self, name: &str) {
        if let Some(hub) = self.inner.hubs.write().remove(name) {
            hub.end(WatchEnd::Gone);
        }
    }

    /// Fills the rings with the changes after `start`, so that watches resume over a restart.
    async fn refill(
        &self,
        hubs: &HashMap<Arc<str>, Arc<Hub>>,
        start: Revision,
        upto: Revision,
        objects: &Objects,
    ) -> Result<(), BackendError> {
        let (mut after, mut latest) = (start, HashMap::<Key, Arc<Stored>>::new());
        while after < upto {
            let rows = self.inner.backend.changes(after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.revision;
            for row in rows.into_iter().filter(|row| row.revision <= upto) {
                let Some(hub) = hubs.get(row.key.resource()) else { continue };
                let key = row.key.clone();
                let live = |key: &Key| latest.get(key).or_else(|| objects.get(key)).cloned();
                match shared(hub, &row, live, objects) {
                    Ok(change) => {
                        match &change.current {
                            Some(object) => latest.insert(key, object.clone()),
                            None => latest.remove(&key),
                        };
                        hub.record(Arc::new(change));
                    }
                    Err(error) => tracing::error!(%error, "a row of the log is skipped"),
                }
            }
        }
        Ok(())
    }
}

/// The change of a row, with objects that memory holds already where they are the same.
fn shared(
    hub: &Hub,
    row: &LogRow,
    previous: impl Fn(&Key) -> Option<Arc<Stored>>,
    objects: &Objects,
) -> Result<Change, Malformed> {
    let same = |object: Option<Arc<Stored>>, revision| object.filter(|object| object.revision == revision);
    let current = match &row.value {
        None => None,
        Some(value) => Some(match same(objects.get(&row.key).cloned(), row.revision) {
            Some(object) => object,
            None => hub.resource.stored(row.key.clone(), row.revision, value)?,
        }),
    };
    let previous = match &row.previous {
        None => None,
        Some((revision, value)) => Some(match same(previous(&row.key), *revision) {
            Some(object) => object,
            None => hub.resource.stored(row.key.clone(), *revision, value)?,
        }),
    };
    if current.is_none() && previous.is_none() {
        return Err(Malformed { key: row.key.as_str().to_owned(), reason: "nothing of it can be read" });
    }
    Ok(Change { revision: row.revision, current, previous })
}

impl Inner {
    /// Reads the objects of a resource whose keys begin with `prefix`, as they were at a revision, into a map. One
    /// that cannot be read is left out and logged.
    pub(super) async fn fetch(
        &self,
        resource: &Resource,
        prefix: String,
        at: Revision,
        into: &mut Objects,
    ) -> Result<(), BackendError> {
        let mut range = Range { prefix, after: None, limit: PAGE };
        loop {
            let rows = self.backend.list_at(&range, at).await?;
            let more = rows.len() == PAGE;
            range.after = rows.last().map(|row| row.key.clone());
            for row in rows {
                match resource.stored(row.key.clone(), row.revision, &row.value) {
                    Ok(object) => {
                        into.insert(row.key, object);
                    }
                    Err(error) => tracing::error!(%error, "an object is skipped"),
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The change of a row of the log; `previous` gives what memory holds.
    pub(super) fn change(
        &self,
        hub: &Hub,
        row: &LogRow,
        previous: impl Fn(&Key) -> Option<Arc<Stored>>,
    ) -> Result<Change, Malformed> {
        shared(hub, row, previous, &Objects::new())
    }
}

/// Removes all objects of a resource.
fn remove(objects: &mut Objects, resource: &str) {
    let prefix = format!("{resource}/");
    let bounds = (Bound::Included(prefix.as_str()), Bound::Unbounded);
    let keys = objects.range::<_, str>(bounds).map(|(key, _)| key.clone());
    let keys: Vec<_> = keys.take_while(|key| key.as_str().starts_with(&prefix)).collect();
    for key in keys {
        objects.remove(&key);
    }
}
