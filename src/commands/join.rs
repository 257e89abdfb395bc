//! `knarr join`: make this host a node of a cluster whose API server is elsewhere. A container runtime, the kubelet and
//! the node's network run here under a supervisor, as with `up`; the kubelet asks for its certificates itself.
mod discovery;

use super::token::Token;
use super::up::settings::{Runtime, Settings};
use super::up::{create, ready};
use crate::add_ons::join::NodeConfig;
use crate::cli::{self, Output};
use crate::cluster::home::HomeLock;
use crate::cluster::pki::write_secret;
use crate::cluster::state::{Joined, Reservations, Wishes, choose};
use crate::cluster::{Cluster, Paths, State, paths, preflight};
use crate::progress::Progress;
use crate::supervisor;
use anyhow::{Context, Result, bail};
pub use discovery::key_hash;
use k8s_openapi::api::core::v1::Node;
use knarr_kubelet::tunnel::Wish;
use kube::api::{Api, DeleteParams};
use kube::runtime::watcher;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a leaving node waits for the API server to remove its object.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `knarr join`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "The first host's `token create --print-join-command` prints the line to run here.

Examples:
  knarr join https://192.0.2.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash \
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  knarr join https://192.0.2.1:6443       start a node again that was stopped
  knarr down                              leave the cluster")]
pub struct Args {
    /// URL of the API server
    server: String,
    #[command(flatten)]
    cluster: cli::ClusterName,
    /// Token of the cluster
    #[arg(long, env = "KNARR_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// Hash of the public key of the cluster's authority, as sha256:HEX; may be repeated
    #[arg(long, value_name = "HASH", value_parser = hash)]
    discovery_token_ca_cert_hash: Vec<String>,
    /// Believe any authority that the token vouches for; whoever knows the token can pose as the cluster
    #[arg(long, conflicts_with = "discovery_token_ca_cert_hash")]
    discovery_token_unsafe_skip_ca_verification: bool,
    /// Name of the node (the host's name)
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Address of this host by which other nodes reach it (that from which it reaches the API server)
    #[arg(long, value_name = "IP")]
    node_ip: Option<IpAddr>,
    /// When API servers reach this node by a connection that it keeps to them, as they must where it is behind address
    /// translation: no, auto (where they cannot dial its address), always
    #[arg(long, value_enum, value_name = "WHEN")]
    tunnel: Option<Wish>,
    /// What runs pods (auto)
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// CRI socket of a running container runtime, instead of a containerd of the node's own; with --runtime docker, that
    /// of a Docker Engine
    #[arg(long, value_name = "SOCKET")]
    container_runtime_endpoint: Option<String>,
    /// Folder of image archives (OCI or docker) to load at the start
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Seconds to wait until the node is Ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn hash(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{text:?} is not sha256: and 64 hexadecimal digits"))
    }
}

/// Runs `knarr join`.
pub async fn run(args: Args) -> Result<()> {
    let started = Instant::now();
    let (home, name) = (paths::home(), args.cluster.name.clone());
    preflight::name(&name)?;
    preflight::root()?;
    let server = url(&args.server)?;
    let mut progress = Progress::new(args.output);
    let (cluster, reserved) = match Cluster::find(&home, &name)? {
        Some(cluster) => (again(cluster, &server, &args)?, Reservations::default()),
        None => new(&home, &name, &server, &args, &mut progress).await?,
    };
    if supervisor::holder(&cluster.paths.lock(supervisor::NAME))?.is_none() {
        create::make_directories(&cluster.paths)?;
        supervisor::spawn(&cluster, &home)?;
    }
    let waited =
        tokio::time::timeout(Duration::from_secs(args.timeout), ready(&cluster, &mut progress)).await;
    drop(reserved);
    let waited = waited.unwrap_or_else(|_| bail!("it is not Ready after {}s", args.timeout));
    waited.with_context(|| {
        format!(
            "node {:?} did not join; see `knarr logs kubelet --name {name}`, then remove it with `knarr down --name {name}`",
            cluster.state.node_name
        )
    })?;
    // From here on the node renews its certificate by itself.
    std::fs::remove_file(cluster.paths.kubeconfig("bootstrap")).ok();
    progress.done();
    report(&cluster, args.output, started)
}

