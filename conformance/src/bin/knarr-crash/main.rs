//! Crash tests: `kill -9` of each process of a cluster in turn, and of all at once, while it is written to.
//!
//! After each crash: every acknowledged write is there, a watch goes on from where it was without gap or repeat,
//! the same containers run and none besides, the cluster works, its Service answers. The cluster is made by
//! `conformance/crash/run`; it is expected to hold nothing else. Ends with `N passed, N failed`.
mod host;
mod ledger;
mod load;
mod pods;

use anyhow::{Context, Result, bail};
use clap::Parser;
use host::Host;
use kube::config::{KubeConfigOptions, Kubeconfig};
use load::Load;
use pods::Workload;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long something may take to be as it should again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at what lies behind other programs.
const LOOK: Duration = Duration::from_millis(50);

/// Acknowledged writes between a recovery and its checks.
const WRITES: usize = 50;

/// Kill the processes of a cluster, and see that nothing is lost.
#[derive(Parser, Debug)]
struct Args {
    /// Only crashes whose name contains one of these
    filter: Vec<String>,
    /// The knarr program
    #[arg(long)]
    knarr: PathBuf,
    /// Name of the cluster
    #[arg(long)]
    name: String,
    /// Its kubeconfig
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// containerd's socket, to count containers with `ctr`; none: they are counted by their status alone
    #[arg(long)]
    runtime: Option<PathBuf>,
    /// The test image
    #[arg(long, default_value = "test.local/testbox:1")]
    image: String,
}

/// What is killed: these processes together; the supervisor's place is taken by `knarr up`.
const CRASHES: [(&str, &[&str]); 10] = [
    ("apiserver", &["apiserver"]),
    ("apiserver_again", &["apiserver"]),
    ("controllers", &["controllers"]),
    ("scheduler", &["scheduler"]),
    ("kubelet", &["kubelet"]),
    ("proxy", &["proxy"]),
    ("containerd", &["containerd"]),
    ("supervisor", &["supervisor"]),
    ("apiserver_and_kubelet", &["apiserver", "kubelet"]),
    (
        "everything",
        &["supervisor", "apiserver", "controllers", "scheduler", "proxy", "kubelet", "containerd"],
    ),
];

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Fails only when there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match play(&args).await {
        Ok((passed, failed)) => {
            println!("{passed} passed, {failed} failed");
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            println!("error: {e:#}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: &Args) -> Result<(usize, usize)> {
    let host = Host::new(args);
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // A repeated create could be refused for what its first try has made.
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let workload = Workload::create(client.clone(), &args.image).await?;
    let load = Load::start(client).await?;
    let (mut passed, mut failed) = (0, 0);
    for (name, processes) in CRASHES {
        if !args.filter.is_empty() && !args.filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let outcome = crash(&host, &workload, &load, name, processes).await;
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(facts) => {
                passed += 1;
                println!("ok      {name} ({seconds:.1}s): {facts}");
            }
            Err(e) => {
                failed += 1;
                println!("FAILED  {name} ({seconds:.1}s): {e:#}");
            }
        }
    }
    Ok((passed, failed))
}

/// One crash and everything that must hold after it.
async fn crash(
    host: &Host,
    workload: &Workload,
    load: &Load,
    name: &str,
    processes: &[&str],
) -> Result<String> {
    let before = workload.settled(host).await.context("before the crash")?;
    load.progress(WRITES).await.context("before the crash")?;
    host.kill(processes).await?;
    load.progress(WRITES).await.context("writes do not go on")?;
    workload.works(&name.replace('_', "-")).await.context("the cluster does not work on")?;
    load.progress(WRITES).await?;
    let writes = load.check().await?;
    let after = workload.settled(host).await.context("after the crash")?;
    pods::same(&before, &after)?;
    Ok(format!("{writes} acknowledged writes, {} containers", after.len()))
}

/// Looks until `look` is satisfied; the error says what was seen last.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(e)) if Instant::now() > deadline => {
                return Err(e).with_context(|| format!("waited in vain: {what}"));
            }
            Ok(Err(_)) => tokio::time::sleep(LOOK).await, // it lies behind other programs: nothing to wait on
            Err(_) => bail!("waited in vain: {what}"),
        }
    }
}
