//! ResourceQuotas: their status says what the objects of their namespace use.
//!
//! Admission charges what is created and changed; this controller sets up the status of new quotas and gives back
//! what was deleted or has ended. It reads the quota first and the objects after it, and writes the status only if
//! the quota is unchanged: whatever was charged in between makes it count anew, so it never undoes a charge.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::ResourceQuota;
use knarr_api::{
    Value,
    quota::{self, Usage},
    time::Timestamp,
};
use knarr_component::{
    informer::{Change, Informer},
    meta::Metadata,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
    runtime::watcher::Config,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{is_code, namespace},
    pods::{self, Pod},
    resources::{Resource, discover},
};

/// How often everything is counted anew, should a change have been missed.
const RESYNC: Duration = Duration::from_secs(300);
/// When a quota is counted again after its first time: what was admitted before it was there is stored by then.
const SETTLED: Duration = Duration::from_secs(2);
/// How often a first count that is overtaken is repeated at once.
const FIRST_TRIES: u32 = 5;
/// Objects a page of a list.
const PAGE: u32 = 500;

/// A group and plural name.
type Counted = (String, String);

/// The view of an object whose end is all that matters.
struct Trace {
    key: Key,
    uid: String,
    version: String,
}

impl knarr_component::store::Object for Trace {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }
}

/// The resources that a quota's limits count.
fn counted(hard: &Value) -> BTreeSet<Counted> {
    let names = hard.as_object().into_iter().flatten();
    names.map(|(name, _)| quota::counted(name)).map(|(g, p)| (g.to_owned(), p.to_owned())).collect()
}

/// The status of a quota over the objects of each resource; resources that could not be counted are left out.
fn status(spec: &Value, objects: &HashMap<Counted, Vec<Value>>, now: Timestamp) -> Value {
    let hard = &spec["hard"];
    let mut used = Usage::new();
    for (name, _) in hard.as_object().into_iter().flatten() {
        let (group, plural) = quota::counted(name);
        if objects.contains_key(&(group.to_owned(), plural.to_owned())) {
            used.insert(name.clone(), Default::default());
        }
    }
    for ((group, plural), objects) in objects {
        for object in objects {
            quota::add(&mut used, quota::charged(spec, hard, (group, plural), object, now));
        }
    }
    let used: serde_json::Map<String, Value> =
        used.into_iter().map(|(name, amount)| (name, amount.to_string().into())).collect();
    json!({"hard": hard, "used": used})
}

/// Do two statuses say the same, however the amounts are written?
fn same(a: &Value, b: &Value) -> bool {
    ["hard", "used"].iter().all(|field| quota::amounts(&a[*field]) == quota::amounts(&b[*field]))
}

/// Whether a change of a pod gives something back.
fn frees(change: &Change<'_, Pod>) -> bool {
    match change {
        Change::Added(_) => false,
        Change::Updated { old, new } => {
            // A resize downwards gives back when it is done.
            let resizing = |pod: &Pod| pods::condition(pod, "PodResizeInProgress").is_some();
            pods::is_finished(old) != pods::is_finished(new) || resizing(old) != resizing(new)
        }
        Change::Deleted(_) => true,
    }
}

struct Counter {
    context: Context,
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
    resources: Mutex<HashMap<Counted, Arc<Resource>>>,
    followed: Mutex<HashMap<Counted, Informer<Trace>>>,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let quotas: Informer<ResourceQuota> = context.informers.get();
    let pods: Informer<Pod> = context.informers.get();
    let queue = Queue::new();
    let added = queue.clone();
    quotas.on_change(move |change| match change {
        Change::Updated { old, new } if old.spec == new.spec => {}
        Change::Deleted(_) => {}
        change => added.add(Key::of(&change.object().metadata)),
    });
    let synced = quotas.synced();
    let counter = Arc::new(Counter {
        context: context.clone(),
        quotas,
        queue: queue.clone(),
        resources: Mutex::default(),
        followed: Mutex::default(),
    });
    let this = counter.clone();
    pods.on_change(move |change| {
        if frees(&change) {
            this.recount(&(String::new(), "pods".to_owned()), namespace(&change.object().metadata));
        }
    });
    let workers = context.args.workers.concurrent_resource_quota_syncs;
    context
        .work("resourcequota-controller", synced, queue, workers, move |key: Key| {
            let counter = counter.clone();
            async move { counter.sync(key).await }
        })
        .await
}

impl Counter {
    /// Queues the quotas of a namespace that count a resource.
    fn recount(&self, resource: &Counted, namespace: &str) {
        for quota in self.quotas.list_namespace(namespace) {
            let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            let mut names = hard.into_iter().flatten().map(|(name, _)| quota::counted(name));
            if names.any(|(group, plural)| (group, plural) == (resource.0.as_str(), resource.1.as_str())) {
                self.queue.add(Key::of(&quota.metadata));
            }
        }
    }

