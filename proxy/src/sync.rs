//! The loop that keeps the kernel's rules as the world wants them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cni;
use crate::conntrack;
use crate::health_check::HealthChecks;
use crate::healthz::ProxyHealth;
use crate::metrics::Metrics;
use crate::mode::Mode;
use crate::service::{Index, Plans};

/// Waits between repeated failures.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Services and endpoints that handlers change, and the sign that they did.
#[derive(Debug)]
pub struct Watched {
    /// What is known.
    pub index: Mutex<Index>,
    /// Told after each change.
    pub changed: Notify,
}

/// Where it is told how the work goes.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// In numbers.
    pub metrics: Metrics,
    /// Whether the proxy keeps up.
    pub health: ProxyHealth,
}

/// Has a mode carry out what is planned.
pub struct Syncer {
    watched: Arc<Watched>,
    config: cni::Configuration,
    mode: Box<dyn Mode>,
    /// What is carried out; `None` before the first sync and after a failure.
    applied: Option<Plans>,
    checks: HealthChecks,
    metrics: Metrics,
    health: ProxyHealth,
    sync_period: Duration,
}

impl Syncer {
    /// A syncer that has not done anything yet.
    pub fn new(
        watched: Arc<Watched>,
        mode: Box<dyn Mode>,
        config: cni::Configuration,
        told: Told,
        sync_period: Duration,
    ) -> Syncer {
        let (checks, Told { metrics, health }) = (HealthChecks::default(), told);
        Syncer { watched, config, mode, applied: None, checks, metrics, health, sync_period }
    }

    /// Writes what differs after every change, and everything after somebody removed the rules or when a look now and then
    /// finds other rules than there should be, until `stop`. Changes that come while the kernel works are one batch.
    pub async fn run(mut self, stop: CancellationToken) -> std::io::Result<()> {
        let mut retry = FIRST_RETRY;
        let mut look_at = tokio::time::Instant::now() + self.sync_period;
        loop {
            let wait = match self.sync().await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    look_at
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "service rules not written, all will be written in {retry:?}");
                    self.metrics.sync_failures.inc();
                    self.forget();
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
                disturbed = self.mode.disturbed() => {
                    disturbed?;
                    self.verify().await;
                }
            }
        }
    }

    /// Brings the node to what is wanted now.
    async fn sync(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        self.health.queued();
        let (wanted, health_checks, services) = {
            let mut index = self.watched.index.lock();
            (index.plans(), index.health_checks(), index.len())
        };
        let applied = self.mode.apply(&wanted).await?;
        if applied.full {
            self.metrics.full_syncs.inc();
        }
        let before = self.applied.replace(wanted.clone()).unwrap_or_default();
        if self.mode.translates() {
            self.clean_flows(&before, &wanted).await;
        }
        self.checks.update(health_checks).await;
        if applied.steps > 0 {
            self.metrics.sync_duration.observe(start.elapsed().as_secs_f64());
            tracing::debug!(services, steps = applied.steps, took = ?start.elapsed(), "service rules written");
        }
        self.metrics.rules.set(i64::try_from(applied.rules).unwrap_or(i64::MAX));
        self.metrics.services.set(i64::try_from(services).unwrap_or(i64::MAX));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.last_sync.set(now.as_secs_f64());
        self.health.updated();
        Ok(())
    }

    fn forget(&mut self) {
        self.applied = None;
        self.mode.forget();
    }

    /// Prepares a full sync if the node does not have what was made.
    async fn look(&mut self) {
        if self.applied.is_none() {
            return;
        }
        match self.mode.is_intact().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("the service rules were changed by somebody else, writing them anew");
                self.forget();
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot see whether the service rules are as they were");
            }
        }
    }

    async fn clean_flows(&self, before: &Plans, now: &Plans) {
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

    /// Prepares a full sync if nothing is left, and restores the host ports, which go with it when
    /// all rules are flushed.
    async fn verify(&mut self) {
        if self.mode.is_there().await {
            return;
        }
        tracing::info!("what services need is not there any more, making it anew");
        self.forget();
        let config = self.config.clone();
        let restored = tokio::task::spawn_blocking(move || cni::restore_host_ports(&config)).await;
        if let Ok(Err(error)) = restored {
            tracing::warn!(error = error.chain(), "host ports not restored");
        }
    }
}
