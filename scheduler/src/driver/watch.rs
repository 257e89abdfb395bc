//! From informers to queue and cache.
use super::Scheduler;
use crate::node::NodeView;
use crate::plugin::Event;
use crate::pod::{Pod, PodView};
use crate::storage::{Attachable, Capacity, Claim, Class, Driver, Volume};
use crate::views;
use crate::world::World;
use knarr_component::informer::{Change, Informer};
use knarr_component::store::Object;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pods that have ended use nothing and need no place.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

impl Scheduler {
    /// Starts all informers; returns when everything is known.
    pub(super) async fn watch(self: &Arc<Self>, stop: &CancellationToken) {
        let pods = Api::<Pod>::all(self.client.clone());
        let unfinished = watcher::Config::default().fields(UNFINISHED);
        let pods = Informer::start_mapped(pods, unfinished, stop.clone(), PodView::new);
        let nodes = self.informer(stop, NodeView::new, |this, change| this.node_changed(&change));
        tokio::join!(
            self.informer(stop, views::namespace, |this, change| {
                this.other(Some(Event::Namespace), |world| {
                    let object = change.object();
                    let labels = (!change.is_deletion()).then(|| object.value.clone());
                    world.set_namespace(&object.key.name, labels);
                });
            })
            .synced(),
            self.informer(stop, views::budget, |this, change| {
                this.other(None, |world| match &change {
                    Change::Deleted(object) => drop(world.budgets.remove(&object.key)),
                    _ => {
                        let object = change.object();
                        world.budgets.insert(object.key.clone(), object.value.clone());
                    }
                });
            })
            .synced(),
            self.informer(stop, views::service, |this, change| {
                this.other(None, |world| set(&mut world.services, &change));
            })
            .synced(),
            self.workloads(stop, "ReplicationController", views::replication_controller).synced(),
            self.workloads(stop, "ReplicaSet", views::replica_set).synced(),
            self.workloads(stop, "StatefulSet", views::stateful_set).synced(),
            self.watch_storage(stop),
            self.watch_devices(stop),
        );
        nodes.synced().await;
        // Pods go last: what they need is known when they come.
        let shared = Arc::clone(self);
        pods.on_change(move |change| shared.pod_changed(&change));
        pods.synced().await;
    }

