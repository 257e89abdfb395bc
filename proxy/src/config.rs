//! The file of `--config`: a `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, as kubeadm writes it.
//!
//! The file wins over flags but for the node's name, as in the original. A setting that says nothing (null, empty, zero, false)
//! leaves a default; one that this proxy does not have is refused, so that nobody relies on it in vain.
//!
//! Source: API page "kube-proxy Configuration (v1alpha1)".

use std::path::{Path, PathBuf};

use knarr_component::flags::duration;
use serde_json::Value;

use crate::flags::{Args, proxy_mode};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("open {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Form(#[from] serde_yaml_ng::Error),
    /// It is of another kind or version.
    #[error(
        "no kind {kind:?} is registered for version {version:?}: a KubeProxyConfiguration of {API_VERSION} is expected"
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
    /// This proxy does not do that.
    #[error("{field}: {value} is not supported by this proxy")]
    Unsupported {
        /// Path of the setting.
        field: String,
        /// What is asked for.
        value: Value,
    },
    /// A value has not the form of its setting.
    #[error("{field}: {value}: {message}")]
    Value {
        /// Path of the setting.
        field: String,
        /// What it says.
        value: Value,
        /// What is wrong.
        message: String,
    },
}

type Take = fn(&mut Args, &str) -> Result<(), String>;

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn networks(text: &str) -> Result<Vec<ipnet::IpNet>, String> {
    text.split(',').map(|part| parsed(part.trim())).collect()
}

/// Settings that the proxy has, by path; lists come joined by commas.
const TAKEN: [(&str, Take); 14] = [
    ("bindAddressHardFail", |args, text| parsed(text).map(|hard| args.bind_address_hard_fail = hard)),
    ("clientConnection.kubeconfig", |args, text| {
        args.connection.kubeconfig = Some(text.into());
        Ok(())
    }),
    ("clusterCIDR", |args, text| networks(text).map(|ranges| args.cluster_cidr = ranges)),
    ("healthzBindAddress", |args, text| address(text, 10256).map(|at| args.healthz_bind_address = at)),
    ("hostnameOverride", |args, text| {
        args.hostname_override.get_or_insert_with(|| text.to_owned());
        Ok(())
    }),
    ("iptables.localhostNodePorts", |args, text| parsed(text).map(|on| args.localhost_nodeports = on)),
    ("iptables.masqueradeBit", bit),
    ("iptables.syncPeriod", period),
    ("logging.verbosity", |args, text| parsed(text).map(|level| args.logging.verbosity = level)),
    ("metricsBindAddress", |args, text| address(text, 10249).map(|at| args.metrics_bind_address = Some(at))),
    ("mode", |args, text| proxy_mode(text).map(|mode| args.proxy_mode = mode)),
    ("nftables.masqueradeBit", bit),
    ("nftables.syncPeriod", period),
    ("nodePortAddresses", |args, text| networks(text).map(|ranges| args.nodeport_addresses = ranges)),
];

fn bit(args: &mut Args, text: &str) -> Result<(), String> {
    match text.parse() {
        Ok(bit @ 0..=31) => {
            args.masquerade_bit = bit;
            Ok(())
        }
        _ => Err("not within 0 and 31".to_owned()),
    }
}

fn period(args: &mut Args, text: &str) -> Result<(), String> {
    duration(text).map(|period| args.sync_period = period)
}

/// An address, whose port may be left out.
fn address(text: &str, port: u16) -> Result<std::net::SocketAddr, String> {
    text.parse().or_else(|_| parsed::<std::net::IpAddr>(text).map(|ip| (ip, port).into()))
}

/// Settings that say what is done anyhow.
const SAME: [(&str, &str); 7] = [
    ("bindAddress", "0.0.0.0"),
    ("clientConnection.contentType", "application/json"),
    ("conntrack.tcpBeLiberal", "false"),
    ("iptables.minSyncPeriod", "1s"),
    ("logging.format", "text"),
    ("logging.flushFrequency", "5000000000"),
    ("nftables.minSyncPeriod", "1s"),
];

/// All others that the original has.
const KNOWN: [&str; 46] = [
    "clientConnection.acceptContentTypes",
    "clientConnection.burst",
    "clientConnection.qps",
    "configSyncPeriod",
    "conntrack.max",
    "conntrack.maxPerCore",
    "conntrack.min",
    "conntrack.tcpCloseWaitTimeout",
    "conntrack.tcpEstablishedTimeout",
    "conntrack.udpStreamTimeout",
    "conntrack.udpTimeout",
    "detectLocal.bridgeInterface",
    "detectLocal.interfaceNamePrefix",
    "detectLocalMode",
    "enableProfiling",
    "featureGates",
    "iptables.masqueradeAll",
    "ipvs.excludeCIDRs",
    "ipvs.minSyncPeriod",
    "ipvs.scheduler",
    "ipvs.strictARP",
    "ipvs.syncPeriod",
    "ipvs.tcpFinTimeout",
    "ipvs.tcpTimeout",
    "ipvs.udpTimeout",
    "logging.options.json.infoBufferSize",
    "logging.options.json.splitStream",
    "logging.options.text.infoBufferSize",
    "logging.options.text.splitStream",
    "logging.vmodule",
    "nftables.masqueradeAll",
    "oomScoreAdj",
    "portRange",
    "showHiddenMetricsForVersion",
    "udpIdleTimeout",
    "winkernel.enableDSR",
    "winkernel.forwardHealthCheckVip",
    "winkernel.networkName",
    "winkernel.rootHnsEndpointName",
    "winkernel.sourceVip",
    "windowsRunAsService",
    "linux.conntrack",
    "linux.masqueradeAll",
    "linux.oomScoreAdj",
    "syncPeriod",
    "minSyncPeriod",
];

