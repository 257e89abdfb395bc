//! When that happened which the endpoints of a Service are changed for.
//!
//! Proxies measure with it how long a change takes to reach them.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use knarr_component::store::Key;
use parking_lot::Mutex;

use crate::{
    meta::{Map, created, name},
    pods::{self, Pod},
};

/// Annotation of Endpoints and EndpointSlices with that time.
pub(crate) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What the last sync of each Service saw.
#[derive(Default)]
pub(crate) struct Triggers(Mutex<HashMap<Key, Seen>>);

#[derive(Default, Clone)]
struct Seen {
    service: Option<Timestamp>,
    /// When pods became ready, or ceased to be, by their names.
    pods: HashMap<String, Timestamp>,
}

impl Triggers {
    /// The earliest of the changes since the last sync: of the Service itself if it is new. `None` if there is none.
    /// `pods` are those which the Service selects.
    pub fn note<'a>(&self, service: &Service, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Option<Timestamp> {
        let made = created(&service.metadata);
        let ready = |pod: &Arc<Pod>| {
            let since = pods::condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
            Some((name(&pod.metadata).to_string(), since))
        };
        let now = Seen { service: Some(made), pods: pods.filter_map(ready).collect() };
        let Some(before) = self.0.lock().insert(Key::of(&service.metadata), now.clone()) else {
            return Some(made);
        };
        let moved = now.pods.into_iter().filter(|(pod, at)| before.pods.get(pod).is_none_or(|old| at > old));
        let moved = moved.map(|(_, at)| at);
        moved.chain(now.service.filter(|made| before.service.is_none_or(|old| *made > old))).min()
    }

    /// The Service is gone.
    pub fn forget(&self, service: &Key) {
        self.0.lock().remove(service);
    }
}

/// Writes the time into the annotations of what is changed.
pub(crate) fn stamp(annotations: &mut Option<Map>, time: Option<Timestamp>) {
    match time {
        Some(time) => {
            annotations.get_or_insert_default().insert(LAST_CHANGE.to_string(), time.to_string());
        }
        None => drop(annotations.as_mut().and_then(|all| all.remove(LAST_CHANGE))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::pods::tests::{pod, test_now};

    #[test]
    fn the_first_change_since_the_last_sync_counts() {
        let ago = |seconds: i64| test_now() - jiff::SignedDuration::from_secs(seconds);
        let triggers = Triggers::default();
        let mut service = Service::default();
        service.metadata.name = Some("web".into());
        service.metadata.creation_timestamp = Some(Time(ago(100)));
        let check = |service: &Service, ready: &[(&str, i64)], expected: Option<i64>| {
            let pods: Vec<Arc<Pod>> =
                ready.iter().map(|(name, since)| Arc::new(pod(name, "Running", "n", Some(*since)))).collect();
            assert_eq!(triggers.note(service, pods.iter()), expected.map(ago), "{ready:?}");
        };
        check(&service, &[("a", 90)], Some(100));
        check(&service, &[("a", 90)], None);
        check(&service, &[("a", 90), ("b", 50), ("c", 40)], Some(50));
        check(&service, &[("a", 30), ("b", 50)], Some(30));
        service.metadata.creation_timestamp = Some(Time(ago(20)));
        check(&service, &[("a", 30), ("b", 50)], Some(20));
        triggers.forget(&Key::of(&service.metadata));
        check(&service, &[("a", 30)], Some(20));
    }

    #[test]
    fn stamps_are_whole_seconds_in_utc() {
        let mut annotations = None;
        stamp(&mut annotations, Some(test_now()));
        assert_eq!(annotations.as_ref().unwrap()[LAST_CHANGE], "1970-01-12T13:46:40Z");
        stamp(&mut annotations, None);
        assert_eq!(annotations, Some(Map::new()));
    }
}
