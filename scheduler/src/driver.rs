//! Feeds the queue and the cache from informers, asks the algorithm, binds pods, makes room and reports failures.
mod bind;
mod counts;
mod evict;
mod extend;
mod extend_preemption;
mod report;
mod reserve;
mod watch;

use crate::algorithm::{Algorithm, Unschedulable};
use crate::args::{Args, DEFAULT_PORT};
use crate::cache::Cache;
use crate::config::Settings;
use crate::metrics::{Metrics, Took};
use crate::plugin::Event;
use crate::plugins::{Plan, claims_of, plan};
use crate::pod::PodView;
use crate::preemption::{Eviction, NoRoom};
use crate::profile::Profile;
use crate::queue::Queue;
use anyhow::{Context, Result};
use counts::Counts;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_component::events::series::Reporter;
use knarr_component::health::Health;
use knarr_component::lease::Elector;
use knarr_component::store::Key;
use knarr_component::{client, log, serving};
use kube::{Api, Client};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore, watch as channel};
use tokio_util::sync::CancellationToken;

/// The original's name of this process.
const NAME: &str = "kube-scheduler";

/// Runs the scheduler until `shutdown`.
///
/// # Errors
/// The kubeconfig cannot be used, the health port is taken, or the leader's lease was lost.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<()> {
    log::init(&args.logging);
    if !args.features.feature_gates.is_empty() {
        knarr_api::gates::set(&args.features.pairs()).context("--feature-gates")?;
    }
    let mut settings = settings(&args)?;
    let kubeconfig = settings.kubeconfig.take().or_else(|| args.connection.kubeconfig.clone());
    let client = client::connect(kubeconfig.as_deref(), "scheduler").await?;
    let health = Health::new();
    health.metrics(knarr_component::metrics::of_clients);
    let router = health.router();
    let started = serving::start(&args.server, DEFAULT_PORT, NAME, router, shutdown.clone()).await;
    started.context("cannot serve health and metrics")?;
    let election = settings.leader_election.take().unwrap_or_else(|| args.leader_election.clone());
    if !election.leader_elect {
        return lead(args, settings, client, health, shutdown).await;
    }
    let host = host_name();
    let identity = format!("{host}_{}", std::process::id());
    let elector = Elector::new(client.clone(), &election, NAME, identity);
    let elector = match knarr_api::gates::enabled("CoordinatedLeaderElection") {
        true => elector.coordinated(),
        false => elector,
    };
    elector.run(shutdown, |leading| lead(args, settings, client, health, leading)).await
}

/// What the configuration file says, or the flags where there is none.
fn settings(args: &Args) -> Result<Settings> {
    match &args.config {
        Some(path) => Ok(Settings::read(path)?),
        None => {
            let profile = Profile { name: args.scheduler_name.clone(), ..Profile::default() };
            Ok(Settings { profiles: vec![profile], ..Settings::default() })
        }
    }
}

/// The host's name, to tell candidates apart.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// What handlers of events and the scheduling loop share.
#[derive(Default)]
struct State {
    cache: Cache,
    queue: Queue,
}

/// The scheduler while it leads.
struct Scheduler {
    /// What reports as each scheduler name.
    reporters: HashMap<String, Reporter>,
    client: Client,
    extenders: Vec<extend::Connected>,
    state: Mutex<State>,
    wake: Notify,
    /// Changes whenever volumes, claims on them or claims on devices do.
    storage_changed: channel::Sender<()>,
    bindings: Arc<Semaphore>,
    metrics: Metrics,
}

/// What is to be done for a pod.
enum Decision {
    /// It goes to the node, once its volumes are there.
    Bind { node: String, plan: Plan },
    /// It cannot run now.
    Wait(Waiting),
}

/// Why a pod waits, and what is done about it.
struct Waiting {
    reason: &'static str,
    message: String,
    /// The node the pod is promised room on from now on; empty for none any more.
    promise: Option<String>,
    eviction: Option<Eviction>,
    /// Less important pods that lose their promised room.
    displaced: Vec<Arc<PodView>>,
}

impl Waiting {
    fn new(message: String) -> Self {
        Self { reason: "Unschedulable", message, promise: None, eviction: None, displaced: Vec::new() }
    }
}

