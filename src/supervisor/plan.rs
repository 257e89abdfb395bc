//! Which processes a cluster consists of, and with which flags: the original's names throughout.
use crate::cluster::state::{Joined, MORE_API_SERVERS, Simulated, State};
use crate::cluster::{Cluster, Paths, preflight};
use crate::containerd;
use crate::pod_network::Bridge;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use knarr_kubelet::runtime::choose::Choice;
use knarr_proxy::network::overlay::Backend;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the API server.
pub const API_SERVER: &str = "apiserver";
/// Name of the controller manager.
pub const CONTROLLERS: &str = "controllers";

/// Name of what keeps nodes: the kubelet of this host, or that of all simulated nodes.
const KUBELET: &str = "kubelet";

/// One process of a cluster.
pub struct Component {
    /// Name of its log and lock, and of the hidden subcommand.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its flags.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// What must answer before it is started.
    pub needs: Vec<Need>,
    /// Ended with the supervisor; containerd is not, so that `down` can still remove containers.
    pub stop: bool,
}

/// Something that must answer.
pub enum Need {
    /// A TCP listener.
    Tcp(SocketAddr),
    /// A listening unix socket.
    Unix(PathBuf),
    /// A file.
    File(PathBuf),
}

impl Component {
    /// Waits until everything answers, or for a few seconds: a component retries by itself, this only saves it
    /// the back-off of its first seconds.
    pub async fn wait_for_needs(&self) {
        let all = async {
            for need in &self.needs {
                need.wait().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), all).await.is_err() {
            tracing::warn!(
                component = self.name,
                "what it needs does not answer yet; starting it all the same"
            );
        }
    }
}

impl Need {
    /// Waits until it answers.
    pub async fn wait(&self) {
        while !self.answers().await {
            // Nothing announces a new listener.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn answers(&self) -> bool {
        match self {
            Self::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            Self::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
            Self::File(path) => path.exists(),
        }
    }
}

/// The processes of `cluster`, in the order in which they are started; they are ended in reverse.
pub fn components(cluster: &Cluster) -> Result<Vec<Component>> {
    let mut plan = Vec::new();
    let own_runtime = cluster.state.runs_containers() && cluster.state.runtime_endpoint.is_none();
    if own_runtime {
        plan.push(runtime(cluster));
    }
    if cluster.state.joined.is_some() {
        // The kubelet asks for the certificate that both of them show.
        let certificate = Need::File(cluster.paths.kubeconfig(KUBELET));
        plan.push(own(KUBELET, cluster, kubelet(cluster), runtime_needs(cluster, own_runtime))?);
        plan.push(own("proxy", cluster, proxy(cluster), vec![certificate])?);
        return Ok(plan);
    }
    for (name, port) in API_SERVERS.into_iter().zip(cluster.state.api_ports()) {
        plan.push(api_server(name, cluster, port)?);
    }
    let api = || Need::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.state.ports.api)));
    plan.push(own(CONTROLLERS, cluster, controllers(cluster), vec![api()])?);
    if cluster.state.api_only {
        return Ok(plan);
    }
    plan.push(own("scheduler", cluster, scheduler(cluster), vec![api()])?);
    if let Some(simulated) = cluster.state.simulated {
        let mut nodes = own(KUBELET, cluster, simulated_nodes(cluster, simulated), vec![api()])?;
        nodes.args[0] = "simulated".to_owned();
        plan.push(nodes);
        return Ok(plan);
    }
    plan.push(own("proxy", cluster, proxy(cluster), vec![api()])?);
    let needs = std::iter::once(api()).chain(runtime_needs(cluster, own_runtime)).collect();
    plan.push(own(KUBELET, cluster, kubelet(cluster), needs)?);
    Ok(plan)
}

/// The container runtime that the kubelet needs, if it is one of the cluster's own.
fn runtime_needs(cluster: &Cluster, own: bool) -> Vec<Need> {
    own.then(|| Need::Unix(cluster.paths.containerd_socket())).into_iter().collect()
}

/// The variable that names the API server's database.
const STORAGE: &str = "KNARR_STORAGE";

/// The processes that serve the API; all but the first need a database that they can share.
const API_SERVERS: [&str; 1 + MORE_API_SERVERS] = [
    API_SERVER,
    "apiserver-2",
    "apiserver-3",
    "apiserver-4",
    "apiserver-5",
    "apiserver-6",
    "apiserver-7",
    "apiserver-8",
    "apiserver-9",
];

