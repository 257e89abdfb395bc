//! What is chosen for a cluster when it is created, so that clusters on one host never collide.
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// The newest form of the state file that this program writes and reads.
const VERSION: u32 = 1;

/// The clusters one host can hold: each takes a pair of /16 networks from 10.42.0.0 up.
const SLOTS: u8 = 100;

/// The choices of one cluster; written once as `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Form of this file.
    pub version: u32,
    /// Cluster name.
    pub name: String,
    /// Position among the clusters of the host; networks follow from it.
    pub slot: u8,
    /// Name of the single node.
    pub node_name: String,
    /// Address of the node.
    pub node_ip: IpAddr,
    /// Listening ports.
    pub ports: Ports,
    /// Pod network.
    pub cluster_cidr: String,
    /// Service network.
    pub service_cidr: String,
    /// Just the API server, garbage collection and namespaces.
    pub api_only: bool,
    /// The database is thrown away with the processes.
    pub ephemeral: bool,
    /// A CRI socket that was there before; none: a containerd of the cluster's own.
    pub runtime_endpoint: Option<String>,
    /// Host ports that lead to node ports.
    pub publish: Vec<Publish>,
    /// The user's kubeconfig that holds the cluster's context.
    pub merged_into: Option<PathBuf>,
    /// More flags for components, by component.
    pub extra_args: std::collections::BTreeMap<String, Vec<String>>,
    /// URL of a database outside of the cluster, with its password; none: SQLite in the cluster's directory.
    #[serde(default)]
    pub datastore: Option<String>,
    /// Ports of the API servers beside the first, at most [`MORE_API_SERVERS`].
    #[serde(default)]
    pub more_api_ports: Vec<u16>,
}

/// API servers of one cluster beside the first, at most.
pub const MORE_API_SERVERS: usize = 8;

/// Ports of a cluster's components.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ports {
    /// API server.
    pub api: u16,
    /// Kubelet's HTTPS server.
    pub kubelet: u16,
    /// Health and metrics of the controllers.
    pub controllers: u16,
    /// Health and metrics of the scheduler.
    pub scheduler: u16,
    /// Health and metrics of the proxy.
    pub proxy: u16,
}

/// A host port that leads to a node port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// Port on the host.
    pub port: u16,
    /// Node port it leads to.
    pub node_port: u16,
}

impl std::str::FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| part.parse::<u16>().ok().filter(|port| *port != 0);
        let pair = text.split_once(':').and_then(|(a, b)| Some((parse(a)?, parse(b)?)));
        let Some((port, node_port)) = pair else {
            return Err(format!("{text:?} is not PORT:NODEPORT, as in 8080:30080"));
        };
        Ok(Self { port, node_port })
    }
}

impl State {
    /// Reads the state file; none when it does not exist.
    pub fn load(file: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let broken =
            || format!("{} is damaged; `knarr down` removes what is left of the cluster", file.display());
        let head: Head = serde_json::from_slice(&text).with_context(broken)?;
        if head.version > VERSION {
            bail!(
                "{} was written by a newer knarr; use that version, or `knarr down` with it",
                file.display()
            );
        }
        Ok(Some(serde_json::from_slice(&text).with_context(broken)?))
    }

    /// Writes the state file, whole or not at all.
    pub fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        super::pki::write_secret(file, &text)
    }

    /// First address of the service network: the `kubernetes` Service.
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        self.service_address(1)
    }

    /// Tenth address of the service network: cluster DNS.
    pub fn dns_ip(&self) -> Ipv4Addr {
        self.service_address(10)
    }

    fn service_address(&self, last: u8) -> Ipv4Addr {
        let base: Option<Ipv4Addr> = self.service_cidr.split('/').next().and_then(|ip| ip.parse().ok());
        let [a, b, c, _] = base.unwrap_or(Ipv4Addr::new(10, 43, 0, 0)).octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

/// What the user asked for; the rest is chosen.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// API server's port.
    pub api_port: Option<u16>,
    /// Node name.
    pub node_name: Option<String>,
    /// Pod network.
    pub cluster_cidr: Option<String>,
    /// Service network.
    pub service_cidr: Option<String>,
    /// API servers beside the first.
    pub more_api_servers: usize,
}

