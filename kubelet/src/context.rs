//! What every pod's worker shares: the runtime, the node's facts, and ways to the API server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use knarr_component::events::Recorder;
use tokio_util::sync::CancellationToken;

use crate::cgroups::Cgroups;
use crate::container::field::Surroundings;
use crate::container::resolv::ClusterDns;
use crate::csi::Csi;
use crate::eviction::Evictions;
use crate::grants::Grants;
use crate::images::pulled::Pulled;
use crate::pod;
use crate::runtime::SharedRuntime;
use crate::runtime::types::DnsConfig;
use crate::shutdown::Shutdown;
use crate::status::sender::Statuses;
use crate::userns::Users;
use crate::volumes::Lookup;
use crate::volumes::exclusive::Exclusive;

/// Facts of the node, fixed while the kubelet runs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Name of the node object.
    pub name: String,
    /// Addresses of the node, the main one first.
    pub ips: Vec<String>,
    /// Where pods' volumes and files are.
    pub root_dir: PathBuf,
    /// Where pods' logs are.
    pub pod_logs_dir: PathBuf,
    /// The cluster's DNS.
    pub cluster_dns: ClusterDns,
    /// What the node's own `resolv.conf` says.
    pub node_dns: DnsConfig,
    /// Memory of the machine in bytes.
    pub memory: i64,
    /// What pods may use, by resource, in thousandths: what is kept free is held back.
    pub allocatable: BTreeMap<String, i64>,
}

/// Tells pods of services through variables.
#[async_trait]
pub trait Services: Send + Sync {
    /// The variables of this pod; `None` if the services cannot be known now.
    async fn variables(&self, pod: &Pod) -> Option<BTreeMap<String, String>>;
}

/// Shared by all workers.
pub struct Context {
    /// Runs containers.
    pub runtime: SharedRuntime,
    /// The runtime's name, for container ids.
    pub runtime_name: String,
    /// The node.
    pub facts: Facts,
    /// The machine's cgroups.
    pub cgroups: Cgroups,
    /// What pods are granted of the node's own.
    pub grants: Arc<Grants>,
    /// Ids of pods with users of their own.
    pub users: Arc<Users>,
    /// Drivers of volumes.
    pub csi: Arc<Csi>,
    /// Claims that are for one pod alone.
    pub exclusive: Exclusive,
    /// Objects and tokens of pods.
    pub lookup: Arc<dyn Lookup>,
    /// Services of pods.
    pub services: Arc<dyn Services>,
    /// What the node runs short of.
    pub evictions: Arc<Evictions>,
    /// Whether the machine goes down.
    pub shutdown: Arc<Shutdown>,
    /// Where events go.
    pub events: Recorder,
    /// Where statuses go.
    pub statuses: Arc<Statuses>,
    /// Who may use which image.
    pub pulled: Pulled,
    /// Cancelled once all archives of the preload folder are imported.
    pub preloaded: CancellationToken,
}

impl Context {
    /// Directory of a pod's volumes and files.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.facts.root_dir.join("pods").join(uid)
    }

    /// Directory of a pod's logs.
    pub fn log_dir(&self, pod: &Pod) -> PathBuf {
        crate::logs::pod_directory(&self.facts.pod_logs_dir, pod)
    }

    /// What the downward API says to a pod with these addresses.
    pub fn surroundings(&self, pod: &Pod, ips: &[String]) -> Surroundings {
        let pod_ips = if pod::host_network(pod) { self.facts.ips.clone() } else { ips.to_vec() };
        Surroundings {
            node_name: self.facts.name.clone(),
            host_ips: self.facts.ips.clone(),
            pod_ips,
            allocatable: self.facts.allocatable.clone(),
            pod_logs_dir: self.facts.pod_logs_dir.clone(),
        }
    }
}