    async fn sync(self: &Arc<Self>, key: Key) -> SyncResult {
        let api: Api<ResourceQuota> = self.context.api(&key.namespace);
        // Objects that come before a quota's first count hinder it, and must not do so for ever: the last try stands,
        // and is corrected soon.
        for hindered in 0..FIRST_TRIES {
            // By a list, since the original's role does not let it get one.
            let one = ListParams::default().fields(&format!("metadata.name={}", key.name));
            let Some(mut quota) = api.list(&one).await?.items.pop() else { return Ok(None) };
            let whole = serde_json::to_value(&quota)?;
            let is_first = whole["status"]["hard"] != whole["spec"]["hard"];
            let status = self.count(&key.namespace, &whole["spec"]).await?;
            let done = Ok(Some(Requeue::After(if is_first { SETTLED } else { RESYNC })));
            if same(&status, &whole["status"]) {
                return done;
            }
            quota.status = Some(serde_json::from_value(status)?);
            quota.metadata.managed_fields = None;
            if is_first && hindered == FIRST_TRIES - 1 {
                quota.metadata.resource_version = None;
            }
            match api.replace_status(&key.name, &PostParams::default(), &quota).await {
                Ok(_) => return done,
                Err(error) if is_code(&error, 404) => return Ok(None),
                // Something was charged meanwhile.
                Err(error) if is_code(&error, 409) && !is_first => return Ok(Some(Requeue::RateLimited)),
                Err(error) if is_code(&error, 409) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Requeue::RateLimited))
    }

    /// The status of a quota over what its namespace holds now.
    async fn count(self: &Arc<Self>, namespace: &str, spec: &Value) -> anyhow::Result<Value> {
        let now = Timestamp::now();
        let mut objects = HashMap::new();
        for resource in counted(&spec["hard"]) {
            let Some(found) = self.resource(&resource).await? else { continue };
            self.follow(&resource, &found);
            objects.insert(resource.clone(), self.list(&found, namespace).await?);
        }
        Ok(status(spec, &objects, now))
    }

    /// A resource by discovery, which is asked anew about those it did not have.
    async fn resource(&self, wanted: &Counted) -> kube::Result<Option<Arc<Resource>>> {
        let known = self.resources.lock().get(wanted).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = discover(&self.context.client).await?;
        let found =
            found.into_iter().filter(|resource| resource.namespaced && resource.can(&["list", "watch"]));
        let mut resources = self.resources.lock();
        *resources = found.map(|r| ((r.api.group.clone(), r.api.plural.clone()), r)).collect();
        Ok(resources.get(wanted).cloned())
    }

    /// The objects of a resource in a namespace, as they are now; whole only where more than their number counts.
    async fn list(&self, resource: &Resource, namespace: &str) -> anyhow::Result<Vec<Value>> {
        let measured = matches!(
            (resource.api.group.as_str(), resource.api.plural.as_str()),
            ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
        );
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let next = if measured {
                let list = resource.objects(&self.context.client, namespace).list(&page).await?;
                for object in list.items {
                    objects.push(serde_json::to_value(object)?);
                }
                list.metadata.continue_
            } else {
                let list = resource.objects(&self.context.client, namespace).list_metadata(&page).await?;
                objects.extend(list.items.iter().map(|_| Value::Null));
                list.metadata.continue_
            };
            match next.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    /// Watches a resource that quotas count, for deletions. Pods are watched anyway.
    fn follow(self: &Arc<Self>, counted: &Counted, resource: &Arc<Resource>) {
        if counted.0.is_empty() && counted.1 == "pods" {
            return;
        }
        let mut followed = self.followed.lock();
        if followed.contains_key(counted) {
            return;
        }
        let view = |object: Metadata| Trace {
            key: Key::of(&object.metadata),
            uid: object.metadata.uid.unwrap_or_default(),
            version: object.metadata.resource_version.unwrap_or_default(),
        };
        let api = resource.metadata(&self.context.client);
        let informer = Informer::start_mapped(api, Config::default(), self.context.stop.clone(), view);
        let (this, of) = (Arc::downgrade(self), counted.clone());
        informer.on_change(move |change| {
            if let (Change::Deleted(object), Some(this)) = (change, this.upgrade()) {
                this.recount(&of, &object.key.namespace);
            }
        });
        tracing::debug!(resource = resource.name(), "watching for quotas");
        // What was deleted after it was counted and before the watch began is told by nobody.
        let (synced, this) = (informer.synced(), Arc::downgrade(self));
        tokio::spawn(async move {
            synced.await;
            if let Some(this) = this.upgrade() {
                this.quotas.list().iter().for_each(|quota| this.queue.add(Key::of(&quota.metadata)));
            }
        });
        followed.insert(counted.clone(), informer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_summed_by_the_names_of_the_quota() {
        let of = |group: &str, plural: &str| (group.to_owned(), plural.to_owned());
        let pod = |cpu: &str, phase: &str| {
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
                "status": {"phase": phase}})
        };
        let objects = HashMap::from([
            (of("", "pods"), vec![pod("1", "Running"), pod("500m", "Pending"), pod("7", "Failed")]),
            (of("apps", "deployments"), vec![Value::Null]),
        ]);
        let check = |spec: Value, used: Value| {
            let status = status(&spec, &objects, Timestamp::now());
            assert_eq!(status, json!({"hard": spec["hard"], "used": used}));
        };
        let hard = json!({"pods": "5", "count/pods": "9", "requests.cpu": "4", "limits.cpu": "1"});
        check(
            json!({"hard": hard}),
            json!({"pods": "2", "count/pods": "3", "requests.cpu": "1500m", "limits.cpu": "0"}),
        );
        check(
            json!({"hard": {"count/deployments.apps": "1", "count/widgets.example.com": "1"}}),
            json!({"count/deployments.apps": "1"}),
        );
        check(json!({"scopes": ["BestEffort"], "hard": {"pods": "5"}}), json!({"pods": "0"}));
    }

    #[test]
    fn amounts_are_compared_as_numbers() {
        let status = |cpu: &str| json!({"hard": {"cpu": "1"}, "used": {"cpu": cpu}});
        assert!(same(&status("1000m"), &status("1")));
        assert!(!same(&status("1"), &status("2")));
        assert!(!same(&Value::Null, &status("0")));
    }
}