/// Takes over what a file says.
///
/// # Errors
/// The file cannot be read or used, or asks for what this proxy does not do.
pub fn load(args: &mut Args, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    take(args, serde_yaml_ng::from_str(&text)?)
}

fn take(args: &mut Args, mut document: Value) -> Result<(), ConfigError> {
    let mut field = |name: &str| {
        let value = document.as_object_mut().and_then(|fields| fields.remove(name));
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (kind, version) = (field("kind"), field("apiVersion"));
    if kind != "KubeProxyConfiguration" || version != API_VERSION {
        return Err(ConfigError::Kind { kind, version });
    }
    let mut settings = Vec::new();
    flatten("", &document, &mut settings);
    settings.into_iter().try_for_each(|(field, value)| set(args, field, value))
}

fn set(args: &mut Args, field: String, value: &Value) -> Result<(), ConfigError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let texts =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    let taken = TAKEN.iter().find(|(known, _)| *known == field);
    let same = SAME.iter().find(|(known, _)| *known == field);
    if taken.is_none() && same.is_none() && !KNOWN.contains(&field.as_str()) {
        return Err(ConfigError::Unknown(field));
    }
    match taken {
        // A port without clients, and a list of choices, may be meant so; zero is a bit too.
        _ if says_nothing(value)
            && !(field.ends_with("masqueradeBit") || field.ends_with("localhostNodePorts")) =>
        {
            Ok(())
        }
        _ if value.is_null() => Ok(()),
        Some((_, take)) => {
            take(args, &text).map_err(|message| ConfigError::Value { field, value: value.clone(), message })
        }
        None if same.is_some_and(|(_, same)| *same == text) => Ok(()),
        None => Err(ConfigError::Unsupported { field, value: value.clone() }),
    }
}

/// Whether a setting leaves the default.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    }
}

/// The settings of a document by path.
fn flatten<'a>(path: &str, value: &'a Value, into: &mut Vec<(String, &'a Value)>) {
    match value {
        // Of gates each is told.
        Value::Object(fields) if path != "featureGates" => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, into);
            }
        }
        value => into.push((path.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// What kubeadm writes (its defaults of v1.36), with the given settings beside.
    fn taken(more: &str) -> Result<Args, String> {
        let text = format!(
            "apiVersion: {API_VERSION}\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\nbindAddressHardFail: false\n\
             clientConnection: {{acceptContentTypes: '', burst: 0, contentType: '', kubeconfig: /k.conf, qps: 0}}\n\
             clusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\nconntrack: {{maxPerCore: null, min: null, tcpBeLiberal: false}}\n\
             detectLocal: {{bridgeInterface: '', interfaceNamePrefix: ''}}\ndetectLocalMode: ''\nenableProfiling: false\n\
             iptables: {{localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, syncPeriod: 0s}}\n\
             ipvs: {{excludeCIDRs: null, scheduler: '', strictARP: false}}\noomScoreAdj: null\nportRange: ''\n\
             logging: {{flushFrequency: 0, options: {{json: {{infoBufferSize: '0'}}}}, verbosity: 0}}\n{more}\n"
        );
        let mut args = Command::parse_from(["proxy", "--hostname-override=n1"]).args;
        let document = serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?;
        take(&mut args, document).map(|()| args).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_of_kubeadm() {
        let args = taken("mode: ''\nhostnameOverride: other\nnodePortAddresses: [10.0.0.0/8]\nnftables: {masqueradeBit: 0}")
            .unwrap();
        assert_eq!(args.connection.kubeconfig.as_deref(), Some(Path::new("/k.conf")));
        assert_eq!(args.cluster_cidr, ["10.244.0.0/16".parse().unwrap()]);
        assert_eq!(args.nodeport_addresses, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!((args.hostname_override.as_deref(), args.masquerade_bit), (Some("n1"), 0));
        let args = taken("healthzBindAddress: 0.0.0.0\nmetricsBindAddress: 127.0.0.1:10249").unwrap();
        assert_eq!(args.healthz_bind_address, "0.0.0.0:10256".parse().unwrap());
        assert_eq!(args.metrics_bind_address, Some("127.0.0.1:10249".parse().unwrap()));
    }

    #[test]
    fn settings_that_are_refused() {
        let check = |more: &str, expected: &str| assert_eq!(taken(more).err().as_deref(), Some(expected));
        check(
            "mode: ipvs",
            "mode: \"ipvs\": there is no mode ipvs: nftables balances as well; also iptables, userspace",
        );
        check("detectLocalMode: NodeCIDR", "detectLocalMode: \"NodeCIDR\" is not supported by this proxy");
        check("nothing: 1", "strict decoding error: unknown field \"nothing\"");
        check("enableProfiling_: false", "strict decoding error: unknown field \"enableProfiling_\"");
    }
}
