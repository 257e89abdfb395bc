//! Puts the parts together and runs them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use knarr_component::events::Recorder;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::api::mirror::Mirrors;
use crate::api::objects::{self, Changed};
use crate::api::services::ApiServices;
use crate::api::{self, ApiLookup, Standalone};
use crate::args::Args;
use crate::cgroups::{self, Cgroups};
use crate::container::resolv::{self, ClusterDns};
use crate::context::{Context, Facts, Services};
use crate::cpus::{CpuManager, Options};
use crate::csi::node::CsiNodeKeeper;
use crate::csi::{Csi, Registrar};
use crate::devices::{self, Devices};
use crate::dra::{self, Dra};
use crate::eviction::Evictions;
use crate::grants::{Grants, Nearness};
use crate::images::collect;
use crate::images::pulled::Pulled;
use crate::logs::rotate;
use crate::manager::Manager;
use crate::memory::{self, MemoryManager};
use crate::node::NodeKeeper;
use crate::node::machine::Machine;
use crate::pleg::{self, Pulse};
use crate::reserved::Reserved;
use crate::runtime::choose::{self, Choice};
use crate::runtime::embedded::{PodNetwork, Registries};
use crate::runtime::measured::Measured;
use crate::runtime::types::VersionResponse;
use crate::runtime::{SharedRuntime, answering};
use crate::server::{Server, tls};
use crate::topology::cpus::{CpuSet, Cpus};
use crate::userns::{Ids, Users};
use crate::volumes::Lookup;
use crate::{
    admission, certificates, cleanup, config, images, plugins, podresources, static_pods, topology, tunnel,
};

/// How long a stopping kubelet waits for the runtime to end what it was told to make or remove. It is below the
/// supervisor's patience.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Says whether the kernel confines programs by AppArmor.
const APP_ARMOR: &str = "/sys/module/apparmor/parameters/enabled";

