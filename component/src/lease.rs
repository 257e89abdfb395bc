//! Leader election by a `coordination.k8s.io/v1` Lease, with the rules of client-go, so that
//! originals and ours can stand for the same lease. In a coordinated election (KEP-4355) the server gives the lease to one of
//! the candidates; they say that they are there, and renew what they were given.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::{
        v1::{Lease, LeaseSpec},
        v1beta1::{LeaseCandidate, LeaseCandidateSpec},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{flags::LeaderElection, metrics::LEADING};

/// The version that a candidate says to be.
const VERSION: &str = "1.36.0";
/// A candidate that is not asked says that often that it is there.
const STANDING: Duration = Duration::from_secs(15 * 60);

/// Leadership ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[error("leader election lost: lease {namespace}/{name} could not be renewed in time")]
pub struct Lost {
    namespace: String,
    name: String,
}

/// A candidate for one lease.
pub struct Elector {
    api: Api<Lease>,
    /// Where it stands for a coordinated election.
    candidates: Option<Api<LeaseCandidate>>,
    client: Client,
    namespace: String,
    name: String,
    identity: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// What a candidate remembers of the lease: a lease is stale when it has not *changed* for its
/// duration by our own clock; the times written in it are never compared, clocks differ.
#[derive(Default)]
struct Observed {
    spec: Option<LeaseSpec>,
    since: Option<Instant>,
}

impl Elector {
    /// A candidate called `identity` (unique among all processes) for the lease the flags name,
    /// or for `name` when they name none.
    pub fn new(client: Client, flags: &LeaderElection, name: &str, identity: impl Into<String>) -> Self {
        let namespace = flags.leader_elect_resource_namespace.clone();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            candidates: None,
            client,
            namespace,
            name: flags.leader_elect_resource_name.clone().unwrap_or_else(|| name.to_string()),
            identity: identity.into(),
            lease_duration: flags.leader_elect_lease_duration,
            renew_deadline: flags.leader_elect_renew_deadline,
            retry_period: flags.leader_elect_retry_period,
        }
    }

    /// The same in an election that the server coordinates, which must have the gate `CoordinatedLeaderElection` on. The
    /// identity becomes an object's name.
    pub fn coordinated(mut self) -> Self {
        self.candidates = Some(Api::namespaced(self.client.clone(), &self.namespace));
        self.identity =
            self.identity.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        self
    }

    /// Waits for the lease, runs `lead` while it is held and releases it at the end.
    ///
    /// The token given to `lead` is cancelled by `stop` and by the loss of the lease; the latter
    /// is an error, upon which the process should end at once, since another one leads already.
    pub async fn run<F, Fut>(&self, stop: CancellationToken, lead: F) -> anyhow::Result<()>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        tokio::select! {
            result = self.compete(stop, lead) => result,
            () = self.stand() => Ok(()),
        }
    }

    async fn compete<F, Fut>(&self, stop: CancellationToken, lead: F) -> anyhow::Result<()>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        let mut observed = Observed::default();
        LEADING.is(&[&self.name], 0);
        if stop.run_until_cancelled(self.acquire(&mut observed)).await.is_none() {
            return Ok(());
        }
        tracing::info!(lease = %self.name, identity = %self.identity, "became leader");
        LEADING.is(&[&self.name], 1);
        let leading = stop.child_token();
        let result = tokio::select! {
            result = lead(leading.clone()) => result,
            () = self.renew(&mut observed) => {
                LEADING.is(&[&self.name], 0);
                leading.cancel();
                return Err(Lost { namespace: self.namespace.clone(), name: self.name.clone() }.into());
            }
        };
        leading.cancel();
        if let Err(error) = timeout(self.retry_period, self.release()).await.unwrap_or(Ok(())) {
            tracing::debug!(lease = %self.name, %error, "lease not released");
        }
        result
    }

    /// Keeps the candidate's object, for ever.
    async fn stand(&self) {
        let Some(api) = &self.candidates else { return std::future::pending().await };
        loop {
            if let Err(error) = self.answer(api).await {
                tracing::debug!(lease = %self.name, %error, "the candidate could not be written");
            }
            sleep(self.retry_period).await;
        }
    }

    /// Says that the candidate is there, if it was asked or has been silent for long.
    async fn answer(&self, api: &Api<LeaseCandidate>) -> kube::Result<()> {
        let now = Timestamp::now();
        let Some(mut candidate) = api.get_opt(&self.identity).await? else {
            let spec = LeaseCandidateSpec {
                lease_name: self.name.clone(),
                binary_version: VERSION.to_owned(),
                emulation_version: Some(VERSION.to_owned()),
                strategy: "OldestEmulationVersion".to_owned(),
                renew_time: Some(MicroTime(now)),
                ping_time: None,
            };
            let metadata = ObjectMeta { name: Some(self.identity.clone()), ..Default::default() };
            return api.create(&PostParams::default(), &LeaseCandidate { metadata, spec }).await.map(drop);
        };
        if !must_answer(&candidate.spec, now) {
            return Ok(());
        }
        candidate.spec.renew_time = Some(MicroTime(now));
        candidate.metadata.managed_fields = None;
        match api.replace(&self.identity, &PostParams::default(), &candidate).await {
            // It was asked again meanwhile: the next look sees that.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop),
        }
    }

    async fn acquire(&self, observed: &mut Observed) {
        loop {
            match self.attempt(observed).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = %self.name, %error, "lease not acquired"),
            }
            // Candidates that retry in step would always collide.
            sleep(self.retry_period.mul_f64(1.0 + rand::rng().random_range(0.0..1.2))).await;
        }
    }

    /// Returns when the lease could not be renewed for the renew deadline.
    async fn renew(&self, observed: &mut Observed) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.retry_period).await;
            let left = self.renew_deadline.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt(observed)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = %self.name, %error, "lease not renewed"),
                Err(_) => return,
            }
            if renewed.elapsed() >= self.renew_deadline {
                return;
            }
        }
    }

    /// One try to take or renew the lease; whether it is ours now.
    async fn attempt(&self, observed: &mut Observed) -> kube::Result<bool> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            if self.candidates.is_some() {
                return Ok(false);
            }
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..Default::default() },
                spec: Some(claim(None, &self.identity, self.lease_duration, now)),
            };
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                Err(error) => Err(error),
            };
        };
        let current = lease.spec.clone().unwrap_or_default();
        if observed.spec.as_ref() != Some(&current) {
            *observed = Observed { spec: Some(current.clone()), since: Some(Instant::now()) };
        }
        let age = observed.since.map(|since| since.elapsed()).unwrap_or_default();
        if self.candidates.is_some() {
            if !is_holder(&current, &self.identity) {
                return Ok(false);
            }
            if gives_up(&current, &self.identity) {
                tracing::info!(lease = %self.name, "another candidate is to lead");
                self.release().await?;
                return Ok(false);
            }
        } else if !may_claim(&current, &self.identity, age) {
            return Ok(false);
        }
        lease.spec = Some(claim(Some(&current), &self.identity, self.lease_duration, now));
        lease.metadata.managed_fields = None;
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(lease) => {
                *observed = Observed { spec: lease.spec, since: Some(Instant::now()) };
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(is_holder(&current, &self.identity)),
            Err(error) => Err(error),
        }
    }

    /// Lets others take over at once.
    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let mut spec = lease.spec.take().unwrap_or_default();
        if !is_holder(&spec, &self.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(spec);
        lease.metadata.managed_fields = None;
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

/// Whether a candidate has to say that it is there.
fn must_answer(spec: &LeaseCandidateSpec, now: Timestamp) -> bool {
    let Some(MicroTime(answered)) = &spec.renew_time else { return true };
    let asked = spec.ping_time.as_ref().is_some_and(|MicroTime(asked)| asked > answered);
    asked || now.duration_since(*answered).unsigned_abs() > STANDING
}

/// Whether the holder is to make room for another one.
fn gives_up(spec: &LeaseSpec, identity: &str) -> bool {
    spec.preferred_holder.as_deref().is_some_and(|other| !other.is_empty() && other != identity)
}

fn is_holder(spec: &LeaseSpec, identity: &str) -> bool {
    spec.holder_identity.as_deref() == Some(identity)
}

/// Whether a candidate may write itself into a lease that has not changed for `age`.
fn may_claim(spec: &LeaseSpec, identity: &str, age: Duration) -> bool {
    let held = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
    let valid = Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().max(0) as u64);
    !held || is_holder(spec, identity) || age > valid
}

