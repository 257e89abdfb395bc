//! Removing all that a kubelet left on a machine, and what belongs to no pod any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cgroups::{self, Cgroups};
use crate::context::Context;
use crate::labels;
use crate::logs::links;
use crate::manager::Manager;
use crate::runtime::choose::{self, Choice};
use crate::runtime::types::ContainerState;
use crate::runtime::{Runtime, RuntimeError, answering};
use crate::volumes::{disk, iscsi};

/// How often leftovers are looked for, and how often as long as there are some.
const PERIOD: Duration = Duration::from_secs(60);
const PERIOD_OF_SOME: Duration = Duration::from_secs(2);
/// How long containers get to stop whose pod only the runtime knows.
const GRACE: Duration = Duration::from_secs(1);

/// How long a runtime that was started to be cleaned may take until it serves.
const RUNTIME_START: Duration = Duration::from_secs(10);

/// Why a node could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The runtime refused.
    #[error("container runtime: {0}")]
    Runtime(#[from] RuntimeError),
    /// Files or mounts could not be removed.
    #[error("{path}: {source}")]
    Files {
        /// What could not be removed.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A node whose kubelet has ended.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its runtime.
    pub runtime: Choice,
    /// Its `--cgroup-root`.
    pub cgroup_root: String,
    /// How long containers get to stop.
    pub grace: Duration,
}

impl Node {
    fn cgroups(&self) -> Cgroups {
        Cgroups::new(cgroups::MOUNT, &self.cgroup_root)
    }

    /// Uids of the pods that have a directory or a cgroup.
    fn pods(&self) -> HashSet<String> {
        directories(&self.runtime.root_dir.join("pods")).into_iter().chain(self.cgroups().pods()).collect()
    }
}

/// Stops the node's pods and removes their sandboxes and containers from the runtime. Pods of other nodes on the same
/// runtime are left alone.
pub async fn remove_pods(node: &Node) -> Result<(), CleanupError> {
    let runtime = choose::open(&node.runtime)?;
    // If it never answers, the calls below say why.
    let _ = tokio::time::timeout(RUNTIME_START, answering(runtime.as_ref())).await;
    let uids = node.pods();
    let pods = uids.iter().map(|uid| remove_pod(runtime.as_ref(), uid, node.grace));
    for result in futures::future::join_all(pods).await {
        result?;
    }
    Ok(runtime.leave().await?)
}

/// Removes the volumes and cgroups of the node's pods, of which nothing may run any more.
pub fn remove_files(node: &Node) -> Result<(), CleanupError> {
    let cgroups = node.cgroups();
    for uid in &node.pods() {
        remove_rest(&node.runtime.root_dir.join("pods").join(uid), &cgroups, uid)?;
    }
    cgroups.remove_roots();
    let root = &node.runtime.root_dir;
    iscsi::release_unused(root).map_err(|source| CleanupError::Files { path: root.clone(), source })?;
    // What drivers staged: they run no more.
    let plugins = node.runtime.root_dir.join("plugins");
    disk::tear_down(&plugins).map_err(|source| CleanupError::Files { path: plugins.clone(), source })
}

/// Looks for leftovers now and then, once all sources of pods are known.
pub async fn run(manager: Arc<Manager>, stop: CancellationToken) {
    let removals = Removals::default();
    loop {
        let found = orphans(&manager, &removals).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "leftovers not removed");
            true
        });
        let wait = if found { PERIOD_OF_SOME } else { PERIOD };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {} // nothing tells of leftovers
        }
    }
}

/// Uids of pods that are being removed, each by a task of its own: one that takes long holds up no other.
#[derive(Clone, Default)]
struct Removals(Arc<Mutex<HashSet<String>>>);

impl Removals {
    /// Begins to remove what is left of a pod, unless that is under way.
    fn begin(&self, context: &Arc<Context>, uid: &str) {
        if !self.0.lock().insert(uid.to_owned()) {
            return;
        }
        tracing::info!(uid, "removing what is left of a pod");
        let (removals, context, uid) = (self.clone(), Arc::clone(context), uid.to_owned());
        tokio::spawn(async move {
            if let Err(error) = remove_orphan(&context, &uid).await {
                tracing::warn!(uid, %error, "leftovers of a pod not removed");
            }
            removals.0.lock().remove(&uid);
        });
    }
}

