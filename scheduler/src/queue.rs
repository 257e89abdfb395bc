//! Pods that wait to be scheduled: ready ones by priority and age, failed ones until something changes for them
//! or their back-off ends. Time is passed in, so that every rule can be tested.
use crate::metrics::{Metrics, Outcome};
use crate::plugin::Event;
use crate::pod::PodView;
use knarr_component::store::Key;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Back-off after the first failure, by default; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest back-off, by default.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod is tried again after this even if nothing seems to have changed for it.
const UNSCHEDULABLE_TIMEOUT: Duration = Duration::from_secs(300);

/// All waiting pods.
pub struct Queue {
    first_backoff: Duration,
    longest_backoff: Duration,
    pods: HashMap<Key, Waiting>,
    /// Ready pods: larger priority first, then the longest waiting.
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    /// Pods that must wait until a time: back-off, or the time limit of the unschedulable.
    timed: BTreeSet<(Instant, Key)>,
    /// Unschedulable pods by the events they wait for.
    awaited: HashMap<Event, HashSet<Key>>,
    next_turn: u64,
    /// Number of the latest event of each kind, to notice those that came while a pod was being tried.
    events: HashMap<Event, u64>,
    next_event: u64,
    /// Pods that nobody may try yet.
    held: HashSet<Key>,
    metrics: Metrics,
}

/// How many pods wait in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Ready to be tried.
    pub active: usize,
    /// Tried again when their time has come.
    pub backoff: usize,
    /// Tried again when something has changed for them.
    pub unschedulable: usize,
    /// Not to be tried yet.
    pub gated: usize,
}

struct Waiting {
    pod: Arc<PodView>,
    /// Since when it may be tried.
    added: Instant,
    failures: u32,
    turn: u64,
    place: Place,
}

enum Place {
    /// Its priority then, by which it is found again.
    Active {
        priority: i32,
    },
    /// Being tried, since that event number.
    Tried {
        since: u64,
        started: Instant,
    },
    Backoff {
        until: Instant,
    },
    /// Waits for one of the events, at most until the time.
    Unschedulable {
        events: Vec<Event>,
        failed: Instant,
        until: Instant,
    },
}

impl Place {
    /// The queue's name.
    fn name(&self) -> &'static str {
        match self {
            Self::Active { .. } | Self::Tried { .. } => "active",
            Self::Backoff { .. } => "backoff",
            Self::Unschedulable { .. } => "unschedulable",
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(FIRST_BACKOFF, LONGEST_BACKOFF)
    }
}

