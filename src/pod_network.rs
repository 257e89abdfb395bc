//! The network of pods of the embedded runtime and of Docker: the CNI plugin's operations, called as functions.
use knarr_kubelet::runtime::embedded::{Bandwidth, PodNetwork};
use knarr_kubelet::runtime::types::{self, Protocol};
use knarr_proxy::cni::{self, Attachment, Configuration, NetworkConfig};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A pod's interface, as all runtimes name it.
const INTERFACE: &str = "eth0";

/// The network that the proxy describes in a folder of CNI configurations.
#[derive(Debug)]
pub struct Bridge {
    folder: PathBuf,
}

impl Bridge {
    /// The network described in `folder`, once it is.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn configuration(&self) -> Result<Configuration, String> {
        let missing = || "cni config uninitialized".to_owned();
        let entries = std::fs::read_dir(&self.folder).map_err(|_| missing())?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "conflist"));
        files.sort();
        let file = files.first().ok_or_else(missing)?;
        let named = |error: String| format!("{}: {error}", file.display());
        let text = std::fs::read(file).map_err(|e| named(e.to_string()))?;
        let list: serde_json::Value = serde_json::from_slice(&text).map_err(|e| named(e.to_string()))?;
        let first: NetworkConfig =
            serde_json::from_value(list["plugins"][0].clone()).map_err(|e| named(e.to_string()))?;
        Ok(first.configuration())
    }
}

fn attachment(sandbox: &str, namespace: Option<&str>) -> Attachment {
    Attachment {
        container: sandbox.to_owned(),
        interface: INTERFACE.to_owned(),
        namespace: namespace.map(str::to_owned),
    }
}

fn port(mapping: &types::PortMapping) -> Option<cni::PortMapping> {
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
    let protocol = match mapping.protocol() {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    Some(cni::PortMapping {
        host_port: number(mapping.host_port)?,
        container_port: number(mapping.container_port)?,
        protocol: protocol.to_owned(),
        host_ip: mapping.host_ip.clone(),
    })
}

impl PodNetwork for Bridge {
    fn ready(&self) -> Result<(), String> {
        cni::status(&self.configuration()?).map_err(|e| e.chain())
    }

    fn attach(
        &self,
        sandbox: &str,
        namespace: &str,
        ports: &[types::PortMapping],
        bandwidth: Bandwidth,
    ) -> Result<Vec<IpAddr>, String> {
        let ports: Vec<cni::PortMapping> = ports.iter().filter_map(port).collect();
        let configuration = self.configuration()?;
        let limits = cni::Bandwidth {
            ingress_rate: bandwidth.ingress.unwrap_or_default(),
            egress_rate: bandwidth.egress.unwrap_or_default(),
            ..cni::Bandwidth::default()
        };
        let attached = cni::add(&configuration, &attachment(sandbox, Some(namespace)), &ports, &limits);
        Ok(attached.map_err(|e| e.chain())?.addresses)
    }

    fn detach(&self, sandbox: &str) -> Result<(), String> {
        match self.configuration() {
            Ok(configuration) => {
                cni::delete(&configuration, &attachment(sandbox, None)).map_err(|e| e.chain())
            }
            // Without a description nothing was ever attached, or all of it is gone.
            Err(_) => Ok(()),
        }
    }
}
