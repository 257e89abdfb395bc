//! Where events go: a file or another server, at once or by way of a queue.
use super::batch::{Limits, Queue, Send};
use super::event::Event;
use super::flags::{AuditArgs, Format, Mode};
use super::log::{self, LogFile};
use super::metrics::AuditMetrics;
use super::webhook::Webhook;
use crate::objects::Objects;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The two kinds of backends, as metrics name them.
const LOG: &str = "log";
const WEBHOOK: &str = "webhook";
/// What metrics name the queues.
const BUFFERED: &str = "buffered";

enum Way {
    /// Lines written at once.
    File(Mutex<LogFile>),
    /// Sent at once.
    Webhook(Box<Webhook>),
    /// In the background.
    Queue(Queue),
}

/// One backend.
pub struct Backend {
    way: Way,
    kind: &'static str,
    /// Of a log's lines; none for a webhook.
    format: Option<Format>,
    /// A request that it cannot record is refused.
    is_strict: bool,
    /// The bytes of the largest event.
    max_event: Option<usize>,
    metrics: AuditMetrics,
}

impl Backend {
    /// The log of the flags; none where they name none.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn log(args: &AuditArgs, metrics: &AuditMetrics) -> Result<Option<Self>> {
        let Some(path) = &args.log.audit_log_path else { return Ok(None) };
        let flags = &args.log;
        let file = LogFile::new(path, flags).with_context(|| format!("cannot write {}", path.display()))?;
        let way = match flags.audit_log_mode {
            Mode::Blocking | Mode::BlockingStrict => Way::File(Mutex::new(file)),
            Mode::Batch => {
                let limits = Limits {
                    buffer: flags.audit_log_batch_buffer_size,
                    events: flags.audit_log_batch_max_size.max(1),
                    bytes: flags.audit_log_truncate_max_batch_size,
                    wait: flags.audit_log_batch_max_wait,
                    rate: flags.audit_log_batch_throttle_enable.then_some((
                        flags.audit_log_batch_throttle_qps,
                        flags.audit_log_batch_throttle_burst,
                    )),
                };
                Way::Queue(Queue::start(limits, write_to(file, metrics.clone())))
            }
        };
        Ok(Some(Self {
            way,
            kind: LOG,
            format: Some(flags.audit_log_format),
            is_strict: flags.audit_log_mode == Mode::BlockingStrict,
            max_event: flags.audit_log_truncate_enabled.then_some(flags.audit_log_truncate_max_event_size),
            metrics: metrics.clone(),
        }))
    }

    /// The webhook of the flags; none where they name none.
    ///
    /// # Errors
    /// A kubeconfig that names no server.
    pub fn webhook(
        args: &AuditArgs,
        objects: &Arc<dyn Objects>,
        provider: &Arc<CryptoProvider>,
        metrics: &AuditMetrics,
    ) -> Result<Option<Self>> {
        let flags = &args.webhook;
        let Some(path) = &flags.audit_webhook_config_file else { return Ok(None) };
        let backoff = flags.audit_webhook_initial_backoff;
        let webhook = Webhook::load(path, backoff, objects.clone(), provider.clone())
            .context("--audit-webhook-config-file")?;
        let way = match flags.audit_webhook_mode {
            Mode::Blocking | Mode::BlockingStrict => Way::Webhook(Box::new(webhook)),
            Mode::Batch => {
                let limits = Limits {
                    buffer: flags.audit_webhook_batch_buffer_size,
                    events: flags.audit_webhook_batch_max_size.max(1),
                    bytes: flags.audit_webhook_truncate_max_batch_size,
                    wait: flags.audit_webhook_batch_max_wait,
                    rate: flags.audit_webhook_batch_throttle_enable.then_some((
                        flags.audit_webhook_batch_throttle_qps,
                        flags.audit_webhook_batch_throttle_burst,
                    )),
                };
                Way::Queue(Queue::start(limits, send_to(webhook, metrics.clone())))
            }
        };
        Ok(Some(Self {
            way,
            kind: WEBHOOK,
            format: None,
            is_strict: flags.audit_webhook_mode == Mode::BlockingStrict,
            max_event: flags
                .audit_webhook_truncate_enabled
                .then_some(flags.audit_webhook_truncate_max_event_size),
            metrics: metrics.clone(),
        }))
    }

    /// Takes an event whose JSON is known. False: it could not, and the request must not go on.
    pub async fn process(&self, event: &Event, json: &Bytes) -> bool {
        let Some((event, json)) = self.fitting(event, json) else {
            tracing::error!(backend = self.kind, "an audit event is too large even without its objects");
            self.metrics.lost(self.kind, 1);
            return true;
        };
        let bytes = match self.format {
            Some(format) => log::line(&event, &json, format).into(),
            None => json.clone(),
        };
        let lost = match &self.way {
            Way::Queue(queue) => {
                if !queue.offer(bytes) {
                    self.metrics.lost(BUFFERED, 1);
                }
                return true;
            }
            Way::File(file) => file.lock().write(&bytes).err().map(|error| error.to_string()),
            Way::Webhook(webhook) => webhook.send(&[bytes]).await.err().map(|error| error.text),
        };
        let Some(error) = lost else { return true };
        tracing::error!(backend = self.kind, error, "an audit event is lost");
        self.metrics.lost(self.kind, 1);
        !self.is_strict
    }

    /// The event as large as it may be.
    fn fitting<'a>(&self, event: &'a Event, json: &'a Bytes) -> Option<(std::borrow::Cow<'a, Event>, Bytes)> {
        let fits = |json: &Bytes| self.max_event.is_none_or(|limit| json.len() <= limit);
        if fits(json) {
            return Some((std::borrow::Cow::Borrowed(event), json.clone()));
        }
        let small = event.truncated();
        let json = small.encode();
        fits(&json).then_some((std::borrow::Cow::Owned(small), json))
    }

    /// Takes nothing more, and waits until what was queued is out.
    pub async fn close(&self) {
        if let Way::Queue(queue) = &self.way {
            queue.close().await;
        }
    }
}

fn write_to(file: LogFile, metrics: AuditMetrics) -> Send {
    let file = Arc::new(Mutex::new(file));
    Box::new(move |lines: Vec<Bytes>| {
        let (file, metrics) = (file.clone(), metrics.clone());
        async move {
            if let Err(error) = file.lock().write(&lines.concat()) {
                tracing::error!(%error, events = lines.len(), "audit events are lost");
                metrics.lost(LOG, lines.len());
            }
        }
        .boxed()
    })
}

fn send_to(webhook: Webhook, metrics: AuditMetrics) -> Send {
    let webhook = Arc::new(webhook);
    Box::new(move |events: Vec<Bytes>| {
        let (webhook, metrics) = (webhook.clone(), metrics.clone());
        async move {
            if let Err(error) = webhook.send(&events).await {
                tracing::error!(%error, events = events.len(), "audit events are lost");
                metrics.lost(WEBHOOK, events.len());
            }
        }
        .boxed()
    })
}