/// The URL with a scheme and without a path.
fn url(text: &str) -> Result<String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let parsed: http::Uri = full.parse().with_context(|| format!("{text:?} is no URL of an API server"))?;
    match (parsed.scheme_str(), parsed.host(), parsed.path()) {
        (Some("https"), Some(host), "" | "/") => {
            Ok(format!("https://{host}:{}", parsed.port_u16().unwrap_or(6443)))
        }
        _ => bail!("{text:?} is no URL of an API server, such as https://192.0.2.1:6443"),
    }
}

/// A node that joined before.
fn again(cluster: Cluster, server: &str, args: &Args) -> Result<Cluster> {
    let name = &cluster.state.name;
    let differs = match &cluster.state.joined {
        None => Some("is a cluster of this host".to_owned()),
        Some(joined) if joined.server != server => {
            Some(format!("is a node of the cluster at {}", joined.server))
        }
        Some(_) if args.node_name.as_ref().is_some_and(|wish| *wish != cluster.state.node_name) => {
            Some(format!("is the node {:?}", cluster.state.node_name))
        }
        Some(joined) if args.tunnel.is_some_and(|wish| wish != joined.tunnel) => {
            Some("was joined with another --tunnel".to_owned())
        }
        Some(_) => None,
    };
    if let Some(differs) = differs {
        bail!(
            "{name:?} {differs}; remove it first with `knarr down --name {name}`, or choose another --name"
        );
    }
    if let Some(token) = &args.token {
        // Only the authority that was verified then is trusted now.
        let ca = std::fs::read(cluster.paths.pki("ca.crt")).context("cannot read the cluster's authority")?;
        write_bootstrap(&cluster.paths, server, &ca, token)?;
    }
    Ok(cluster)
}

/// Finds out about the cluster and writes the files of a node of it; leaves nothing behind if it fails.
async fn new(
    home: &Path,
    name: &str,
    server: &str,
    args: &Args,
    progress: &mut Progress,
) -> Result<(Cluster, Reservations)> {
    let Some(token) = &args.token else {
        bail!(
            "--token is missing; `knarr token create --print-join-command` on the cluster's host prints what to run here"
        );
    };
    let hashes = &args.discovery_token_ca_cert_hash;
    if hashes.is_empty() && !args.discovery_token_unsafe_skip_ca_verification {
        bail!(
            "--discovery-token-ca-cert-hash is missing, without which whoever knows the token can pose as the cluster; \
             --discovery-token-unsafe-skip-ca-verification goes on all the same"
        );
    }
    let settings =
        Settings::of_node(args.runtime, args.container_runtime_endpoint.clone(), args.images.clone())?;
    preflight::node(settings.runtime_endpoint().as_deref()).await?;
    progress.step(&format!("Looking at the cluster at {server}"));
    let ca = discovery::authority(server, token, (!hashes.is_empty()).then_some(hashes)).await?;
    let _lock = HomeLock::acquire(home)?;
    let paths = Paths::new(home, name);
    if paths.root().exists() {
        bail!("{} is in the way; `knarr down --name {name}` removes it", paths.root().display());
    }
    create::check_bridge(name)?;
    let made = async {
        create::make_directories(&paths)?;
        write_secret(&paths.pki("ca.crt"), &ca)?;
        write_bootstrap(&paths, server, &ca, token)?;
        let (state, reserved) = state(home, &paths, server, args, &settings).await?;
        let cluster = Cluster { paths: paths.clone(), state };
        create::write_pause(&cluster.paths)?;
        settings.images.as_deref().map_or(Ok(()), |folder| create::copy_archives(&cluster.paths, folder))?;
        // The last step: from here on the node exists.
        cluster.state.save(&cluster.paths.state_file())?;
        anyhow::Ok((cluster, reserved))
    };
    let made = made.await;
    if made.is_err() {
        // Both were made just now; what cannot be removed either is part of that error's cause.
        let _ = std::fs::remove_dir_all(paths.root());
        let _ = std::fs::remove_dir_all(paths.run());
    }
    made
}

fn write_bootstrap(paths: &Paths, server: &str, ca: &[u8], token: &Token) -> Result<()> {
    write_secret(&paths.kubeconfig("bootstrap"), discovery::kubeconfig(server, ca, token)?.as_bytes())
}

