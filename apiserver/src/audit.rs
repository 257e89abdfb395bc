//! The audit log: who asked for what, when, and what came of it.
//!
//! The policy is asked once a request, when it is known who sends it; from then on a [`Record`] collects what authorization
//! and admission note, and each stage of the request makes an event for the backends. Without a policy and a backend there
//! is no [`Audit`], and a request costs one look at an `Option`.
//!
//! Source: the page "Auditing"; events, stages and defaults are the original's.
mod backend;
mod batch;
mod event;
pub mod flags;
mod log;
mod metrics;
pub mod policy;
mod record;
mod webhook;

pub use event::attempted;
pub use flags::AuditArgs;
pub use metrics::AuditMetrics;
pub use record::Record;

use crate::objects::Objects;
use crate::request_info::RequestInfo;
use crate::user::User;
use anyhow::{Context, Result};
use backend::Backend;
use event::Event;
use http::HeaderMap;
use knarr_api::time::Timestamp;
use policy::{Level, Policy, Stage};
use rustls::crypto::CryptoProvider;
use std::net::SocketAddr;
use std::sync::Arc;

/// The policy and the backends.
pub struct Audit {
    policy: Policy,
    backends: Vec<Backend>,
    metrics: AuditMetrics,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// What it asks for.
    pub info: &'a RequestInfo,
    /// Identifies it.
    pub audit_id: &'a Arc<str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// When.
    pub at: Timestamp,
}

impl Audit {
    /// What the flags ask for; none without a policy or a backend. Needs a runtime for its queues.
    ///
    /// # Errors
    /// A policy that cannot be, a log that cannot be written, a kubeconfig that names no server.
    pub fn from_flags(
        args: &AuditArgs,
        objects: &Arc<dyn Objects>,
        provider: &Arc<CryptoProvider>,
        metrics: AuditMetrics,
    ) -> Result<Option<Arc<Self>>> {
        let Some(path) = &args.audit_policy_file else { return Ok(None) };
        let policy = Policy::load(path).context("loading audit policy file")?;
        let log = Backend::log(args, &metrics)?;
        let webhook = Backend::webhook(args, objects, provider, &metrics)?;
        let backends: Vec<Backend> = log.into_iter().chain(webhook).collect();
        if backends.is_empty() {
            tracing::warn!("--audit-policy-file has no effect without a log or a webhook");
            return Ok(None);
        }
        Ok(Some(Arc::new(Self { policy, backends, metrics })))
    }

    /// Begins the record of a request; none where the policy wants none.
    ///
    /// # Errors
    /// Its arrival cannot be recorded and must be.
    pub async fn begin(
        self: &Arc<Self>,
        arrival: Arrival<'_>,
        user: &User,
    ) -> Result<Option<Arc<Record>>, NotRecorded> {
        let Some(record) = self.record(arrival, Some(user)) else { return Ok(None) };
        if record.received().await {
            return Ok(Some(record));
        }
        self.metrics.rejected.inc();
        Err(NotRecorded)
    }

    /// Begins the record of a request that nobody could be found for.
    pub fn begin_refused(self: &Arc<Self>, arrival: Arrival<'_>) -> Option<Arc<Record>> {
        self.record(arrival, None)
    }

    fn record(self: &Arc<Self>, arrival: Arrival<'_>, user: Option<&User>) -> Option<Arc<Record>> {
        let Arrival { info, audit_id, headers, peer, at } = arrival;
        let decision = self.policy.decide(info, user);
        self.metrics.decided(decision.level);
        if decision.level == Level::None {
            return None;
        }
        let event = Event::received(info, user, decision.level, audit_id, (headers, peer, at));
        Some(Arc::new(Record::new(self.clone(), decision, event, info.is_long_running())))
    }

    /// Hands an event to all backends; false: one of them had to take it and could not.
    async fn process(&self, event: &Event) -> bool {
        self.metrics.events.inc();
        let json = event.encode();
        let mut all = true;
        for backend in &self.backends {
            all &= backend.process(event, &json).await;
        }
        all || event.stage != Stage::RequestReceived
    }

    /// Takes nothing more, and waits until what was queued is out.
    pub async fn close(&self) {
        for backend in &self.backends {
            backend.close().await;
        }
    }
}

/// The arrival of a request could not be recorded, and the mode of a backend demands it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("failed to store audit event")]
pub struct NotRecorded;
