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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FilterLabels {
    filter: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    decision: &'static str,
    name: String,
    r#type: &'static str,
}

/// Decisions by who made them; clones count together.
#[derive(Clone, Debug, Default)]
pub struct DecisionMetrics(Family<DecisionLabels, Counter>);

impl DecisionMetrics {
    /// An authorizer said yes or no, whatever others would say.
    pub fn decided(&self, kind: &'static str, name: &str, is_allowed: bool) {
        let decision = if is_allowed { "allowed" } else { "denied" };
        self.0.get_or_create(&DecisionLabels { decision, name: name.to_owned(), r#type: kind }).inc();
    }
}

/// Tokens of ServiceAccounts that were used; clones count together. Those that are known from a moment ago do not count.
#[derive(Clone, Debug, Default)]
pub struct TokenMetrics {
    /// Good ones that end.
    pub valid: Counter,
    /// Those beyond the time that they were asked for, which are good a while longer.
    pub stale: Counter,
    /// Those in Secrets.
    pub legacy: Counter,
    /// Of these, the ones that nobody asked for.
    pub automatic: Counter,
    /// And the ones that somebody did.
    pub manual: Counter,
    /// Those not taken any more since nobody had used them for long.
    pub invalid: Counter,
}

impl TokenMetrics {
    fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("valid_tokens", "Tokens used within their time", &self.valid),
            ("stale_tokens", "Tokens used beyond the time they were asked for", &self.stale),
            ("legacy_tokens", "Tokens in Secrets that were used", &self.legacy),
            ("legacy_auto_token_uses", "Of these, those that nobody asked for", &self.automatic),
            ("legacy_manual_token_uses", "Of these, those that somebody asked for", &self.manual),
            ("invalid_legacy_auto_token_uses", "Tokens tried after a year without use", &self.invalid),
        ] {
            registry.register(format!("serviceaccount_{name}"), help, counter.clone());
        }
    }
}

/// What a request passes on its way in.
#[derive(Clone, Copy)]
pub enum Filter {
    /// Who asks?
    Authentication,
    /// As whom?
    Impersonation,
    /// Whose turn is it?
    Fairness,
    /// May they?
    Authorization,
}

/// The original's names, in the order of [`Filter`].
const FILTERS: [&str; 4] = ["authentication", "impersonation", "priorityandfairness", "authorization"];

type Durations = Family<ResultLabels, Histogram, fn() -> Histogram>;

/// Counts and times of authentication and authorization.
pub struct AccessMetrics {
    users: Family<UserLabels, Gauge>,
    attempts: Family<ResultLabels, Gauge>,
    authentication: Durations,
    decisions: Family<ResultLabels, Counter>,
    authorization: Durations,
    filters: [Histogram; 4],
    /// By each authorizer.
    pub decided: DecisionMetrics,
    /// Tokens of ServiceAccounts.
    pub tokens: TokenMetrics,
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

const FILTER_SECONDS: [f64; 13] =
    [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];

/// From a millisecond on, doubling, as in the original.
fn histogram() -> Histogram {
    Histogram::new((0..15).map(|power| 0.001 * f64::from(1 << power)))
}

impl AccessMetrics {
    /// Part of the server's. Counters whose names lack the suffix `_total` are gauges that only grow, told as
    /// counters in the older text format.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(FILTER_SECONDS);
        let filters = Family::<FilterLabels, Histogram, fn() -> Histogram>::new_with_constructor(seconds);
        let new = Self {
            filters: FILTERS.map(|filter| filters.get_or_create(&FilterLabels { filter }).clone()),
            decided: DecisionMetrics::default(),
            tokens: TokenMetrics::default(),
            users: Family::default(),
            attempts: Family::default(),
            authentication: Family::new_with_constructor(histogram),
            decisions: Family::default(),
            authorization: Family::new_with_constructor(histogram),
            expirations: Histogram::new(LEFT),
        };
        registry.register("apiserver_request_filter_duration_seconds", "Time that filters took", filters);
        registry.register(
            "apiserver_authorization_decisions",
            "Final decisions by the authorizers that made them",
            new.decided.0.clone(),
        );
        new.tokens.register(registry);
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

    /// A request passed a filter, or not.
    pub fn filtered(&self, filter: Filter, took: Duration) {
        self.filters[filter as usize].observe(took.as_secs_f64());
    }

    /// A request was authenticated as a user, or not at all.
    pub fn authenticated(&self, user: Option<&str>, took: Duration) {
        let labels = ResultLabels { result: if user.is_some() { "success" } else { "failure" } };
        self.attempts.get_or_create(&labels).inc();
        self.filtered(Filter::Authentication, took);
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
        self.filtered(Filter::Authorization, took);
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
