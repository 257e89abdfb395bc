//! Whole lives of pods on a runtime without containers.

use std::time::Instant;

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_component::events::Recorder;

use super::*;
use crate::api::Standalone;
use crate::cgroups::Cgroups;
use crate::context::Facts;
use crate::cpus::CpuManager;
use crate::csi::Csi;
use crate::devices::Devices;
use crate::dra::Dra;
use crate::eviction::Evictions;
use crate::grants::{Grants, Nearness};
use crate::images::pulled::Pulled;
use crate::memory::{MemoryManager, OfNodes};
use crate::runtime::Runtime;
use crate::runtime::fake::FakeRuntime;
use crate::status::VerdictKind;
use crate::topology::cpus::{CpuSet, Cpus};
use crate::userns::{Ids, Users};

struct World {
    runtime: Arc<FakeRuntime>,
    context: Arc<Context>,
    inbox: Arc<Inbox>,
    _dir: tempfile::TempDir,
}

impl World {
    fn start(manifest: &str) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::create_dir(dir.path().join("cpu")).expect("cgroups");
        let runtime = Arc::new(FakeRuntime::default());
        let preloaded = CancellationToken::new();
        preloaded.cancel();
        let context = Arc::new(Context {
            runtime: Arc::clone(&runtime) as _,
            runtime_name: "fake".to_owned(),
            facts: Facts {
                name: "n".to_owned(),
                ips: vec!["1.1.1.1".to_owned()],
                root_dir: dir.path().join("root"),
                pod_logs_dir: dir.path().join("logs"),
                ..Default::default()
            },
            cgroups: Cgroups::new(dir.path(), "/"),
            grants: Arc::new(Grants::new(
                Devices::open(dir.path(), CancellationToken::new()),
                Dra::open(dir.path()),
                CpuManager::open(
                    dir.path(),
                    Default::default(),
                    Default::default(),
                    Cpus::default(),
                    CpuSet::new(),
                )
                .expect("CPUs"),
                MemoryManager::open(dir.path(), Default::default(), OfNodes::new(), &OfNodes::new(), 0)
                    .expect("memory"),
                Nearness::default(),
            )),
            users: Arc::new(
                Users::open(dir.path().join("root/pods"), Ids::of_host(1 << 16, 1 << 16, 1).expect("ids"))
                    .expect("users"),
            ),
            csi: Csi::new(dir.path().join("root"), "n"),
            exclusive: Default::default(),
            lookup: Arc::new(Standalone),
            services: Arc::new(Standalone),
            shutdown: Arc::default(),
            evictions: Evictions::new(Default::default()),
            events: Recorder::discarding(),
            statuses: Arc::default(),
            preloaded,
            pulled: Pulled::open(dir.path(), Default::default()),
        });
        let inbox = Inbox::new(Arc::new(pod::tests::pod(manifest)));
        let worker = Worker::new(Arc::clone(&context), Arc::clone(&inbox));
        tokio::spawn(worker.run(CancellationToken::new()));
        Self { runtime, context, inbox, _dir: dir }
    }

    fn status(&self) -> PodStatus {
        self.context.statuses.get("u").unwrap_or_default()
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap_or_default()
    }

    fn ready(&self) -> bool {
        let conditions = self.status().conditions.unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    fn condition(&self, kind: &str) -> Option<PodCondition> {
        self.status().conditions.into_iter().flatten().find(|condition| condition.type_ == kind)
    }

    fn exit(&self, name: &str, code: i32) {
        self.runtime.exit(name, code);
        self.inbox.poke();
    }

    fn delete(&self) {
        let mut pod = Pod::clone(&self.inbox.pod());
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
        pod.metadata.deletion_grace_period_seconds = Some(30);
        self.inbox.update(Arc::new(pod), None);
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}: {:?}", self.runtime.journal());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn did(&self, what: &str) -> bool {
        self.runtime.journal().iter().any(|entry| entry == what)
    }
}

fn manifest(spec: &str) -> String {
    format!("{{metadata: {{name: p, namespace: d, uid: u}}, spec: {spec}}}")
}

