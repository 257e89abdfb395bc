//! Coordinated leader election (KEP-4355): candidates say that they are there by LeaseCandidates, and the server gives the
//! Lease to the best of those that answer when they are asked.
//!
//! Every server runs it, where its gate is on; each write names the version it changes, so one of them wins.
mod decide;

use crate::loopback::Loopback;
use crate::objects::Objects;
use crate::registry::object;
use decide::{Candidate, Held, STRATEGY, Step, decide, is_forgotten};
use futures::{FutureExt, StreamExt};
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "coordination.k8s.io";
/// Where candidates are read and written.
const CANDIDATES: &str = "/apis/coordination.k8s.io/v1beta1";
/// How long a lease is valid that its holder has not renewed yet.
const FIRST_TERM: i64 = 5;
/// Candidates are looked at that often though nothing changes.
const PERIOD: Duration = Duration::from_secs(30);
/// Pause before what failed is tried again, and between two looks while many leases change.
const AGAIN: Duration = Duration::from_millis(500);

/// Works for ever.
pub async fn keep(objects: Arc<dyn Objects>, client: Loopback) {
    let mut changes = futures::stream::select(
        objects.follow(GROUP, "leasecandidates").map(drop),
        objects.follow(GROUP, "leases").map(drop),
    );
    let mut pause = AGAIN;
    while let Ok(Some(())) | Err(_) = tokio::time::timeout(pause, changes.next()).await {
        while let Some(Some(())) = changes.next().now_or_never() {}
        pause = PERIOD;
        for ((namespace, name), candidates) in by_lease(&*objects) {
            let lease = objects.get(GROUP, "leases", &namespace, &name);
            let election =
                Election { client: &client, namespace: &namespace, name: &name, lease: lease.as_deref() };
            let next = match election.run(&candidates).await {
                Ok(next) => next,
                Err(status) => {
                    tracing::debug!(namespace, name, %status, "the election goes on later");
                    Some(AGAIN)
                }
            };
            pause = pause.min(next.unwrap_or(PERIOD));
        }
    }
}

/// Candidates by namespace and name of the lease that they stand for.
fn by_lease(objects: &dyn Objects) -> BTreeMap<(String, String), Vec<Arc<Value>>> {
    let mut leases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for candidate in objects.list(GROUP, "leasecandidates", None) {
        let lease = object::text(&candidate, &["spec", "leaseName"]).to_owned();
        leases.entry((object::namespace(&candidate).to_owned(), lease)).or_default().push(candidate);
    }
    leases
}

struct Election<'a> {
    client: &'a Loopback,
    namespace: &'a str,
    name: &'a str,
    lease: Option<&'a Value>,
}

impl Election<'_> {
    /// Takes the next step; when to look again, if nothing changes before.
    async fn run(&self, candidates: &[Arc<Value>]) -> Result<Option<Duration>, Status> {
        let now = Timestamp::now();
        let standing: Vec<Candidate> = candidates.iter().map(|one| Candidate::of(one)).collect();
        for gone in standing.iter().filter(|one| is_forgotten(one, now)) {
            match self.client.delete(&self.candidate(&gone.name)).await {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        match decide(&standing, self.lease.map(Held::of).as_ref(), now) {
            Step::Wait(time) => return Ok(time),
            Step::Ask(names) => {
                for one in candidates.iter().filter(|one| names.iter().any(|name| name == object::name(one)))
                {
                    let mut asked = Value::clone(one);
                    asked["apiVersion"] = "coordination.k8s.io/v1beta1".into();
                    asked["kind"] = "LeaseCandidate".into();
                    asked["spec"]["pingTime"] = now.to_rfc3339_micro().into();
                    self.client.update(&self.candidate(object::name(one)), &asked).await?;
                }
            }
            Step::Elect(name) => self.elect(&name, now).await?,
            Step::Prefer(name) => {
                let Some(lease) = self.lease else { return Ok(None) };
                let mut changed = lease.clone();
                changed["spec"]["preferredHolder"] = name.into();
                self.client.update(&format!("{}/{}", self.leases(), self.name), &changed).await?;
            }
        }
        Ok(Some(AGAIN))
    }

    fn candidate(&self, name: &str) -> String {
        format!("{CANDIDATES}/namespaces/{}/leasecandidates/{name}", self.namespace)
    }

    fn leases(&self) -> String {
        format!("/apis/{GROUP}/v1/namespaces/{}/leases", self.namespace)
    }

    async fn elect(&self, name: &str, now: Timestamp) -> Result<(), Status> {
        tracing::info!(lease = self.name, holder = name, "elected");
        let time = now.to_rfc3339_micro();
        let spec = json!({
            "holderIdentity": name, "strategy": STRATEGY, "leaseDurationSeconds": FIRST_TERM,
            "acquireTime": time, "renewTime": time,
        });
        let Some(lease) = self.lease else {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": self.name, "namespace": self.namespace}, "spec": spec,
            });
            return self.client.create(&self.leases(), &lease).await.map(drop);
        };
        let mut changed = lease.clone();
        let former = object::at(lease, &["spec", "leaseTransitions"]).and_then(Value::as_i64).unwrap_or(0);
        changed["spec"] = spec;
        changed["spec"]["leaseTransitions"] = (former + 1).into();
        self.client.update(&format!("{}/{}", self.leases(), self.name), &changed).await.map(drop)
    }
}
