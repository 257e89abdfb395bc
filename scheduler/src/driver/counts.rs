//! How many pods wait, and what the cache holds, counted when somebody asks.
use super::Scheduler;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Weak;

/// The counts of a scheduler, as long as there is one.
pub(super) struct Counts(pub Weak<Scheduler>);

impl fmt::Debug for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Counts")
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(scheduler) = self.0.upgrade() else { return Ok(()) };
        let (pending, [nodes, pods, assumed]) = {
            let state = scheduler.state.lock();
            (state.queue.pending(), state.cache.sizes())
        };
        let mut tell = |name: &str, text: &str, label: &'static str, counts: &[(&'static str, usize)]| {
            let mut family = encoder.encode_descriptor(name, text, None, MetricType::Gauge)?;
            counts.iter().try_for_each(|(value, count)| {
                let count = ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX));
                count.encode(family.encode_family(&[(label, *value)])?)
            })
        };
        let queues = [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("gated", pending.gated),
            ("unschedulable", pending.unschedulable),
        ];
        tell("scheduler_pending_pods", "Number of pending pods, by the queue type", "queue", &queues)?;
        let sizes = [("assumed_pods", assumed), ("nodes", nodes), ("pods", pods)];
        tell(
            "scheduler_cache_size",
            "Number of nodes, pods, and assumed pods in the scheduler cache",
            "type",
            &sizes,
        )
    }
}
