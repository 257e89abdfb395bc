//! The flags of the controller manager, named as the original's.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use knarr_component::flags::{Connection, FeatureGates, LeaderElection, Logging, Server, duration};

/// Flags of `knarr controllers`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The API server to work for.
    #[command(flatten)]
    pub connection: Connection,
    /// Health and metrics; the port is 10257 by default.
    #[command(flatten)]
    pub server: Server,
    /// Election of the one active instance.
    #[command(flatten)]
    pub leader_election: LeaderElection,
    /// Log level and form.
    #[command(flatten)]
    pub logging: Logging,
    /// Features beside those that are on by default.
    #[command(flatten)]
    pub features: FeatureGates,
    /// Controllers to run: `*` stands for all that are on by default, `name` adds and `-name`
    /// removes one. Short names such as `deployment` work as well.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// Each controller acts as a ServiceAccount of its own, with its own role, instead of all as the kubeconfig's user.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, default_value_t = false)]
    pub use_service_account_credentials: bool,
    /// Name of the cluster. As in the original it names what a cloud provider makes, so that nothing here depends on it.
    #[arg(long, default_value = "kubernetes")]
    pub cluster_name: String,
    /// Address ranges of Services, of which no node gets a part.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Address ranges of pods, from which each node gets a part.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub cluster_cidr: Vec<IpNet>,
    /// Give each node a part of the cluster's range of pod addresses.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, default_value_t = false)]
    pub allocate_node_cidrs: bool,
    /// Prefix length of a node's IPv4 range.
    #[arg(long, default_value_t = 24, visible_alias = "node-cidr-mask-size-ipv4")]
    pub node_cidr_mask_size: u8,
    /// Prefix length of a node's IPv6 range.
    #[arg(long, default_value_t = 64)]
    pub node_cidr_mask_size_ipv6: u8,
    /// Certificate authority to publish to pods; without it the one of the kubeconfig.
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// How often nodes are looked at.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub node_monitor_period: Duration,
    /// How long a node may be silent until it counts as lost.
    #[arg(long, default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    /// How long a new node may be silent until it counts as lost.
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub node_startup_grace_period: Duration,
    /// Nodes a second whose pods are evicted.
    #[arg(long, default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    /// The same in zones that are mostly unhealthy and large.
    #[arg(long, default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    /// Share of unhealthy nodes from which a zone counts as unhealthy.
    #[arg(long, default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
    /// Nodes from which a zone counts as large.
    #[arg(long, default_value_t = 50)]
    pub large_cluster_size_threshold: usize,
    /// Finished pods that are kept until the oldest are removed; 0 keeps all.
    #[arg(long, default_value_t = 12500)]
    pub terminated_pod_gc_threshold: usize,
    /// Endpoints in one EndpointSlice.
    #[arg(long, default_value_t = 100)]
    pub max_endpoints_per_slice: usize,
    /// How often autoscalers look at their metrics.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub horizontal_pod_autoscaler_sync_period: Duration,
    /// How long the highest recommendation counts before an autoscaler scales down.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How long after its start the load of a pod is that of starting.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// How long after its start a change of readiness counts as the first.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub horizontal_pod_autoscaler_initial_readiness_delay: Duration,
    /// Share by which usage may differ from its target before an autoscaler acts.
    #[arg(long, default_value_t = 0.1)]
    pub horizontal_pod_autoscaler_tolerance: f64,
    /// Where the built-in provisioner keeps volumes on each node; without it there is none.
    #[arg(long, value_name = "DIRECTORY")]
    pub local_path_directory: Option<PathBuf>,
    /// The node whose file system this process sees, on which it removes the data of deleted volumes.
    #[arg(long, value_name = "NODE")]
    pub local_path_node: Option<String>,
    /// Certificate authority that signs requests for certificates; without it none is signed.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The longest time that a signed certificate is valid.
    #[arg(long, default_value = "8760h", value_parser = duration, alias = "experimental-cluster-signing-duration")]
    pub cluster_signing_duration: Duration,
    /// Private key that signs the tokens kept in Secrets of service accounts; without it none is made.
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// How long the token that was made for a service account and is not used may stay.
    #[arg(long, default_value = "8760h", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
    /// `external` where a cloud controller manager cares for addresses of Services and routes between nodes.
    #[arg(long, value_name = "NAME", value_parser = cloud_provider)]
    pub cloud_provider: Option<CloudProvider>,
    /// Whether a cloud's routes lead to nodes' ranges of pods. As in the original they are made by a cloud controller
    /// manager, never by this program, whatever is said here.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, default_value_t = true)]
    pub configure_cloud_routes: bool,
    /// How often a cloud controller manager looks at its routes; see --configure-cloud-routes.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub route_reconciliation_period: Duration,
    /// How parts of the ranges of pods are chosen: RangeAllocator, which is this program's own way; others are clouds'.
    #[arg(long, default_value = "RangeAllocator", value_parser = ["RangeAllocator"])]
    pub cidr_allocator_type: String,
    /// Addresses for Services of type LoadBalancer; without any they get those of the nodes.
    #[arg(long, value_delimiter = ',', value_name = "CIDR", value_parser = network)]
    pub load_balancer_addresses: Vec<IpNet>,
    /// Workers of each controller.
    #[command(flatten)]
    pub workers: Workers,
}

/// Who cares for what lies outside of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudProvider {
    /// A program of its own, beside this one.
    External,
}

fn cloud_provider(text: &str) -> Result<CloudProvider, String> {
    match text {
        "external" => Ok(CloudProvider::External),
        _ => Err("the only cloud provider is \"external\"".to_string()),
    }
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = text.parse::<std::net::IpAddr>().map(IpNet::from);
    alone.or_else(|_| text.parse()).map_err(|_| format!("{text:?} is neither an address nor a network"))
}

/// How many objects each controller works on at a time.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Workers")]
pub struct Workers {
    /// Deployments.
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,
    /// ReplicaSets.
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,
    /// ReplicationControllers.
    #[arg(long, default_value_t = 5)]
    pub concurrent_rc_syncs: usize,
    /// DaemonSets.
    #[arg(long, default_value_t = 2)]
    pub concurrent_daemonset_syncs: usize,
    /// StatefulSets.
    #[arg(long, default_value_t = 5)]
    pub concurrent_statefulset_syncs: usize,
    /// Jobs.
    #[arg(long, default_value_t = 5)]
    pub concurrent_job_syncs: usize,
    /// CronJobs.
    #[arg(long, default_value_t = 5)]
    pub concurrent_cron_job_syncs: usize,
    /// Endpoints.
    #[arg(long, default_value_t = 5)]
    pub concurrent_endpoint_syncs: usize,
    /// Services whose EndpointSlices are kept.
    #[arg(long, default_value_t = 5)]
    pub concurrent_service_endpoint_syncs: usize,
    /// Namespaces.
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,
    /// Objects the garbage collector looks at.
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,
    /// Finished objects with a time to live.
    #[arg(long, default_value_t = 5)]
    pub concurrent_ttl_after_finished_syncs: usize,
    /// Pods whose generic ephemeral volumes get their claims.
    #[arg(long, default_value_t = 5)]
    pub concurrent_ephemeralvolume_syncs: usize,
    /// Pods and ResourceClaims.
    #[arg(long, default_value_t = 10)]
    pub concurrent_resource_claim_syncs: usize,
    /// HorizontalPodAutoscalers.
    #[arg(long, default_value_t = 5)]
    pub concurrent_horizontal_pod_autoscaler_syncs: usize,
    /// ResourceQuotas.
    #[arg(long, default_value_t = 5)]
    pub concurrent_resource_quota_syncs: usize,
}