/// What the cluster tells and this host chooses.
async fn state(
    home: &Path,
    paths: &Paths,
    server: &str,
    args: &Args,
    settings: &Settings,
) -> Result<(State, Reservations)> {
    let client = knarr_component::client::connect(Some(&paths.kubeconfig("bootstrap")), "cli").await?;
    let others: Vec<State> = Cluster::all(home)?.into_iter().map(|cluster| cluster.state).collect();
    let name = args.cluster.name.as_str();
    let mut wishes = Wishes { node_name: args.node_name.clone(), ..Wishes::default() };
    wishes.address = Some(args.node_ip.map_or_else(|| address_towards(server), Ok)?);
    let host_name = || nix::unistd::gethostname().map(|name| name.to_string_lossy().to_ascii_lowercase());
    let node = args.node_name.clone().map_or_else(host_name, Ok)?;
    let NodeConfig { cluster_cidr, service_cidr, cluster_dns, cluster_domain, network, api_servers, .. } =
        discovery::node_config(&client, &node).await?;
    wishes.cluster_cidr = Some(cluster_cidr);
    wishes.service_cidr = Some(service_cidr);
    let (mut state, reserved) =
        choose(name, &wishes, &others).context("the cluster's networks must be free on this host")?;
    state.network = network;
    state.runtime_endpoint = settings.runtime_endpoint();
    let tunnel = args.tunnel.unwrap_or(Wish::Auto);
    let server = server.to_owned();
    state.joined = Some(Joined { server, cluster_dns, cluster_domain, api_servers, tunnel });
    Ok((state, reserved))
}

/// The address from which this host reaches the API server.
fn address_towards(server: &str) -> Result<IpAddr> {
    let authority = server.trim_start_matches("https://");
    let failed = || format!("cannot find the way to {authority}");
    let to: SocketAddr = authority.to_socket_addrs().with_context(failed)?.next().with_context(failed)?;
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    // Connecting a UDP socket only looks up the route.
    let socket =
        UdpSocket::bind(any).and_then(|socket| socket.connect(to).map(|()| socket)).with_context(failed)?;
    Ok(socket.local_addr()?.ip())
}

/// Waits until the kubelet has its certificate and the node is Ready.
async fn ready(cluster: &Cluster, progress: &mut Progress) -> Result<()> {
    progress.step("Waiting for the node's certificate");
    let file = cluster.paths.kubeconfig("kubelet");
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await; // nothing announces a file
    }
    progress.step("Waiting for the node");
    let client = knarr_component::client::connect(Some(&file), "cli").await?;
    let config = watcher::Config::default().fields(&format!("metadata.name={}", cluster.state.node_name));
    ready::nodes(&client, config, 1).await
}

/// Removes the object of a node that leaves; says so on standard error where that is not possible.
pub async fn leave(cluster: &Cluster) {
    let name = &cluster.state.node_name;
    let file = cluster.paths.kubeconfig("kubelet");
    if !file.exists() {
        return; // it never joined
    }
    let deleted = async {
        let client = knarr_component::client::connect(Some(&file), "cli").await?;
        match Api::<Node>::all(client).delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(anyhow::Error::from),
        }
    };
    let deleted = tokio::time::timeout(LEAVE_TIMEOUT, deleted).await;
    if let Err(e) = deleted.unwrap_or_else(|_| bail!("the API server does not answer")) {
        eprintln!(
            "warning: the cluster keeps its object of this node ({e:#}): `kubectl delete node {name}` removes it"
        );
    }
}

fn report(cluster: &Cluster, output: Output, started: Instant) -> Result<()> {
    let (name, node, server) = (&cluster.state.name, &cluster.state.node_name, cluster.server_url());
    let seconds = started.elapsed().as_secs_f64();
    match output {
        Output::Json => cli::print(serde_json::json!({
            "name": name,
            "node": node,
            "nodeIP": cluster.state.node_ip,
            "server": server,
            "seconds": seconds,
        })),
        Output::Text => {
            cli::print(format_args!("Node {node:?} has joined the cluster at {server} ({seconds:.1}s)."))?;
            cli::print(format_args!("  knarr down --name {name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(url(text).ok().as_deref(), expected, "{text}");
        };
        check("https://192.0.2.1:6443", Some("https://192.0.2.1:6443"));
        check("192.0.2.1:7443", Some("https://192.0.2.1:7443"));
        check("https://k.example/", Some("https://k.example:6443"));
        check("https://[2001:db8::1]", Some("https://[2001:db8::1]:6443"));
        check("http://192.0.2.1:6443", None);
        check("https://192.0.2.1/path", None);
        check("", None);
    }

    #[test]
    fn hashes_are_read_strictly() {
        assert!(hash(&format!("sha256:{}", "aB".repeat(32))).is_ok());
        for wrong in ["", "sha256:00", &"a".repeat(64), &format!("sha512:{}", "a".repeat(64))] {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }
}