impl Queue {
    /// An empty queue; failed pods wait for `first` at first, then twice as long each time, at most `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first_backoff: first,
            longest_backoff: longest,
            pods: HashMap::new(),
            active: BTreeSet::new(),
            timed: BTreeSet::new(),
            awaited: HashMap::new(),
            next_turn: 0,
            events: HashMap::new(),
            next_event: 0,
            held: HashSet::new(),
            metrics: Metrics::default(),
        }
    }

    /// The same, telling what happens to pods.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// How many pods wait in which way; those being tried count for none.
    pub fn pending(&self) -> Pending {
        let mut pending = Pending { gated: self.held.len(), ..Pending::default() };
        for waiting in self.pods.values() {
            match waiting.place {
                Place::Active { .. } => pending.active += 1,
                Place::Backoff { .. } => pending.backoff += 1,
                Place::Unschedulable { .. } => pending.unschedulable += 1,
                Place::Tried { .. } => {}
            }
        }
        pending
    }

    fn backoff(&self, failures: u32) -> Duration {
        (self.first_backoff * 2_u32.saturating_pow(failures.min(8))).min(self.longest_backoff)
    }

    /// How many pods wait.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// No pod waits.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// A pod that waits was seen. A changed one is tried anew; one that is only seen again keeps its place.
    pub fn set(&mut self, pod: Arc<PodView>) {
        let key = pod.key.clone();
        if let Some(waiting) = self.pods.get_mut(&key)
            && waiting.pod.uid == pod.uid
        {
            let changed = asks_for_more(&waiting.pod, &pod);
            waiting.pod = pod;
            if changed && !matches!(waiting.place, Place::Active { .. } | Place::Tried { .. }) {
                self.activate(&key, "UnschedulablePodUpdate");
            }
            return;
        }
        let event = match self.held.remove(&key) {
            true => "UnschedulablePodUpdate",
            false => "UnschedulablePodAdd",
        };
        self.remove(&key);
        let turn = self.next_turn;
        self.next_turn += 1;
        let added = Instant::now();
        let place = Place::Backoff { until: added };
        self.pods.insert(key.clone(), Waiting { pod, added, failures: 0, turn, place });
        self.activate(&key, event);
    }

    /// A pod that waits, but must not be tried yet.
    pub fn hold(&mut self, key: &Key) {
        self.remove(key);
        if self.held.insert(key.clone()) {
            self.metrics.incoming("UnschedulablePodAdd", "gated");
        }
    }

    /// A pod was bound.
    pub fn placed(&mut self, key: &Key, now: Instant) {
        if let Some(waiting) = self.pods.get(key) {
            self.attempted(waiting, Outcome::Scheduled, now);
            self.metrics.placed(waiting.failures + 1, now.saturating_duration_since(waiting.added));
        }
        self.remove(key);
    }

    fn attempted(&self, waiting: &Waiting, outcome: Outcome, now: Instant) {
        if let Place::Tried { started, .. } = waiting.place {
            let took = now.saturating_duration_since(started);
            self.metrics.attempted(&waiting.pod.scheduler, outcome, took);
        }
    }

    /// A pod no longer waits.
    pub fn remove(&mut self, key: &Key) {
        self.held.remove(key);
        if let Some(waiting) = self.pods.remove(key) {
            self.unlink(key, &waiting);
        }
    }

    /// The next pod to try; it stays in the queue until it is removed or has failed.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodView>> {
        self.wake(now);
        let (_, _, key) = self.active.pop_first()?;
        let since = self.next_event;
        let waiting = self.pods.get_mut(&key)?;
        waiting.place = Place::Tried { since, started: now };
        Some(Arc::clone(&waiting.pod))
    }

    /// When the next pod becomes ready by itself.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.timed.first().map(|(time, _)| *time)
    }

    /// No node fits the pod: it waits for one of `events`.
    pub fn unschedulable(&mut self, key: &Key, events: &[Event], now: Instant) {
        let missed = |since: u64, queue: &Self| events.iter().any(|event| queue.seen_since(*event, since));
        let Some(waiting) = self.pods.get(key) else { return };
        let Place::Tried { since, .. } = waiting.place else { return };
        self.attempted(waiting, Outcome::Unschedulable, now);
        if missed(since, self) {
            return self.back_off(key, now);
        }
        let until = now + UNSCHEDULABLE_TIMEOUT;
        self.rest(key, Place::Unschedulable { events: events.to_vec(), failed: now, until }, until);
    }

    /// Trying the pod failed for a reason that passes: it is tried again after a back-off.
    pub fn failed(&mut self, key: &Key, now: Instant) {
        if let Some(waiting) = self.pods.get(key) {
            self.attempted(waiting, Outcome::Error, now);
        }
        self.back_off(key, now);
    }

    fn back_off(&mut self, key: &Key, now: Instant) {
        let Some(waiting) = self.pods.get(key) else { return };
        let until = now + self.backoff(waiting.failures);
        self.rest(key, Place::Backoff { until }, until);
    }

    /// Something happened that may make pods schedulable.
    pub fn event(&mut self, event: Event, now: Instant) {
        self.events.insert(event, self.next_event);
        self.next_event += 1;
        let Some(keys) = self.awaited.get(&event) else { return };
        let concerned = keys.iter().filter_map(|key| {
            let waiting = self.pods.get(key)?;
            let Place::Unschedulable { failed, .. } = &waiting.place else { return None };
            Some((key.clone(), *failed + self.backoff(waiting.failures.saturating_sub(1))))
        });
        let concerned: Vec<(Key, Instant)> = concerned.collect();
        for (key, until) in concerned {
            if until <= now {
                self.activate(&key, event.label());
            } else {
                self.relocate(&key, Place::Backoff { until }, Some(until), event.label());
            }
        }
    }

    fn seen_since(&self, event: Event, since: u64) -> bool {
        self.events.get(&event).is_some_and(|number| *number >= since)
    }

    fn wake(&mut self, now: Instant) {
        while let Some((time, key)) = self.timed.first().cloned()
            && time <= now
        {
            let backed_off =
                self.pods.get(&key).is_some_and(|waiting| matches!(waiting.place, Place::Backoff { .. }));
            self.activate(&key, if backed_off { "BackoffComplete" } else { "UnschedulableTimeout" });
        }
    }

    fn rest(&mut self, key: &Key, place: Place, until: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.failures += 1;
        }
        self.relocate(key, place, Some(until), "ScheduleAttemptFailure");
    }

    fn activate(&mut self, key: &Key, event: &'static str) {
        let Some(waiting) = self.pods.get(key) else { return };
        self.relocate(key, Place::Active { priority: waiting.pod.priority }, None, event);
    }

    fn relocate(&mut self, key: &Key, place: Place, until: Option<Instant>, event: &'static str) {
        let Some(mut waiting) = self.pods.remove(key) else { return };
        self.unlink(key, &waiting);
        self.metrics.incoming(event, place.name());
        match until {
            Some(until) => self.timed.insert((until, key.clone())),
            None => self.active.insert((Reverse(waiting.pod.priority), waiting.turn, key.clone())),
        };
        if let Place::Unschedulable { events, .. } = &place {
            for event in events {
                self.awaited.entry(*event).or_default().insert(key.clone());
            }
        }
        waiting.place = place;
        self.pods.insert(key.clone(), waiting);
    }

    fn unlink(&mut self, key: &Key, waiting: &Waiting) {
        match &waiting.place {
            Place::Active { priority } => {
                self.active.remove(&(Reverse(*priority), waiting.turn, key.clone()));
            }
            Place::Tried { .. } => {}
            Place::Backoff { until } => {
                self.timed.remove(&(*until, key.clone()));
            }
            Place::Unschedulable { until, events, .. } => {
                self.timed.remove(&(*until, key.clone()));
                for event in events {
                    if let Some(keys) = self.awaited.get_mut(event) {
                        keys.remove(key);
                    }
                }
            }
        }
    }
}

