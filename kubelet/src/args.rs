//! The kubelet's flags, named as the original's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use knarr_component::flags::{Logging, duration};

use crate::eviction::thresholds::{self, Thresholds};
use crate::images::pulled::Verification;
use crate::topology::{Policy, Scope};
use crate::{cpus, memory, shutdown, tunnel, userns};

/// Flags of the kubelet.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// File with a KubeletConfiguration of kubelet.config.k8s.io/v1beta1; flags that are given too win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Path to the kubeconfig of the API server; without it only static pods run
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig by which a node without a certificate asks for one; what it gets goes to --kubeconfig
    #[arg(long, value_name = "FILE", requires = "kubeconfig")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Directory of certificates that the kubelet asks for
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/pki")]
    pub cert_dir: PathBuf,
    /// Whether the kubelet asks for a new client certificate before its own ends
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub rotate_certificates: bool,
    /// Whether the kubelet asks the API server for the certificate that it serves with
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set, conflicts_with = "tls_cert_file")]
    pub rotate_server_certificates: bool,
    /// Whether the kubelet keeps a connection to the API server over which that reaches the node: no; auto, used where
    /// the node's address cannot be dialled; always
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "no",
        requires_if("auto", "kubeconfig"),
        requires_if("always", "kubeconfig")
    )]
    pub api_server_tunnel: tunnel::Wish,
    /// URLs of API servers that are to reach the node so; that of the kubeconfig by default
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub api_server_tunnel_servers: Vec<Uri>,
    /// Socket of the container runtime; `docker://PATH`: a Docker Engine's; `embedded`: containers are run by the kubelet
    /// itself
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    /// Directory of the embedded runtime's images, which the kubelets of a host may share
    #[arg(long, value_name = "DIR", default_value = "/var/lib/knarr/.images")]
    pub image_store_dir: PathBuf,
    /// YAML file that says how the embedded runtime reaches registries: mirrors, plain HTTP
    #[arg(long, value_name = "FILE")]
    pub registry_config: Option<PathBuf>,
    /// Folder of CNI configurations, the first of which is the network of pods of the embedded runtime and of Docker
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Name of the node; the host's name by default
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// Address of the node, or one of each family separated by a comma
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// `external` where a cloud controller manager prepares the node: until then it takes no pods, and its addresses
    /// are the cloud's
    #[arg(long, value_name = "NAME", value_parser = ["external"])]
    pub cloud_provider: Option<String>,
    /// Directory of pods' volumes and files
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// Directory of pods' logs
    #[arg(long, default_value = "/var/log/pods")]
    pub pod_logs_dir: PathBuf,
    /// Manifest, or folder of manifests, of static pods
    #[arg(long)]
    pub pod_manifest_path: Option<PathBuf>,
    /// Folder of image archives that are imported at the start
    #[arg(long)]
    pub image_preload_dir: Option<PathBuf>,
    /// Addresses of the cluster's DNS
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Resolver configuration that pods with the policy Default get
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Cgroup below which all cgroups of pods are
    #[arg(long, default_value = "/")]
    pub cgroup_root: String,
    /// Address to serve on
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    /// Port to serve on
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// Certificate authority of clients that may be authenticated by certificate
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Certificate of the server; one is made if there is none
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Labels of the node, set when it registers: key=value,…
    #[arg(long, value_parser = labels, default_value = "")]
    pub node_labels: BTreeMap<String, String>,
    /// Whether the node registers itself
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub register_node: bool,
    /// Taints that the node registers with: key=value:effect,…
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// How many pods the node takes
    #[arg(long, default_value_t = 110)]
    pub max_pods: usize,
    /// How much must be free, for example memory.available<100Mi,nodefs.available<10%: below that, pods are evicted
    #[arg(long, default_value = thresholds::DEFAULT)]
    pub eviction_hard: Thresholds,
    /// Percentage of the images' disk in use from which on unused images are removed; 100: never
    #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_high_threshold: u8,
    /// Percentage to which that brings the use of the disk down
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_low_threshold: u8,
    /// How long an unused image stays at least
    #[arg(long, default_value = "2m", value_parser = duration)]
    pub minimum_image_ttl_duration: Duration,
    /// How CPUs are given out: none; static: some containers get CPUs for themselves
    #[arg(long, value_name = "POLICY", default_value = "none")]
    pub cpu_manager_policy: cpus::Policy,
    /// Options of that policy: full-pcpus-only=true, strict-cpu-reservation=true
    #[arg(long, value_parser = labels, default_value = "")]
    pub cpu_manager_policy_options: BTreeMap<String, String>,
    /// CPUs that are kept for the system: 0-1,4
    #[arg(long, value_name = "CPUS", default_value = "")]
    pub reserved_cpus: String,
    /// What is kept for Kubernetes: cpu=100m,memory=100Mi,ephemeral-storage=1Gi
    #[arg(long, value_parser = labels, default_value = "")]
    pub kube_reserved: BTreeMap<String, String>,
    /// What is kept for the system, likewise
    #[arg(long, value_parser = labels, default_value = "")]
    pub system_reserved: BTreeMap<String, String>,
    /// How memory is given out: None; Static: some containers get that of chosen nodes
    #[arg(long, value_name = "POLICY", default_value = "None")]
    pub memory_manager_policy: memory::Policy,
    /// Memory that is kept for the system, by node: 0:memory=1Gi,hugepages-2Mi=4Mi;1:memory=1Gi
    #[arg(long, default_value = "")]
    pub reserved_memory: String,
    /// How strictly what containers get of the node is kept together: none, best-effort, restricted, single-numa-node
    #[arg(long, value_name = "POLICY", default_value = "none")]
    pub topology_manager_policy: Policy,
    /// What is kept together: container or pod
    #[arg(long, value_name = "SCOPE", default_value = "container")]
    pub topology_manager_scope: Scope,
    /// How long pods get when the machine goes down; only the file says
    #[arg(skip)]
    pub shutdown: shutdown::Settings,
    /// Of which images pods must show that they may pull them; only the file says
    #[arg(skip)]
    pub image_verification: Verification,
    /// First id of the host for pods with users of their own, where no user `kubelet` has subordinate ids
    #[arg(long, value_name = "ID", default_value_t = userns::FIRST)]
    pub user_namespaces_first_id: u32,
    /// How many ids such a pod gets; only the file says
    #[arg(skip = userns::UNIT)]
    pub user_namespaces_ids_per_pod: u32,
    /// Image of pods' sandboxes, which is never removed
    #[arg(long, value_name = "IMAGE")]
    pub pod_infra_container_image: Option<String>,
    /// How much to log
    #[command(flatten)]
    pub logging: Logging,
}

pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}
