//! `knarr up`: create a cluster, or start one that was stopped, and wait until it can be used.
use crate::cli::Output;
use crate::cluster::state::{Publish, Reservations};
use crate::cluster::{Cluster, paths, preflight};
use crate::progress::Progress;
use crate::{cli, kubeconfig, supervisor};
use anyhow::{Result, bail};
use knarr_proxy::network::overlay::Backend;
use settings::{Runtime, Settings};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) mod create;
pub(super) mod ready;
pub(super) mod settings;

/// Flags of `knarr up`; a configuration file gives the same by the long names.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr up --name ci-1 --output json
  knarr up --config cluster.yaml
  knarr up --api-only --ephemeral --kubeconfig ./kubeconfig
  knarr up --name scale --runtime simulated --nodes 1000
  knarr up --runtime embedded
  KNARR_DATASTORE=postgres://knarr:secret@db/knarr?sslmode=verify-full knarr up --apiservers 3")]
pub struct Args {
    #[command(flatten)]
    cluster: cli::ClusterName,
    /// YAML file with these settings, for a cluster that is described beside its tests
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start just the API server, with garbage collection and namespaces
    #[arg(long)]
    api_only: bool,
    /// Keep the database in memory only; it is gone with the API server
    #[arg(long)]
    ephemeral: bool,
    /// Database to keep the state in: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full (SQLite in the
    /// cluster's directory); `down` leaves it as it is
    #[arg(long, value_name = "URL", env = "KNARR_DATASTORE", hide_env_values = true)]
    datastore: Option<String>,
    /// API servers on that database, each a process with a port of its own; kubeconfig and components use the first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    apiservers: Option<u8>,
    /// Port of the API server (a free one from 6443 up)
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Address of this host by which other hosts reach its API server and node (that of the default route)
    #[arg(long, value_name = "IP")]
    advertise_address: Option<IpAddr>,
    /// One more name or address of the API server's certificate; may be repeated
    #[arg(long = "tls-san", value_name = "NAME")]
    tls_sans: Vec<String>,
    /// How packets reach pods of nodes that join (vxlan)
    #[arg(long, value_enum, value_name = "BACKEND")]
    network_backend: Option<Backend>,
    /// With VXLAN: nodes on one network reach each other's pods by plain routes
    #[arg(long)]
    direct_routing: bool,
    /// Make a node port reachable on another port of the host; may be repeated
    #[arg(long, value_name = "PORT:NODEPORT")]
    publish: Vec<Publish>,
    /// Name of the node (the host's name)
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Pods and Services have addresses of both families; the networks of IPv6 are chosen, unless they are named
    #[arg(long)]
    dual_stack: bool,
    /// Network of the pods; that of IPv6, if there is to be one, behind a comma
    #[arg(long, value_name = "CIDR[,CIDR]")]
    cluster_cidr: Option<String>,
    /// Network of the Services, likewise
    #[arg(long, value_name = "CIDR[,CIDR]")]
    service_cidr: Option<String>,
    /// What runs pods (auto)
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// How many nodes; more than one only with --runtime simulated
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// YAML file that scripts simulated nodes and pods: delays, failures, restarts, loss of nodes; read at every start
    #[arg(long, value_name = "FILE")]
    stages: Option<PathBuf>,
    /// CRI socket of a running container runtime, instead of a containerd of the cluster's own; with --runtime docker,
    /// that of a Docker Engine
    #[arg(long, value_name = "SOCKET")]
    container_runtime_endpoint: Option<String>,
    /// Folder of image archives (OCI or docker) to load at every start
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Kubeconfig that gets the cluster's context ($KUBECONFIG, else ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Leave the user's kubeconfig alone
    #[arg(long, conflicts_with = "kubeconfig")]
    no_kubeconfig: bool,
    /// Seconds to wait until the cluster can be used
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs `knarr up`.
pub async fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let home = paths::home();
    let name = args.cluster.name.as_str();
    preflight::name(name)?;
    let settings = Settings::read(&args)?;
    let found = match Cluster::find(&home, name) {
        // Without root the folder of clusters is another one, and perhaps one that cannot be read.
        Err(_) if settings.runs_containers() => {
            return preflight::root().and_then(|()| Cluster::find(&home, name)).map(|_| ());
        }
        found => found?,
    };
    if let Some(cluster) = &found {
        settings.fit(&cluster.state)?;
    }
    let mut progress = Progress::new(args.output);
    let origin = match &found {
        Some(cluster) if supervisor::holder(&cluster.paths.lock(supervisor::NAME))?.is_some() => {
            Origin::Running
        }
        Some(_) => Origin::Stopped,
        None => Origin::New,
    };
    let context = context_file(&args, found.as_ref(), origin)?;
    let mut reserved = Reservations::default();
    let cluster = match found {
        Some(cluster) if origin == Origin::Running => cluster,
        Some(cluster) => {
            if cluster.state.runs_containers() {
                preflight::node(cluster.state.runtime_endpoint.as_deref()).await?;
            }
            preflight::stopped(&cluster).await?;
            progress.step(&format!("Starting cluster {name:?} again"));
            create::renew(&home, &cluster, &settings)?;
            cluster
        }
        None => {
            if settings.runs_containers() {
                preflight::node(settings.runtime_endpoint().as_deref()).await?;
            }
            progress.step(&format!("Creating cluster {name:?}"));
            let cluster;
            (cluster, reserved) = create::create(&home, name, &settings)?;
            cluster
        }
    };
    let attempt = ready::Attempt::new(&cluster);
    let deadline = Duration::from_secs(args.timeout);
    let supervised = supervise(&attempt, &cluster, &home, origin, &mut progress);
    let waited = tokio::time::timeout(deadline, supervised).await;
    let waited = waited.unwrap_or_else(|_| bail!("it is not ready after {}s", args.timeout));
    drop(reserved);
    if let Err(e) = waited {
        return Err(undo(&home, &cluster, origin, e, &mut progress).await);
    }
    let cluster = merge_kubeconfig(cluster, context)?;
    progress.done();
    report(&cluster, args.output, if origin == Origin::Running { "already up" } else { "up" }, started)
}

