//! Starts the selected controllers while this process leads.

use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc};

use anyhow::Context as _;
use knarr_api::gates;
use knarr_component::{
    client::{self, accounts::Accounts},
    health::Health,
    informer::Informers,
    lease::Elector,
    log, metrics as client_metrics, serving,
};
use tokio_util::sync::CancellationToken;

use crate::{
    account_names,
    args::{Args, CloudProvider},
    cache,
    context::Context,
    metrics,
};

/// The original's name of this process.
const NAME: &str = "kube-controller-manager";
/// The port on which it serves.
const PORT: u16 = 10257;

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One controller: its name, its short name and how it starts.
struct Controller {
    name: &'static str,
    alias: &'static str,
    start: fn(Context) -> Running,
}

macro_rules! controllers {
    ($($name:literal $alias:literal $module:ident::$run:ident),* $(,)?) => {
        /// All controllers, by name.
        const CONTROLLERS: &[Controller] = &[
            $(Controller { name: $name, alias: $alias, start: |context| Box::pin(crate::$module::$run(context)) }),*
        ];
    };
}

controllers! {
    "bootstrap-signer-controller" "bootstrapsigner" bootstrap_tokens::run_signer,
    "certificatesigningrequest-approving-controller" "csrapproving" certificates::run_approver,
    "certificatesigningrequest-cleaner-controller" "csrcleaner" certificates::run_cleaner,
    "certificatesigningrequest-signing-controller" "csrsigning" certificates::run_signer,
    "clusterrole-aggregation-controller" "clusterrole-aggregation" clusterrole_aggregation::run,
    "cronjob-controller" "cronjob" cronjob::run,
    "daemonset-controller" "daemonset" daemonset::run,
    "deployment-controller" "deployment" deployment::run,
    "device-taint-eviction-controller" "device-taint-eviction" device_taint_eviction::run,
    "disruption-controller" "disruption" disruption::run,
    "endpoints-controller" "endpoint" endpoints::run,
    "endpointslice-controller" "endpointslice" endpointslice::run,
    "endpointslice-mirroring-controller" "endpointslicemirroring" endpointslice_mirroring::run,
    "ephemeral-volume-controller" "ephemeral-volume" ephemeral_volume::run,
    "garbage-collector-controller" "garbagecollector" garbage_collector::run,
    "horizontal-pod-autoscaler-controller" "horizontalpodautoscaling" autoscaler::run,
    "job-controller" "job" job::run,
    "kube-apiserver-serving-clustertrustbundle-publisher-controller" "kube-apiserver-serving-clustertrustbundle-publisher" trust_bundle::run,
    "kubelet-serving-approving-controller" "kubeletservingapproving" certificates::run_serving_approver,
    "legacy-serviceaccount-token-cleaner-controller" "legacy-serviceaccount-token-cleaner" legacy_token_cleaner::run,
    "local-path-provisioner-controller" "local-path-provisioner" local_path::run,
    "namespace-controller" "namespace" namespace::run,
    "node-ipam-controller" "nodeipam" node_ipam::run,
    "node-lifecycle-controller" "nodelifecycle" node_lifecycle::run,
    "persistentvolume-attach-detach-controller" "attachdetach" attach_detach::run,
    "persistentvolume-binder-controller" "persistentvolume-binder" volume_binder::run,
    "persistentvolume-expander-controller" "persistentvolume-expander" volume_expand::run,
    "persistentvolume-protection-controller" "pv-protection" volume_protection::run_volumes,
    "persistentvolumeclaim-protection-controller" "pvc-protection" volume_protection::run_claims,
    "pod-garbage-collector-controller" "podgc" pod_gc::run,
    "replicaset-controller" "replicaset" replicaset::run,
    "replicationcontroller-controller" "replicationcontroller" replicaset::run_replication_controllers,
    "resourceclaim-controller" "resourceclaim" resource_claim::run,
    "resourcequota-controller" "resourcequota" resource_quota::run,
    "root-ca-certificate-publisher-controller" "root-ca-cert-publisher" root_ca::run,
    "service-cidr-controller" "servicecidrs" service_cidrs::run,
    "service-lb-controller" "service" service_load_balancer::run,
    "serviceaccount-controller" "serviceaccount" service_account::run,
    "serviceaccount-token-controller" "serviceaccount-token" service_account_token::run,
    "statefulset-controller" "statefulset" statefulset::run,
    "storage-version-migrator-controller" "storage-version-migrator" storage_version_migrator::run,
    "taint-eviction-controller" "taint-eviction" taint_eviction::run,
    "token-cleaner-controller" "tokencleaner" bootstrap_tokens::run_cleaner,
    "ttl-after-finished-controller" "ttl-after-finished" ttl_after_finished::run,
    "ttl-controller" "ttl" ttl::run,
    "volumeattributesclass-protection-controller" "volumeattributesclass-protection" volume_attributes_class_protection::run,
}