/// Runs the kubelet until `shutdown`. Pods go on running after it.
pub async fn run(
    args: Args,
    network: Arc<dyn PodNetwork>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    knarr_component::log::init(&args.logging);
    knarr_component::client::ensure_crypto_provider();
    for directory in [args.root_dir.join("pods"), args.pod_logs_dir.clone()] {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let image_policy = image_policy(&args)?;
    let machine = Machine::read();
    let cpus = Cpus::of_machine(Path::new("/sys/devices/system"));
    let reserved = Reserved::read(&args, &cpus).map_err(anyhow::Error::msg)?;
    let facts = facts(&args, &machine, &reserved);
    let cgroups = Cgroups::new(cgroups::MOUNT, &args.cgroup_root);
    if let Err(error) = cgroups.create_roots(&facts.allocatable) {
        tracing::warn!(%error, "cgroups of pods not made; limits of whole pods will not hold");
    }
    let address = SocketAddr::new(args.address, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let tls = serving(&args, &facts)?;
    let choice = Choice {
        endpoint: args.container_runtime_endpoint.clone(),
        root_dir: args.root_dir.clone(),
        image_store_dir: args.image_store_dir.clone(),
        registries: args
            .registry_config
            .as_deref()
            .map(Registries::read)
            .transpose()
            .context("--registry-config")?
            .unwrap_or_default(),
        network,
    };
    let runtime: SharedRuntime = Arc::new(Measured(choose::open(&choice)?));
    let version = wait_for_runtime(&runtime, &shutdown).await?;
    tracing::info!(name = version.runtime_name, version = version.runtime_version, "container runtime");
    let preloaded = preload(&args);
    certificates::bootstrap(&args, &facts.name, &shutdown).await?;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let client = match &args.kubeconfig {
        Some(path) => Some(knarr_component::client::connect(Some(path), "kubelet").await?),
        None => None,
    };
    if let Some(client) = &client {
        let addresses: Vec<_> = facts.ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        certificates::keep(&args, &facts.name, &addresses, client, &shutdown);
    }
    let ids = Ids::of_host(args.user_namespaces_first_id, args.user_namespaces_ids_per_pod, args.max_pods);
    let users = ids.and_then(|ids| Users::open(args.root_dir.join("pods"), ids));
    let users = users.map_err(|error| anyhow::anyhow!("create user namespace manager: {error}"))?;
    let grants = Arc::new(grants(&args, &machine, cpus, reserved.cpus, &facts, &shutdown)?);
    let server_client = client.clone();
    let pulled = Pulled::open(&args.root_dir, args.image_verification.clone());
    pulled.recover(&runtime.list_images().await.unwrap_or_default());
    let (changes, changed) = mpsc::unbounded_channel();
    let objects = client.clone().map(|client| Arc::new(ApiLookup::new(client, changes)));
    let context = Arc::new(Context {
        runtime,
        runtime_name: version.runtime_name.clone(),
        cgroups,
        shutdown: Arc::default(),
        evictions: Evictions::new(args.eviction_hard.clone()),
        grants,
        users: Arc::new(users),
        csi: Csi::new(args.root_dir.clone(), &facts.name),
        exclusive: Default::default(),
        lookup: match &objects {
            Some(objects) => Arc::clone(objects) as Arc<dyn Lookup>,
            None => Arc::new(Standalone),
        },
        services: match &client {
            Some(client) => Arc::new(ApiServices::start(client.clone(), shutdown.clone())),
            None => Arc::new(Standalone) as Arc<dyn Services>,
        },
        events: match &client {
            Some(client) => Recorder::new(client.clone(), "kubelet", &facts.name, shutdown.clone()),
            None => Recorder::discarding(),
        },
        statuses: Arc::default(),
        preloaded,
        pulled,
        facts,
    });
    let node = admission::Node {
        name: context.facts.name.clone(),
        labels: args.node_labels.clone(),
        taints: Vec::new(),
        allocatable: context.facts.allocatable.clone(),
        max_pods: args.max_pods,
        has_app_armor: std::fs::read_to_string(APP_ARMOR).is_ok_and(|text| text.trim() == "Y"),
        pressures: Default::default(),
        extended: Default::default(),
        is_shutting_down: false,
    };
    let manager = Manager::new(Arc::clone(&context), node, shutdown.clone());
    let pulse = Arc::new(Pulse::default());
    let tasks = Tasks { args: &args, manager: &manager, shutdown: &shutdown };
    tasks.follow_grants();
    tokio::spawn(pleg::run(Arc::clone(&manager), Arc::clone(&pulse), shutdown.clone()));
    match (client, objects) {
        (Some(client), Some(objects)) => {
            tokio::spawn(Arc::clone(&context.statuses).run(client.clone(), shutdown.clone()));
            tasks.follow_objects(objects, changed);
            tasks.follow_plugins(client.clone());
            tasks.keep_node(client.clone(), machine, Arc::clone(&pulse), version);
            tasks.follow_pods(client);
        }
        _ => {
            tasks.follow_manifests(|_| {});
            tokio::spawn(cleanup::run(Arc::clone(&manager), shutdown.clone()));
        }
    }
    if let Err(error) = podresources::serve(Arc::clone(&manager), &args.root_dir, shutdown.clone()) {
        tracing::error!(%error, "nobody can be told what pods have of the node");
    }
    tokio::spawn(crate::shutdown::run(Arc::clone(&manager), args.shutdown.clone(), shutdown.clone()));
    tokio::spawn(rotate::run(Arc::clone(&manager), shutdown.clone()));
    tokio::spawn(Arc::clone(&context.evictions).run(Arc::clone(&manager), shutdown.clone()));
    tokio::spawn(collect::run(Arc::clone(&manager), image_policy, shutdown.clone()));
    let server = Server::new(Arc::clone(&manager), config::shown(&args), server_client, pulse);
    tunnel::start(&args, &manager, listener.local_addr()?, &shutdown);
    server.serve(listener, tls, shutdown.clone()).await;
    manager.stopped().await;
    if tokio::time::timeout(SETTLE_TIMEOUT, context.runtime.settled()).await.is_err() {
        tracing::warn!("the container runtime still works on a pod");
    }
    Ok(())
}

/// What is granted to pods, with what a kubelet before this one granted.
fn grants(
    args: &Args,
    machine: &Machine,
    cpus: Cpus,
    reserved: CpuSet,
    facts: &Facts,
    stop: &CancellationToken,
) -> anyhow::Result<Grants> {
    let nodes = topology::machine_nodes();
    let (policy, scope) = (args.topology_manager_policy, args.topology_manager_scope);
    let nearness = Nearness { nodes, policy, scope };
    let devices = Devices::open(&args.root_dir, stop.clone());
    if let Err(error) = devices.listen() {
        tracing::error!(%error, "device plugins cannot announce themselves");
    }
    let options = Options::read(&args.cpu_manager_policy_options).map_err(anyhow::Error::msg)?;
    let cpus = CpuManager::open(&args.root_dir, args.cpu_manager_policy, options, cpus, reserved);
    let huge: i64 = machine.huge_pages.values().sum();
    let allocatable = facts.allocatable.get("memory").copied().unwrap_or_default() / 1000 + huge;
    let memory = MemoryManager::open(
        &args.root_dir,
        args.memory_manager_policy,
        memory::of_machine(Path::new("/sys/devices/system/node"), nodes, machine.memory.unsigned_abs()),
        &memory::parse_reserved(&args.reserved_memory).map_err(anyhow::Error::msg)?,
        machine.memory.saturating_sub(allocatable).unsigned_abs(),
    );
    let (cpus, memory) = (cpus.map_err(anyhow::Error::msg)?, memory.map_err(anyhow::Error::msg)?);
    Ok(Grants::new(devices, Dra::open(&args.root_dir), cpus, memory, nearness))
}

/// TLS of the server. With a certificate of the API server's it begins with one of its own, until that is there.
fn serving(args: &Args, facts: &Facts) -> anyhow::Result<TlsAcceptor> {
    let names: Vec<String> = facts.ips.iter().cloned().chain([facts.name.clone()]).collect();
    let asked_for = args.rotate_server_certificates.then(|| certificates::server_file(args));
    if asked_for.is_some() {
        certificates::ensure_server(args, &names)?;
    }
    tls::acceptor(&tls::Files {
        certificate: asked_for.as_deref().or(args.tls_cert_file.as_deref()),
        key: asked_for.as_deref().or(args.tls_private_key_file.as_deref()),
        client_ca: args.client_ca_file.as_deref(),
        names,
    })
}

/// When images are removed.
fn image_policy(args: &Args) -> anyhow::Result<collect::Policy> {
    let (high, low) = (args.image_gc_high_threshold, args.image_gc_low_threshold);
    anyhow::ensure!(
        low < high,
        "--image-gc-low-threshold ({low}) must be below --image-gc-high-threshold ({high})"
    );
    let keep = args.pod_infra_container_image.iter().cloned().collect();
    Ok(collect::Policy { high, low, min_age: args.minimum_image_ttl_duration, keep })
}

/// The parts that are started once.
struct Tasks<'a> {
    args: &'a Args,
    manager: &'a Arc<Manager>,
    shutdown: &'a CancellationToken,
}

impl Tasks<'_> {
    /// Wakes pods whose config maps and secrets change, and forgets those that no pod uses.
    fn follow_objects(&self, objects: Arc<ApiLookup>, mut changed: mpsc::UnboundedReceiver<Changed>) {
        let (manager, stop) = (Arc::clone(self.manager), self.shutdown.clone());
        tokio::spawn(async move {
            let mut tidy = tokio::time::interval(Duration::from_secs(60));
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(change) = changed.recv() => manager.refresh(|pod| objects::refers(pod, &change)),
                    _ = tidy.tick() => {
                        let pods = manager.pods();
                        objects.objects.config_maps.retain(&pods);
                        objects.objects.secrets.retain(&pods);
                    }
                }
            }
        });
    }

    /// Wakes all pods when the CPUs that they share have changed.
    fn follow_grants(&self) {
        let (manager, stop) = (Arc::clone(self.manager), self.shutdown.clone());
        let mut changes = manager.context().grants.changes();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while changes.changed().await.is_ok() {
                manager.poke(manager.uids());
            }
        }));
    }

    /// Takes plugins that announce themselves.
    fn follow_plugins(&self, client: Client) {
        let context = self.manager.context();
        let node = CsiNodeKeeper { client: client.clone(), name: context.facts.name.clone() };
        let csi = Registrar { csi: Arc::clone(&context.csi), node };
        let directory = self.args.root_dir.join("plugins_registry");
        let devices = devices::Registrar(Arc::clone(&context.grants.devices));
        let dra = dra::Registrar::new(Arc::clone(&context.grants.dra), client, context.facts.name.clone());
        let handlers: Vec<Box<dyn plugins::Handler>> = vec![Box::new(csi), Box::new(devices), Box::new(dra)];
        tokio::spawn(plugins::run(directory, handlers, self.shutdown.clone()));
    }

    fn keep_node(&self, client: Client, machine: Machine, pulse: Arc<Pulse>, version: VersionResponse) {
        let keeper = NodeKeeper {
            client,
            name: self.manager.context().facts.name.clone(),
            machine,
            manager: Arc::clone(self.manager),
            pulse,
            register: self.args.register_node,
            labels: self.args.node_labels.clone(),
            taints: self.args.register_with_taints.clone(),
            cloud: self.args.cloud_provider.is_some(),
            given_addresses: self.args.node_ip.clone(),
            port: self.args.port,
            max_pods: self.args.max_pods,
            version,
        };
        tokio::spawn(keeper.run(self.shutdown.clone()));
    }

    /// Follows pods of the API server and, mirrored there, of manifests. Leftovers are looked for only
    /// once both are known.
    fn follow_pods(&self, client: Client) {
        let wake = Arc::new(Notify::new());
        let name = &self.manager.context().facts.name;
        let stop = self.shutdown.clone();
        let node = api::node::start(client.clone(), name, Arc::clone(self.manager), stop.clone());
        let pods =
            api::pods::start(client.clone(), name, Arc::clone(self.manager), Arc::clone(&wake), stop.clone());
        let mirrors = Mirrors::new(client, name, pods.clone(), Arc::clone(self.manager), wake);
        tokio::spawn(Arc::clone(&mirrors).run(stop.clone()));
        self.follow_manifests(move |pods| mirrors.set(pods));
        let manager = Arc::clone(self.manager);
        tokio::spawn(async move {
            futures::join!(node.synced(), pods.synced());
            if !stop.is_cancelled() {
                cleanup::run(manager, stop).await;
            }
        });
    }

    fn follow_manifests(&self, changed: impl Fn(Vec<Arc<Pod>>) + Send + Sync + 'static) {
        let Some(path) = self.args.pod_manifest_path.clone() else { return };
        let name = self.manager.context().facts.name.clone();
        tokio::spawn(static_pods::run(path, name, Arc::clone(self.manager), changed, self.shutdown.clone()));
    }
}

