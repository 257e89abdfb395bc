//! Flags of the proxy, named as kube-proxy's where it has them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use ipnet::IpNet;
use knarr_component::flags::{Connection, Logging, duration};

use crate::network::overlay::Backend;

/// How service traffic is balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyMode {
    /// By nftables rules in the kernel.
    Nftables,
    /// By rules that the host's iptables-restore writes.
    Iptables,
    /// By this process, which listens and copies: slower, but without rules.
    Userspace,
}

impl ProxyMode {
    /// The mode as the flag and the configuration have it.
    pub fn name(self) -> &'static str {
        match self {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables => "iptables",
            ProxyMode::Userspace => "userspace",
        }
    }
}

/// Parses the mode; the one that the original has and this proxy lacks is refused with what to do.
pub fn proxy_mode(text: &str) -> Result<ProxyMode, String> {
    let lower = text.to_ascii_lowercase();
    if lower == "ipvs" {
        return Err("there is no mode ipvs: nftables balances as well; also iptables, userspace".to_owned());
    }
    ProxyMode::from_str(&lower, true)
        .map_err(|_| format!("no proxy mode {text:?}: one of nftables, iptables, userspace"))
}

/// Flags of the proxy.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// File with a KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1; it wins over flags, but for the node's name.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to reach the API server.
    #[command(flatten)]
    pub connection: Connection,
    /// Logs.
    #[command(flatten)]
    pub logging: Logging,
    /// Name of the cluster; names of rules, interfaces and files derive from it.
    #[arg(long, default_value = "default")]
    pub cluster_name: String,
    /// Name of this node, if it is not the host's.
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Range of all pods of the cluster; one of each family at most.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// Range of pods of this node; by default that of its Node object.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// Range of virtual addresses: the host gets a route to them, so that it reaches services without a
    /// default route.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// How service traffic is balanced: nftables, iptables (by the host's iptables-restore) or userspace (this process
    /// listens and copies; without privileges, services are served at node ports and at addresses that the host has).
    #[arg(long, value_parser = proxy_mode, value_name = "MODE", default_value = "nftables")]
    pub proxy_mode: ProxyMode,
    /// Address of the cluster's DNS service, which this node answers itself; none answers none.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster's names.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Port of the node's DNS server on the pods' gateway address; another is taken if it is busy.
    #[arg(long, default_value_t = 53)]
    pub dns_port: u16,
    /// File with the name servers for names outside the cluster.
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    pub resolv_conf: PathBuf,
    /// Ranges of the node's addresses that answer node ports; all by default.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub nodeport_addresses: Vec<IpNet>,
    /// Whether node ports answer on 127.0.0.1 too.
    #[arg(
        long, alias = "iptables-localhost-nodeports", default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub localhost_nodeports: bool,
    /// Bit of the packet mark that asks for masquerading.
    #[arg(
        long, alias = "iptables-masquerade-bit", default_value_t = 14,
        value_parser = clap::value_parser!(u8).range(0..32)
    )]
    pub masquerade_bit: u8,
    /// Port of the host that leads where a node port leads, on all of the host's addresses.
    #[arg(long, value_name = "PORT:NODEPORT", value_parser = published)]
    pub publish: Vec<(u16, u16)>,
    /// Where load balancers ask for the node's health (/healthz, /livez); port 0 serves none.
    #[arg(long, default_value = "127.0.0.1:10256", value_name = "IP:PORT")]
    pub healthz_bind_address: SocketAddr,
    /// Where metrics and the mode are served (/metrics, /proxyMode); none by default, nor at port 0. May be the same address.
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_bind_address: Option<SocketAddr>,
    /// Whether it is an error that these addresses are taken; else they are tried again and again.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub bind_address_hard_fail: bool,
    /// How often it is looked whether the rules are as they were written.
    #[arg(long, alias = "iptables-sync-period", default_value = "1h", value_parser = duration)]
    pub sync_period: Duration,
    /// Directory for the CNI configuration; without it none is written.
    #[arg(long, value_name = "DIR")]
    pub cni_conf_dir: Option<PathBuf>,
    /// Directory in which the CNI plugin is linked to this program.
    #[arg(long, value_name = "DIR")]
    pub cni_bin_dir: Option<PathBuf>,
    /// Directory of address reservations [default: /run/knarr/CLUSTER/cni].
    #[arg(long, value_name = "DIR")]
    pub cni_state_dir: Option<PathBuf>,
    /// How packets reach pods of other nodes.
    #[arg(long, value_enum, default_value = "vxlan")]
    pub network_backend: Backend,
    /// With VXLAN: reach nodes on this node's network by plain routes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub direct_routing: bool,
    /// Identifier of the virtual network, the same on all nodes of a cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub vxlan_id: u32,
    /// UDP port of the virtual network, the same on all nodes of a cluster.
    #[arg(long, default_value_t = 8472)]
    pub vxlan_port: u16,
    /// Largest packet of pods in bytes; 0 takes what the node's interface leaves.
    #[arg(long, default_value_t = 0)]
    pub mtu: u32,
    /// Remove all rules, interfaces and files of the cluster's network, and exit.
    #[arg(long)]
    pub cleanup: bool,
}

impl Args {
    /// The node's name: as given, else the host's in lower case.
    pub fn node_name(&self) -> String {
        let host =
            || nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        self.hostname_override.clone().unwrap_or_else(host).trim().to_lowercase()
    }

    /// Directory of address reservations.
    pub fn state_dir(&self) -> PathBuf {
        let default = || PathBuf::from("/run/knarr").join(&self.cluster_name).join("cni");
        self.cni_state_dir.clone().unwrap_or_else(default)
    }
}

/// Parses `PORT:NODEPORT`.
fn published(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse().ok().filter(|p| *p > 0);
    let both = text.split_once(':').and_then(|(host, node)| Some((port(host)?, port(node)?)));
    both.ok_or_else(|| format!("{text:?} is no pair of ports such as 8080:30080"))
}
