//! Configuration files that are read again while the server runs: the original's names and labels.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    status: &'static str,
    apiserver_id_hash: String,
}

/// Of one file; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    counts: Family<Labels, Counter>,
    times: Family<Labels, Gauge<f64, AtomicU64>>,
}

impl Reloads {
    fn register(&self, registry: &mut Registry, subject: &str) {
        let name = format!("apiserver_{subject}_config_controller_automatic_reload");
        registry.register(
            format!("{name}s"),
            "Times that the configuration was read again",
            self.counts.clone(),
        );
        let help = "When it was read again last, since the Unix epoch";
        registry.register(format!("{name}_last_timestamp_seconds"), help, self.times.clone());
    }

    /// What `load` does, which is counted from its second time on. `server` is what this server is known by.
    pub fn counted<T>(
        &self,
        server: &str,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> impl Fn() -> Result<T, String> + Send + Sync + 'static {
        let (this, is_again) = (self.clone(), AtomicBool::new(false));
        let digest = Sha256::digest(server);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        move || {
            let found = load();
            if is_again.swap(true, Ordering::Relaxed) {
                let status = if found.is_ok() { "success" } else { "failure" };
                let labels = Labels { status, apiserver_id_hash: format!("sha256:{hash}") };
                this.counts.get_or_create(&labels).inc();
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                this.times.get_or_create(&labels).set(now.as_secs_f64());
            }
            found
        }
    }
}

/// Of all files that have such figures.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    /// `--authentication-config`.
    pub authentication: Reloads,
    /// `--authorization-config`.
    pub authorization: Reloads,
}

impl ReloadMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        self.authentication.register(registry, "authentication");
        self.authorization.register(registry, "authorization");
    }
}
