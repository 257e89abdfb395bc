//! By rules of iptables, written by the host's `iptables-restore` and `ip6tables-restore` as the original writes them: chains
//! of the original's names with a tag of the cluster ([`names`]), laid out as there ([`render`]). Only chains that differ
//! are written, and nothing of others is touched ([`chains`]).

mod chains;
mod names;
mod port;
mod render;
#[cfg(test)]
mod tests;

use std::io;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Applied, Mode};
use crate::nft::Family;
use crate::service::{Config, Plans};
use chains::{Chains, Jump, Table};
use names::Names;

/// How often it is looked whether somebody flushed the tables: the kernel does not tell.
const LOOK: Duration = Duration::from_secs(30);
/// Time for one run of a program; it waits for others that hold the lock.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds to wait for the lock.
const WAIT: &str = "5";

/// The way by iptables.
pub struct Iptables {
    config: Config,
    names: Names,
    jumps: Vec<Jump>,
    tables: Vec<Tables>,
}

/// The tables of one family.
struct Tables {
    family: Family,
    /// The host forwards nothing by default.
    drops: bool,
    /// What the kernel has; `None` before the first time and after a failure.
    applied: Option<Chains>,
}

impl Iptables {
    /// One that has not written anything yet.
    ///
    /// # Errors
    /// The programs are missing, or do not work here.
    pub async fn open(config: Config, cluster: &str) -> anyhow::Result<Iptables> {
        let names = Names::of(cluster);
        let mut tables = Vec::new();
        for family in Family::ALL {
            match save(family).await {
                Ok(text) => {
                    let drops = text.lines().any(|line| line.starts_with(":FORWARD DROP"));
                    tables.push(Tables { family, drops, applied: None });
                }
                Err(error) if family == Family::V4 => {
                    return Err(error.context("proxy mode iptables needs the host's iptables"));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "services have no IPv6");
                }
            }
        }
        let jumps = render::jumps(&names);
        Ok(Iptables { config, names, jumps, tables })
    }
}

/// The name of a family's program.
fn program(family: Family, what: &str) -> String {
    match family {
        Family::V4 => format!("iptables-{what}"),
        Family::V6 => format!("ip6tables-{what}"),
    }
}

/// All rules of a family.
async fn save(family: Family) -> anyhow::Result<String> {
    run(&program(family, "save"), &[], "").await
}

/// Takes steps, each table's all or none.
async fn restore(family: Family, steps: &str) -> anyhow::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let arguments = ["--noflush", "--counters", "-w", WAIT];
    run(&program(family, "restore"), &arguments, steps).await.map(drop)
}

async fn run(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("cannot run {program}"))?;
    let Some(mut stdin) = child.stdin.take() else { bail!("{program} has no input") };
    let work = async {
        // A program that has given up says why; that it no longer reads does not matter.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, work).await.with_context(|| format!("{program} hangs"))??;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Takes away what there is of a cluster, where the host has the programs.
pub(super) async fn remove(cluster: &str) -> anyhow::Result<()> {
    let names = Names::of(cluster);
    for family in Family::ALL {
        let Ok(text) = save(family).await else { continue };
        restore(family, &chains::removal(&chains::found(&text, |chain| names.owns(chain)))).await?;
    }
    Ok(())
}

/// The chains that are there, of which nothing but the names is known.
fn unknown(found: &chains::Found) -> Chains {
    let unlike_any = || vec![String::new()];
    Chains(found.chains.keys().map(|key| (key.clone(), unlike_any())).collect())
}

#[async_trait]
impl Mode for Iptables {
    async fn apply(&mut self, plans: &Plans) -> anyhow::Result<Applied> {
        let mut done = Applied::default();
        for tables in &mut self.tables {
            let wanted = render::chains(plans, &self.config, &self.names, tables.family, tables.drops);
            let (steps, count) = match &tables.applied {
                Some(applied) => chains::steps(applied, &wanted, &[]),
                None => {
                    done.full = true;
                    let found = chains::found(&save(tables.family).await?, |chain| self.names.owns(chain));
                    let missing: Vec<&Jump> = self.jumps.iter().filter(|jump| !found.has(jump)).collect();
                    chains::steps(&unknown(&found), &wanted, &missing)
                }
            };
            restore(tables.family, &steps).await?;
            done.steps += count;
            done.rules += wanted.size();
            tables.applied = Some(wanted);
        }
        Ok(done)
    }

    fn forget(&mut self) {
        self.tables.iter_mut().for_each(|tables| tables.applied = None);
    }

    async fn disturbed(&mut self) -> io::Result<()> {
        tokio::time::sleep(LOOK).await; // who flushes tables tells nobody
        Ok(())
    }

    async fn is_there(&mut self) -> bool {
        let landmark = render::landmark(&self.names);
        for tables in &self.tables {
            let Ok(text) = save(tables.family).await else { return false };
            let found = chains::found(&text, |chain| self.names.owns(chain));
            let has = |table| found.chains.contains_key(&(table, landmark.clone()));
            if !Table::ALL.into_iter().all(has) || !self.jumps.iter().all(|jump| found.has(jump)) {
                return false;
            }
        }
        true
    }

    async fn is_intact(&mut self) -> anyhow::Result<bool> {
        for tables in &self.tables {
            let Some(applied) = &tables.applied else { return Ok(false) };
            let found = chains::found(&save(tables.family).await?, |chain| self.names.owns(chain));
            let expected = applied.0.iter().map(|(key, rules)| (key.clone(), rules.len())).collect();
            if found.chains != expected || !self.jumps.iter().all(|jump| found.has(jump)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
