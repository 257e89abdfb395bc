//! The supervisor: starts a cluster's components as processes of their own and restarts one that dies.
//!
//! **Invariant**: a component holds the lock on its lock file as long as it lives, because it inherits the
//! locked descriptor. So a new supervisor sees what runs and adopts it, and nothing is ever started twice.
mod lock;
mod plan;
mod process;

use crate::cluster::Cluster;
use anyhow::{Context, Result, bail};
pub use lock::{Lock, holder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
pub use plan::{Component, check, components, runtime_choice, runtime_endpoint};
pub use process::Process;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a component may take to end on SIGTERM.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Name of the supervisor's own lock and log.
pub const NAME: &str = "supervisor";

/// Starts a supervisor that outlives this process; its output goes to its log.
pub fn spawn(cluster: &Cluster, home: &Path) -> Result<()> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(cluster.paths.log(NAME))?;
    let mut command = Command::new(std::env::current_exe().context("cannot find the knarr program")?);
    command.args(["supervisor", "--name", &cluster.state.name]).env("KNARR_HOME", home);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.current_dir("/").process_group(0);
    command.spawn().context("cannot start the supervisor")?;
    Ok(())
}

/// Returns when the cluster has no supervisor.
pub async fn ended(cluster: &Cluster) -> Result<()> {
    let lock = cluster.paths.lock(NAME);
    while let Some(pid) = holder(&lock)? {
        // Who cannot be watched is gone, or was replaced.
        if let Ok(mut process) = Process::adopt(pid) {
            process.wait().await;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Runs until SIGTERM or SIGINT; then ends the components, clients first.
pub async fn run(cluster: Cluster) -> Result<()> {
    let Some(_lock) = Lock::try_acquire(&cluster.paths.lock(NAME))? else {
        bail!("cluster {:?} already has a supervisor", cluster.state.name);
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    let plan = components(&cluster)?;
    let keepers: Vec<_> = plan
        .into_iter()
        .map(|component| tokio::spawn(keep(cluster.clone(), component, stopped.clone())))
        .collect();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    for keeper in keepers.into_iter().rev() {
        keeper.await.context("a component's keeper panicked")?;
    }
    Ok(())
}

/// Keeps one component running until told to stop.
async fn keep(cluster: Cluster, component: Component, mut stopped: watch::Receiver<bool>) {
    let mut backoff = process::Backoff::default();
    // The first database is filled by the command that waits for it.
    let mut filled = true;
    loop {
        let started = tokio::select! {
            process = start(&cluster, &component) => process,
            () = told(&mut stopped) => return,
        };
        let failure = match started {
            Ok(mut process) => {
                tracing::info!(component = component.name, pid = process.pid(), "running");
                if cluster.state.ephemeral
                    && component.name == plan::API_SERVER
                    && !std::mem::take(&mut filled)
                {
                    tokio::spawn(refill(cluster.clone()));
                }
                tokio::select! {
                    status = process.wait() => format!("ended: {status}"),
                    () = told(&mut stopped) => {
                        if component.stop {
                            process.stop(STOP_TIMEOUT).await;
                        }
                        return;
                    }
                }
            }
            Err(e) => format!("cannot be started: {e:#}"),
        };
        let pause = backoff.next();
        tracing::warn!(component = component.name, ?pause, "{failure}; starting it again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {} // the back-off itself
            () = told(&mut stopped) => return,
        }
    }
}

/// An ephemeral database was lost with its server: the controllers need their rights once more, and must forget the
/// revisions of the old one, for the new one counts from the beginning.
async fn refill(cluster: Cluster) {
    let refilled = async {
        crate::add_ons::renew(&cluster).await?;
        if let Some(pid) = holder(&cluster.paths.lock(plan::CONTROLLERS))? {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        }
        anyhow::Ok(())
    };
    if let Err(e) = refilled.await {
        tracing::warn!("the new database lacks what `up` puts there: {e:#}");
    }
}

/// Returns when the supervisor is told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that the supervisor is gone: time to stop, too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Adopts the component if it runs, else starts it once what it needs answers.
async fn start(cluster: &Cluster, component: &Component) -> Result<Process> {
    let file = cluster.paths.lock(component.name);
    let Some(lock) = Lock::try_acquire(&file)? else {
        let pid = holder(&file)?.context("the component runs, but its lock file names no process")?;
        return Process::adopt(pid);
    };
    if component.name == crate::containerd::NAME {
        crate::containerd::write_config(&cluster.paths)?;
    }
    component.wait_for_needs().await;
    Process::spawn(cluster, component, lock)
}

/// Starts the cluster's containerd if it does not run, and waits until it answers.
pub async fn start_runtime(cluster: &Cluster) -> Result<()> {
    for component in components(cluster)?.iter().filter(|component| component.name == crate::containerd::NAME)
    {
        start(cluster, component).await?;
        let socket = plan::Need::Unix(cluster.paths.containerd_socket());
        let answered = tokio::time::timeout(STOP_TIMEOUT, socket.wait()).await;
        answered.context("containerd does not answer; see its log")?;
    }
    Ok(())
}
