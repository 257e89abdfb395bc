//! The loop that keeps the kernel's rules as the world wants them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cni;
use crate::conntrack;
use crate::health_check::HealthChecks;
use crate::metrics::Metrics;
use crate::names;
use crate::network::forward;
use crate::nft::{self, Family, Monitor, Nft, RuleSet};
use crate::service::Index;

/// Waits between repeated failures.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// A chain that is always there: its absence means that somebody removed the table.
const LANDMARK: &str = "services";

/// Services and endpoints that handlers change, and the sign that they did.
#[derive(Debug)]
pub struct Watched {
    /// What is known.
    pub index: Mutex<Index>,
    /// Told after each change.
    pub changed: Notify,
}

/// Writes rules.
pub struct Syncer {
    watched: Arc<Watched>,
    config: cni::Configuration,
    nft: Nft,
    table: String,
    /// What the kernel has; `None` before the first sync and after a failure.
    applied: Option<RuleSet>,
    checks: HealthChecks,
    metrics: Metrics,
    sync_period: Duration,
}

impl Syncer {
    /// A syncer that has not written anything yet, of the network namespace of the calling thread.
    pub fn open(
        watched: Arc<Watched>,
        config: cni::Configuration,
        metrics: Metrics,
        sync_period: Duration,
    ) -> Result<Syncer, nft::Error> {
        let table = names::service_table(&config.cluster);
        let (nft, checks) = (Nft::open()?, HealthChecks::default());
        Ok(Syncer { watched, config, nft, table, applied: None, checks, metrics, sync_period })
    }

    /// Writes what differs after every change, and everything after somebody removed the rules or when a look now and then
    /// finds other rules than there should be, until `stop`. Changes that come while the kernel works are one batch.
    pub async fn run(mut self, stop: CancellationToken) -> std::io::Result<()> {
        let mut monitor = Monitor::open(&self.table)?;
        let mut retry = FIRST_RETRY;
        let mut look_at = tokio::time::Instant::now() + self.sync_period;
        loop {
            let wait = match self.sync().await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    look_at
                }
                Err(error) => {
                    tracing::warn!(%error, "service rules not written, all will be written in {retry:?}");
                    self.metrics.sync_failures.inc();
                    self.applied = None;
                    let at = tokio::time::Instant::now() + retry;
                    retry = (retry * 2).min(LONGEST_RETRY);
                    at
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // After a failure the world may change as it likes: the pause is kept.
                () = self.watched.changed.notified(), if self.applied.is_some() => {}
                () = tokio::time::sleep_until(wait) => {
                    self.look().await;
                    look_at = tokio::time::Instant::now() + self.sync_period;
                }
                deleted = monitor.deleted() => {
                    deleted?;
                    self.verify().await;
                }
            }
        }
    }

    /// Brings the kernel to what is wanted now.
    async fn sync(&mut self) -> Result<(), nft::Error> {
        let start = Instant::now();
        let (wanted, health_checks, services) = {
            let mut index = self.watched.index.lock();
            (index.rules(), index.health_checks(), index.len())
        };
        let commands = match &self.applied {
            Some(applied) => nft::diff(&self.table, applied, &wanted),
            None => {
                self.metrics.full_syncs.inc();
                if let Err(error) = forward::accept(&self.nft, &self.config.cluster).await {
                    tracing::warn!(%error, "the host may drop what pods send to each other");
                }
                nft::full(&self.table, &wanted)
            }
        };
        let steps = commands.list.len();
        self.nft.apply(&commands).await?;
        let before = self.applied.replace(wanted.clone()).unwrap_or_default();
        self.clean_flows(&before, &wanted).await;
        self.checks.update(health_checks).await;
        if steps > 0 {
            self.metrics.sync_duration.observe(start.elapsed().as_secs_f64());
            tracing::debug!(services, steps, took = ?start.elapsed(), "service rules written");
        }
        self.metrics.rules.set(i64::try_from(wanted.size()).unwrap_or(i64::MAX));
        self.metrics.services.set(i64::try_from(services).unwrap_or(i64::MAX));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.last_sync.set(now.as_secs_f64());
        Ok(())
    }

    /// Prepares a full sync if the kernel does not have what was written.
    async fn look(&mut self) {
        let Some(applied) = &self.applied else { return };
        match self.nft.holds(&self.table, applied).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("the service rules were changed by somebody else, writing them anew");
                self.applied = None;
            }
            Err(error) => tracing::warn!(%error, "cannot see whether the service rules are as they were"),
        }
    }

    async fn clean_flows(&self, before: &RuleSet, now: &RuleSet) {
        let changed = conntrack::changed(before, now);
        if changed.is_empty() {
            return;
        }
        match tokio::task::spawn_blocking(move || conntrack::clean(&changed)).await {
            Ok(Ok(deleted)) => {
                self.metrics.stale_flows.inc_by(deleted as u64);
            }
            Ok(Err(error)) => tracing::warn!(%error, "stale UDP flows not deleted"),
            Err(error) => tracing::warn!(%error, "stale UDP flows not deleted"),
        }
    }

    /// Prepares a full sync if the table is not there, and restores the host ports, which go with it when
    /// all rules are flushed.
    async fn verify(&mut self) {
        if self.nft.has_chain(Family::V4, &self.table, LANDMARK).await.unwrap_or(false) {
            return;
        }
        tracing::info!("somebody removed the service rules, writing them anew");
        self.applied = None;
        let config = self.config.clone();
        let restored = tokio::task::spawn_blocking(move || cni::restore_host_ports(&config)).await;
        if let Ok(Err(error)) = restored {
            tracing::warn!(error = error.chain(), "host ports not restored");
        }
    }
}
