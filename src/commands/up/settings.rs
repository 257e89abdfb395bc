//! What the user asked for: the configuration file with the flags over it.
use super::Args;
use crate::cluster::State;
use crate::cluster::preflight;
use crate::cluster::state::{MORE_API_SERVERS, Network, Publish, Simulated, Wishes};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use knarr_kubelet::runtime::choose::EMBEDDED;
use knarr_kubelet::runtime::docker;
use knarr_proxy::network::overlay::Backend;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Simulated nodes of one cluster at most.
const MAX_NODES: u32 = 20_000;

/// Where Docker Engine listens unless told otherwise, and the variable that tells its clients.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const DOCKER_HOST: &str = "DOCKER_HOST";

/// Settings of a cluster; also the form of the configuration file of `up --config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    api_port: Option<u16>,
    /// Just the API server.
    pub api_only: bool,
    /// The database is kept in memory.
    pub ephemeral: bool,
    /// URL of a Postgres database.
    pub datastore: Option<String>,
    apiservers: Option<u8>,
    advertise_address: Option<IpAddr>,
    dual_stack: bool,
    /// More names of the API server's certificate.
    pub tls_sans: Vec<String>,
    network_backend: Option<Backend>,
    direct_routing: bool,
    node_name: Option<String>,
    cluster_cidr: Option<String>,
    service_cidr: Option<String>,
    /// What runs pods.
    pub runtime: Option<Runtime>,
    nodes: Option<u32>,
    /// File that scripts simulated nodes; in a file, relative to that file.
    pub stages: Option<PathBuf>,
    /// CRI socket of a running container runtime, or socket of a Docker Engine.
    pub container_runtime_endpoint: Option<String>,
    /// Folder of image archives; in a file, relative to that file.
    pub images: Option<PathBuf>,
    /// `PORT:NODEPORT` each.
    publish: Vec<String>,
    /// More flags by component: `apiserver: ["--v=2"]`.
    pub extra_args: BTreeMap<String, Vec<String>>,
}

/// What runs pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Runtime {
    /// The CRI socket that is named, else a containerd of the cluster's own, else what is embedded
    #[default]
    Auto,
    /// A container runtime on this host, by the Container Runtime Interface
    Cri,
    /// This program itself: the host needs no container runtime
    Embedded,
    /// A Docker Engine on this host, by its API: at the socket that is named, else $DOCKER_HOST, else /var/run/docker.sock
    Docker,
    /// Nothing: nodes and pods that follow a script, for thousands on one machine; needs neither root nor containerd
    Simulated,
}

impl Settings {
    /// Settings of a node that joins a cluster.
    pub fn of_node(
        runtime: Option<Runtime>,
        container_runtime_endpoint: Option<String>,
        images: Option<PathBuf>,
    ) -> Result<Self> {
        let settings = Self { runtime, container_runtime_endpoint, images, ..Self::default() };
        settings.check_runtime()?;
        if !settings.runs_containers() {
            bail!("--runtime simulated: simulated nodes are made by `knarr up`");
        }
        Ok(settings)
    }

    /// Reads the configuration file, if one is named, and puts the flags over it.
    pub fn read(args: &Args) -> Result<Self> {
        let mut settings = args.config.as_deref().map_or_else(|| Ok(Self::default()), Self::from_file)?;
        let args = args.clone();
        settings.api_only |= args.api_only;
        settings.ephemeral |= args.ephemeral;
        settings.datastore = args.datastore.or(settings.datastore);
        settings.apiservers = args.apiservers.or(settings.apiservers);
        settings.api_port = args.api_port.or(settings.api_port);
        settings.advertise_address = args.advertise_address.or(settings.advertise_address);
        settings.dual_stack |= args.dual_stack;
        settings.tls_sans.extend(args.tls_sans);
        settings.network_backend = args.network_backend.or(settings.network_backend);
        settings.direct_routing |= args.direct_routing;
        settings.node_name = args.node_name.or(settings.node_name);
        settings.cluster_cidr = args.cluster_cidr.or(settings.cluster_cidr);
        settings.service_cidr = args.service_cidr.or(settings.service_cidr);
        settings.runtime = args.runtime.or(settings.runtime);
        settings.nodes = args.nodes.or(settings.nodes);
        settings.stages = args.stages.or(settings.stages);
        settings.container_runtime_endpoint =
            args.container_runtime_endpoint.or(settings.container_runtime_endpoint);
        settings.images = args.images.or(settings.images);
        settings.publish.extend(args.publish.iter().map(|p| format!("{}:{}", p.port, p.node_port)));
        settings.wishes()?;
        settings.check_datastore()?;
        settings.simulated()?;
        if let Some(stages) = &settings.stages {
            knarr_kubelet::simulated::check_stages(stages).context("--stages")?;
        }
        settings.check_runtime()?;
        if settings.ephemeral && !settings.api_only {
            bail!(
                "an ephemeral database needs --api-only: pods would outlive what the cluster knows of them"
            );
        }
        if let Some(folder) = &settings.images {
            std::fs::read_dir(folder)
                .with_context(|| format!("--images: cannot read {}", folder.display()))?;
        }
        Ok(settings)
    }