fn api_server(name: &'static str, cluster: &Cluster, port: u16) -> Result<Component> {
    let mut flags = apiserver(cluster, port);
    if port != cluster.state.ports.api {
        // Pods reach the API at the first one; it is started again at once if it ends.
        flags = flags.set("endpoint-reconciler-type", "none");
    }
    let mut component = own(API_SERVER, cluster, flags, Vec::new())?;
    component.name = name;
    // Not on the command line, where everybody on the host could read the password.
    component.env.extend(cluster.state.datastore.clone().map(|url| (STORAGE.to_owned(), url)));
    Ok(component)
}

/// Checks what the user added to the components' flags: the flags of every component must be ones it takes.
pub fn check(cluster: &Cluster) -> Result<()> {
    let plan = components(cluster)?;
    for name in cluster.state.extra_args.keys() {
        let more = API_SERVERS[1..].contains(&name.as_str());
        if *name == containerd::NAME || more || !plan.iter().any(|component| component.name == name) {
            bail!("extraArgs: the cluster has no component {name:?} that takes flags");
        }
    }
    for component in plan.iter().filter(|component| component.name != containerd::NAME) {
        let mut args = component.args.clone();
        if component.env.iter().any(|(variable, _)| variable == STORAGE) {
            args.push("--storage=postgres:".to_owned());
        }
        if let Err(e) = crate::cli::check(&args) {
            let text = e.to_string();
            let line = text.lines().next().unwrap_or_default();
            bail!("extraArgs: {}: {}", component.name, line.trim_start_matches("error: "));
        }
    }
    Ok(())
}

/// Everything that is needed to reach the cluster's container runtime.
pub fn runtime_choice(cluster: &Cluster) -> Choice {
    Choice {
        endpoint: runtime_endpoint(cluster),
        root_dir: cluster.paths.kubelet(),
        image_store_dir: cluster.paths.image_store(),
        registries: Default::default(),
        network: Arc::new(Bridge::new(&cluster.paths.cni("conf"))),
    }
}

/// The endpoint of the cluster's container runtime.
pub fn runtime_endpoint(cluster: &Cluster) -> String {
    let own = || format!("unix://{}", cluster.paths.containerd_socket().display());
    cluster.state.runtime_endpoint.clone().unwrap_or_else(own)
}

fn runtime(cluster: &Cluster) -> Component {
    let program = preflight::find("containerd").unwrap_or_else(|| PathBuf::from("containerd"));
    let config = containerd::config_file(&cluster.paths);
    let args = vec!["--config".to_owned(), config.display().to_string()];
    Component { name: containerd::NAME, program, args, env: Vec::new(), needs: Vec::new(), stop: false }
}

fn own(name: &'static str, cluster: &Cluster, mut flags: Flags, needs: Vec<Need>) -> Result<Component> {
    // The user's flags stand in for ours of the same name.
    let extra = cluster.state.extra_args.get(name).map_or(&[][..], Vec::as_slice);
    let name_of = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    flags.0.retain(|flag| extra.iter().all(|other| name_of(other) != name_of(flag)));
    flags.0.extend_from_slice(extra);
    flags.0.insert(0, name.to_owned());
    let program = std::env::current_exe().context("cannot find the knarr program")?;
    Ok(Component { name, program, args: flags.0, env: Vec::new(), needs, stop: true })
}

/// Command-line flags under construction.
#[derive(Default)]
struct Flags(Vec<String>);

impl Flags {
    fn set(mut self, flag: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(format!("--{flag}={value}"));
        self
    }

    fn file(self, flag: &str, path: &Path) -> Self {
        self.set(flag, path.display())
    }
}

fn apiserver(cluster: &Cluster, port: u16) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    let pki = |file: &str| paths.pki(file);
    let flags = match &state.datastore {
        Some(_) => Flags::default(),
        None if state.ephemeral => Flags::default().set("storage", "sqlite::memory:"),
        None => Flags::default().set("storage", format!("sqlite:{}", paths.database().display())),
    };
    let flags = flags
        .set("secure-port", port)
        .set("bind-address", "0.0.0.0")
        .set("advertise-address", state.node_ip)
        .file("tls-cert-file", &pki("apiserver.crt"))
        .file("tls-private-key-file", &pki("apiserver.key"))
        .file("client-ca-file", &pki("ca.crt"))
        .file("requestheader-client-ca-file", &pki("front-proxy-ca.crt"))
        .set("requestheader-allowed-names", "front-proxy-client")
        .set("requestheader-username-headers", "X-Remote-User")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .file("proxy-client-cert-file", &pki("front-proxy-client.crt"))
        .file("proxy-client-key-file", &pki("front-proxy-client.key"))
        // Straight to endpoints: a webhook or aggregated API is reached as soon as it is ready, whatever the proxy does.
        .set("enable-aggregator-routing", "true")
        .file("service-account-key-file", &pki("sa.pub"))
        .file("service-account-signing-key-file", &pki("sa.key"))
        .set("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .set("service-cluster-ip-range", &state.service_cidr)
        .set("authorization-mode", "Node,RBAC")
        .set("component-health", component_health(state));
    if state.api_only {
        return flags;
    }
    flags
        .set("enable-admission-plugins", "NodeRestriction")
        .set("enable-bootstrap-token-auth", true)
        .file("kubelet-certificate-authority", &pki("ca.crt"))
        .file("kubelet-client-certificate", &pki("apiserver-kubelet-client.crt"))
        .file("kubelet-client-key", &pki("apiserver-kubelet-client.key"))
        // The node's name is no host name that anyone could resolve.
        .set("kubelet-preferred-address-types", "InternalIP")
}