/// The lease after `identity` took or renewed it.
fn claim(current: Option<&LeaseSpec>, identity: &str, duration: Duration, now: Timestamp) -> LeaseSpec {
    let mut spec = current.cloned().unwrap_or_default();
    if !is_holder(&spec, identity) {
        let held_before = current.is_some();
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + i32::from(held_before));
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(identity.to_string());
    }
    spec.lease_duration_seconds = Some(duration.as_secs() as i32);
    spec.renew_time = Some(MicroTime(now));
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..Default::default()
        }
    }

    #[test]
    fn only_free_own_or_stale_leases_are_claimed() {
        let check = |spec: LeaseSpec, age: u64, expected: bool| {
            assert_eq!(may_claim(&spec, "me", Duration::from_secs(age)), expected, "{spec:?} {age}");
        };
        check(held("me"), 0, true);
        check(held("other"), 15, false);
        check(held("other"), 16, true);
        check(held(""), 0, true);
        check(LeaseSpec::default(), 0, true);
    }

    #[test]
    fn candidates_answer_when_they_are_asked_and_make_room() {
        let now = Timestamp::now();
        let at = |seconds: i64| MicroTime(now - jiff::SignedDuration::from_secs(seconds));
        let check = |asked: Option<i64>, answered: Option<i64>, expected: bool| {
            let spec = LeaseCandidateSpec {
                ping_time: asked.map(at),
                renew_time: answered.map(at),
                ..Default::default()
            };
            assert_eq!(must_answer(&spec, now), expected, "{asked:?} {answered:?}");
        };
        check(None, None, true);
        check(None, Some(1), false);
        check(None, Some(1000), true);
        check(Some(1), Some(5), true);
        check(Some(5), Some(1), false);
        let preferring = |other: &str| LeaseSpec { preferred_holder: Some(other.into()), ..held("me") };
        assert!(gives_up(&preferring("other"), "me"));
        assert!(!gives_up(&preferring("me"), "me") && !gives_up(&held("me"), "me"));
    }

    #[test]
    fn transitions_count_changes_of_the_holder() {
        let now = Timestamp::now();
        let duration = Duration::from_secs(15);
        assert_eq!(claim(None, "me", duration, now).lease_transitions, Some(0));
        assert_eq!(claim(Some(&held("me")), "me", duration, now).lease_transitions, Some(3));
        let taken = claim(Some(&held("other")), "me", duration, now);
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(4), Some(MicroTime(now))));
    }
}
