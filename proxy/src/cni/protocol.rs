//! The plugin as a program: environment and standard input in, standard output and exit status out.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::host_ports::PortMapping;
use super::plugin::{self, Attached, Attachment};
use super::{Bandwidth, Configuration, Error, loopback};

/// Versions of the protocol that are spoken, oldest first.
const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// How the program ended: its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done; what the specification asks for is on standard output.
    Success,
    /// Failed; the error object is on standard output.
    Failure,
}

/// The configuration that a runtime gives to one plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// Version in which to answer.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Ranges of this node's pods.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges of virtual addresses.
    #[serde(rename = "serviceCIDRs", default)]
    pub service_cidrs: Vec<IpNet>,
    /// Largest packet of pods in bytes.
    pub mtu: u32,
    /// Where reservations are kept.
    pub state_dir: PathBuf,
    /// What the runtime adds for capabilities.
    #[serde(default)]
    pub runtime_config: RuntimeConfig,
    /// For garbage collection: attachments that still exist.
    #[serde(rename = "cni.dev/valid-attachments", default)]
    valid_attachments: Vec<ValidAttachment>,
}

/// What the runtime adds for the capabilities that the plugin announces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// Host ports of the pod.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// Limits of what the pod sends and receives.
    #[serde(default)]
    pub bandwidth: Bandwidth,
}

/// What tells the plugins of this program apart.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl NetworkConfig {
    /// What the plugin's operations need of it.
    pub fn configuration(&self) -> Configuration {
        Configuration {
            cluster: self.cluster.clone(),
            pod_cidrs: self.pod_cidrs.clone(),
            service_cidrs: self.service_cidrs.clone(),
            mtu: self.mtu,
            state_dir: self.state_dir.clone(),
        }
    }
}

/// The plugin as the whole program: answers on standard output and returns its exit status.
pub fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    match run(&env, std::io::stdin().lock(), std::io::stdout().lock()) {
        Outcome::Success => ExitCode::SUCCESS,
        Outcome::Failure => ExitCode::FAILURE,
    }
}

/// Runs the plugin. `env` looks up a variable of the environment (`CNI_COMMAND`, `CNI_CONTAINERID`,
/// `CNI_NETNS`, `CNI_IFNAME`).
pub fn run(env: &dyn Fn(&str) -> Option<String>, mut stdin: impl Read, mut stdout: impl Write) -> Outcome {
    let mut input = String::new();
    let result = match stdin.read_to_string(&mut input) {
        Ok(_) => dispatch(env, &input),
        Err(error) => Err(Error::Input(format!("cannot read standard input: {error}"))),
    };
    let (outcome, answer) = match result {
        Ok(answer) => (Outcome::Success, answer),
        Err(error) => {
            let version = asked_version(&input);
            let answer = json!({ "cniVersion": version, "code": error.code(), "msg": error.chain() });
            (Outcome::Failure, Some(answer))
        }
    };
    let written = answer.map_or(Ok(()), |answer| writeln!(stdout, "{answer}"));
    if written.is_err() { Outcome::Failure } else { outcome }
}

/// The version of the input, or the newest if it has none.
fn asked_version(input: &str) -> String {
    let input: Option<Value> = serde_json::from_str(input).ok();
    let version = input.as_ref().and_then(|v| v["cniVersion"].as_str());
    version.filter(|v| !v.is_empty()).unwrap_or("1.1.0").to_owned()
}

fn dispatch(env: &dyn Fn(&str) -> Option<String>, input: &str) -> Result<Option<Value>, Error> {
    let command = env("CNI_COMMAND").unwrap_or_default();
    let version = asked_version(input);
    if command == "VERSION" {
        return Ok(Some(json!({ "cniVersion": version, "supportedVersions": VERSIONS })));
    }
    if !VERSIONS.contains(&version.as_str()) {
        return Err(Error::Version(version));
    }
    let invalid = |e| Error::Input(format!("invalid network configuration: {e}"));
    let asked: Asked = serde_json::from_str(input).map_err(invalid)?;
    if asked.kind == loopback::TYPE {
        return match command.as_str() {
            "ADD" => loopback::add(&version, &attachment(env, true)?).map(Some),
            "CHECK" => loopback::check(&attachment(env, true)?).map(|()| None),
            // The interface ends with its namespace.
            _ => Ok(None),
        };
    }
    let config: NetworkConfig = serde_json::from_str(input).map_err(invalid)?;
    let configuration = config.configuration();
    match command.as_str() {
        "ADD" => {
            let attachment = attachment(env, true)?;
            let RuntimeConfig { port_mappings, bandwidth } = &config.runtime_config;
            let attached = plugin::add(&configuration, &attachment, port_mappings, bandwidth)?;
            Ok(Some(answer(&version, &configuration, &attachment, &attached)))
        }
        "DEL" => plugin::delete(&configuration, &attachment(env, false)?).map(|()| None),
        "CHECK" => plugin::check(&configuration, &attachment(env, true)?).map(|()| None),
        "STATUS" => plugin::status(&configuration).map(|()| None),
        "GC" => {
            let valid = config.valid_attachments.iter().map(|v| (v.container_id.clone(), v.ifname.clone()));
            plugin::collect(&configuration, &valid.collect()).map(|()| None)
        }
        other => Err(Error::Input(format!("unknown CNI_COMMAND {other:?}"))),
    }
}

/// The attachment that the environment names. `DEL` may lack a namespace, since the pod may be gone.
fn attachment(env: &dyn Fn(&str) -> Option<String>, with_namespace: bool) -> Result<Attachment, Error> {
    let get = |name: &str| env(name).filter(|v| !v.is_empty());
    let need = |name: &str| get(name).ok_or_else(|| Error::Input(format!("{name} is not set")));
    let container = need("CNI_CONTAINERID")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !container.chars().all(plain) {
        return Err(Error::Input(format!("invalid CNI_CONTAINERID {container:?}")));
    }
    let interface = need("CNI_IFNAME")?;
    if interface.len() > 15 || interface.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return Err(Error::Input(format!("invalid CNI_IFNAME {interface:?}")));
    }
    let namespace = if with_namespace { Some(need("CNI_NETNS")?) } else { get("CNI_NETNS") };
    Ok(Attachment { container, interface, namespace })
}

/// The result object of `ADD`.
fn answer(version: &str, config: &Configuration, attachment: &Attachment, attached: &Attached) -> Value {
    let gateway = |ip: &IpAddr| config.gateways().into_iter().find(|g| g.is_ipv4() == ip.is_ipv4());
    let ips: Vec<Value> = attached
        .addresses
        .iter()
        .map(|ip| {
            let mut entry = json!({ "address": IpNet::from(*ip), "gateway": gateway(ip), "interface": 2 });
            // Before 1.0 the family is a field.
            if version.starts_with("0.") {
                entry["version"] = json!(if ip.is_ipv4() { "4" } else { "6" });
            }
            entry
        })
        .collect();
    let routes: Vec<Value> = attached
        .addresses
        .iter()
        .map(|ip| json!({ "dst": if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, "gw": gateway(ip) }))
        .collect();
    json!({
        "cniVersion": version,
        "interfaces": [
            { "name": attached.bridge },
            { "name": attached.host_interface },
            { "name": attachment.interface, "mac": attached.mac, "sandbox": attachment.namespace },
        ],
        "ips": ips,
        "routes": routes,
        "dns": {},
    })
}
