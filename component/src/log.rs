//! Logs to standard error.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::flags::Logging;

/// Starts logging of the process as the flags say. Only the first call has an effect, so that
/// tests and several components in one process may all call it.
pub fn init(flags: &Logging) {
    let filter =
        EnvFilter::new(flags.log_filter.clone().unwrap_or_else(|| filter(flags.verbosity).to_string()));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let result = if flags.logging_format == "json" {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer.compact()).try_init()
    };
    if let Err(error) = result {
        tracing::debug!(%error, "logging was set up before");
    }
}

/// What a klog level shows: errors and news up to 3, decisions from 4, every request from 6.
/// The libraries below speak up only at the levels made for them.
fn filter(verbosity: u8) -> &'static str {
    match verbosity {
        0..=3 => "info,kube=warn,kube_runtime=error,hyper=warn,h2=warn,tower=warn,hickory_server=warn",
        4..=5 => {
            "debug,kube=info,hyper=warn,h2=warn,tower=warn,rustls=info,hickory_server=warn,netlink_proto=info"
        }
        6..=8 => "debug,h2=info,rustls=info",
        _ => "trace",
    }
}
