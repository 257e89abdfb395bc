//! The work queue: each item is worked on by at most one worker at a time, an item added while it
//! is worked on comes again afterwards, and failures come back after growing delays.

pub mod metrics;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::backoff::exponential;
use metrics::Metrics;

/// First delay after a failure.
const BASE_DELAY: Duration = Duration::from_millis(5);
/// Longest delay after failures.
const MAX_DELAY: Duration = Duration::from_secs(1000);

/// A deduplicating, delaying, rate-limiting queue; clones share it.
pub struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Wakes waiting workers; a permit is kept when nobody waits.
    wake: Notify,
    max_delay: Duration,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Items that need work since then: ready, or added again while being worked on.
    dirty: HashMap<T, Instant>,
    /// Items that are worked on since then.
    processing: HashMap<T, Instant>,
    /// When a delayed item is due; the heap may hold outdated entries of it.
    waiting: HashMap<T, Instant>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Items of the heap's entries by sequence number, so that items need no order.
    scheduled: HashMap<u64, T>,
    sequence: u64,
    failures: HashMap<T, u32>,
    metrics: Option<Metrics>,
    closed: bool,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    /// An empty queue with delays from 5 ms to 1000 s after failures.
    pub fn new() -> Self {
        Self::with_max_delay(MAX_DELAY)
    }

    /// An empty queue with delays from 5 ms to `max_delay` after failures.
    pub fn with_max_delay(max_delay: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            waiting: HashMap::new(),
            due: BinaryHeap::new(),
            scheduled: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            metrics: None,
            closed: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), max_delay }))
    }

    /// Counts under a name what happens in the queue; see [`metrics::register`]. The first name stays.
    pub fn observe(&self, name: &str) {
        if self.0.state.lock().metrics.is_some() {
            return;
        }
        let shared = Arc::downgrade(&self.0);
        let under_way = move || {
            let now = Instant::now();
            let shared = shared.upgrade()?;
            let state = shared.state.lock();
            Some(state.processing.values().map(|begun| now - *begun).collect())
        };
        let mut state = self.0.state.lock();
        let metrics = Metrics::of(name, Box::new(under_way));
        metrics.added(state.ready.len());
        metrics.depth(state.ready.len());
        state.metrics = Some(metrics);
    }

    /// Adds an item, unless it already waits for a worker.
    pub fn add(&self, item: T) {
        if self.0.state.lock().add(item) {
            self.0.wake.notify_one();
        }
    }

    /// Adds an item after a delay. Of several delays of an item the earliest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let mut state = self.0.state.lock();
        state.metrics.iter().for_each(Metrics::retried);
        state.schedule(item, Instant::now() + delay);
        drop(state);
        // A waiting worker has to shorten its sleep.
        self.0.wake.notify_one();
    }

    /// Adds an item after the delay that its failures in a row deserve.
    pub fn add_rate_limited(&self, item: T) {
        let delay = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(item.clone()).or_default();
            *failures = failures.saturating_add(1);
            exponential(BASE_DELAY, self.0.max_delay, 2.0, *failures - 1)
        };
        self.add_after(item, delay);
    }

    /// Forgets an item's failures.
    pub fn forget(&self, item: &T) {
        self.0.state.lock().failures.remove(item);
    }

    /// How often an item failed in a row.
    pub fn failures(&self, item: &T) -> u32 {
        self.0.state.lock().failures.get(item).copied().unwrap_or_default()
    }

    /// Waits for an item; `None` when the queue is closed. The caller must say [`done`](Self::done).
    /// May be dropped while waiting without losing an item.
    pub async fn next(&self) -> Option<T> {
        loop {
            let wake = self.0.wake.notified();
            let deadline = {
                let mut state = self.0.state.lock();
                state.release_due(Instant::now());
                if state.closed {
                    // Passes the news on to the next waiting worker.
                    self.0.wake.notify_one();
                    return None;
                }
                if let Some(item) = state.ready.pop_front() {
                    state.take(&item);
                    if !state.ready.is_empty() {
                        self.0.wake.notify_one();
                    }
                    return Some(item);
                }
                state.due.peek().map(|Reverse((at, _))| *at)
            };
            match deadline {
                Some(at) => tokio::select! { () = wake => {}, () = tokio::time::sleep_until(at) => {} },
                None => wake.await,
            }
        }
    }

    /// Ends the work on an item; it is ready again if it was added meanwhile.
    pub fn done(&self, item: &T) {
        let mut state = self.0.state.lock();
        let begun = state.processing.remove(item);
        if let (Some(metrics), Some(begun)) = (&state.metrics, begun) {
            metrics.done(begun.elapsed());
        }
        if state.dirty.contains_key(item) {
            state.ready.push_back(item.clone());
            state.tell_depth();
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Ends all waiting; items still queued are dropped.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_one();
    }

    /// Number of items ready for a worker.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no item is ready for a worker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Whether the item became ready.
    fn add(&mut self, item: T) -> bool {
        if self.closed || self.dirty.contains_key(&item) {
            return false;
        }
        self.metrics.iter().for_each(|metrics| metrics.added(1));
        self.dirty.insert(item.clone(), Instant::now());
        if self.processing.contains_key(&item) {
            return false;
        }
        self.ready.push_back(item);
        self.tell_depth();
        true
    }

    /// Notes that a worker has an item.
    fn take(&mut self, item: &T) {
        let now = Instant::now();
        let added = self.dirty.remove(item);
        self.processing.insert(item.clone(), now);
        if let (Some(metrics), Some(added)) = (&self.metrics, added) {
            metrics.taken(now - added);
        }
        self.tell_depth();
    }

    fn tell_depth(&self) {
        self.metrics.iter().for_each(|metrics| metrics.depth(self.ready.len()));
    }

    fn schedule(&mut self, item: T, at: Instant) {
        if self.closed || self.waiting.get(&item).is_some_and(|earlier| *earlier <= at) {
            return;
        }
        self.waiting.insert(item.clone(), at);
        self.sequence += 1;
        self.due.push(Reverse((at, self.sequence)));
        self.scheduled.insert(self.sequence, item);
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((at, sequence))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Some(item) = self.scheduled.remove(&sequence) else { continue };
            // An entry that an earlier time superseded is not the one that counts.
            if self.waiting.get(&item) == Some(&at) {
                self.waiting.remove(&item);
                self.add(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn items_are_worked_on_once_at_a_time() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.next().await, Some("b"));
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("b", Duration::from_secs(4));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("b"));
        let none = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(none.is_err(), "superseded delays must not fire");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_delay_longer_each_time() {
        let queue = Queue::new();
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.add_rate_limited(1);
            queue.next().await;
            queue.done(&1);
            delays.push(start.elapsed().as_millis());
        }
        assert_eq!(delays, [5, 10, 20, 40]);
        queue.forget(&1);
        assert_eq!(queue.failures(&1), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn named_queues_are_counted() {
        let queue = Queue::new();
        queue.add("early");
        queue.observe("counted");
        queue.observe("too late");
        queue.add("late");
        queue.add("late");
        tokio::time::advance(Duration::from_secs(2)).await;
        let item = queue.next().await.expect("an item");
        tokio::time::advance(Duration::from_secs(5)).await;
        queue.done(&item);
        queue.add_after("early", Duration::from_secs(1));
        queue.next().await.expect("another item");
        tokio::time::advance(Duration::from_secs(3)).await;
        let mut registry = prometheus_client::registry::Registry::default();
        metrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for line in [
            "workqueue_depth{name=\"counted\"} 0",
            "workqueue_adds_total{name=\"counted\"} 2",
            "workqueue_retries_total{name=\"counted\"} 1",
            "workqueue_queue_duration_seconds_sum{name=\"counted\"} 9.0",
            "workqueue_work_duration_seconds_sum{name=\"counted\"} 5.0",
            "workqueue_work_duration_seconds_bucket{le=\"10.0\",name=\"counted\"} 1",
            "workqueue_unfinished_work_seconds{name=\"counted\"} 3.0",
            "workqueue_longest_running_processor_seconds{name=\"counted\"} 3.0",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
        assert!(!text.contains("too late"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_all_workers() {
        let queue = Queue::<u8>::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.expect("no panic"), None);
        }
    }
}