async fn wait_for_runtime(
    runtime: &SharedRuntime,
    shutdown: &CancellationToken,
) -> anyhow::Result<VersionResponse> {
    tokio::select! {
        version = answering(&**runtime) => Ok(version),
        () = shutdown.cancelled() => anyhow::bail!("stopped while waiting for the container runtime"),
    }
}

/// Imports archives beside everything else; the token is cancelled when all are there.
fn preload(args: &Args) -> CancellationToken {
    let done = CancellationToken::new();
    let Some(folder) = args.image_preload_dir.clone() else {
        done.cancel();
        return done;
    };
    let (markers, finished) = (args.root_dir.join("preloaded"), done.clone().drop_guard());
    let images = images::Place::of(&args.container_runtime_endpoint, &args.image_store_dir);
    tokio::spawn(async move {
        let _finished = finished;
        if let Err(error) = images::preload::import_folder(&images, &folder, &markers).await {
            tracing::error!(folder = %folder.display(), %error, "images not preloaded");
        }
    });
    done
}

fn facts(args: &Args, machine: &Machine, reserved: &Reserved) -> Facts {
    let name = args.hostname_override.clone().unwrap_or_else(|| machine.hostname.clone()).to_lowercase();
    let ips = if args.node_ip.is_empty() { machine.default_ips() } else { args.node_ip.clone() };
    let node_dns = std::fs::read_to_string(&args.resolv_conf).unwrap_or_default();
    Facts {
        name,
        ips: ips.iter().map(ToString::to_string).collect(),
        root_dir: args.root_dir.clone(),
        pod_logs_dir: args.pod_logs_dir.clone(),
        cluster_dns: ClusterDns {
            servers: args.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: args.cluster_domain.clone(),
        },
        node_dns: resolv::parse(&node_dns),
        memory: machine.memory,
        allocatable: reserved.allocatable(args, machine),
    }
}
