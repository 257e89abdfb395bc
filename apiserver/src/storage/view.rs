//! The whole of memory at one revision, and a batch on its way into it.
use super::hub::Hub;
use super::resource::Residence;
use super::snapshot::Objects;
use super::{Change, Key, Revision};
use std::sync::Arc;

/// All live objects in memory at one revision; replaced as a whole, so that whoever sees a revision sees
/// everything before it, across resources.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub revision: Revision,
    pub objects: Objects,
}

/// Changes entered into the next view but not yet visible.
pub(super) struct Batch {
    pub view: View,
    pub changes: Vec<(Arc<Hub>, Arc<Change>)>,
}

impl Batch {
    /// The object a write of `key` replaces, if its resource is in memory.
    pub fn previous(&self, key: &Key) -> Option<Arc<super::Stored>> {
        self.view.objects.get(key).cloned()
    }

    /// Enters a change.
    pub fn enter(&mut self, hub: &Arc<Hub>, change: Change) -> Arc<Change> {
        self.view.revision = change.revision;
        if hub.resource.residence == Residence::Memory {
            match &change.current {
                Some(object) => self.view.objects.insert(object.key.clone(), object.clone()),
                None => self.view.objects.remove(change.key()),
            };
        }
        let change = Arc::new(change);
        self.changes.push((hub.clone(), change.clone()));
        change
    }
}