/// The pod's own change may make it schedulable: anything but its status.
fn asks_for_more(old: &PodView, new: &PodView) -> bool {
    old.labels != new.labels
        || old.tolerations != new.tolerations
        || old.gates != new.gates
        || old.node_selector != new.node_selector
        || old.requests != new.requests
        || old.node_affinity != new.node_affinity
        || old.terms != new.terms
        || old.resource_claims != new.resource_claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<PodView> {
        let (key, uid) = (Key::new("d", name), name.to_owned());
        Arc::new(PodView { key, uid, priority, ..PodView::default() })
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|pod| pod.key.name.clone())
    }

    #[test]
    fn priority_then_age() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 0), ("c", 5)] {
            queue.set(pod(name, priority));
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn an_unschedulable_pod_waits_for_its_events() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key = Key::new("d", "a");
        queue.set(pod("a", 0));
        queue.pop(now);
        queue.unschedulable(&key, &[Event::Node], now);
        queue.event(Event::PodGone, now);
        assert_eq!(pop(&mut queue, now), None);
        queue.event(Event::Node, now);
        assert_eq!(pop(&mut queue, now), None, "its back-off has not ended");
        assert_eq!(pop(&mut queue, now + FIRST_BACKOFF), Some("a".to_owned()));
        queue.unschedulable(&key, &[Event::Node], now);
        assert_eq!(pop(&mut queue, now + UNSCHEDULABLE_TIMEOUT), Some("a".to_owned()));
    }

    #[test]
    fn where_pods_wait() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key = |name: &str| Key::new("d", name);
        ["a", "b", "c", "d"].into_iter().for_each(|name| queue.set(pod(name, 0)));
        (0..3).for_each(|_| drop(queue.pop(now)));
        queue.unschedulable(&key("a"), &[Event::Node], now);
        queue.failed(&key("b"), now);
        queue.placed(&key("c"), now);
        queue.hold(&key("e"));
        assert_eq!(queue.pending(), Pending { active: 1, backoff: 1, unschedulable: 1, gated: 1 });
        queue.set(pod("e", 0));
        assert_eq!(queue.pending(), Pending { active: 2, gated: 0, ..queue.pending() });
    }

    #[test]
    fn an_event_during_the_attempt_is_not_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.set(pod("a", 0));
        queue.pop(now);
        queue.event(Event::Node, now);
        queue.unschedulable(&Key::new("d", "a"), &[Event::Node], now);
        assert_eq!(queue.next_wakeup(), Some(now + FIRST_BACKOFF));
    }

    #[test]
    fn backoff_grows_and_removal_forgets() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let key = Key::new("d", "a");
        queue.set(pod("a", 0));
        for seconds in [1, 2, 4, 8, 10, 10] {
            queue.pop(now);
            queue.failed(&key, now);
            assert_eq!(queue.next_wakeup(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        queue.remove(&key);
        assert!(queue.is_empty() && queue.next_wakeup().is_none() && queue.pop(now).is_none());
    }
}