    async fn watch_storage(self: &Arc<Self>, stop: &CancellationToken) {
        let volumes = self.informer(stop, Volume::new, |this, change: Change<'_, Volume>| {
            this.storage(|world| {
                let volume = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.volumes.remove(&volume.name)),
                    false => drop(world.storage.volumes.insert(volume.name.clone(), Arc::clone(volume))),
                }
            });
        });
        let claims = self.informer(stop, Claim::new, |this, change: Change<'_, Claim>| {
            this.storage(|world| {
                let claim = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.claims.remove(&claim.key)),
                    false => drop(world.storage.claims.insert(claim.key.clone(), Arc::clone(claim))),
                }
            });
        });
        let classes = self.informer(stop, Class::new, |this, change: Change<'_, Class>| {
            this.storage(|world| {
                let class = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.classes.remove(&class.name)),
                    false => drop(world.storage.classes.insert(class.name.clone(), Arc::clone(class))),
                }
            });
        });
        let attachable = self.informer(stop, Attachable::new, |this, change: Change<'_, Attachable>| {
            this.storage(|world| {
                let node = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.attachable.remove(&node.name)),
                    false => drop(world.storage.attachable.insert(node.name.clone(), Arc::clone(node))),
                }
            });
        });
        let capacities = self.informer(stop, Capacity::new, |this, change: Change<'_, Capacity>| {
            this.storage(|world| {
                let capacity = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.capacities.remove(&capacity.key)),
                    false => {
                        drop(world.storage.capacities.insert(capacity.key.clone(), Arc::clone(capacity)));
                    }
                }
            });
        });
        let drivers = self.informer(stop, Driver::new, |this, change: Change<'_, Driver>| {
            this.storage(|world| {
                let driver = change.object();
                match change.is_deletion() {
                    true => drop(world.storage.drivers.remove(&driver.name)),
                    false => drop(world.storage.drivers.insert(driver.name.clone(), Arc::clone(driver))),
                }
            });
        });
        tokio::join!(volumes.synced(), claims.synced(), classes.synced(), attachable.synced());
        tokio::join!(capacities.synced(), drivers.synced());
    }

    async fn watch_devices(self: &Arc<Self>, stop: &CancellationToken) {
        let claims = self.informer(stop, views::resource_claim, |this, change| {
            this.other(Some(Event::Device), |world| {
                let claim = change.object();
                match change.is_deletion() {
                    true => drop(world.devices.claims.remove(&claim.key)),
                    false => world.devices.set_claim(claim),
                }
            });
            this.storage_changed.send_replace(());
        });
        let slices = self.informer(stop, views::resource_slice, |this, change| {
            this.other(Some(Event::Device), |world| {
                let slice = change.object();
                match change.is_deletion() {
                    true => drop(world.devices.slices.remove(&slice.key.name)),
                    false => drop(world.devices.slices.insert(slice.key.name.clone(), Arc::clone(slice))),
                }
            });
        });
        let classes = self.informer(stop, views::device_class, |this, change| {
            this.other(Some(Event::Device), |world| {
                let class = change.object();
                match change.is_deletion() {
                    true => drop(world.devices.classes.remove(&class.key.name)),
                    false => drop(world.devices.classes.insert(class.key.name.clone(), Arc::clone(class))),
                }
            });
        });
        tokio::join!(claims.synced(), slices.synced(), classes.synced());
        if knarr_api::gates::enabled("DRADeviceTaintRules") {
            self.watch_taint_rules(stop).await;
        }
    }

    async fn watch_taint_rules(self: &Arc<Self>, stop: &CancellationToken) {
        let rules = self.informer(stop, views::device_taint_rule, |this, change| {
            this.other(Some(Event::Device), |world| {
                let rule = change.object();
                match change.is_deletion() {
                    true => drop(world.devices.rules.remove(&rule.key.name)),
                    false => drop(world.devices.rules.insert(rule.key.name.clone(), Arc::clone(rule))),
                }
            });
        });
        rules.synced().await;
    }

    /// An informer whose changes go to `handle`.
    fn informer<K, V>(
        self: &Arc<Self>,
        stop: &CancellationToken,
        view: fn(K) -> V,
        handle: impl Fn(&Self, Change<'_, V>) + Send + 'static,
    ) -> Informer<V>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        V: Object,
    {
        let api = Api::<K>::all(self.client.clone());
        let informer = Informer::start_mapped(api, watcher::Config::default(), stop.clone(), view);
        let shared = Arc::clone(self);
        informer.on_change(move |change| handle(&shared, change));
        informer
    }

    fn workloads<K>(
        self: &Arc<Self>,
        stop: &CancellationToken,
        kind: &'static str,
        view: fn(K) -> views::Named<crate::selector::Selector>,
    ) -> Informer<views::Named<crate::selector::Selector>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        self.informer(stop, view, move |this, change| {
            this.other(None, |world| set(world.workloads.entry(kind).or_default(), &change));
        })
    }

    /// Something other than nodes and pods changed.
    fn other(&self, event: Option<Event>, apply: impl FnOnce(&mut World)) {
        let mut state = self.state.lock();
        apply(state.cache.world_mut());
        let Some(event) = event else { return };
        state.queue.event(event, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    fn storage(&self, apply: impl FnOnce(&mut World)) {
        self.other(Some(Event::Volume), apply);
        self.storage_changed.send_replace(());
    }

    fn node_changed(&self, change: &Change<'_, NodeView>) {
        let mut state = self.state.lock();
        match change {
            Change::Deleted(node) => state.cache.remove_node(&node.name),
            Change::Added(node) => state.cache.set_node(Arc::clone(node)),
            Change::Updated { old, new } => {
                state.cache.set_node(Arc::clone(new));
                if !may_help(old, new) {
                    return;
                }
            }
        }
        state.queue.event(Event::Node, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    fn pod_changed(&self, change: &Change<'_, PodView>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let pod = change.object();
        if change.is_deletion() {
            state.queue.remove(&pod.key);
            state.cache.remove_pod(pod);
            state.queue.event(Event::PodGone, now);
        } else if pod.waits() {
            state.cache.set_pod(pod);
            if !state.cache.is_placed(pod) {
                let before = match change {
                    Change::Updated { old, .. } => old.nominated.as_str(),
                    _ => "",
                };
                if state.cache.promised(pod, before) {
                    state.queue.event(Event::PodGone, now);
                }
                if self.reporters.contains_key(&pod.scheduler) {
                    match pod.may_be_tried() {
                        true => state.queue.set(Arc::clone(pod)),
                        false if pod.deleting => state.queue.remove(&pod.key),
                        false => state.queue.hold(&pod.key),
                    }
                }
            }
        } else {
            state.queue.remove(&pod.key);
            let was_placed = state.cache.is_placed(pod);
            state.cache.world_mut().nominated.remove(&pod.key);
            state.cache.set_pod(pod);
            match (was_placed, pod.occupies()) {
                (true, false) => state.queue.event(Event::PodGone, now),
                (false, true) => state.queue.event(Event::PodPlaced, now),
                _ => {}
            }
        }
        drop(state);
        self.wake.notify_one();
    }
}

fn set(
    selectors: &mut crate::world::Selectors,
    change: &Change<'_, views::Named<crate::selector::Selector>>,
) {
    let object = change.object();
    match change.is_deletion() {
        true => selectors.remove(&object.key),
        false => selectors.insert(object.key.clone(), object.value.clone()),
    };
}

/// Whether a node's change may let a pod onto it: its heartbeat does not.
fn may_help(old: &NodeView, new: &NodeView) -> bool {
    old.labels != new.labels
        || old.taints != new.taints
        || old.unschedulable != new.unschedulable
        || old.allocatable != new.allocatable
        || old.features != new.features
        || old.max_pods != new.max_pods
}
