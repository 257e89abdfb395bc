//! Who owns an address and port when several services ask for it, as they may with external addresses.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Frontend;

/// Services by the front ends they ask for. The first in the order of names wins, whatever came first, so
/// that all nodes decide alike and a restart changes nothing.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_frontend: BTreeMap<Frontend, BTreeSet<String>>,
}

impl Claims {
    /// Whether the service is the one that answers at a front end.
    pub(super) fn owns(&self, service: &str, frontend: &Frontend) -> bool {
        self.by_frontend.get(frontend).and_then(BTreeSet::first).is_some_and(|first| first == service)
    }

    /// Records a claim; returns other services that claim the same, whose rules may change with it.
    pub(super) fn add(&mut self, service: &str, frontend: Frontend) -> Vec<String> {
        let claimants = self.by_frontend.entry(frontend).or_default();
        let others = claimants.iter().filter(|s| *s != service).cloned().collect();
        claimants.insert(service.to_owned());
        others
    }

    /// Drops a claim; returns other services that claim the same.
    pub(super) fn remove(&mut self, service: &str, frontend: &Frontend) -> Vec<String> {
        let Some(claimants) = self.by_frontend.get_mut(frontend) else { return Vec::new() };
        claimants.remove(service);
        let others = claimants.iter().cloned().collect();
        if claimants.is_empty() {
            self.by_frontend.remove(frontend);
        }
        others
    }
}