/// Where the components that the cluster has beside the API server tell of their health.
fn component_health(state: &State) -> String {
    let scheduler = (!state.api_only).then_some(("scheduler", state.ports.scheduler));
    let components = scheduler.into_iter().chain([("controller-manager", state.ports.controllers)]);
    let urls = components.map(|(name, port)| format!("{name}=https://127.0.0.1:{port}/healthz"));
    urls.collect::<Vec<_>>().join(",")
}

/// How a component reaches the API server, where it serves its health, and who it asks for the rights of users.
fn served(kubeconfig: &Path, paths: &Paths, port: u16) -> Flags {
    Flags::default()
        .file("kubeconfig", kubeconfig)
        .file("authentication-kubeconfig", kubeconfig)
        .file("authorization-kubeconfig", kubeconfig)
        .file("client-ca-file", &paths.pki("ca.crt"))
        .file("requestheader-client-ca-file", &paths.pki("front-proxy-ca.crt"))
        .set("requestheader-allowed-names", "front-proxy-client")
        .set("bind-address", Ipv4Addr::LOCALHOST)
        .set("secure-port", port)
}

fn controllers(cluster: &Cluster) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    let flags = served(&paths.kubeconfig("controllers"), paths, state.ports.controllers)
        .set("leader-elect", false)
        .file("root-ca-file", &paths.pki("ca.crt"));
    if state.api_only {
        // What tests of operators expect besides the API itself.
        let some = "garbage-collector-controller,namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller";
        return flags.set("controllers", some);
    }
    let flags = match state.simulated {
        // Addresses of simulated pods are given out for all nodes together, and there is no directory for volumes.
        Some(_) => flags,
        None => flags
            .set("cluster-cidr", &state.cluster_cidr)
            .set("allocate-node-cidrs", true)
            .file("local-path-directory", &paths.volumes())
            .set("local-path-node", &state.node_name),
    };
    flags
        .set(
            "controllers",
            "*,bootstrap-signer-controller,token-cleaner-controller,kubelet-serving-approving-controller",
        )
        .file("cluster-signing-cert-file", &paths.pki("ca.crt"))
        .file("cluster-signing-key-file", &paths.pki("ca.key"))
        .file("service-account-private-key-file", &paths.pki("sa.key"))
}

fn scheduler(cluster: &Cluster) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    served(&paths.kubeconfig("scheduler"), paths, state.ports.scheduler).set("leader-elect", false)
}

fn proxy(cluster: &Cluster) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    // A node that joined has one certificate.
    let user = if state.joined.is_some() { KUBELET } else { "proxy" };
    let mut flags = Flags::default()
        .file("kubeconfig", &paths.kubeconfig(user))
        .set("cluster-name", &state.name)
        .set("hostname-override", &state.node_name)
        .set("cluster-cidr", &state.cluster_cidr)
        .set("cluster-dns", listed(&cluster_dns(state)))
        .set("cluster-domain", cluster_domain(state))
        .set("network-backend", backend_name(state.network.backend))
        .set("direct-routing", state.network.direct_routing)
        .set("vxlan-id", vxlan_id(paths))
        .set("service-cluster-ip-range", &state.service_cidr)
        .file("cni-conf-dir", &paths.cni("conf"))
        .file("cni-bin-dir", &paths.cni("bin"))
        .file("cni-state-dir", &paths.cni("state"))
        // The clusters of a host would contend for the original's ports on all addresses.
        .set("healthz-bind-address", SocketAddr::from((Ipv4Addr::LOCALHOST, state.ports.proxy)))
        .set("metrics-bind-address", SocketAddr::from((Ipv4Addr::LOCALHOST, state.ports.proxy)));
    if state.slot != 0 {
        // Only the first cluster of a host answers on all of the host's addresses.
        flags = flags.set("nodeport-addresses", format!("{}/32", state.node_ip));
    }
    for publish in &state.publish {
        flags = flags.set("publish", format!("{}:{}", publish.port, publish.node_port));
    }
    flags
}

