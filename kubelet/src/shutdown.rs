//! A machine that goes down waits until its pods have ended, each with as much time as its priority gives it.
//!
//! logind tells of it and waits as long as the kubelet holds an inhibitor. Meanwhile the node is not ready and takes no
//! pods.
//!
//! Source: kubernetes.io, "Node Shutdowns".

mod groups;
mod logind;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use knarr_component::events::Type;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::manager::Manager;
use crate::node::news;
use crate::pod;
use crate::status::{Verdict, VerdictKind};
use groups::{Candidate, End};
pub use groups::{Group, Settings};
use logind::{Inhibitor, Logind, LogindError};

/// What the node says meanwhile.
pub const PROBLEM: &str = "node is shutting down";
/// Pause before logind is asked again, for example after it was restarted.
const RETRY: Duration = Duration::from_secs(5);

/// Whether the machine goes down.
#[derive(Debug, Default)]
pub struct Shutdown {
    begun: AtomicBool,
    /// Notified when that changes.
    pub changed: Notify,
}

impl Shutdown {
    /// It does.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    fn set(&self, begun: bool) {
        self.begun.store(begun, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Follows logind until told to stop.
pub async fn run(manager: Arc<Manager>, settings: Settings, stop: CancellationToken) {
    if settings.total().is_zero() {
        return;
    }
    let keep = async {
        loop {
            match Logind::connect().await {
                Ok(logind) => {
                    if let Err(error) = follow(&logind, &manager, &settings).await {
                        tracing::warn!(%error, "the machine will not wait for pods when it goes down");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no logind: the machine will not wait for pods when it goes down");
                    return;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    stop.run_until_cancelled(keep).await;
}

async fn follow(logind: &Logind, manager: &Manager, settings: &Settings) -> Result<(), LogindError> {
    logind.allow(settings.total()).await?;
    let mut shutdowns = logind.shutdowns().await?;
    let mut inhibitor: Option<Inhibitor> = Some(logind.inhibit().await?);
    while let Some(begun) = shutdowns.next().await {
        let context = manager.context();
        context.shutdown.set(begun);
        if !begun {
            tracing::info!("the shutdown was called off");
            inhibitor = Some(logind.inhibit().await?);
            continue;
        }
        tracing::info!("the machine goes down");
        let event = "Shutdown manager detected shutdown event";
        context.events.event(news::reference(&context.facts.name), Type::Normal, "Shutdown", event);
        end_pods(manager, settings).await;
        drop(inhibitor.take());
    }
    Ok(())
}

/// Ends all pods, group by group.
async fn end_pods(manager: &Manager, settings: &Settings) {
    let pods = manager.pods();
    let candidate = |pod: &Pod| Candidate {
        uid: pod::uid(pod).to_owned(),
        priority: pod::spec(pod).priority.unwrap_or_default(),
        grace_seconds: pod::spec(pod).termination_grace_period_seconds.unwrap_or(30),
    };
    let alive = pods.iter().filter(|pod| !pod::is_terminal(pod)).map(candidate);
    for (period, ends) in settings.order(alive.collect()) {
        let all = futures::future::join_all(ends.into_iter().map(|end| end_pod(manager, end)));
        if tokio::time::timeout(period, all).await.is_err() {
            tracing::warn!(?period, "pods have not ended in the time that they have");
        }
    }
}

async fn end_pod(manager: &Manager, (uid, seconds): End) {
    let verdict = Verdict {
        reason: "Terminated".to_owned(),
        message: "Pod was terminated in response to imminent node shutdown.".to_owned(),
        kind: VerdictKind::Evicted(seconds),
    };
    manager.evict(&uid, verdict);
    manager.ended(&uid).await;
}

#[cfg(test)]
mod tests;