async fn lead(
    args: Args,
    settings: Settings,
    client: Client,
    health: Health,
    stop: CancellationToken,
) -> Result<()> {
    let profiles = settings.profiles;
    let mut extenders = Vec::new();
    for extender in settings.extenders {
        extenders.push(extend::Connected::new(extender).await?);
    }
    let metrics = Metrics::default();
    let queue = Queue::new(settings.first_backoff, settings.longest_backoff).with_metrics(metrics.clone());
    let host = host_name();
    let reporter = |profile: &Profile| {
        (profile.name.clone(), Reporter::new(client.clone(), &profile.name, &host, stop.clone()))
    };
    let scheduler = Arc::new(Scheduler {
        reporters: profiles.iter().map(reporter).collect(),
        client: client.clone(),
        state: Mutex::new(State { queue, ..State::default() }),
        extenders,
        wake: Notify::new(),
        storage_changed: channel::Sender::new(()),
        bindings: Arc::new(Semaphore::new(args.parallel_bindings.max(1))),
        metrics,
    });
    let counts = Counts(Arc::downgrade(&scheduler));
    health.metrics(|registry| {
        scheduler.metrics.register(registry);
        registry.register_collector(Box::new(counts));
    });
    // Before everything is known a pod might be placed where there is no room.
    scheduler.watch(&stop).await;
    stop.run_until_cancelled(scheduler.work(profiles)).await;
    Ok(())
}

impl Scheduler {
    /// Takes one pod after the other; bindings go on beside.
    async fn work(self: Arc<Self>, profiles: Vec<Profile>) {
        let by_name = profiles.into_iter().map(|profile| (profile.name.clone(), Algorithm::new(profile)));
        let mut algorithms: HashMap<String, Algorithm> = by_name.collect();
        loop {
            let Ok(slot) = Arc::clone(&self.bindings).acquire_owned().await else { return };
            let woken = self.wake.notified();
            let (pod, wakeup) = {
                let mut state = self.state.lock();
                (state.queue.pop(Instant::now()), state.queue.next_wakeup())
            };
            let Some(pod) = pod else {
                match wakeup {
                    Some(time) => tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(time.into()) => {}
                    },
                    None => woken.await,
                }
                continue;
            };
            let Some(algorithm) = algorithms.get_mut(&pod.scheduler) else {
                self.state.lock().queue.remove(&pod.key);
                continue;
            };
            let timeout = algorithm.profile().bind_timeout;
            let decision = match self.extended(&pod) {
                true => self.decide_extended(algorithm, &pod).await,
                false => self.decide(algorithm, &pod),
            };
            let scheduler = Arc::clone(&self);
            tokio::spawn(async move {
                match decision {
                    Decision::Bind { node, plan } if plan.is_empty() => scheduler.bind(&pod, &node).await,
                    Decision::Bind { node, plan } => {
                        // Making volumes takes its time: others are bound meanwhile.
                        drop(slot);
                        return scheduler.bind_with_volumes(&pod, &node, &plan, timeout).await;
                    }
                    Decision::Wait(waiting) => scheduler.put_off(&pod, waiting).await,
                }
                drop(slot);
            });
            // A long queue must not keep informers and bindings of this thread from going on.
            tokio::task::yield_now().await;
        }
    }

    fn decide(&self, algorithm: &mut Algorithm, pod: &Arc<PodView>) -> Decision {
        let now = Instant::now();
        let mut state = self.state.lock();
        let found = algorithm.schedule(pod, state.cache.world_mut());
        self.tell_times(algorithm, pod, now);
        match found {
            Ok(node) => state.settle(pod, &node),
            Err(failure) if failure.fault.is_some() => state.fail(pod, *failure),
            Err(failure) => {
                let started = Instant::now();
                let waiting = state.make_room(algorithm, pod, failure, now);
                self.tell_preemption(algorithm, pod, &waiting, started);
                Decision::Wait(waiting)
            }
        }
    }

    /// That room was looked for, where the profile does.
    fn tell_preemption(&self, algorithm: &Algorithm, pod: &PodView, waiting: &Waiting, started: Instant) {
        if algorithm.profile().preemption.is_none() {
            return;
        }
        let status = if waiting.eviction.is_some() { "Success" } else { "Unschedulable" };
        let part = Took { point: "PostFilter", plugin: None, status, time: started.elapsed() };
        self.metrics.took(&pod.scheduler, part);
        self.metrics.preempted(waiting.eviction.as_ref().map(|eviction| eviction.victims.len()));
    }

    /// What a pod's attempt told of its times, which began then.
    fn tell_times(&self, algorithm: &mut Algorithm, pod: &PodView, started: Instant) {
        self.metrics.decided(&pod.scheduler, started.elapsed(), &algorithm.took());
    }

    async fn put_off(self: &Arc<Self>, pod: &Arc<PodView>, waiting: Waiting) {
        self.report(pod, waiting.reason, &waiting.message, waiting.promise.as_deref()).await;
        for other in &waiting.displaced {
            self.break_promise(other).await;
        }
        if let Some(eviction) = waiting.eviction {
            self.evict(pod, &eviction).await;
        }
    }

    fn pods(&self, key: &Key) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

