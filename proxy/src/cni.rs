//! Knarr's own CNI plugin (CNI specification 1.1.0): one bridge a cluster, a veth pair a pod, addresses from
//! the node's range, host ports.
//!
//! A CRI runtime runs it as a program, which must start in milliseconds: [`run`] speaks the protocol. The
//! embedded runtime calls [`add`] and [`delete`], which block and may be called from any thread.

mod bandwidth;
mod config;
mod host_ports;
mod loopback;
mod namespace;
mod plugin;
mod protocol;
mod state;

pub use bandwidth::Bandwidth;
pub use config::{Configuration, PLUGINS, remove_config, write_config};
pub use host_ports::PortMapping;
pub use namespace::in_namespace;
pub use plugin::{Attached, Attachment, add, check, collect, delete, restore_host_ports, status};
pub(crate) use plugin::{bridge, disconnect};
pub use protocol::{NetworkConfig, Outcome, main, run};

/// Why an operation failed. The codes that the CNI specification reserves are in [`Error::code`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime's input breaks the protocol.
    #[error("{0}")]
    Input(String),
    /// A version of the protocol that is not spoken.
    #[error("CNI version {0} is not supported")]
    Version(String),
    /// The pod's network namespace cannot be entered.
    #[error("cannot enter network namespace {path}")]
    Namespace {
        /// As the runtime gave it.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of reservations cannot be read or written.
    #[error("cannot use the address file in {path}")]
    State {
        /// Its directory.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Every address of the range is taken.
    #[error("no free address in {0}")]
    Exhausted(ipnet::IpNet),
    /// A link, address or route.
    #[error(transparent)]
    Netlink(#[from] crate::network::netlink::Error),
    /// The rules of host ports.
    #[error(transparent)]
    Rules(#[from] crate::nft::Error),
    /// The pod's network is not as it was made.
    #[error("the network of container {container} is not as expected: {problem}")]
    Changed {
        /// Container that was checked.
        container: String,
        /// What differs.
        problem: String,
    },
    /// A thread or runtime for the work could not be made.
    #[error("cannot start a thread for the pod's network")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// The code of the specification's error object; codes from 100 are the plugin's own.
    pub fn code(&self) -> u32 {
        match self {
            Error::Version(_) => 1,
            Error::Input(_) => 7,
            Error::State { .. } => 5,
            // The runtime may try again later.
            Error::Exhausted(_) => 11,
            Error::Namespace { .. } => 100,
            Error::Netlink(_) => 101,
            Error::Rules(_) => 102,
            Error::Changed { .. } => 103,
            Error::Thread(_) => 104,
        }
    }

    /// The error with all its causes in a line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
