//! Puts the parts together and runs them.

use std::sync::Arc;

use anyhow::Context as _;
use knarr_component::events::Recorder;
use tokio_util::sync::CancellationToken;

use crate::api::Standalone;
use crate::args::Args;
use crate::cgroups::{self, Cgroups};
use crate::container::resolv::{self, ClusterDns};
use crate::context::{Context, Facts};
use crate::manager::Manager;
use crate::node::machine::Machine;
use crate::pleg::{self, Pulse};
use crate::runtime::SharedRuntime;
use crate::runtime::cri::CriRuntime;
use crate::{admission, cleanup, images, static_pods};

/// Runs the kubelet until `shutdown`. Pods go on running after it.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    knarr_component::log::init(&args.logging);
    knarr_component::client::ensure_crypto_provider();
    for directory in [args.root_dir.join("pods"), args.pod_logs_dir.clone()] {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let machine = Machine::read();
    let facts = facts(&args, &machine);
    let cgroups = Cgroups::new(cgroups::MOUNT, &args.cgroup_root);
    if let Err(error) = cgroups.create_roots() {
        tracing::warn!(%error, "cgroups of pods not made; limits of whole pods will not hold");
    }
    let runtime: SharedRuntime = Arc::new(CriRuntime::new(&args.container_runtime_endpoint)?);
    let version = wait_for_runtime(&runtime, &shutdown).await?;
    tracing::info!(name = version.runtime_name, version = version.runtime_version, "container runtime");
    if let Some(folder) = &args.image_preload_dir {
        preload(&args, folder);
    }
    let context = Arc::new(Context {
        runtime,
        runtime_name: version.runtime_name,
        cgroups,
        lookup: Arc::new(Standalone),
        services: Arc::new(Standalone),
        events: Recorder::discarding(),
        statuses: Arc::default(),
        facts,
    });
    let node = admission::Node {
        labels: args.node_labels.clone(),
        allocatable: context.facts.allocatable.clone(),
        max_pods: args.max_pods,
    };
    let manager = Manager::new(Arc::clone(&context), node, shutdown.clone());
    let pulse = Arc::new(Pulse::default());
    tokio::spawn(pleg::run(Arc::clone(&manager), pulse, shutdown.clone()));
    tokio::spawn(cleanup::run(Arc::clone(&manager), shutdown.clone()));
    if let Some(path) = args.pod_manifest_path.clone() {
        let name = context.facts.name.clone();
        tokio::spawn(static_pods::run(path, name, Arc::clone(&manager), |_| {}, shutdown.clone()));
    }
    shutdown.cancelled().await;
    manager.stopped().await;
    Ok(())
}

async fn wait_for_runtime(
    runtime: &SharedRuntime,
    shutdown: &CancellationToken,
) -> anyhow::Result<crate::runtime::types::VersionResponse> {
    let mut pause = std::time::Duration::from_millis(20);
    loop {
        match runtime.version().await {
            Ok(version) => return Ok(version),
            Err(error) => tracing::info!(%error, "waiting for the container runtime"),
        }
        tokio::select! {
            () = shutdown.cancelled() => anyhow::bail!("stopped while waiting for the container runtime"),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(std::time::Duration::from_secs(2)),
        }
    }
}

/// Imports archives beside everything else: pods whose images are still missing try again.
fn preload(args: &Args, folder: &std::path::Path) {
    let (folder, done) = (folder.to_owned(), args.root_dir.join("preloaded"));
    let endpoint = args.container_runtime_endpoint.clone();
    tokio::spawn(async move {
        if let Err(error) = images::preload::import_folder(&endpoint, &folder, &done).await {
            tracing::error!(folder = %folder.display(), %error, "images not preloaded");
        }
    });
}

fn facts(args: &Args, machine: &Machine) -> Facts {
    let name = args.hostname_override.clone().unwrap_or_else(|| machine.hostname.clone()).to_lowercase();
    let ips = if args.node_ip.is_empty() { machine.default_ips() } else { args.node_ip.clone() };
    let node_dns = std::fs::read_to_string(&args.resolv_conf).unwrap_or_default();
    Facts {
        name,
        hostname: machine.hostname.clone(),
        ips: ips.iter().map(ToString::to_string).collect(),
        root_dir: args.root_dir.clone(),
        pod_logs_dir: args.pod_logs_dir.clone(),
        cluster_dns: ClusterDns {
            servers: args.cluster_dns.iter().map(ToString::to_string).collect(),
            domain: args.cluster_domain.clone(),
        },
        node_dns: resolv::parse(&node_dns),
        memory: machine.memory,
        allocatable: machine.allocatable(args.max_pods),
    }
}
