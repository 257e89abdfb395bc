//! Who asks, and may they: the original's names and labels.
use crate::authz::Decision;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UserLabels {
    username: &'static str,
}

type Durations = Family<ResultLabels, Histogram, fn() -> Histogram>;

/// Counts and times of authentication and authorization.
pub struct AccessMetrics {
    users: Family<UserLabels, Gauge>,
    attempts: Family<ResultLabels, Gauge>,
    authentication: Durations,
    decisions: Family<ResultLabels, Counter>,
    authorization: Durations,
    /// What client certificates have left, in seconds.
    pub expirations: Histogram,
}

/// A moment, half an hour, 1, 2, 6 and 12 hours, 1, 2, 4, 7, 30, 90, 180 and 360 days.
const LEFT: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// From a millisecond on, doubling, as in the original.
fn histogram() -> Histogram {
    Histogram::new((0..15).map(|power| 0.001 * f64::from(1 << power)))
}

impl AccessMetrics {
    /// Part of the server's. Counters whose names lack the suffix `_total` are gauges that only grow, told as
    /// counters in the older text format.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self {
            users: Family::default(),
            attempts: Family::default(),
            authentication: Family::new_with_constructor(histogram),
            decisions: Family::default(),
            authorization: Family::new_with_constructor(histogram),
            expirations: Histogram::new(LEFT),
        };
        registry.register(
            "apiserver_client_certificate_expiration_seconds",
            "Time that the client certificate of a request has left",
            new.expirations.clone(),
        );
        registry.register(
            "authenticated_user_requests",
            "Authenticated requests by kind of user",
            new.users.clone(),
        );
        registry.register(
            "authentication_attempts",
            "Requests by what authentication found",
            new.attempts.clone(),
        );
        registry.register(
            "authentication_duration_seconds",
            "Time that authentication took",
            new.authentication.clone(),
        );
        registry.register(
            "authorization_attempts",
            "Requests by what authorization decided",
            new.decisions.clone(),
        );
        registry.register(
            "authorization_duration_seconds",
            "Time that authorization took",
            new.authorization.clone(),
        );
        new
    }

    /// A request was authenticated as a user, or not at all.
    pub fn authenticated(&self, user: Option<&str>, took: Duration) {
        let labels = ResultLabels { result: if user.is_some() { "success" } else { "failure" } };
        self.attempts.get_or_create(&labels).inc();
        self.authentication.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(name) = user {
            self.users.get_or_create(&UserLabels { username: kind_of(name) }).inc();
        }
    }

    /// A request was decided on.
    pub fn authorized(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
            Decision::Failed { .. } => "error",
        };
        let labels = ResultLabels { result };
        self.decisions.get_or_create(&labels).inc();
        self.authorization.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// Names are many: the original tells a few apart.
fn kind_of(name: &str) -> &'static str {
    match name {
        "admin" => "admin",
        "client" => "client",
        "kube_proxy" => "kube_proxy",
        "kubelet" => "kubelet",
        "system:serviceaccount:kube-system:default" => "system:serviceaccount:kube-system:default",
        _ if name.contains('@') => "email_id",
        _ => "other",
    }
}
