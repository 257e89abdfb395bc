//! Follows the APIServices: who answers, who can be reached, what they offer.
//!
//! Every server of a cluster runs it; all it does can be done twice.
use super::availability::{self, Verdict};
use super::discovery;
use super::proxy::own_headers;
use super::state::{Remote, State};
use super::{Aggregator, GROUP, PLURAL, register, usage};
use crate::discovery::RemoteVersion;
use crate::health::Step;
use crate::loopback::Loopback;
use crate::objects::Change;
use crate::registry::object;
use futures::FutureExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream, StreamExt};
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Time for a discovery document.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest one, in bytes.
const MAX_DOCUMENT: usize = 32 * 1024 * 1024;
/// Pause before those that can be reached are asked again, and those that cannot.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(2));

/// Pause before a change around is looked at, with all that come with it.
const SETTLE: Duration = Duration::from_millis(100);

/// What is known of the other servers beside their objects.
#[derive(Default)]
struct Known {
    /// Names of all objects.
    names: BTreeSet<String>,
    /// Resources of each, by name of its object, as they were told last.
    resources: HashMap<String, Value>,
    /// What discovery was told last.
    told: Vec<RemoteVersion>,
}

/// Works for ever; `registered` is done when all of this server's own group versions have their objects.
pub async fn keep(aggregator: Arc<Aggregator>, client: Loopback, registered: Arc<Step>) {
    let mut services = aggregator.objects.follow(GROUP, PLURAL).map(drop).boxed();
    let mut published = aggregator.registry.published();
    // The objects around are followed only while there is a server to find by them.
    let mut around: Option<BoxStream<'static, ()>> = None;
    let mut known = Known::default();
    loop {
        let automatic = register::register(&aggregator.registry, &*aggregator.objects, &client).await;
        if automatic {
            registered.done();
        }
        let healthy = aggregator.look(&client, &mut known).await;
        let remotes = !aggregator.state.load().remotes.is_empty();
        if !remotes {
            around = None;
        } else if around.is_none() {
            let follow = |group, plural| {
                let known = aggregator.clone();
                let concerns = move |change: Change| {
                    let concerned = known.state.load().remotes.iter().any(|r| is_of(&change, &r.service));
                    futures::future::ready(concerned.then_some(()))
                };
                aggregator.objects.follow(group, plural).filter_map(concerns)
            };
            let both = stream::select(follow("", "services"), follow("discovery.k8s.io", "endpointslices"));
            around = Some(both.boxed());
        }
        let pause = match (remotes, healthy && automatic) {
            (_, false) => AGAIN.1,
            (true, true) => AGAIN.0,
            (false, true) => Duration::MAX,
        };
        tokio::select! {
            next = services.next() => if next.is_none() { return },
            () = changed(&mut around) => tokio::time::sleep(SETTLE).await,
            outcome = published.changed() => if outcome.is_err() { return },
            () = tokio::time::sleep(pause.min(Duration::from_secs(3600))) => {}
        }
        // What is ready by now is one change.
        while let Some(Some(())) = services.next().now_or_never() {}
        while let Some(Some(())) = around.as_mut().and_then(|around| around.next().now_or_never()) {}
    }
}