    /// The simulated nodes that are asked for.
    pub fn simulated(&self) -> Result<Option<Simulated>> {
        if self.runtime == Some(Runtime::Simulated) {
            let refused = [
                ("--api-only", self.api_only),
                ("--container-runtime-endpoint", self.container_runtime_endpoint.is_some()),
                ("--images", self.images.is_some()),
                ("--publish", !self.publish.is_empty()),
                ("--node-name", self.node_name.is_some()),
            ];
            if let Some((flag, _)) = refused.iter().find(|(_, given)| *given) {
                bail!("{flag} makes no sense with --runtime simulated, where nothing runs in containers");
            }
            let nodes = self.nodes.unwrap_or(1);
            if !(1..=MAX_NODES).contains(&nodes) {
                bail!("--nodes is a number from 1 to {MAX_NODES}");
            }
            return Ok(Some(Simulated { nodes }));
        }
        if self.nodes.is_some_and(|nodes| nodes != 1) {
            bail!("--nodes: this host is one node; several are possible with --runtime simulated");
        }
        if self.stages.is_some() {
            bail!("--stages scripts simulated nodes: add --runtime simulated");
        }
        Ok(None)
    }

    /// How packets are to reach pods of other nodes.
    pub fn network(&self) -> Network {
        Network { backend: self.network_backend.unwrap_or_default(), direct_routing: self.direct_routing }
    }

    /// Whether pods are to be containers on this host.
    pub fn runs_containers(&self) -> bool {
        !self.api_only && self.runtime != Some(Runtime::Simulated)
    }

    fn check_runtime(&self) -> Result<()> {
        if self.runtime == Some(Runtime::Embedded) && self.container_runtime_endpoint.is_some() {
            bail!("--container-runtime-endpoint makes no sense with --runtime embedded");
        }
        if self.runtime == Some(Runtime::Docker) {
            self.docker_socket()?;
        }
        Ok(())
    }

