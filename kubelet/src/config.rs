//! The file of `--config`: a `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`.
//!
//! What flags say wins over the file, and the file over defaults. A setting that this kubelet does not have is refused
//! unless it says what is done anyhow, so that nobody relies on it in vain.
//!
//! Source: API page "Kubelet Configuration (v1beta1)".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use k8s_openapi::api::core::v1::Taint;
use knarr_component::flags::duration;
use serde::Deserialize;
use serde_json::Value;

use crate::args::Args;
use crate::images::pulled::Verification;
use crate::shutdown::{self, Group};

mod shown;

pub use shown::shown;

/// Group and version of the file.
const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to load kubelet config file {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such document.
    #[error("failed to load kubelet config file {path}: {source}")]
    Form {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: serde_yaml_ng::Error,
    },
    /// It is of another kind.
    #[error(
        "no kind {kind:?} is registered for version {version:?}: a KubeletConfiguration of {API_VERSION} is expected"
    )]
    Kind {
        /// Its kind.
        kind: String,
        /// Its version.
        version: String,
    },
    /// The original has no such setting.
    #[error("strict decoding error: unknown field {0:?}")]
    Unknown(String),
    /// This kubelet does not do that.
    #[error("kubelet configuration: {field}: {value} is not supported")]
    Unsupported {
        /// Path of the setting.
        field: String,
        /// What is asked for.
        value: Value,
    },
    /// A setting makes no sense.
    #[error("kubelet configuration: {field}: {problem}")]
    Invalid {
        /// Path of the setting.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// The settings that this kubelet has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    api_version: String,
    kind: String,
    address: Option<IpAddr>,
    authentication: Authentication,
    cgroup_root: Option<String>,
    #[serde(rename = "clusterDNS")]
    cluster_dns: Option<Vec<IpAddr>>,
    cluster_domain: Option<String>,
    container_runtime_endpoint: Option<String>,
    cpu_manager_policy: Option<String>,
    cpu_manager_policy_options: Option<BTreeMap<String, String>>,
    eviction_hard: Option<BTreeMap<String, String>>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high: Option<u8>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low: Option<u8>,
    #[serde(rename = "imageMinimumGCAge")]
    image_minimum_age: Option<String>,
    image_pull_credentials_verification_policy: Option<String>,
    kube_reserved: Option<BTreeMap<String, String>>,
    max_pods: Option<usize>,
    memory_manager_policy: Option<String>,
    pod_logs_dir: Option<PathBuf>,
    port: Option<u16>,
    preloaded_images_verification_allowlist: Option<Vec<String>>,
    register_node: Option<bool>,
    register_with_taints: Option<Vec<Taint>>,
    #[serde(rename = "reservedSystemCPUs")]
    reserved_cpus: Option<String>,
    reserved_memory: Option<Vec<ReservedMemory>>,
    #[serde(rename = "resolvConf")]
    resolv_conf: Option<PathBuf>,
    rotate_certificates: Option<bool>,
    #[serde(rename = "serverTLSBootstrap")]
    server_bootstrap: Option<bool>,
    shutdown_grace_period: Option<String>,
    shutdown_grace_period_by_pod_priority: Option<Vec<Group>>,
    shutdown_grace_period_critical_pods: Option<String>,
    static_pod_path: Option<PathBuf>,
    system_reserved: Option<BTreeMap<String, String>>,
    tls_cert_file: Option<PathBuf>,
    tls_private_key_file: Option<PathBuf>,
    topology_manager_policy: Option<String>,
    topology_manager_scope: Option<String>,
    user_namespaces: Option<UserNamespaces>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ReservedMemory {
    numa_node: u32,
    limits: BTreeMap<String, String>,
}

/// The list as the flag has it.
fn reserved_memory(list: &[ReservedMemory]) -> String {
    let of_node = |node: &ReservedMemory| {
        let amounts: Vec<String> =
            node.limits.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        format!("{}:{}", node.numa_node, amounts.join(","))
    };
    list.iter().map(of_node).collect::<Vec<String>>().join(";")
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct UserNamespaces {
    ids_per_pod: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Authentication {
    x509: X509,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct X509 {
    #[serde(rename = "clientCAFile")]
    client_ca_file: Option<PathBuf>,
}

/// Settings of the original that have one value here, the one that is given; where none is, nothing may be said.
const FIXED: &[(&str, &str)] = &[
    ("allowedUnsafeSysctls", ""),
    ("authentication.anonymous.enabled", "false"),
    ("authentication.webhook.cacheTTL", ""),
    ("authentication.webhook.enabled", "true"),
    ("authorization.mode", "Webhook"),
    ("authorization.webhook", ""),
    ("cgroupDriver", "cgroupfs"),
    ("cgroupsPerQOS", "true"),
    ("configMapAndSecretChangeDetectionStrategy", "Watch"),
    ("containerLogMaxFiles", "5"),
    ("containerLogMaxSize", "10Mi"),
    ("containerLogMaxWorkers", "1"),
    ("containerLogMonitorInterval", "10s"),
    ("contentType", "application/json"),
    ("cpuCFSQuota", "true"),
    ("cpuCFSQuotaPeriod", "100ms"),
    ("cpuManagerReconcilePeriod", ""),
    ("crashLoopBackOff", ""),
    ("enableContentionProfiling", "false"),
    ("enableControllerAttachDetach", "true"),
    ("enableDebugFlagsHandler", "false"),
    ("enableDebuggingHandlers", "true"),
    ("enableProfilingHandler", "false"),
    ("enableServer", "true"),
    ("enableSystemLogHandler", "true"),
    ("enableSystemLogQuery", "false"),
    ("enforceNodeAllocatable", "[\"pods\"]"),
    ("eventBurst", ""),
    ("eventRecordQPS", ""),
    ("evictionMaxPodGracePeriod", ""),
    ("evictionMinimumReclaim", ""),
    ("evictionPressureTransitionPeriod", "5m"),
    ("evictionSoft", ""),
    ("evictionSoftGracePeriod", ""),
    ("failCgroupV1", "false"),
    ("failSwapOn", "false"),
    ("featureGates", ""),
    ("fileCheckFrequency", ""),
    ("hairpinMode", "promiscuous-bridge"),
    ("healthzBindAddress", ""),
    ("healthzPort", "0"),
    ("httpCheckFrequency", ""),
    ("imageMaximumGCAge", ""),
    ("imageServiceEndpoint", ""),
    ("kernelMemcgNotification", "false"),
    ("kubeAPIBurst", ""),
    ("kubeAPIQPS", ""),
    ("kubeletCgroups", ""),
    ("kubeReservedCgroup", ""),
    ("localStorageCapacityIsolation", "true"),
    ("logging", ""),
    ("makeIPTablesUtilChains", "false"),
    ("maxOpenFiles", ""),
    ("maxParallelImagePulls", ""),
    ("memorySwap", ""),
    ("mergeDefaultEvictionSettings", "false"),
    ("memoryThrottlingFactor", ""),
    ("nodeLeaseDurationSeconds", "40"),
    ("nodeStatusMaxImages", "50"),
    ("nodeStatusReportFrequency", "5m"),
    ("nodeStatusUpdateFrequency", "10s"),
    ("oomScoreAdj", ""),
    ("podCIDR", ""),
    ("podPidsLimit", "-1"),
    ("podsPerCore", "0"),
    ("protectKernelDefaults", "false"),
    ("providerID", ""),
    ("qosReserved", ""),
    ("readOnlyPort", "0"),
    ("registryBurst", ""),
    ("registryPullQPS", ""),
    ("runOnce", "false"),
    ("runtimeRequestTimeout", ""),
    ("seccompDefault", "false"),
    ("serializeImagePulls", "false"),
    ("showHiddenMetricsForVersion", ""),
    ("singleProcessOOMKill", ""),
    ("staticPodURL", ""),
    ("staticPodURLHeader", ""),
    ("streamingConnectionIdleTimeout", ""),
    ("syncFrequency", "1m"),
    ("systemCgroups", ""),
    ("systemReservedCgroup", ""),
    ("tlsCipherSuites", ""),
    ("tlsCurvePreferences", ""),
    ("tlsMinVersion", "VersionTLS12"),
    ("topologyManagerPolicyOptions", ""),
    ("tracing", ""),
    ("volumePluginDir", ""),
    ("volumeStatsAggPeriod", ""),
];

/// A list that says something when it is empty.
const ENFORCED: &str = "enforceNodeAllocatable";

/// Whether a setting leaves all to the defaults.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => ["", "0", "0s"].contains(&text.as_str()),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::Object(members) => members.values().all(says_nothing),
    }
}

/// Whether two texts say the same, also as durations of other forms (`5m`, `5m0s`), as `/configz` tells them.
fn is_same(text: &str, fixed: &str) -> bool {
    text == fixed || duration(text).ok().zip(duration(fixed).ok()).is_some_and(|(one, other)| one == other)
}

/// Looks whether a setting asks for what is done anyhow.
fn check(field: &str, value: &Value) -> Result<(), ConfigError> {
    if let Some((_, fixed)) = FIXED.iter().find(|(name, _)| *name == field) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let nothing_enforced = field == ENFORCED && value.is_array();
        if (says_nothing(value) && !nothing_enforced) || (!fixed.is_empty() && is_same(&text, fixed)) {
            return Ok(());
        }
        return Err(ConfigError::Unsupported { field: field.to_owned(), value: value.clone() });
    }
    let inner = format!("{field}.");
    match value {
        Value::Object(members) if FIXED.iter().any(|(name, _)| name.starts_with(&inner)) => {
            members.iter().try_for_each(|(name, value)| check(&format!("{inner}{name}"), value))
        }
        _ => Err(ConfigError::Unknown(field.to_owned())),
    }
}

/// Takes settings over from a file into the arguments, but for those that were given as flags: `is_given` tells by the
/// name of an argument.
pub fn load(args: &mut Args, path: &Path, is_given: impl Fn(&str) -> bool) -> Result<(), ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let form = |source| ConfigError::Form { path: path.to_owned(), source };
    apply(args, serde_yaml_ng::from_str(&text).map_err(form)?, is_given)
}

