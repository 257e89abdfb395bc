//! What is chosen for a cluster when it is created, so that clusters on one host never collide.
use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv6Net};
use knarr_kubelet::tunnel::Wish;
use knarr_proxy::network::overlay::Backend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

mod choose;
mod reserve;

pub use choose::{Wishes, choose, is_free};
pub use reserve::Reservations;

/// The newest form of the state file that this program writes and reads.
const VERSION: u32 = 1;

/// A state file that only a later version of this program understands; nothing is to be done to it.
#[derive(Debug, thiserror::Error)]
#[error("{} was written by a newer knarr; use that version, also for `knarr down`", .0.display())]
pub struct Newer(PathBuf);

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
    /// Its IPv6 address, where the cluster has both families and the host such an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ip6: Option<IpAddr>,
    /// Listening ports.
    pub ports: Ports,
    /// Pod network; behind a comma that of IPv6, if there is one.
    pub cluster_cidr: String,
    /// Service network; behind a comma that of IPv6, if there is one.
    pub service_cidr: String,
    /// Just the API server, garbage collection and namespaces.
    pub api_only: bool,
    /// The database is thrown away with the processes.
    pub ephemeral: bool,
    /// A CRI socket that was there before, `docker://` and a Docker Engine's, or `embedded`; none: a containerd of the
    /// cluster's own.
    pub runtime_endpoint: Option<String>,
    /// Host ports that lead to node ports.
    pub publish: Vec<Publish>,
    /// The user's kubeconfig that holds the cluster's context.
    pub merged_into: Option<PathBuf>,
    /// More flags for components, by component.
    pub extra_args: BTreeMap<String, Vec<String>>,
    /// URL of a database outside of the cluster, with its password; none: SQLite in the cluster's directory.
    #[serde(default)]
    pub datastore: Option<String>,
    /// Ports of the API servers beside the first, at most [`MORE_API_SERVERS`].
    #[serde(default)]
    pub more_api_ports: Vec<u16>,
    /// Nodes without containers, instead of this host as the one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<Simulated>,
    /// More names and addresses of the API server's certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_sans: Vec<String>,
    /// How packets reach pods of other nodes.
    #[serde(default)]
    pub network: Network,
    /// The cluster that this host joined as a node; its API server is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

/// How packets reach pods of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// By what.
    pub backend: Backend,
    /// With VXLAN: whether nodes on one network do without it.
    pub direct_routing: bool,
}

/// A cluster of another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Joined {
    /// URL of its API server.
    pub server: String,
    /// Address of its DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of its names.
    pub cluster_domain: String,
    /// URLs of all its API servers.
    #[serde(default)]
    pub api_servers: Vec<String>,
    /// When they reach this node by a connection of its own making.
    #[serde(default)]
    pub tunnel: Wish,
}

/// Simulated nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Simulated {
    /// How many.
    pub nodes: u32,
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
    /// Ports of all API servers, the first one's first.
    pub fn api_ports(&self) -> impl Iterator<Item = u16> + '_ {
        std::iter::once(self.ports.api).chain(self.more_api_ports.iter().copied())
    }

    /// Of a cluster of which nothing but the name is known.
    pub fn unknown(name: &str) -> Self {
        let ports = Ports { api: 0, kubelet: 0, controllers: 0, scheduler: 0, proxy: 0 };
        Self {
            version: VERSION,
            name: name.to_owned(),
            slot: 0,
            node_name: String::new(),
            node_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            node_ip6: None,
            ports,
            cluster_cidr: String::new(),
            service_cidr: String::new(),
            api_only: false,
            ephemeral: false,
            runtime_endpoint: None,
            publish: Vec::new(),
            merged_into: None,
            extra_args: BTreeMap::new(),
            datastore: None,
            more_api_ports: Vec::new(),
            simulated: None,
            tls_sans: Vec::new(),
            network: Network::default(),
            joined: None,
        }
    }

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
        let name = file.parent().and_then(Path::file_name).unwrap_or_default().display();
        let broken = || {
            format!(
                "{} is damaged; `knarr down --name {name}` removes what is left of the cluster",
                file.display()
            )
        };
        let head: Head = serde_json::from_slice(&text).with_context(broken)?;
        if head.version > VERSION {
            bail!(Newer(file.to_owned()));
        }
        Ok(Some(serde_json::from_slice(&text).with_context(broken)?))
    }

    /// Writes the state file, whole or not at all.
    pub fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        super::pki::write_secret(file, &text)
    }

    /// Whether pods are containers on this host, with all that this needs of it.
    pub fn runs_containers(&self) -> bool {
        !self.api_only && self.simulated.is_none()
    }

    /// First address of the service network: the `kubernetes` Service.
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        self.service_address(1)
    }

    /// Tenth address of the service network: cluster DNS.
    pub fn dns_ip(&self) -> Ipv4Addr {
        self.service_address(10)
    }

    /// Addresses of cluster DNS, one a family.
    pub fn dns_ips(&self) -> Vec<IpAddr> {
        let second = self.service_cidr.split(',').nth(1).and_then(|range| range.parse::<Ipv6Net>().ok());
        let tenth = second.map(|range| IpAddr::from((u128::from(range.network()) + 10).to_be_bytes()));
        std::iter::once(IpAddr::V4(self.dns_ip())).chain(tenth).collect()
    }

    /// The pod networks, one a family.
    pub fn pod_networks(&self) -> Vec<IpNet> {
        self.cluster_cidr.split(',').flat_map(str::parse).collect()
    }

    fn service_address(&self, last: u8) -> Ipv4Addr {
        let base: Option<Ipv4Addr> = self.service_cidr.split('/').next().and_then(|ip| ip.parse().ok());
        let [a, b, c, _] = base.unwrap_or(Ipv4Addr::new(10, 43, 0, 0)).octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

impl Ports {
    /// Each with the component that listens on it.
    pub fn all(self) -> [(&'static str, u16); 5] {
        [
            ("apiserver", self.api),
            ("kubelet", self.kubelet),
            ("controllers", self.controllers),
            ("scheduler", self.scheduler),
            ("proxy", self.proxy),
        ]
    }
}