/// May a change of a Service or an EndpointSlice be one of a server's Service? Endpoints come and go all the time, and
/// mostly those of others.
fn is_of(change: &Change, (namespace, service, _): &(String, String, u16)) -> bool {
    match change {
        Change::Put { namespace: changed, object, .. } if **changed == **namespace => {
            let label = object["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
            object::name(object) == service || label == Some(service)
        }
        // What is gone does not tell which Service it was of.
        Change::Gone { namespace: changed, .. } => **changed == **namespace,
        Change::Put { .. } => false,
        Change::Synced => true,
    }
}

async fn changed(around: &mut Option<BoxStream<'static, ()>>) {
    match around {
        Some(around) => drop(around.next().await),
        None => std::future::pending().await,
    }
}

impl Aggregator {
    /// Looks at every other server once; are all reachable?
    async fn look(&self, client: &Loopback, known: &mut Known) -> bool {
        let all = self.objects.list(GROUP, PLURAL, None);
        let found = all.iter().filter_map(|object| Some((object.clone(), Arc::new(Remote::of(object)?))));
        let found: Vec<(Arc<Value>, Arc<Remote>)> = found.collect();
        self.state
            .store(Arc::new(State { remotes: found.iter().map(|(_, remote)| remote.clone()).collect() }));
        let mut healthy = true;
        for object in all.iter().filter(|object| object["spec"]["service"].is_null()) {
            self.metrics.set(object::name(object), true);
            healthy &= note(client, object, &Verdict::local()).await.is_ok();
        }
        let names: BTreeSet<String> = all.iter().map(|object| object::name(object).to_owned()).collect();
        known.names.difference(&names).for_each(|name| self.metrics.forget(name));
        known.names = names;
        let checks = join_all(found.iter().map(|(_, remote)| self.check(remote))).await;
        let (mut versions, mut verdicts) = (Vec::new(), Vec::new());
        for ((object, remote), (verdict, resources)) in found.iter().zip(checks) {
            healthy &= verdict.available;
            self.metrics.set(&remote.name, verdict.available);
            if !verdict.available && is_news(object, &verdict) {
                self.metrics.failed(&remote.name, verdict.reason);
            }
            if let Some(resources) = resources {
                known.resources.insert(remote.name.clone(), resources);
            }
            versions.push(RemoteVersion {
                group: remote.group.clone(),
                version: remote.version.clone(),
                priority: remote.priority,
                is_current: verdict.available,
                resources: known.resources.get(&remote.name).cloned().unwrap_or_else(|| json!([])),
            });
            verdicts.push((object, verdict));
        }
        if !versions.iter().any(|version| version.group == usage::GROUP) {
            versions.push(own_usage());
        }
        known.resources.retain(|name, _| found.iter().any(|(_, remote)| remote.name == *name));
        if versions != known.told {
            known.told.clone_from(&versions);
            self.registry.set_remote(versions);
        }
        for (object, verdict) in verdicts {
            if let Err(status) = note(client, object, &verdict).await {
                let name = object::name(object);
                tracing::debug!(name, %status, "the status of an APIService could not be written");
                healthy = false;
            }
        }
        let reachable = found.iter().filter(|(_, remote)| remote.available).map(|(_, remote)| remote.clone());
        self.openapi.look(&self.outbound, reachable.collect()).await;
        healthy
    }

    /// Can it be reached, and what does it offer?
    async fn check(&self, remote: &Remote) -> (Verdict, Option<Value>) {
        if let Some(verdict) = availability::of_objects(&*self.objects, remote) {
            return (verdict, None);
        }
        let endpoint = match remote.at(&remote.path()) {
            Ok(endpoint) => endpoint,
            Err(text) => return (Verdict::unusable(text), None),
        };
        let url = format!("https://{}{}", endpoint.authority, endpoint.path);
        let answer =
            self.outbound.get(&endpoint, own_headers("application/json"), TIMEOUT, MAX_DOCUMENT).await;
        match answer {
            Err(text) => {
                (Verdict::no_discovery(format!("failing or missing response from {url}: {text}")), None)
            }
            Ok(response) if !response.status().is_success() => {
                let text = format!("bad status from {url}: {}", response.status().as_u16());
                let text = format!("failing or missing response from {url}: {text}");
                (Verdict::no_discovery(text), None)
            }
            Ok(response) => {
                let list = serde_json::from_slice::<Value>(response.body()).unwrap_or_default();
                (Verdict::passed(), Some(discovery::resources(&list)))
            }
        }
    }
}

/// The group version of usage, which this server answers unless another does.
fn own_usage() -> RemoteVersion {
    RemoteVersion {
        group: usage::GROUP.to_owned(),
        version: usage::VERSION.to_owned(),
        priority: usage::PRIORITY,
        is_current: true,
        resources: discovery::resources(&usage::resource_list()),
    }
}

/// Was the server reachable until now, or out of reach for another reason?
fn is_news(object: &Value, verdict: &Verdict) -> bool {
    let conditions = object::list(object, &["status", "conditions"]);
    let before = conditions.iter().find(|c| c["type"] == "Available");
    before.is_none_or(|c| c["status"] != "False" || c["reason"] != verdict.reason)
}

/// Writes the condition where it is another one.
async fn note(client: &Loopback, object: &Value, verdict: &Verdict) -> Result<(), Status> {
    let conditions = object::list(object, &["status", "conditions"]);
    let before = conditions.iter().find(|c| c["type"] == "Available");
    let status = if verdict.available { "True" } else { "False" };
    let same = |c: &&Value| {
        c["status"] == status && c["reason"] == verdict.reason && c["message"] == verdict.message.as_str()
    };
    if before.filter(same).is_some() {
        return Ok(());
    }
    let since = before.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
    let since = since.unwrap_or_else(|| object::time(Timestamp::now()));
    let mut wanted = object.clone();
    let mut all: Vec<Value> = conditions.iter().filter(|c| c["type"] != "Available").cloned().collect();
    all.push(json!({"type": "Available", "status": status, "lastTransitionTime": since,
        "reason": verdict.reason, "message": verdict.message}));
    wanted["status"] = json!({"conditions": all});
    let path = format!("/apis/{GROUP}/v1/{PLURAL}/{}/status", object::name(object));
    match client.update(&path, &wanted).await {
        // Somebody else was faster, or it is gone: the next look tells.
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_others_are_passed_over() {
        let service = ("n".to_owned(), "s".to_owned(), 443);
        let put = |namespace: &str, object: Value| Change::Put {
            namespace: namespace.into(),
            name: object::name(&object).into(),
            object: Arc::new(object),
        };
        let slice =
            |of: &str| json!({"metadata": {"name": "x", "labels": {"kubernetes.io/service-name": of}}});
        assert!(is_of(&put("n", slice("s")), &service));
        assert!(is_of(&put("n", json!({"metadata": {"name": "s"}})), &service));
        assert!(!is_of(&put("n", slice("t")), &service));
        assert!(!is_of(&put("m", slice("s")), &service));
        let gone = |namespace: &str| Change::Gone { namespace: namespace.into(), name: "x".into() };
        assert!(is_of(&gone("n"), &service) && !is_of(&gone("m"), &service));
    }
}