#[tokio::test]
async fn runs_and_goes() {
    let world = World::start(&manifest(
        "{initContainers: [{name: i, image: 'x:1'}, {name: s, image: 'x:1', restartPolicy: Always}], containers: [
           {name: a, image: 'x:1', command: [run, $(A)], env: [{name: A, value: b}],
            lifecycle: {preStop: {exec: {command: [bye]}}}}]}",
    ));
    world.until("the init container runs", |w| w.did("start i")).await;
    assert!(!world.did("create s"), "one after the other");
    world.exit("i", 0);
    world.until("ready", World::ready).await;
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().pod_ip.as_deref(), Some("10.0.0.7"));
    assert_eq!(world.runtime.config("a").expect("made").command, ["run", "b"]);
    world.delete();
    world.until("stopped", |w| w.did("stop sandbox")).await;
    let journal = world.runtime.journal();
    let at = |what: &str| journal.iter().position(|entry| entry == what).expect(what);
    assert!(at("exec a: bye") < at("stop a"), "hook first: {journal:?}");
    assert!(at("stop a") < at("stop s"), "sidecars last: {journal:?}");
    assert_eq!(world.runtime.count().0, 1, "the sandbox stays until the object is gone");
    world.inbox.remove();
    world.until("nothing is left", |w| w.inbox.done.is_cancelled() && w.runtime.count() == (0, 0)).await;
    assert!(!world.context.pod_dir("u").exists());
}

/// Hooks do not wait for others to stop; containers do.
#[tokio::test]
async fn all_pre_stop_hooks_run_at_once() {
    let bye = "lifecycle: {preStop: {exec: {command: [bye]}}}";
    let world = World::start(&manifest(&format!(
        "{{initContainers: [{{name: s, image: 'x:1', restartPolicy: Always, {bye}}},
           {{name: t, image: 'x:1', restartPolicy: Always, {bye}}}],
         containers: [{{name: a, image: 'x:1', lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}}}]}}"
    )));
    world.until("ready", World::ready).await;
    world.delete();
    world.until("stopped", |w| w.did("stop sandbox")).await;
    let mut journal = world.runtime.journal();
    journal.retain(|entry| entry.starts_with("stop") || entry.starts_with("exec"));
    journal[..2].sort();
    assert_eq!(journal, ["exec s: bye", "exec t: bye", "stop a", "stop t", "stop s", "stop sandbox"]);
}

/// A new sandbox begins with the init containers.
#[tokio::test]
async fn begins_anew_in_another_sandbox() {
    let world = World::start(&manifest(
        "{initContainers: [{name: i, image: 'x:1'}], containers: [{name: a, image: 'x:1'}]}",
    ));
    world.until("the init container runs", |w| w.did("start i")).await;
    world.exit("i", 0);
    world.until("ready", World::ready).await;
    let sandbox = world.runtime.list_pod_sandboxes(Some("u")).await.expect("list").remove(0).id;
    world.runtime.stop_pod_sandbox(&sandbox).await.expect("stopped");
    world.inbox.poke();
    let count = |w: &World, what: &str| w.runtime.journal().iter().filter(|entry| *entry == what).count();
    world.until("the init container runs again", |w| count(w, "start i") == 2).await;
    assert_eq!(count(&world, "start a"), 1, "one after the other");
    let restarts = |list: Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
        list.unwrap_or_default().first().map(|status| status.restart_count)
    };
    world.until("told", |w| restarts(w.status().init_container_statuses) == Some(1)).await;
    world.exit("i", 0);
    world.until("it runs again", |w| count(w, "start a") == 2).await;
    world.until("told", |w| restarts(w.status().container_statuses) == Some(1)).await;
}

/// Nothing outlives a pod that is deleted while its container is being started.
#[tokio::test]
async fn deleted_while_a_container_starts() {
    let world = World::start(&manifest("{containers: [{name: a, image: 'x:1'}]}"));
    let closed = world.runtime.starts.try_lock().expect("nothing starts yet");
    world.until("the container is made", |w| w.did("create a")).await;
    world.delete();
    // A look at the pod that is told to stop, were it not held.
    tokio::task::yield_now().await;
    drop(closed);
    world.until("stopped", |w| w.did("stop sandbox")).await;
    let journal = world.runtime.journal();
    let at = |what: &str| journal.iter().position(|entry| entry == what).expect(what);
    assert!(at("start a") < at("stop a") && at("stop a") < at("stop sandbox"), "{journal:?}");
    world.inbox.remove();
    world.until("nothing is left", |w| w.inbox.done.is_cancelled() && w.runtime.count() == (0, 0)).await;
}