/// What was there of a cluster when `up` was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    New,
    Stopped,
    Running,
}

/// Waits until the cluster can be used, under a supervisor. One that was seen may have been ending already (a killed
/// process holds its lock until it is gone): then another one takes its place.
async fn supervise(
    attempt: &ready::Attempt,
    cluster: &Cluster,
    home: &Path,
    origin: Origin,
    progress: &mut Progress,
) -> Result<()> {
    if origin == Origin::Running {
        tokio::select! {
            ready = attempt.wait(cluster, progress) => {
                ready?;
                if supervisor::holder(&cluster.paths.lock(supervisor::NAME))?.is_some() {
                    return Ok(());
                }
            }
            ended = supervisor::ended(cluster) => ended?,
        }
    }
    supervisor::spawn(cluster, home)?;
    attempt.wait(cluster, progress).await
}

/// After a failure: a cluster whose server cannot start is put back to where it was; any other is left to be looked at.
async fn undo(
    home: &Path,
    cluster: &Cluster,
    origin: Origin,
    error: anyhow::Error,
    progress: &mut Progress,
) -> anyhow::Error {
    let name = &cluster.state.name;
    let hopeless = error.is::<ready::Hopeless>();
    let error = error.context(format!("cluster {name:?} did not come up"));
    let undone = match origin {
        Origin::New if hopeless => super::down::remove(home, cluster, progress).await,
        Origin::Stopped if hopeless => super::down::stop_supervisor(cluster).await,
        _ => {
            return error.context(format!(
                "see `knarr logs apiserver --name {name}` and `knarr export-logs DIR --name {name}`, \
                 then remove it with `knarr down --name {name}`"
            ));
        }
    };
    match undone {
        Ok(()) => error,
        Err(e) => error.context(format!("it could not be removed either ({e:#})")),
    }
}

/// The kubeconfig that gets the cluster's context, if any: one that can be changed.
fn context_file(args: &Args, found: Option<&Cluster>, origin: Origin) -> Result<Option<PathBuf>> {
    if args.no_kubeconfig || (origin == Origin::Running && args.kubeconfig.is_none()) {
        return Ok(None);
    }
    let before = found.and_then(|cluster| cluster.state.merged_into.clone());
    let Some(file) = args.kubeconfig.clone().or(before).or_else(kubeconfig::user_file) else {
        bail!("there is no home directory; say --kubeconfig FILE or --no-kubeconfig");
    };
    let file = std::path::absolute(file)?;
    kubeconfig::check(&file)?;
    Ok(Some(file))
}

fn merge_kubeconfig(mut cluster: Cluster, file: Option<PathBuf>) -> Result<Cluster> {
    let Some(file) = file else { return Ok(cluster) };
    if let Some(before) = cluster.state.merged_into.replace(file.clone())
        && before != file
    {
        kubeconfig::unmerge(&cluster.state.name, &before)?;
    }
    kubeconfig::merge(&cluster, &file)?;
    cluster.state.save(&cluster.paths.state_file())?;
    Ok(cluster)
}

fn report(cluster: &Cluster, output: Output, what: &str, started: Instant) -> Result<()> {
    let name = &cluster.state.name;
    let context = kubeconfig::context_name(name);
    match output {
        Output::Json => {
            let result = serde_json::json!({
                "name": name,
                "status": what,
                "server": cluster.server_url(),
                "servers": cluster.server_urls(),
                "context": context,
                "kubeconfig": cluster.paths.kubeconfig("admin"),
                "nodeIP": cluster.state.node_ip,
                "seconds": started.elapsed().as_secs_f64(),
            });
            cli::print(result)
        }
        Output::Text => {
            cli::print(format_args!(
                "Cluster {name:?} is {what} ({:.1}s).",
                started.elapsed().as_secs_f64()
            ))?;
            cli::print(format_args!("  kubectl --context {context} get nodes"))?;
            cli::print(format_args!("  knarr down --name {name}"))
        }
    }
}
