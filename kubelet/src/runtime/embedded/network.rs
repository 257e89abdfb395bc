//! What the runtime asks of whoever gives pods their network.

use std::net::IpAddr;

use crate::runtime::types::PortMapping;

/// Gives sandboxes their network. Calls block and may come from any thread; what is gone is no error.
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether sandboxes can be attached, or why not.
    fn ready(&self) -> Result<(), String>;
    /// Gives the network namespace at the path `namespace` an interface, addresses and host ports.
    fn attach(&self, sandbox: &str, namespace: &str, ports: &[PortMapping]) -> Result<Vec<IpAddr>, String>;
    /// Takes them away, also when the namespace is no more.
    fn detach(&self, sandbox: &str) -> Result<(), String>;
}

/// No network: only pods on the host's network run.
pub struct HostOnly;

impl PodNetwork for HostOnly {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn attach(&self, _: &str, _: &str, _: &[PortMapping]) -> Result<Vec<IpAddr>, String> {
        Err("there is no pod network on this node".to_owned())
    }

    fn detach(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}