/// Those that run only when they are named, as in the original; one of them the original does not have.
const NOT_BY_DEFAULT: &[&str] =
    &["bootstrap-signer-controller", "kubelet-serving-approving-controller", "token-cleaner-controller"];

/// Those that the original knows by name and leaves to cloud controller managers.
const OF_CLOUDS: &[(&str, &str)] =
    &[("cloud-node-lifecycle-controller", "cloud-node-lifecycle"), ("node-route-controller", "route")];

fn is_of_clouds(name: &str) -> bool {
    OF_CLOUDS.iter().any(|(known, alias)| *known == name || *alias == name)
}

/// The names of all controllers.
pub fn names() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|controller| controller.name)
}

/// Runs the controller manager until `shutdown`, or until it loses its lease, which is an error.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    log::init(&args.logging);
    if !args.features.feature_gates.is_empty() {
        gates::set(&args.features.pairs()).context("--feature-gates")?;
    }
    let selected = select(&args.controllers).map_err(anyhow::Error::msg)?;
    let config = client::load(args.connection.kubeconfig.as_deref()).await?;
    let root_ca = root_ca(&args, &config)?;
    let kubeconfig = args.connection.kubeconfig.as_deref();
    let accounts = match args.use_service_account_credentials {
        true => Some(Accounts::new(&config, kubeconfig, "controllers")?),
        false => None,
    };
    let client = client::from_config(config, kubeconfig, "controllers")?;
    let health = Health::new();
    health.metrics(|registry| {
        client_metrics::of_clients(registry);
        metrics::register(registry);
    });
    health.settings("kubecontrollermanager.config.k8s.io", settings(&args, &selected));
    let served = serving::start(&args.server, PORT, NAME, health.router(), shutdown.clone()).await?;
    if let Some(address) = served {
        tracing::info!(%address, "serving health and metrics");
    }
    let args = Arc::new(args);
    let lead = async |stop: CancellationToken| {
        let informers = cache::trimmed(Informers::new(client.clone(), stop.clone()));
        let context = Context::new(client.clone(), informers, stop, args.clone(), root_ca);
        start(&context, &health, &selected, accounts.as_ref()).await
    };
    if !args.leader_election.leader_elect {
        return lead(shutdown).await;
    }
    let identity = format!("{}_{:x}", hostname(), rand::random::<u128>());
    let elector = Elector::new(client.clone(), &args.leader_election, NAME, identity);
    let elector = match gates::enabled("CoordinatedLeaderElection") {
        true => elector.coordinated(),
        false => elector,
    };
    elector.run(shutdown, lead).await
}

async fn start(
    context: &Context,
    health: &Health,
    selected: &BTreeSet<&str>,
    accounts: Option<&Accounts>,
) -> anyhow::Result<()> {
    let mut running = tokio::task::JoinSet::new();
    for controller in CONTROLLERS.iter().filter(|controller| selected.contains(controller.name)) {
        let (name, mut context) = (controller.name, context.clone());
        if let (Some(accounts), Some(account)) = (accounts, account_names::of(name)) {
            context.client = accounts.client(account)?;
        }
        let task = (controller.start)(context);
        running.spawn(async move { (name, task.await) });
    }
    let informers = context.informers.clone();
    health.ready("informers", move || {
        if informers.have_synced() { Ok(()) } else { Err("the first lists are not complete".to_string()) }
    });
    tracing::info!(count = selected.len(), "controllers started");
    // A controller ends with the process; one that ends before cannot do its work at all.
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((name, Err(error))) => return Err(error.context(format!("{name} failed"))),
            Err(error) => return Err(error.into()),
        }
    }
    context.stop.cancelled().await;
    Ok(())
}