/// A word of the file, if it is there.
fn parsed<T: FromStr<Err = String>>(
    field: &'static str,
    text: Option<String>,
) -> Result<Option<T>, ConfigError> {
    let text = text.filter(|text| !text.is_empty()).map(|text| text.parse());
    text.transpose().map_err(|problem| ConfigError::Invalid { field, problem })
}

fn apply(args: &mut Args, from: Configuration, is_given: impl Fn(&str) -> bool) -> Result<(), ConfigError> {
    if (from.api_version.as_str(), from.kind.as_str()) != (API_VERSION, "KubeletConfiguration") {
        return Err(ConfigError::Kind { kind: from.kind, version: from.api_version });
    }
    from.others.iter().try_for_each(|(field, value)| check(field, value))?;
    let authentication = from.authentication.others.iter();
    authentication
        .into_iter()
        .try_for_each(|(field, value)| check(&format!("authentication.{field}"), value))?;
    let minimum = from.image_minimum_age.filter(|text| text != "0s").map(|text| duration(&text)).transpose();
    let minimum = minimum.map_err(|problem| ConfigError::Invalid { field: "imageMinimumGCAge", problem })?;
    let hard = from.eviction_hard.map(|hard| {
        let signals: Vec<String> = hard.iter().map(|(signal, amount)| format!("{signal}<{amount}")).collect();
        signals.join(",").parse()
    });
    let hard = hard.transpose().map_err(|problem| ConfigError::Invalid { field: "evictionHard", problem })?;
    let time = |field, text: Option<String>| {
        let read = duration(text.as_deref().unwrap_or("0s"));
        read.map_err(|problem| ConfigError::Invalid { field, problem })
    };
    args.shutdown = shutdown::Settings::read(
        time("shutdownGracePeriod", from.shutdown_grace_period)?,
        time("shutdownGracePeriodCriticalPods", from.shutdown_grace_period_critical_pods)?,
        from.shutdown_grace_period_by_pod_priority.unwrap_or_default(),
    )
    .map_err(|problem| ConfigError::Invalid { field: "shutdownGracePeriod", problem })?;
    args.image_verification = Verification::read(
        from.image_pull_credentials_verification_policy.as_deref().unwrap_or_default(),
        from.preloaded_images_verification_allowlist.unwrap_or_default(),
    )
    .map_err(|problem| ConfigError::Invalid { field: "imagePullCredentialsVerificationPolicy", problem })?;
    let cpu_policy = parsed("cpuManagerPolicy", from.cpu_manager_policy)?;
    let memory_policy = parsed("memoryManagerPolicy", from.memory_manager_policy)?;
    let policy = parsed("topologyManagerPolicy", from.topology_manager_policy)?;
    let scope = parsed("topologyManagerScope", from.topology_manager_scope)?;
    let taint = |taint: Taint| match taint.value.filter(|value| !value.is_empty()) {
        Some(value) => format!("{}={value}:{}", taint.key, taint.effect),
        None => format!("{}:{}", taint.key, taint.effect),
    };
    let taints = from.register_with_taints.map(|taints| taints.into_iter().map(taint).collect());
    // No flag says it.
    if let Some(ids) = from.user_namespaces.and_then(|users| users.ids_per_pod) {
        args.user_namespaces_ids_per_pod = ids;
    }
    macro_rules! take {
        ($($argument:ident: $value:expr,)*) => {$(
            if let Some(value) = $value && !is_given(stringify!($argument)) {
                args.$argument = value;
            }
        )*};
    }
    take! {
        address: from.address,
        cgroup_root: from.cgroup_root.filter(|root| !root.is_empty()),
        client_ca_file: from.authentication.x509.client_ca_file.map(Some),
        cluster_dns: from.cluster_dns,
        cluster_domain: from.cluster_domain,
        container_runtime_endpoint: from.container_runtime_endpoint.filter(|endpoint| !endpoint.is_empty()),
        cpu_manager_policy: cpu_policy,
        cpu_manager_policy_options: from.cpu_manager_policy_options,
        eviction_hard: hard,
        image_gc_high_threshold: from.image_gc_high,
        image_gc_low_threshold: from.image_gc_low,
        kube_reserved: from.kube_reserved,
        max_pods: from.max_pods,
        memory_manager_policy: memory_policy,
        minimum_image_ttl_duration: minimum,
        pod_logs_dir: from.pod_logs_dir,
        pod_manifest_path: from.static_pod_path.map(Some),
        port: from.port,
        register_node: from.register_node,
        register_with_taints: taints,
        reserved_cpus: from.reserved_cpus,
        reserved_memory: from.reserved_memory.map(|list| reserved_memory(&list)),
        resolv_conf: from.resolv_conf,
        rotate_certificates: from.rotate_certificates,
        rotate_server_certificates: from.server_bootstrap,
        system_reserved: from.system_reserved,
        tls_cert_file: from.tls_cert_file.map(Some),
        tls_private_key_file: from.tls_private_key_file.map(Some),
        topology_manager_policy: policy,
        topology_manager_scope: scope,
    }
    let percentages = [
        ("imageGCHighThresholdPercent", args.image_gc_high_threshold),
        ("imageGCLowThresholdPercent", args.image_gc_low_threshold),
    ];
    match percentages.into_iter().find(|(_, percentage)| *percentage > 100) {
        Some((field, percentage)) => {
            Err(ConfigError::Invalid { field, problem: format!("{percentage} is no percentage") })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: Args,
    }

    fn with(settings: &str, given: &[&str]) -> Result<Args, ConfigError> {
        let mut args = Flags::parse_from(["kubelet"]).args;
        let text = format!("apiVersion: {API_VERSION}\nkind: KubeletConfiguration\n{settings}");
        let from = serde_yaml_ng::from_str(&text).expect("configuration");
        let flags = Flags::command();
        let is_given = |name: &str| {
            // Whoever knows the command line is asked about flags only.
            assert!(flags.get_arguments().any(|flag| flag.get_id() == name), "{name} is no flag");
            given.contains(&name)
        };
        apply(&mut args, from, is_given)?;
        Ok(args)
    }

    /// What kubeadm writes for a node, without the settings that are not here.
    const KUBEADM: &str = "
authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, x509: {clientCAFile: /pki/ca.crt}}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}
clusterDNS: [10.96.0.10]
clusterDomain: example.org
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
imageMinimumGCAge: 0s
logging: {flushFrequency: 0, options: {json: {infoBufferSize: '0'}, text: {infoBufferSize: '0'}}, verbosity: 0}
memorySwap: {}
rotateCertificates: true
shutdownGracePeriod: 0s
staticPodPath: /etc/kubernetes/manifests
maxPods: 50
cpuManagerPolicy: static
cpuManagerPolicyOptions: {full-pcpus-only: 'true'}
reservedMemory: [{numaNode: 1, limits: {memory: 1Gi, hugepages-2Mi: 4Mi}}]
systemReserved: {cpu: 100m}
topologyManagerPolicy: single-numa-node
evictionHard: {memory.available: 200Mi}
imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages
preloadedImagesVerificationAllowlist: [registry.test/team/*]
userNamespaces: {idsPerPod: 131072}
registerWithTaints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]
";

    #[test]
    fn settings_are_taken_over_unless_flags_say_otherwise() {
        let args = with(KUBEADM, &["cluster_domain"]).expect("settings");
        assert_eq!(args.client_ca_file.as_deref(), Some(Path::new("/pki/ca.crt")));
        assert_eq!(args.cluster_dns, ["10.96.0.10".parse::<IpAddr>().expect("address")]);
        assert_eq!((args.cluster_domain.as_str(), args.max_pods), ("cluster.local", 50));
        assert!(args.rotate_certificates && args.register_node);
        assert_eq!(args.register_with_taints, ["a=b:NoSchedule", "c:NoExecute"]);
        assert_eq!(args.reserved_memory, "1:hugepages-2Mi=4Mi,memory=1Gi");
        assert_eq!(args.system_reserved["cpu"], "100m");
        assert_eq!(args.topology_manager_policy.as_str(), "single-numa-node");
        assert_eq!(args.image_verification, Verification::Unless(vec!["registry.test/team/*".to_owned()]));
        assert_eq!(args.user_namespaces_ids_per_pod, 131_072);
        assert_eq!(args.minimum_image_ttl_duration.as_secs(), 120);
        assert_eq!(args.eviction_hard, "memory.available<200Mi".parse().expect("threshold"));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |settings: &str, text: &str| {
            assert_eq!(with(settings, &[]).expect_err(settings).to_string(), text);
        };
        refused("maxPod: 5", "strict decoding error: unknown field \"maxPod\"");
        refused(
            "shutdownGracePeriodCriticalPods: 30s",
            "kubelet configuration: shutdownGracePeriod: shutdownGracePeriodCriticalPods 30s must be <= shutdownGracePeriod 0ns",
        );
        refused(
            "imagePullCredentialsVerificationPolicy: Sometimes",
            "kubelet configuration: imagePullCredentialsVerificationPolicy: unknown image pull credential verification policy: Sometimes",
        );
        refused("podsPerCore: 5", "kubelet configuration: podsPerCore: 5 is not supported");
        refused(
            "cpuManagerPolicy: dynamic",
            "kubelet configuration: cpuManagerPolicy: unknown policy: \"dynamic\"",
        );
        refused("cgroupsPerQOS: false", "kubelet configuration: cgroupsPerQOS: false is not supported");
        refused(
            "authorization: {mode: AlwaysAllow}",
            "kubelet configuration: authorization.mode: \"AlwaysAllow\" is not supported",
        );
        refused(
            "imageGCHighThresholdPercent: 101",
            "kubelet configuration: imageGCHighThresholdPercent: 101 is no percentage",
        );
        refused(
            "enforceNodeAllocatable: []",
            "kubelet configuration: enforceNodeAllocatable: [] is not supported",
        );
        refused("registryPullQPS: 5", "kubelet configuration: registryPullQPS: 5 is not supported");
        for fine in [
            "cgroupsPerQOS: true",
            "enforceNodeAllocatable: [pods]",
            "enforceNodeAllocatable: null",
            "evictionPressureTransitionPeriod: 5m0s",
            "registryPullQPS: 0",
        ] {
            assert!(with(fine, &[]).is_ok(), "{fine}");
        }
    }
}
