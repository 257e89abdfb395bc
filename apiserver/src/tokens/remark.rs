//! What is to be told where a token is used: to its user, to auditors, and in the metrics.
use super::{Held, now_seconds};
use crate::metrics::TokenMetrics;

/// What is to be told where a token is used.
#[derive(Clone, Debug)]
pub enum Remark {
    /// It lives in a Secret and does not end.
    Held(Held),
    /// It is good for longer than it was asked for.
    Extended {
        /// Of whom it is: `system:serviceaccount:‹namespace›:‹name›`.
        subject: String,
        /// The time it was asked for, in seconds since the epoch.
        until: u64,
    },
    /// It was asked for until it ends.
    Plain,
}

impl Remark {
    /// The Secret it lives in.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            _ => None,
        }
    }

    /// For how many seconds it has been used beyond its time.
    pub fn stale(&self) -> Option<u64> {
        match self {
            Self::Extended { until, .. } => now_seconds().checked_sub(*until).filter(|seconds| *seconds > 0),
            _ => None,
        }
    }

    /// Key and value of what auditors are told.
    pub fn annotation(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Held(held) => {
                let (key, value) = held.annotation();
                Some((key, value.to_owned()))
            }
            Self::Extended { subject, .. } => self.stale().map(|seconds| {
                let text = format!("subject: {subject}, seconds after warning threshold: {seconds}");
                ("authentication.k8s.io/stale-token", text)
            }),
            Self::Plain => None,
        }
    }

    /// What the user is warned of.
    pub fn warning(&self) -> Option<&'static str> {
        self.held().and_then(Held::warning)
    }

    /// Counts a use.
    pub fn count(&self, metrics: &TokenMetrics) {
        match self {
            Self::Held(held) => {
                metrics.legacy.inc();
                if held.refusal().is_some() {
                    metrics.invalid.inc();
                } else if held.is_automatic() {
                    metrics.automatic.inc();
                } else {
                    metrics.manual.inc();
                }
            }
            _ if self.stale().is_some() => drop(metrics.stale.inc()),
            _ => drop(metrics.valid.inc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_beyond_the_time_asked_for() {
        let used = |until: u64| Remark::Extended { subject: "system:serviceaccount:d:a".to_owned(), until };
        assert_eq!(used(now_seconds() + 60).annotation(), None);
        let (key, text) = used(now_seconds() - 100).annotation().unwrap();
        assert_eq!(key, "authentication.k8s.io/stale-token");
        assert!(
            text.starts_with("subject: system:serviceaccount:d:a, seconds after warning threshold: 10"),
            "{text}"
        );
        let counts = TokenMetrics::default();
        [used(now_seconds() - 100), used(now_seconds() + 60), Remark::Plain]
            .iter()
            .for_each(|r| r.count(&counts));
        assert_eq!((counts.stale.get(), counts.valid.get()), (1, 2));
    }
}