/// The settings in force, by the names of the original's kind.
fn settings(args: &Args, selected: &BTreeSet<&str>) -> serde_json::Value {
    let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs_f64());
    let election = &args.leader_election;
    let cidrs =
        |ranges: &[ipnet::IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    serde_json::json!({
        "Generic": {
            "Address": args.server.serving.bind_address, "Port": args.server.serving.secure_port.unwrap_or(PORT),
            "Controllers": args.controllers, "SelectedControllers": selected,
            "LeaderElection": {
                "LeaderElect": election.leader_elect,
                "LeaseDuration": seconds(election.leader_elect_lease_duration),
                "RenewDeadline": seconds(election.leader_elect_renew_deadline),
                "RetryPeriod": seconds(election.leader_elect_retry_period),
                "ResourceLock": election.leader_elect_resource_lock,
                "ResourceName": election.leader_elect_resource_name.as_deref().unwrap_or(NAME),
                "ResourceNamespace": election.leader_elect_resource_namespace,
            },
        },
        "KubeCloudShared": {
            "CloudProvider": {"Name": args.cloud_provider.map_or("", |CloudProvider::External| "external")},
            "UseServiceAccountCredentials": args.use_service_account_credentials,
            "ClusterName": args.cluster_name, "ClusterCIDR": cidrs(&args.cluster_cidr),
            "AllocateNodeCIDRs": args.allocate_node_cidrs,
            "NodeMonitorPeriod": seconds(args.node_monitor_period),
            "ConfigureCloudRoutes": args.configure_cloud_routes,
            "RouteReconciliationPeriod": seconds(args.route_reconciliation_period),
            "CIDRAllocatorType": args.cidr_allocator_type,
        },
        "NodeIPAMController": {
            "ServiceCIDR": cidrs(&args.service_cluster_ip_range),
            "NodeCIDRMaskSizeIPv4": args.node_cidr_mask_size, "NodeCIDRMaskSizeIPv6": args.node_cidr_mask_size_ipv6,
        },
        "NodeLifecycleController": {
            "NodeEvictionRate": args.node_eviction_rate,
            "SecondaryNodeEvictionRate": args.secondary_node_eviction_rate,
            "NodeMonitorGracePeriod": seconds(args.node_monitor_grace_period),
            "NodeStartupGracePeriod": seconds(args.node_startup_grace_period),
            "LargeClusterSizeThreshold": args.large_cluster_size_threshold,
            "UnhealthyZoneThreshold": args.unhealthy_zone_threshold,
        },
        "PodGCController": {"TerminatedPodGCThreshold": args.terminated_pod_gc_threshold},
        "CSRSigningController": {
            "ClusterSigningCertFile": args.cluster_signing_cert_file,
            "ClusterSigningKeyFile": args.cluster_signing_key_file,
            "ClusterSigningDuration": seconds(args.cluster_signing_duration),
        },
        "SAController": {
            "ServiceAccountKeyFile": args.service_account_private_key_file, "RootCAFile": args.root_ca_file,
        },
    })
}

/// The certificate authority that pods should trust, in PEM.
fn root_ca(args: &Args, config: &kube::Config) -> anyhow::Result<Option<String>> {
    if let Some(path) = &args.root_ca_file {
        let text = std::fs::read_to_string(path);
        return text.map(Some).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()));
    }
    Ok(config.root_cert.as_ref().map(|certificates| certificates.iter().map(|der| pem(der)).collect()))
}

/// A certificate in PEM (RFC 7468).
pub(crate) fn pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_string(), |name| name.trim().to_string())
}

/// The names that `--controllers` selects. What is removed stays removed wherever it stands.
fn select(flags: &[String]) -> Result<BTreeSet<&'static str>, String> {
    let find = |name: &str| {
        if is_of_clouds(name) {
            return Err(format!("--controllers: {name:?} is run by a cloud controller manager only"));
        }
        let found = CONTROLLERS.iter().find(|known| known.name == name || known.alias == name);
        found.map(|known| known.name).ok_or_else(|| {
            format!(
                "--controllers: there is no controller {name:?}; known are {}",
                names().collect::<Vec<_>>().join(", ")
            )
        })
    };
    let (mut selected, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for flag in flags.iter().map(|flag| flag.trim()) {
        match flag.strip_prefix('-') {
            Some(name) if is_of_clouds(name) => {}
            Some(name) => drop(removed.insert(find(name)?)),
            None if flag == "*" => selected.extend(names().filter(|name| !NOT_BY_DEFAULT.contains(name))),
            None => drop(selected.insert(find(flag)?)),
        }
    }
    Ok(selected.difference(&removed).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_selected_by_name() {
        let check = |flags: &str, expected: Result<&[&str], ()>| {
            let flags: Vec<String> = flags.split(',').map(String::from).collect();
            let selected = select(&flags).map(|set| set.into_iter().collect::<Vec<_>>()).map_err(drop);
            assert_eq!(
                selected.as_deref(),
                expected.as_ref().map(|names| *names).map_err(|()| &()),
                "{flags:?}"
            );
        };
        check("namespace,garbagecollector", Ok(&["garbage-collector-controller", "namespace-controller"]));
        check("-deployment,deployment-controller", Ok(&[]));
        check("nothing", Err(()));
        check("-route,namespace", Ok(&["namespace-controller"]));
        check("node-route-controller", Err(()));
        let all_but_one = select(&["*".into(), "-deployment".into()]).unwrap();
        assert_eq!(all_but_one.len(), CONTROLLERS.len() - NOT_BY_DEFAULT.len() - 1);
        let one_more = select(&["*".into(), "tokencleaner".into()]).unwrap();
        assert!(one_more.contains("token-cleaner-controller"));
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(names().is_sorted());
    }
}
