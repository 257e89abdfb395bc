//! The flags of simulated nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use knarr_api::quantity::Quantity;
use knarr_component::flags::{Connection, Logging, Serving};

/// Flags of the process that keeps simulated nodes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  knarr simulated --kubeconfig admin.yaml --nodes 100
  knarr simulated --kubeconfig admin.yaml --nodes 1000 --zones 3 --stages stages.yaml --seed 7")]
pub struct Args {
    /// How to reach the API server
    #[command(flatten)]
    pub connection: Connection,
    /// How many nodes to keep
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub nodes: u32,
    /// What nodes' names begin with; a number from 1 follows
    #[arg(long, default_value = "sim-")]
    pub node_prefix: String,
    /// Labels of the nodes: key=value,…
    #[arg(long, value_parser = crate::args::labels, default_value = "")]
    pub node_labels: BTreeMap<String, String>,
    /// Spread the nodes over so many zones, by the label topology.kubernetes.io/zone; 0: none
    #[arg(long, default_value_t = 0)]
    pub zones: u32,
    /// CPUs of a node
    #[arg(long, default_value = "32", value_parser = quantity)]
    pub node_cpu: String,
    /// Memory of a node
    #[arg(long, default_value = "256Gi", value_parser = quantity)]
    pub node_memory: String,
    /// How many pods a node takes
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// More resources of a node: name=quantity,…
    #[arg(long, value_parser = resources, default_value = "")]
    pub node_resources: BTreeMap<String, String>,
    /// File that scripts how pods and nodes behave
    #[arg(long, value_name = "FILE")]
    pub stages: Option<PathBuf>,
    /// Number that all chance follows from (a new one at every start)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Network of the pods' addresses
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ipv4Net,
    /// Network of the nodes' addresses
    #[arg(long, default_value = "100.64.0.0/16")]
    pub node_cidr: Ipv4Net,
    /// Where health and metrics are served
    #[command(flatten)]
    pub serving: Serving,
    /// How much to log
    #[command(flatten)]
    pub logging: Logging,
}

fn quantity(text: &str) -> Result<String, String> {
    text.parse::<Quantity>()
        .map(|_| text.to_owned())
        .map_err(|_| format!("{text:?} is no quantity such as 4 or 16Gi"))
}

fn resources(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = crate::args::labels(text)?;
    pairs.into_iter().map(|(name, amount)| Ok((name, quantity(&amount)?))).collect()
}

impl Args {
    /// What every node has, by resource.
    pub fn capacity(&self) -> BTreeMap<String, String> {
        let usual = [
            ("cpu", self.node_cpu.clone()),
            ("memory", self.node_memory.clone()),
            ("ephemeral-storage", "1Ti".to_owned()),
            ("hugepages-1Gi", "0".to_owned()),
            ("hugepages-2Mi", "0".to_owned()),
            ("pods", self.max_pods.to_string()),
        ];
        let usual = usual.map(|(name, amount)| (name.to_owned(), amount));
        usual.into_iter().chain(self.node_resources.clone()).collect()
    }
}