/// Chooses slot, networks, address and ports of a new cluster beside the `others` of this host.
pub fn choose(name: &str, wishes: &Wishes, others: &[State]) -> Result<State> {
    let slot = (0..SLOTS).find(|slot| others.iter().all(|other| other.slot != *slot));
    let slot = slot.with_context(|| format!("this host already holds {SLOTS} clusters"))?;
    let cluster_cidr = wishes.cluster_cidr.clone().unwrap_or_else(|| format!("10.{}.0.0/16", 42 + 2 * slot));
    let service_cidr = wishes.service_cidr.clone().unwrap_or_else(|| format!("10.{}.0.0/16", 43 + 2 * slot));
    // The first cluster owns the host's address; the others answer on their bridge's, so that equal node
    // ports of two clusters do not meet.
    let bridge = gateway(&cluster_cidr)?;
    let node_ip = if slot == 0 { host_address().unwrap_or(bridge) } else { bridge };
    let promised = |other: &State| other.ports.all().into_iter().chain(other.more_api_ports.clone());
    let taken: Vec<u16> = others.iter().flat_map(|other| promised(other).collect::<Vec<_>>()).collect();
    let mut chooser = PortChooser { taken };
    let ports = Ports {
        api: chooser.api(wishes.api_port)?,
        kubelet: chooser.free_from(10250)?,
        controllers: chooser.free_from(10257)?,
        scheduler: chooser.free_from(10259)?,
        proxy: chooser.free_from(10256)?,
    };
    let more = (0..wishes.more_api_servers.min(MORE_API_SERVERS)).map(|_| chooser.free_from(6444));
    let more_api_ports = more.collect::<Result<Vec<_>>>()?;
    Ok(State {
        version: VERSION,
        name: name.to_owned(),
        slot,
        node_name: wishes.node_name.clone().map_or_else(host_name, Ok)?,
        node_ip,
        ports,
        cluster_cidr,
        service_cidr,
        api_only: false,
        ephemeral: false,
        runtime_endpoint: None,
        publish: Vec::new(),
        merged_into: None,
        extra_args: Default::default(),
        datastore: None,
        more_api_ports,
    })
}

impl Ports {
    fn all(self) -> [u16; 5] {
        [self.api, self.kubelet, self.controllers, self.scheduler, self.proxy]
    }
}

/// Hands out ports that are free on the host and not promised to another cluster.
struct PortChooser {
    taken: Vec<u16>,
}

impl PortChooser {
    fn api(&mut self, wish: Option<u16>) -> Result<u16> {
        let Some(port) = wish else { return self.free_from(6443) };
        if self.taken.contains(&port) || !is_free(port) {
            bail!(
                "port {port} is in use; choose another with --api-port, or leave it out to have one chosen"
            );
        }
        self.taken.push(port);
        Ok(port)
    }

    fn free_from(&mut self, first: u16) -> Result<u16> {
        // Steps of 20 keep the ports of one cluster recognisable beside those of the next.
        let mut candidates = (0..500_u16).map(|n| first + 20 * n);
        let port = candidates.find(|port| !self.taken.contains(port) && is_free(*port));
        let port = port.with_context(|| format!("no free port from {first} up"))?;
        self.taken.push(port);
        Ok(port)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// First address of a pod network: the bridge of its first node.
fn gateway(cidr: &str) -> Result<IpAddr> {
    let base: Option<Ipv4Addr> = cidr.split('/').next().and_then(|ip| ip.parse().ok());
    let base = base.with_context(|| format!("{cidr:?} is not an IPv4 network, as in 10.42.0.0/16"))?;
    Ok(IpAddr::V4(Ipv4Addr::from(u32::from(base) + 1)))
}

/// The host's address on its default route, found without sending anything.
fn host_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): connecting a UDP socket only looks up the route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    Ok(name.to_string_lossy().to_ascii_lowercase())
}
