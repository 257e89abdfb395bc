//! By rules of nftables, in tables of the cluster's own. What differs between two states goes to the kernel over netlink.

use std::io;

use async_trait::async_trait;

use super::{Applied, Mode};
use crate::names;
use crate::network::forward;
use crate::nft::{self, Family, Monitor, Nft, RuleSet};
use crate::service::{Config, Plans, Rules};

/// A chain that is always there: its absence means that somebody removed the table.
const LANDMARK: &str = "services";

/// The way by nftables.
pub struct Nftables {
    cluster: String,
    table: String,
    nft: Nft,
    monitor: Monitor,
    wanted: Rules,
    /// What the kernel has; `None` before the first time and after a failure.
    applied: Option<RuleSet>,
}

impl Nftables {
    /// One that has not written anything yet.
    ///
    /// # Errors
    /// The kernel does not listen.
    pub fn open(config: Config, cluster: &str) -> anyhow::Result<Nftables> {
        let table = names::service_table(cluster);
        let monitor = Monitor::open(&table)?;
        let (cluster, wanted) = (cluster.to_owned(), Rules::new(config));
        Ok(Nftables { cluster, table, nft: Nft::open()?, monitor, wanted, applied: None })
    }
}

/// Takes the cluster's table away where another way is used; where the kernel has no nftables there is none.
pub(super) async fn remove(cluster: &str) {
    let removed = async { Nft::open()?.delete_table(&names::service_table(cluster)).await };
    if let Err(error) = removed.await {
        tracing::debug!(%error, "no rules of nftables removed");
    }
}

#[async_trait]
impl Mode for Nftables {
    async fn apply(&mut self, plans: &Plans) -> anyhow::Result<Applied> {
        let wanted = self.wanted.of(plans);
        let full = self.applied.is_none();
        let commands = match &self.applied {
            Some(applied) => nft::diff(&self.table, applied, &wanted),
            None => {
                if let Err(error) = forward::accept(&self.nft, &self.cluster).await {
                    tracing::warn!(%error, "the host may drop what pods send to each other");
                }
                nft::full(&self.table, &wanted)
            }
        };
        let steps = commands.list.len();
        self.nft.apply(&commands).await?;
        let rules = wanted.size();
        self.applied = Some(wanted);
        Ok(Applied { steps, rules, full })
    }

    fn forget(&mut self) {
        self.applied = None;
    }

    async fn disturbed(&mut self) -> io::Result<()> {
        self.monitor.deleted().await
    }

    async fn is_there(&mut self) -> bool {
        self.nft.has_chain(Family::V4, &self.table, LANDMARK).await.unwrap_or(false)
    }

    async fn is_intact(&mut self) -> anyhow::Result<bool> {
        let Some(applied) = &self.applied else { return Ok(false) };
        Ok(self.nft.holds(&self.table, applied).await?)
    }
}
