//! `knarr up`: create a cluster, or start one that was stopped, and wait until it can be used.
use crate::cli::Output;
use crate::cluster::state::{MORE_API_SERVERS, Publish, Wishes, choose};
use crate::cluster::{Cluster, Paths, State, paths, pki, preflight};
use crate::progress::Progress;
use crate::supervisor::{self, Lock};
use crate::{kubeconfig, pause};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod ready;

/// Flags of `knarr up`; a configuration file gives the same by the long names.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr up --name ci-1 --output json
  knarr up --config cluster.yaml
  knarr up --api-only --ephemeral --kubeconfig ./kubeconfig
  KNARR_DATASTORE=postgres://knarr:secret@db/knarr?sslmode=verify-full knarr up --apiservers 3")]
pub struct Args {
    #[command(flatten)]
    cluster: crate::cli::ClusterName,
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
    /// Make a node port reachable on another port of the host; may be repeated
    #[arg(long, value_name = "PORT:NODEPORT")]
    publish: Vec<Publish>,
    /// Name of the node (the host's name)
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Network of the pods
    #[arg(long, value_name = "CIDR")]
    cluster_cidr: Option<String>,
    /// Network of the Services
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<String>,
    /// CRI socket of a running container runtime, instead of a containerd of the cluster's own
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

/// The configuration file of `up --config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Config {
    api_port: Option<u16>,
    api_only: bool,
    ephemeral: bool,
    datastore: Option<String>,
    apiservers: Option<u8>,
    node_name: Option<String>,
    cluster_cidr: Option<String>,
    service_cidr: Option<String>,
    container_runtime_endpoint: Option<String>,
    images: Option<PathBuf>,
    /// `PORT:NODEPORT` each.
    publish: Vec<String>,
    /// More flags by component: `apiserver: ["--v=2"]`.
    extra_args: BTreeMap<String, Vec<String>>,
}

/// Runs `knarr up`.
pub async fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let home = paths::home();
    let name = args.cluster.name.clone();
    preflight::name(&name)?;
    let mut progress = Progress::new(args.output);
    let found = Cluster::find(&home, &name)?;
    if let Some(cluster) = &found
        && supervisor::holder(&cluster.paths.lock(supervisor::NAME))?.is_some()
    {
        report(cluster, args.output, "already up", started);
        return Ok(());
    }
    let cluster = match found {
        Some(cluster) => {
            if !cluster.state.api_only {
                preflight::node(cluster.state.runtime_endpoint.as_deref())?;
            }
            progress.step(&format!("Starting cluster {name:?} again"));
            make_directories(&cluster.paths)?;
            cluster
        }
        None => {
            let settings = settings(&args)?;
            if !settings.api_only {
                preflight::node(settings.container_runtime_endpoint.as_deref())?;
            }
            progress.step(&format!("Creating cluster {name:?}"));
            create(&home, &name, &settings)?
        }
    };
    supervisor::spawn(&cluster, &home)?;
    let deadline = Duration::from_secs(args.timeout);
    let waited = tokio::time::timeout(deadline, ready::wait(&cluster, &mut progress)).await;
    waited.unwrap_or_else(|_| bail!("it is not ready after {}s", args.timeout)).with_context(|| {
        format!("cluster {name:?} did not come up; see `knarr logs apiserver --name {name}` and `knarr export-logs`")
    })?;
    let cluster = merge_kubeconfig(cluster, &args)?;
    progress.done();
    report(&cluster, args.output, "up", started);
    Ok(())
}

/// The configuration file with the flags over it.
fn settings(args: &Args) -> Result<Config> {
    let mut config = match &args.config {
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_yaml_ng::from_slice(&text)
                .with_context(|| format!("{} is no configuration", file.display()))?
        }
        None => Config::default(),
    };
    let args = args.clone();
    config.api_only |= args.api_only;
    config.ephemeral |= args.ephemeral;
    config.datastore = args.datastore.or(config.datastore);
    config.apiservers = args.apiservers.or(config.apiservers);
    config.api_port = args.api_port.or(config.api_port);
    config.node_name = args.node_name.or(config.node_name);
    config.cluster_cidr = args.cluster_cidr.or(config.cluster_cidr);
    config.service_cidr = args.service_cidr.or(config.service_cidr);
    config.container_runtime_endpoint = args.container_runtime_endpoint.or(config.container_runtime_endpoint);
    config.images = args.images.or(config.images);
    config.publish.extend(args.publish.iter().map(|p| format!("{}:{}", p.port, p.node_port)));
    if config.ephemeral && !config.api_only {
        bail!("an ephemeral database needs --api-only: pods would outlive what the cluster knows of them");
    }
    match &config.datastore {
        Some(_) if config.ephemeral => {
            bail!("a database of your own is not ephemeral: leave out one of the two")
        }
        Some(url) if !url.starts_with("postgres://") && !url.starts_with("postgresql://") => {
            bail!("the datastore's URL must begin with postgres://")
        }
        None if config.apiservers.is_some_and(|count| count > 1) => {
            bail!("several API servers need a database that they can share: --datastore postgres://…")
        }
        _ => {}
    }
    if config.apiservers.is_some_and(|count| !(1..=1 + MORE_API_SERVERS as u8).contains(&count)) {
        bail!("apiservers is a number from 1 to {}", 1 + MORE_API_SERVERS);
    }
    Ok(config)
}