/// Removes what is left of a pod that is no more.
async fn remove_orphan(context: &Context, uid: &str) -> Result<(), CleanupError> {
    remove_pod(context.runtime.as_ref(), uid, GRACE).await?;
    let directory = context.facts.root_dir.join("pods").join(uid);
    if let Err(error) = context.csi.tear_down(uid, &directory).await {
        // Its driver may come back; the rest of the pod stays until then.
        tracing::warn!(uid, %error, "volume not unmounted");
        return Ok(());
    }
    remove_rest(&directory, &context.cgroups, uid)
}

/// Begins to remove sandboxes, containers, directories and cgroups of pods that are no more, and lets go what those had
/// that are gone; answers whether there were any.
async fn orphans(manager: &Arc<Manager>, removals: &Removals) -> Result<bool, CleanupError> {
    let context = manager.context();
    let sandboxes = context.runtime.list_pod_sandboxes(None).await?;
    let pods_dir = context.facts.root_dir.join("pods");
    let mut uids: HashSet<String> = directories(&pods_dir).into_iter().collect();
    uids.extend(context.cgroups.pods());
    let owner = context.facts.root_dir.display().to_string();
    let own = sandboxes.into_iter().filter(|sandbox| sandbox.labels.get(labels::OWNER) == Some(&owner));
    uids.extend(own.filter_map(|mut sandbox| sandbox.labels.remove(labels::POD_UID)));
    let mut known = manager.uids();
    uids.retain(|uid| !known.contains(uid));
    uids.iter().for_each(|uid| removals.begin(context, uid));
    let found = !uids.is_empty();
    // They have what they have until nothing of them is left.
    known.extend(uids);
    let root = context.facts.root_dir.clone();
    let released = tokio::task::spawn_blocking(move || iscsi::release_unused(&root)).await;
    if let Ok(Err(error)) = released {
        tracing::warn!(%error, "iSCSI disks not let go");
    }
    context.grants.retain(|uid| known.contains(uid));
    context.users.retain(|uid| known.contains(uid));
    for uid in context.grants.dra.pods().iter().filter(|uid| !known.contains(*uid)) {
        if let Err(error) = context.grants.dra.release(uid).await {
            // Its driver may come back.
            tracing::warn!(uid, error, "claims not let go");
        }
    }
    let logs = &context.facts.pod_logs_dir;
    for name in directories(logs) {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if !known.contains(uid) && !manager.uids().contains(uid) {
            let _ = tokio::fs::remove_dir_all(logs.join(&name)).await;
        }
    }
    links::tidy(logs);
    Ok(found)
}

/// Stops and removes all sandboxes and containers of a pod.
async fn remove_pod(runtime: &dyn Runtime, uid: &str, grace: Duration) -> Result<(), RuntimeError> {
    let containers = runtime.list_containers(Some(uid)).await?;
    let running = containers.iter().filter(|container| container.state() == ContainerState::Running);
    let stops = running.map(|container| runtime.stop_container(&container.id, grace));
    for result in futures::future::join_all(stops).await {
        result?;
    }
    for sandbox in runtime.list_pod_sandboxes(Some(uid)).await? {
        runtime.stop_pod_sandbox(&sandbox.id).await?;
        runtime.remove_pod_sandbox(&sandbox.id).await?;
    }
    for container in runtime.list_containers(Some(uid)).await? {
        runtime.remove_container(&container.id).await?;
    }
    Ok(())
}

fn remove_rest(directory: &Path, cgroups: &Cgroups, uid: &str) -> Result<(), CleanupError> {
    let fail = |source| CleanupError::Files { path: directory.to_owned(), source };
    disk::tear_down(directory).map_err(fail)?;
    cgroups.remove_pod(uid).map_err(fail)
}

fn directories(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.path().is_dir());
    directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