/// A container that the runtime starts after the end, for a kubelet that is no more, is stopped.
#[tokio::test]
async fn started_after_the_end() {
    let world = World::start(&manifest("{containers: [{name: a, image: 'x:1'}]}"));
    world.until("ready", World::ready).await;
    world.delete();
    world.until("ended", |w| w.did("stop sandbox")).await;
    let id = world.runtime.newest("a").expect("made");
    world.runtime.start_container(&id).await.expect("late start");
    let stops = |w: &World| w.runtime.journal().iter().filter(|entry| *entry == "stop a").count();
    assert_eq!(stops(&world), 1);
    world.inbox.poke();
    world.until("stopped again", |w| stops(w) == 2).await;
    world.inbox.remove();
    world.until("nothing is left", |w| w.inbox.done.is_cancelled() && w.runtime.count() == (0, 0)).await;
}

#[tokio::test]
async fn restarts_by_policy() {
    let world = World::start(&manifest("{restartPolicy: OnFailure, containers: [{name: a, image: 'x:1'}]}"));
    world.until("running", |w| w.phase() == "Running").await;
    world.exit("a", 1);
    let restarts =
        |w: &World| w.status().container_statuses.unwrap_or_default().first().map(|s| s.restart_count);
    world.until("restarted", |w| restarts(w) == Some(1)).await;
    world.exit("a", 1);
    let reason = |w: &World| {
        let statuses = w.status().container_statuses.unwrap_or_default();
        statuses.first()?.state.clone()?.waiting?.reason
    };
    world.until("waiting", |w| reason(w).as_deref() == Some("CrashLoopBackOff")).await;
    assert_eq!(world.phase(), "Running");
}

#[tokio::test]
async fn completes() {
    let world = World::start(&manifest("{restartPolicy: Never, containers: [{name: a, image: 'x:1'}]}"));
    world.until("running", |w| w.phase() == "Running").await;
    world.exit("a", 0);
    world.until("succeeded", |w| w.phase() == "Succeeded").await;
    world.until("cleaned", |w| w.did("stop sandbox")).await;
    assert_eq!(world.runtime.count(), (1, 1), "its log can still be read");
}

#[tokio::test]
async fn missing_images_and_eviction() {
    let world = World::start(&manifest("{containers: [{name: a, image: 'missing:1'}]}"));
    let reason = |w: &World| {
        let statuses = w.status().container_statuses.unwrap_or_default();
        statuses.first()?.state.clone()?.waiting?.reason
    };
    world.until("the pull failed", |w| reason(w).as_deref() == Some("ErrImagePull")).await;
    assert_eq!(world.phase(), "Pending");
    let (reason, message) = ("Evicted".to_owned(), "because".to_owned());
    world.inbox.evict(Verdict { reason, message, kind: VerdictKind::Evicted(1) });
    world.until("failed", |w| w.phase() == "Failed").await;
    assert_eq!(world.status().reason.as_deref(), Some("Evicted"));
}

/// A pod goes on with what it has until it is given what it asks for.
#[tokio::test]
async fn resized() {
    let asking = |cpu: &str| {
        manifest(&format!(
            "{{restartPolicy: OnFailure, containers: [
               {{name: a, image: 'x:1', resources: {{requests: {{cpu: {cpu}}}}}}}, {{name: b, image: 'x:1'}}]}}"
        ))
    };
    let world = World::start(&asking("1"));
    world.until("ready", World::ready).await;
    // A container that is done is not waited for.
    world.exit("b", 0);
    world.until("one is done", |world| !world.ready()).await;
    let pending = Pending { reason: "Infeasible", message: "too much".to_owned() };
    let asked = Asked { pod: Arc::new(pod::tests::pod(&asking("50"))), pending };
    world.inbox.update(world.inbox.pod(), Some(asked));
    let told = |world: &World| {
        let condition = world.condition("PodResizePending").unwrap_or_default();
        (condition.reason.as_deref(), condition.message.as_deref()) == (Some("Infeasible"), Some("too much"))
    };
    world.until("told", told).await;
    assert!(!world.did("resize a"));
    world.inbox.update(Arc::new(pod::tests::pod(&asking("2"))), None);
    let over = |world: &World| {
        ["PodResizePending", "PodResizeInProgress"].iter().all(|kind| world.condition(kind).is_none())
    };
    world.until("resized", |world| world.did("resize a") && over(world)).await;
    let allocated = world.status().container_statuses.unwrap_or_default().remove(0).allocated_resources;
    assert_eq!(allocated.expect("resources")["cpu"].0, "2");
}