/// Chooses and writes everything of a new cluster; leaves nothing behind if it fails.
fn create(home: &Path, name: &str, config: &Config) -> Result<Cluster> {
    std::fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
    // Two `up` at once must not choose the same networks and ports.
    let lock = Lock::acquire(&home.join("create.lock"))?;
    let others: Vec<State> = Cluster::all(home)?.into_iter().map(|cluster| cluster.state).collect();
    let wishes = Wishes {
        api_port: config.api_port,
        node_name: config.node_name.clone(),
        cluster_cidr: config.cluster_cidr.clone(),
        service_cidr: config.service_cidr.clone(),
        more_api_servers: usize::from(config.apiservers.unwrap_or(1)).saturating_sub(1),
    };
    if let Some(other) =
        others.iter().find(|other| other.datastore.is_some() && other.datastore == config.datastore)
    {
        bail!("cluster {:?} keeps its state in that database", other.name);
    }
    let mut state = choose(name, &wishes, &others)?;
    state.api_only = config.api_only;
    state.ephemeral = config.ephemeral;
    state.datastore = config.datastore.clone();
    state.runtime_endpoint = config.container_runtime_endpoint.clone();
    state.extra_args = config.extra_args.clone();
    let publish: Result<Vec<Publish>, String> = config.publish.iter().map(|text| text.parse()).collect();
    state.publish = publish.map_err(anyhow::Error::msg)?;
    let paths = Paths::new(home, name);
    if paths.root().exists() {
        bail!("{} is in the way; `knarr down --name {name}` removes it", paths.root().display());
    }
    let cluster = Cluster { paths, state };
    let written = write(&cluster, config);
    if written.is_err() {
        std::fs::remove_dir_all(cluster.paths.root()).ok();
    }
    drop(lock);
    written.map(|()| cluster)
}

fn write(cluster: &Cluster, config: &Config) -> Result<()> {
    prepare(cluster, config.images.as_deref(), || pki::create(cluster))?;
    cluster.state.save(&cluster.paths.state_file())
}

/// Writes all files of a new cluster but the one that makes it exist; `keys` writes the certificates.
pub(super) fn prepare(
    cluster: &Cluster,
    archives: Option<&Path>,
    keys: impl FnOnce() -> Result<()>,
) -> Result<()> {
    make_directories(&cluster.paths)?;
    keys()?;
    kubeconfig::write_all(cluster)?;
    let images = cluster.paths.images();
    std::fs::write(images.join("pause.tar"), pause::archive()?)?;
    for archive in archives.iter().flat_map(std::fs::read_dir).flatten() {
        let archive = archive?.path();
        let name = archive.file_name().context("an archive without a name")?;
        std::fs::copy(&archive, images.join(name))
            .with_context(|| format!("cannot copy {}", archive.display()))?;
    }
    Ok(())
}

fn make_directories(paths: &Paths) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    for (folder, mode) in paths.directories() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(&folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn merge_kubeconfig(mut cluster: Cluster, args: &Args) -> Result<Cluster> {
    if args.no_kubeconfig {
        return Ok(cluster);
    }
    let file = args.kubeconfig.clone().or_else(kubeconfig::user_file);
    let file = file.context("there is no home directory; say --kubeconfig FILE or --no-kubeconfig")?;
    let file = std::path::absolute(file)?;
    kubeconfig::merge(&cluster, &file)?;
    cluster.state.merged_into = Some(file);
    cluster.state.save(&cluster.paths.state_file())?;
    Ok(cluster)
}

fn report(cluster: &Cluster, output: Output, what: &str, started: Instant) {
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
            println!("{result}");
        }
        Output::Text => {
            println!("Cluster {name:?} is {what} ({:.1}s).", started.elapsed().as_secs_f64());
            println!("  kubectl --context {context} get nodes");
            println!("  knarr down --name {name}");
        }
    }
}
