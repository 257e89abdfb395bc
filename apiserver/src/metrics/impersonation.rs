//! Impersonation: the original's names and labels.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    mode: &'static str,
    decision: &'static str,
}

/// Counts and times of one thing that is tried.
#[derive(Clone, Debug)]
pub struct Tries {
    counts: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Tries {
    fn default() -> Self {
        let seconds = || Histogram::new((0..15).map(|power| 0.001 * f64::from(1 << power)));
        Self { counts: Family::default(), seconds: Family::new_with_constructor(seconds) }
    }
}

impl Tries {
    /// It was tried in a mode: `allowed`, `denied` or `error`.
    pub fn note(&self, mode: &'static str, decision: &'static str, took: Duration) {
        let labels = Labels { mode, decision };
        self.counts.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// All of them; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ImpersonationMetrics {
    /// Requests that were to be done as somebody else, by each mode that was tried for them.
    pub attempts: Tries,
    /// What authorization was asked for that.
    pub checks: Tries,
}

impl ImpersonationMetrics {
    /// Makes them part of the server's.
    pub fn register(&self, registry: &mut Registry) {
        let Self { attempts, checks } = self;
        for (name, help, tries) in [
            ("apiserver_impersonation_attempts", "Attempts at impersonation", attempts),
            (
                "apiserver_impersonation_authorization_attempts",
                "Decisions of authorization that impersonation needed",
                checks,
            ),
        ] {
            registry.register(name, help, tries.counts.clone());
            registry.register(
                format!("{name}_duration_seconds"),
                "Time that these took",
                tries.seconds.clone(),
            );
        }
    }
}
