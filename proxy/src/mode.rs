//! Ways of carrying the traffic of services. All of them carry out the same plans ([`crate::service::plan`]); what differs
//! is by what: rules in the kernel for `nft`, rules by the host's `iptables`, or copying in this process.

mod iptables;
mod nftables;
mod userspace;

use std::io;

use async_trait::async_trait;

use crate::cni;
use crate::flags::ProxyMode;
use crate::service::{Config, Plans};

pub use iptables::Iptables;
pub use nftables::Nftables;
pub use userspace::Userspace;

/// What was done to get to a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Steps, such as rules that were written.
    pub steps: usize,
    /// Rules that there are now.
    pub rules: usize,
    /// Whether everything was made anew.
    pub full: bool,
}

/// One way.
#[async_trait]
pub trait Mode: Send {
    /// Whether the kernel translates addresses, and so keeps flows that may outlive their endpoints.
    fn translates(&self) -> bool {
        true
    }

    /// Brings the node to what is planned, at the cost of what differs from the last time. After an error it is not known
    /// what is there: call [`Mode::forget`] before the next try.
    async fn apply(&mut self, plans: &Plans) -> anyhow::Result<Applied>;

    /// Has the next call of [`Mode::apply`] make everything anew.
    fn forget(&mut self);

    /// Waits for a sign that somebody else may have taken away what was made. May be given up at any time.
    async fn disturbed(&mut self) -> io::Result<()>;

    /// Looks after such a sign whether anything is left.
    async fn is_there(&mut self) -> bool;

    /// Looks whether all is as it was made.
    async fn is_intact(&mut self) -> anyhow::Result<bool>;
}

/// Opens a way in the network namespace of the calling thread, and takes away what the others may have left there.
///
/// # Errors
/// The host has not what it needs.
pub async fn open(
    mode: ProxyMode,
    config: &Config,
    cni: &cni::Configuration,
) -> anyhow::Result<Box<dyn Mode>> {
    if mode != ProxyMode::Iptables {
        iptables::remove(&cni.cluster).await?;
    }
    if mode != ProxyMode::Nftables {
        nftables::remove(&cni.cluster).await;
    }
    let copies = mode == ProxyMode::Userspace;
    let owned = userspace::own(cni, copies).await;
    match &owned {
        Err(error) if copies => {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "virtual addresses are served only where the host has them");
        }
        Err(error) => tracing::debug!(%error, "no local route removed"),
        Ok(()) => {}
    }
    Ok(match mode {
        ProxyMode::Nftables => Box::new(Nftables::open(config.clone(), &cni.cluster)?),
        ProxyMode::Iptables => Box::new(Iptables::open(config.clone(), &cni.cluster).await?),
        ProxyMode::Userspace => Box::new(Userspace::open(config.clone(), owned.is_ok())),
    })
}

/// Takes away what the way by `iptables` left of a cluster; the way by nftables has its own tables.
///
/// # Errors
/// The program failed.
pub(crate) async fn remove(cluster: &str) -> anyhow::Result<()> {
    iptables::remove(cluster).await
}