impl State {
    /// Places the pod on the node.
    fn settle(&mut self, pod: &PodView, node: &str) -> Decision {
        let plan = self.assume(pod, node);
        self.queue.event(Event::PodPlaced, Instant::now());
        Decision::Bind { node: node.to_owned(), plan }
    }

    /// Counts the pod against the node, and volumes against its claims.
    fn assume(&mut self, pod: &PodView, node: &str) -> Plan {
        let world = self.cache.world_mut();
        let info = world.nodes().get(node);
        let mut plan = info.and_then(|info| plan(pod, &world.storage, &info.node)).unwrap_or_default();
        if let (Some(info), Ok(mut claims)) = (info, claims_of(pod, world)) {
            plan.special = world.devices.special(pod, info);
            claims.extend(plan.special.iter().map(|special| Arc::clone(&special.claim)));
            plan.devices = world.devices.allocate(&claims, &info.node).ok().flatten().unwrap_or_default();
        }
        for allocation in &plan.devices {
            if allocation.allocation.is_some() {
                world.devices.assumed.insert(allocation.claim.clone(), allocation.devices.clone());
            }
        }
        for (claim, volume) in &plan.bind {
            world.storage.assumed.insert(volume.name.clone(), claim.key.clone());
        }
        for claim in &plan.provision {
            world.storage.selected.insert(claim.key.clone(), node.to_owned());
        }
        self.cache.assume(pod, node);
        plan
    }

    /// Volumes, devices and claims count as the API says again.
    fn forget_plan(&mut self, plan: &Plan) {
        for allocation in &plan.devices {
            self.cache.world_mut().devices.assumed.remove(&allocation.claim);
        }
        let storage = &mut self.cache.world_mut().storage;
        for (_, volume) in &plan.bind {
            storage.assumed.remove(&volume.name);
        }
        for claim in &plan.provision {
            storage.selected.remove(&claim.key);
        }
    }

    /// A plugin failed: the pod is tried again after its back-off.
    fn fail(&mut self, pod: &PodView, failure: Unschedulable) -> Decision {
        self.queue.failed(&pod.key, Instant::now());
        let reason = "SchedulerError";
        Decision::Wait(Waiting { reason, ..Waiting::new(failure.fault.unwrap_or_default()) })
    }

    /// Sees whether less important pods can leave for the pod, and puts it off.
    fn make_room(
        &mut self,
        algorithm: &Algorithm,
        pod: &Arc<PodView>,
        failure: Box<Unschedulable>,
        now: Instant,
    ) -> Waiting {
        let found = algorithm.preempt(pod, self.cache.world_mut(), &failure);
        self.put_off(pod, *failure, found, now)
    }

    /// Puts a pod off, for which this room was found.
    fn put_off(
        &mut self,
        pod: &Arc<PodView>,
        mut failure: Unschedulable,
        found: Result<Eviction, NoRoom>,
        now: Instant,
    ) -> Waiting {
        let mut waiting = Waiting::new(String::new());
        let world = self.cache.world_mut();
        match found {
            Ok(eviction) => {
                let less = world.nominated.on(&eviction.node).filter(|other| other.priority < pod.priority);
                waiting.displaced = less.cloned().collect();
                waiting.displaced.iter().for_each(|other| {
                    world.nominated.remove(&other.key);
                });
                world.nominated.set(Arc::clone(pod), &eviction.node);
                world.nominated.made_by(&pod.key, &eviction.victims);
                waiting.promise = Some(eviction.node.clone());
                failure.events.push(Event::PodGone);
                waiting.eviction = Some(eviction);
            }
            Err(no_room) => {
                if !no_room.keeps_promise && world.nominated.remove(&pod.key) {
                    waiting.promise = Some(String::new());
                }
                failure.preemption = Some(no_room.message).filter(|message| !message.is_empty());
            }
        }
        waiting.message = failure.message();
        self.queue.unschedulable(&pod.key, &failure.events, now);
        waiting
    }
}

fn reference(pod: &PodView) -> ObjectReference {
    let Key { namespace, name } = pod.key.clone();
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(namespace),
        name: Some(name),
        uid: Some(pod.uid.clone()),
        resource_version: Some(pod.resource_version.clone()),
        field_path: None,
    }
}
