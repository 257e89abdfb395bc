//! Flags of the audit log, named as the original's.
use clap::{ArgAction, Args};
use std::path::PathBuf;
use std::time::Duration;

/// How events reach a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Mode {
    /// Queued and sent together, in the background.
    #[value(name = "batch")]
    Batch,
    /// Sent before the request goes on.
    #[value(name = "blocking")]
    Blocking,
    /// The same, and a request whose arrival cannot be recorded is refused.
    #[value(name = "blocking-strict")]
    BlockingStrict,
}

/// Lines of the log file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// One JSON document a line.
    #[value(name = "json")]
    Json,
    /// One line of `name="value"`.
    #[value(name = "legacy")]
    Legacy,
}

/// Flags of `--audit-…`.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Which requests are recorded, and how much of them (audit.k8s.io/v1 Policy); none: nothing is.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// The log file.
    #[command(flatten)]
    pub log: LogArgs,
    /// The webhook.
    #[command(flatten)]
    pub webhook: WebhookArgs,
}

/// Flags of the log file.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// The audit log; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Days that rotated logs are kept; 0: no limit.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u32,
    /// Rotated logs that are kept; 0: no limit.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Megabytes at which the log is rotated; 0: 100.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Rotated logs are compressed.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_compress: bool,
    /// Form of a line.
    #[arg(long, value_enum, default_value = "json")]
    pub audit_log_format: Format,
    /// Version of the events.
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    pub audit_log_version: String,
    /// When events are written.
    #[arg(long, value_enum, default_value = "blocking")]
    pub audit_log_mode: Mode,
    /// Events that may wait, in batch mode; what comes when there are more is lost.
    #[arg(long, default_value_t = 10_000)]
    pub audit_log_batch_buffer_size: usize,
    /// Events written together at most.
    #[arg(long, default_value_t = 1)]
    pub audit_log_batch_max_size: usize,
    /// How long a batch may wait to be full.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub audit_log_batch_max_wait: Duration,
    /// Batches are limited by the two following.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_batch_throttle_enable: bool,
    /// Batches a second.
    #[arg(long, default_value_t = 0.0)]
    pub audit_log_batch_throttle_qps: f64,
    /// Batches at once, where few came before.
    #[arg(long, default_value_t = 0)]
    pub audit_log_batch_throttle_burst: u32,
    /// Large events lose their objects.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_truncate_enabled: bool,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 10 * 1024 * 1024)]
    pub audit_log_truncate_max_batch_size: usize,
    /// Bytes of an event.
    #[arg(long, default_value_t = 100 * 1024)]
    pub audit_log_truncate_max_event_size: usize,
}

/// Flags of the webhook.
#[derive(Args, Clone, Debug)]
pub struct WebhookArgs {
    /// Kubeconfig of the server that events are sent to.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Pause before the first repetition of what failed.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub audit_webhook_initial_backoff: Duration,
    /// Version of the events.
    #[arg(long, default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    pub audit_webhook_version: String,
    /// When events are sent.
    #[arg(long, value_enum, default_value = "batch")]
    pub audit_webhook_mode: Mode,
    /// Events that may wait, in batch mode; what comes when there are more is lost.
    #[arg(long, default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,
    /// Events sent together at most.
    #[arg(long, default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,
    /// How long a batch may wait to be full.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub audit_webhook_batch_max_wait: Duration,
    /// Batches are limited by the two following.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: bool,
    /// Batches a second.
    #[arg(long, default_value_t = 10.0)]
    pub audit_webhook_batch_throttle_qps: f64,
    /// Batches at once, where few came before.
    #[arg(long, default_value_t = 15)]
    pub audit_webhook_batch_throttle_burst: u32,
    /// Large events lose their objects.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_truncate_enabled: bool,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 10 * 1024 * 1024)]
    pub audit_webhook_truncate_max_batch_size: usize,
    /// Bytes of an event.
    #[arg(long, default_value_t = 100 * 1024)]
    pub audit_webhook_truncate_max_event_size: usize,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::server::chain::go_duration(text)
        .ok_or_else(|| format!("{text:?} is no duration (1h, 1m30s, 250ms)"))
}
