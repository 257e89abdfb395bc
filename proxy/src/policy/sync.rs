//! Keeps the table of the policies as the world wants it, and follows pods and namespaces only once there is a policy.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use knarr_component::informer::Informers;
use knarr_component::store::Key;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::index::FORWARD;
use super::{Config, Index, Pod, Policy};
use crate::names;
use crate::nft::{self, Family, Monitor, Nft, RuleSet};

/// Waits between repeated failures.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// What is known, and the sign that it changed.
#[derive(Debug)]
pub struct Watched {
    /// What is known.
    pub index: Mutex<Index>,
    /// Told after each change.
    pub changed: Notify,
}

impl Watched {
    /// Nothing is known yet.
    pub fn new(config: Config) -> Arc<Watched> {
        Arc::new(Watched { index: Mutex::new(Index::new(config)), changed: Notify::new() })
    }

    fn change(&self, change: impl FnOnce(&mut Index)) {
        change(&mut self.index.lock());
        self.changed.notify_one();
    }
}

/// Follows the policies of a cluster until `stop`. Rules stay when it ends.
pub async fn run(
    config: Config,
    cluster: &str,
    informers: Informers,
    period: Duration,
    stop: CancellationToken,
) {
    let watched = Watched::new(config);
    let policies = informers.get::<NetworkPolicy>();
    let of_policies = watched.clone();
    policies.on_change(move |change| {
        let (object, gone) = (change.object(), change.is_deletion());
        let policy = (!gone).then(|| Policy::read(object));
        of_policies.change(|index| index.set_policy(&key(&object.metadata), policy));
    });
    policies.synced().await;
    let follow = async {
        loop {
            if stop.is_cancelled() || watched.index.lock().has_policies() {
                return;
            }
            tokio::select! {
                () = watched.changed.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    };
    let table = match Table::open(cluster) {
        Ok(table) => table,
        Err(error) => return tracing::error!(%error, "network policies are not enforced"),
    };
    // What a former process left is of policies that are gone meanwhile, if there are none.
    if !watched.index.lock().has_policies() {
        table.remove().await;
    }
    follow.await;
    if stop.is_cancelled() {
        return;
    }
    follow_pods(&informers, &watched).await;
    if let Err(error) = table.keep(&watched, period, stop).await {
        tracing::error!(%error, "network policies are not enforced any more: cannot hear of rule changes");
    }
}

/// Returns when all pods and namespaces are known.
async fn follow_pods(informers: &Informers, watched: &Arc<Watched>) {
    let (pods, namespaces) = (informers.get::<core::Pod>(), informers.get::<core::Namespace>());
    let of_pods = watched.clone();
    pods.on_change(move |change| {
        let (object, gone) = (change.object(), change.is_deletion());
        let pod = if gone { None } else { Pod::read(object) };
        of_pods.change(|index| index.set_pod(&key(&object.metadata), pod));
    });
    let of_namespaces = watched.clone();
    namespaces.on_change(move |change| {
        let (object, gone) = (change.object(), change.is_deletion());
        let labels = (!gone).then(|| object.metadata.labels.clone().unwrap_or_default());
        let name = object.metadata.name.clone().unwrap_or_default();
        of_namespaces.change(|index| index.set_namespace(&name, labels));
    });
    futures::join!(pods.synced(), namespaces.synced());
}

/// What informers of pods leave out: policies need little.
pub(crate) fn trim(pod: &mut core::Pod) {
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
    if let Some(spec) = pod.spec.take() {
        let ports = |container: core::Container| core::Container {
            name: container.name,
            ports: container.ports,
            ..core::Container::default()
        };
        pod.spec = Some(core::PodSpec {
            host_network: spec.host_network,
            node_name: spec.node_name,
            containers: spec.containers.into_iter().map(ports).collect(),
            init_containers: spec.init_containers.map(|all| all.into_iter().map(ports).collect()),
            ..core::PodSpec::default()
        });
    }
    if let Some(status) = pod.status.take() {
        let core::PodStatus { phase, pod_ips, .. } = status;
        pod.status = Some(core::PodStatus { phase, pod_ips, ..core::PodStatus::default() });
    }
}

fn key(meta: &ObjectMeta) -> String {
    let Key { namespace, name } = Key::of(meta);
    format!("{namespace}/{name}")
}

/// The table in the kernel.
pub struct Table {
    nft: Nft,
    name: String,
}

impl Table {
    /// The table of a cluster.
    pub fn open(cluster: &str) -> Result<Table, nft::Error> {
        Ok(Table { nft: Nft::open()?, name: names::policy_table(cluster) })
    }

    async fn remove(&self) {
        if let Err(error) = self.nft.delete_table(&self.name).await {
            tracing::warn!(%error, "rules of former network policies stay");
        }
    }

    /// Writes what differs after every change, and everything after somebody removed it or when a look now and then finds
    /// other rules than there should be, until `stop`.
    pub async fn keep(
        &self,
        watched: &Watched,
        period: Duration,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let mut monitor = Monitor::open(&self.name)?;
        let (mut applied, mut retry): (Option<RuleSet>, Duration) = (None, FIRST_RETRY);
        loop {
            let wanted = watched.index.lock().rules();
            let wait = match self.apply(applied.as_ref(), &wanted).await {
                Ok(()) => {
                    applied = Some(wanted);
                    retry = FIRST_RETRY;
                    period
                }
                Err(error) => {
                    tracing::warn!(%error, "network policies not written, all will be written in {retry:?}");
                    applied = None;
                    let pause = retry;
                    retry = (retry * 2).min(LONGEST_RETRY);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = watched.changed.notified(), if applied.is_some() => {}
                () = tokio::time::sleep(wait) => {
                    if let Some(rules) = &applied && !self.nft.holds(&self.name, rules).await.unwrap_or(false) {
                        applied = None;
                    }
                }
                deleted = monitor.deleted() => {
                    deleted?;
                    let there = self.nft.has_chain(Family::V4, &self.name, FORWARD).await;
                    if !there.unwrap_or(false) {
                        applied = None;
                    }
                }
            }
        }
    }

    async fn apply(&self, applied: Option<&RuleSet>, wanted: &RuleSet) -> Result<(), nft::Error> {
        match applied {
            _ if *wanted == RuleSet::default() => match applied {
                Some(applied) if applied == wanted => Ok(()),
                _ => self.nft.delete_table(&self.name).await,
            },
            Some(applied) if *applied != RuleSet::default() => {
                self.nft.apply(&nft::diff(&self.name, applied, wanted)).await
            }
            _ => self.nft.apply(&nft::full(&self.name, wanted)).await,
        }
    }
}
