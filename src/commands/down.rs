//! `knarr down`: stop a cluster and leave nothing of it behind: no process, container, mount, interface, rule,
//! control group or file.
use crate::cluster::home::HomeLock;
use crate::cluster::state::Newer;
use crate::cluster::{Cluster, Paths, paths, preflight};
use crate::progress::Progress;
use crate::supervisor::{self, components, holder, runtime_choice};
use crate::{cli, containerd, kubeconfig};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;

/// How long containers get to end before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// Flags of `knarr down`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:\n  knarr down\n  knarr down --name ci-1\n  knarr down --all")]
pub struct Args {
    #[command(flatten)]
    cluster: cli::ClusterName,
    /// Every cluster of this host
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: cli::Output,
}

/// Runs `knarr down`.
pub async fn run(args: Args) -> Result<()> {
    let home = paths::home();
    let names = if args.all { Cluster::names(&home)? } else { vec![args.cluster.name] };
    for name in &names {
        let cluster = find(&home, name)?;
        let mut progress = Progress::new(args.output);
        remove(&home, &cluster, &mut progress).await?;
        progress.done();
    }
    if args.output == cli::Output::Json {
        cli::print(serde_json::json!({"removed": names}))?;
    }
    Ok(())
}

/// The cluster of that name, whole or what is left of it.
fn find(home: &Path, name: &str) -> Result<Cluster> {
    preflight::name(name)?;
    match Cluster::find(home, name) {
        Ok(Some(cluster)) => Ok(cluster),
        Ok(None) if !Paths::new(home, name).root().exists() => {
            bail!("there is no cluster {name:?} on this host; `knarr status` lists those there are")
        }
        Err(e) if e.is::<Newer>() => Err(e),
        Err(e) if e.downcast_ref::<std::io::Error>().is_some() => Err(e),
        // Its file is missing or damaged: everything of it is known by its name.
        Ok(None) | Err(_) => Ok(Cluster::salvage(home, name)),
    }
}

/// Stops a cluster and removes everything of it.
pub async fn remove(home: &Path, cluster: &Cluster, progress: &mut Progress) -> Result<()> {
    progress.step(&format!("Stopping cluster {:?}", cluster.state.name));
    stop_supervisor(cluster).await?;
    let plan = components(cluster)?;
    for component in plan.iter().rev().filter(|component| component.stop) {
        stop(&cluster.paths, component.name, supervisor::STOP_TIMEOUT).await?;
    }
    if cluster.state.joined.is_some() {
        super::join::leave(cluster).await;
    }
    if cluster.state.runs_containers() {
        progress.step("Removing containers and networks");
        remove_node(cluster).await?;
    }
    if let Some(file) = &cluster.state.merged_into {
        kubeconfig::unmerge(&cluster.state.name, file)?;
    }
    let _lock = HomeLock::acquire(home)?;
    remove_files(&cluster.paths)?;
    if Cluster::names(home)?.is_empty() {
        remove_folder(&paths::image_store(home))?;
    }
    Ok(())
}

/// Ends a cluster's supervisor and with it all components but containerd.
pub async fn stop_supervisor(cluster: &Cluster) -> Result<()> {
    stop(&cluster.paths, supervisor::NAME, supervisor::STOP_TIMEOUT * 3).await
}

/// Removes what the node made outside of the cluster's directory.
async fn remove_node(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    let own = state.runtime_endpoint.is_none();
    if own && holder(&cluster.paths.lock(containerd::NAME))?.is_none() {
        // It died; only a containerd knows how to remove its sandboxes and their networks.
        supervisor::start_runtime(cluster).await?;
    }
    let node = knarr_kubelet::cleanup::Node {
        runtime: runtime_choice(cluster),
        cgroup_root: format!("/knarr-{}", state.name),
        grace: GRACE,
    };
    if let Err(error) = knarr_kubelet::cleanup::remove_pods(&node).await {
        // The cluster's own containerd goes with all that it runs; in somebody else's the pods would stay for good.
        if !own {
            return Err(error).context("cannot remove the pods");
        }
        tracing::warn!(%error, "pods not stopped; they are ended with their runtime");
    }
    if own {
        stop(&cluster.paths, containerd::NAME, supervisor::STOP_TIMEOUT).await?;
        containerd::end_shims(&cluster.paths).await?;
    }
    knarr_kubelet::cleanup::remove_files(&node).context("cannot remove the pods' files")?;
    let network = knarr_proxy::Leftovers {
        cluster: state.name.clone(),
        cluster_cidrs: state.pod_networks(),
        state_dir: Some(cluster.paths.cni("state")),
        cni_conf_dir: Some(cluster.paths.cni("conf")),
        cni_bin_dir: Some(cluster.paths.cni("bin")),
    };
    knarr_proxy::cleanup(&network).await.context("cannot remove the network")
}

/// Ends the holder of a lock: SIGTERM, after `timeout` SIGKILL.
async fn stop(paths: &Paths, name: &str, timeout: Duration) -> Result<()> {
    let file = paths.lock(name);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(pid) = holder(&file)? else { return Ok(()) };
        let mut process = supervisor::Process::adopt(pid)?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).ok();
        if tokio::time::timeout(timeout, process.wait()).await.is_ok() {
            return Ok(());
        }
    }
    bail!("{name} does not end; see `ps` for its process, and run `knarr down` again")
}

/// Unmounts and removes the cluster's directories.
fn remove_files(paths: &Paths) -> Result<()> {
    remove_folder(&paths.run())?;
    remove_folder(paths.root())
}

/// Removes a folder with everything that is mounted in it; one that is not there is no error.
fn remove_folder(folder: &Path) -> Result<()> {
    unmount_below(folder)?;
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Unmounts every mount at or below `folder`, the newest first.
fn unmount_below(folder: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let points: Vec<_> = points.filter(|point| Path::new(point).starts_with(folder)).collect();
    for point in points.iter().rev() {
        let flags = nix::mount::MntFlags::MNT_DETACH;
        nix::mount::umount2(point.as_str(), flags).with_context(|| format!("cannot unmount {point}"))?;
    }
    Ok(())
}

/// A path of the mount table without its octal escapes (proc(5): space, tab, newline, backslash).
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}