    /// The socket of the Docker Engine that is to be used.
    fn docker_socket(&self) -> Result<PathBuf> {
        let of_environment = || std::env::var(DOCKER_HOST).ok().filter(|host| !host.is_empty());
        let (source, endpoint) = match &self.container_runtime_endpoint {
            Some(endpoint) => ("--container-runtime-endpoint", endpoint.clone()),
            None => (DOCKER_HOST, of_environment().unwrap_or_else(|| DOCKER_SOCKET.to_owned())),
        };
        let socket = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(&endpoint));
        if !socket.is_absolute() {
            bail!(
                "{source}: {endpoint:?} is no socket of this host, on which Docker's containers must run: use unix:///PATH"
            );
        }
        Ok(socket)
    }

    /// The endpoint of the runtime that the cluster gets; none: a containerd of its own.
    pub fn runtime_endpoint(&self) -> Option<String> {
        let embedded = match self.runtime.unwrap_or_default() {
            Runtime::Auto => {
                self.container_runtime_endpoint.is_none() && !self.api_only && !preflight::has_containerd()
            }
            Runtime::Cri | Runtime::Simulated => false,
            Runtime::Embedded => true,
            // Checked when the settings were read.
            Runtime::Docker => return self.docker_socket().ok().map(|socket| docker::endpoint(&socket)),
        };
        if embedded { Some(EMBEDDED.to_owned()) } else { self.container_runtime_endpoint.clone() }
    }

    fn check_datastore(&self) -> Result<()> {
        match &self.datastore {
            Some(_) if self.ephemeral => {
                bail!("a database of your own is not ephemeral: leave out one of the two")
            }
            Some(url) if !url.starts_with("postgres://") && !url.starts_with("postgresql://") => {
                bail!("--datastore: the URL must begin with postgres://")
            }
            None if self.apiservers.is_some_and(|count| count > 1) => {
                bail!("several API servers need a database that they can share: --datastore postgres://…")
            }
            _ => {}
        }
        if self.apiservers.is_some_and(|count| !(1..=1 + MORE_API_SERVERS).contains(&usize::from(count))) {
            bail!("--apiservers is a number from 1 to {}", 1 + MORE_API_SERVERS);
        }
        Ok(())
    }

    fn from_file(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut settings: Self = serde_yaml_ng::from_slice(&text)
            .with_context(|| format!("{} is no configuration of a cluster", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        settings.images = settings.images.map(|images| folder.join(images));
        settings.stages = settings.stages.map(|stages| folder.join(stages));
        Ok(settings)
    }

    /// What is wished of those things that are chosen otherwise.
    pub fn wishes(&self) -> Result<Wishes> {
        let publish: Result<Vec<Publish>, String> = self.publish.iter().map(|text| text.parse()).collect();
        Ok(Wishes {
            api_port: self.api_port,
            node_name: self.node_name.clone(),
            cluster_cidr: self.cluster_cidr.clone(),
            service_cidr: self.service_cidr.clone(),
            publish: publish.map_err(anyhow::Error::msg)?,
            address: self.advertise_address,
            dual_stack: self.dual_stack,
            more_api_servers: usize::from(self.apiservers.unwrap_or(1)).saturating_sub(1),
        })
    }

    /// Refuses settings that an existing cluster does not have: they count when it is created.
    pub fn fit(&self, state: &State) -> Result<()> {
        fn other<T: PartialEq>(wish: Option<&T>, value: &T) -> bool {
            wish.is_some_and(|wish| wish != value)
        }
        if let Some(joined) = &state.joined {
            let (name, server) = (&state.name, &joined.server);
            bail!(
                "{name:?} is a node of the cluster at {server}: `knarr join {server} --name {name}` starts it again"
            );
        }
        let wishes = self.wishes()?;
        // What was chosen without being told to stays.
        let runtime =
            self.container_runtime_endpoint.is_some() || !matches!(self.runtime, None | Some(Runtime::Auto));
        let differing = [
            ("--api-port", other(self.api_port.as_ref(), &state.ports.api)),
            ("--api-only", self.api_only && !state.api_only),
            ("--runtime", self.runtime.is_some() && self.simulated()?.is_some() != state.simulated.is_some()),
            ("--nodes", other(self.nodes.as_ref(), &state.simulated.map_or(1, |simulated| simulated.nodes))),
            ("--ephemeral", self.ephemeral && !state.ephemeral),
            ("--datastore", self.datastore.is_some() && self.datastore != state.datastore),
            (
                "--apiservers",
                other(self.apiservers.map(usize::from).as_ref(), &(1 + state.more_api_ports.len())),
            ),
            ("--advertise-address", other(self.advertise_address.as_ref(), &state.node_ip)),
            ("--dual-stack", self.dual_stack && state.pod_networks().len() < 2),
            ("--tls-san", !self.tls_sans.is_empty() && self.tls_sans != state.tls_sans),
            ("--network-backend", other(self.network_backend.as_ref(), &state.network.backend)),
            ("--direct-routing", self.direct_routing && !state.network.direct_routing),
            ("--node-name", other(self.node_name.as_ref(), &state.node_name)),
            ("--cluster-cidr", other(self.cluster_cidr.as_ref(), &state.cluster_cidr)),
            ("--service-cidr", other(self.service_cidr.as_ref(), &state.service_cidr)),
            ("--runtime", runtime && self.runtime_endpoint() != state.runtime_endpoint),
            ("--publish", !wishes.publish.is_empty() && wishes.publish != state.publish),
            ("extraArgs", !self.extra_args.is_empty() && self.extra_args != state.extra_args),
        ];
        if let Some((setting, _)) = differing.iter().find(|(_, differs)| *differs) {
            let name = &state.name;
            bail!(
                "cluster {name:?} exists with another {setting}; \
                 remove it first with `knarr down --name {name}`, or choose another --name"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_is_chosen_by_its_socket() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let settings: Settings = serde_yaml_ng::from_str(text).unwrap();
            let chosen = settings.check_runtime().map(|()| settings.runtime_endpoint().unwrap_or_default());
            match (chosen, expected) {
                (Ok(chosen), Ok(expected)) => assert_eq!(chosen, expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (chosen, _) => panic!("{text}: {chosen:?}"),
            }
        };
        let docker = "{runtime: docker, containerRuntimeEndpoint: ";
        check(&format!("{docker}unix:///run/d.sock}}"), Ok("docker:///run/d.sock"));
        check(&format!("{docker}/run/d.sock}}"), Ok("docker:///run/d.sock"));
        check(&format!("{docker}'tcp://10.0.0.1:2375'}}"), Err("unix:///PATH"));
        check("{containerRuntimeEndpoint: /run/c.sock}", Ok("/run/c.sock"));
    }

    #[test]
    fn what_an_existing_cluster_lacks_is_refused() {
        let state = State { node_name: "n".to_owned(), ..State::unknown("c") };
        let check = |text: &str, expected: Option<&str>| {
            let settings: Settings = serde_yaml_ng::from_str(text).unwrap();
            let refused = settings.fit(&state).err().map(|e| e.to_string());
            match (&refused, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) if found.contains(expected) => {}
                _ => panic!("{text}: {refused:?}, expected {expected:?}"),
            }
        };
        check("{}", None);
        check("nodeName: n", None);
        check("nodeName: m", Some("--node-name"));
        check("runtime: auto", None);
        check("runtime: cri", None);
        check("runtime: embedded", Some("--runtime"));
        check("apiPort: 7", Some("--api-port"));
        check("publish: ['1:2']", Some("--publish"));
        check("extraArgs: {proxy: ['--v=4']}", Some("extraArgs"));
    }
}