fn backend_name(backend: Backend) -> String {
    backend.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The virtual network of the cluster's nodes: a number of 24 bits that follows from the authority, so that nodes of
/// different clusters on one network, or on one host, do not meet.
fn vxlan_id(paths: &Paths) -> u32 {
    // Before the authority is made nothing is started; only the form of the flags is looked at.
    let authority = std::fs::read(paths.pki("ca.crt")).unwrap_or_default();
    let digest = Sha256::digest(&authority);
    1 + u32::from_be_bytes([0, digest[0], digest[1], digest[2]]) % ((1 << 24) - 1)
}

fn cluster_dns(state: &State) -> Vec<IpAddr> {
    match &state.joined {
        Some(joined) => joined.cluster_dns.clone(),
        None => state.dns_ips(),
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

fn cluster_domain(state: &State) -> &str {
    state.joined.as_ref().map_or("cluster.local", |joined| &joined.cluster_domain)
}

fn simulated_nodes(cluster: &Cluster, simulated: Simulated) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    let flags = Flags::default()
        .file("kubeconfig", &paths.kubeconfig(KUBELET))
        .set("nodes", simulated.nodes)
        .set("cluster-cidr", &state.cluster_cidr)
        .set("bind-address", Ipv4Addr::LOCALHOST)
        .set("secure-port", state.ports.kubelet);
    match paths.stages().exists() {
        true => flags.file("stages", &paths.stages()),
        false => flags,
    }
}

/// How a node that joined lets API servers reach it. One server is where the kubeconfig says, whatever it calls itself.
fn tunnel(joined: &Joined) -> Vec<(&'static str, String)> {
    let wish = joined.tunnel.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let servers = joined.api_servers.join(",");
    let several = (joined.api_servers.len() > 1).then_some(("api-server-tunnel-servers", servers));
    std::iter::once(("api-server-tunnel", wish)).chain(several).collect()
}

/// Where the ids begin that a cluster's pods get for users of their own: no cluster of a host has those of another, as
/// long as nodes take no more than 512 pods.
fn first_id(slot: u8) -> u32 {
    const IDS_PER_POD: u32 = 1 << 16;
    const PODS_PER_CLUSTER: u32 = 512;
    IDS_PER_POD * (1 + u32::from(slot) * PODS_PER_CLUSTER)
}

fn kubelet(cluster: &Cluster) -> Flags {
    let (paths, state) = (&cluster.paths, &cluster.state);
    let flags = Flags::default()
        .file("kubeconfig", &paths.kubeconfig("kubelet"))
        .set("container-runtime-endpoint", runtime_endpoint(cluster))
        .file("image-store-dir", &paths.image_store())
        .file("cni-conf-dir", &paths.cni("conf"))
        .set("hostname-override", &state.node_name)
        .set("node-ip", listed(&std::iter::once(state.node_ip).chain(state.node_ip6).collect::<Vec<_>>()))
        .set("port", state.ports.kubelet)
        .file("root-dir", &paths.kubelet())
        .file("pod-logs-dir", &paths.pod_logs())
        .file("pod-manifest-path", &paths.manifests())
        .file("image-preload-dir", &paths.images())
        // One is enough: it tells of both families.
        .set("cluster-dns", listed(&cluster_dns(state)[..1]))
        .set("cluster-domain", cluster_domain(state))
        .set("cgroup-root", format!("/knarr-{}", state.name))
        .set("user-namespaces-first-id", first_id(state.slot))
        .set("pod-infra-container-image", knarr_kubelet::runtime::PAUSE_IMAGE)
        .file("client-ca-file", &paths.pki("ca.crt"));
    // A file of settings says itself what is kept free.
    let given = state.extra_args.get("kubelet").into_iter().flatten();
    let flags = match given.into_iter().any(|flag| flag == "--config" || flag.starts_with("--config=")) {
        true => flags,
        false => flags
            // The disk is the machine's own and often almost full; pods have not filled it.
            .set("eviction-hard", "memory.available<100Mi")
            // Images that were loaded could not be pulled again.
            .set("image-gc-high-threshold", 100),
    };
    if let Some(joined) = &state.joined {
        return tunnel(joined)
            .into_iter()
            .fold(flags, |flags, (flag, value)| flags.set(flag, value))
            .file("bootstrap-kubeconfig", &paths.kubeconfig("bootstrap"))
            .file("cert-dir", &paths.pki(""))
            .set("rotate-certificates", true)
            .set("rotate-server-certificates", true);
    }
    flags
        .file("tls-cert-file", &paths.pki("kubelet-server.crt"))
        .file("tls-private-key-file", &paths.pki("kubelet-server.key"))
}
