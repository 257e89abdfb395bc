//! Metrics of the proxy, named as kube-proxy's where it has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::dns;

/// Metrics of the service rules.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds of a sync, from the wanted rules to the kernel's answer.
    pub sync_duration: Histogram,
    /// Syncs that wrote everything anew.
    pub full_syncs: Counter,
    /// Syncs that failed and are repeated.
    pub sync_failures: Counter,
    /// Rules and elements in the kernel.
    pub rules: Gauge,
    /// Services with virtual addresses.
    pub services: Gauge,
    /// UDP flows that were deleted because their endpoint is gone.
    pub stale_flows: Counter,
    /// Unix time of the last sync that succeeded.
    pub last_sync: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            sync_duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            full_syncs: Counter::default(),
            sync_failures: Counter::default(),
            rules: Gauge::default(),
            services: Gauge::default(),
            stale_flows: Counter::default(),
            last_sync: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        let m = self.clone();
        registry.register("sync_proxy_rules_duration_seconds", "Time of a sync of rules", m.sync_duration);
        registry.register("sync_full_proxy_rules", "Syncs that wrote all rules anew", m.full_syncs);
        registry.register("sync_proxy_rules_failures", "Syncs that failed", m.sync_failures);
        registry.register("sync_proxy_rules_total_rules", "Rules and elements in the kernel", m.rules);
        registry.register("services", "Services with virtual addresses", m.services);
        registry.register("stale_udp_flows", "UDP flows deleted with their endpoint", m.stale_flows);
        registry.register("sync_proxy_rules_last_timestamp_seconds", "Time of the last sync", m.last_sync);
    }
}

/// Counters of the DNS server, read when metrics are asked for.
#[derive(Debug)]
pub struct DnsCollector {
    counters: Arc<dns::Counters>,
    forwarder: Arc<dns::Forwarder>,
}

impl DnsCollector {
    /// A collector of a server's counters.
    pub fn new(handler: &dns::Handler) -> DnsCollector {
        DnsCollector { counters: handler.counters(), forwarder: handler.forwarder() }
    }
}

impl Collector for DnsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = [
            ("knarr_dns_cluster_answers", "Answers about the cluster's names", read(&self.counters.cluster)),
            ("knarr_dns_forwarded_answers", "Answers from upstream", read(&self.counters.forwarded)),
            ("knarr_dns_name_errors", "Names that do not exist", read(&self.counters.name_errors)),
            ("knarr_dns_failures", "Questions without an answer", read(&self.counters.failures)),
            ("knarr_dns_cache_hits", "Answers from the cache", self.forwarder.cache_hits()),
        ];
        for (name, help, value) in all {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
