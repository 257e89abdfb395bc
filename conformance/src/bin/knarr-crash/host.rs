//! The cluster's processes on this host.
use crate::{Args, eventually};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// The process that starts the others again.
const SUPERVISOR: &str = "supervisor";

/// How the cluster's processes are seen and killed.
pub struct Host {
    knarr: PathBuf,
    name: String,
    kubeconfig: PathBuf,
    runtime: Option<PathBuf>,
}

impl Host {
    pub fn new(args: &Args) -> Self {
        let Args { knarr, name, kubeconfig, runtime, .. } = args;
        let (knarr, name, kubeconfig) = (knarr.clone(), name.clone(), kubeconfig.clone());
        Self { knarr, name, kubeconfig, runtime: runtime.clone() }
    }

    /// Kills processes at once; returns when others run in their place and those that were spared still run.
    pub async fn kill(&self, names: &[&str]) -> Result<()> {
        let before = self.processes().await?;
        for name in names {
            let pid = before.get(*name).copied().flatten().with_context(|| format!("{name} does not run"))?;
            kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill {name}"))?;
        }
        if names.contains(&SUPERVISOR) {
            self.up().await?;
        }
        eventually("killed processes run again", async || {
            let now = self.processes().await?;
            for (name, pid) in &before {
                let new = now.get(name).copied().flatten().with_context(|| format!("{name} does not run"))?;
                let killed = names.contains(&name.as_str());
                ensure!(killed != (Some(new) == *pid), "{name} was {pid:?} and is {new}");
            }
            Ok(())
        })
        .await
    }

    /// The cluster's processes by name.
    async fn processes(&self) -> Result<BTreeMap<String, Option<i32>>> {
        let mut command = Command::new(&self.knarr);
        command.args(["status", "--name", &self.name, "--output", "json"]);
        let output = command.stdin(Stdio::null()).output().await.context("cannot run knarr")?;
        let status: Value = serde_json::from_slice(&output.stdout).context("knarr status printed no JSON")?;
        let components = status[0]["components"].as_array().context("a status without components")?;
        let pid = |one: &Value| one["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Ok(components
            .iter()
            .map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), pid(one)))
            .collect())
    }

    async fn up(&self) -> Result<()> {
        let mut command = Command::new(&self.knarr);
        command.args(["up", "--name", &self.name, "--kubeconfig"]).arg(&self.kubeconfig);
        let output = command.stdin(Stdio::null()).output().await.context("cannot run knarr")?;
        if !output.status.success() {
            bail!("knarr up: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Ids of the containers that run, sandboxes among them, as the runtime itself says.
    pub async fn containers(&self) -> Result<Option<BTreeSet<String>>> {
        let Some(socket) = &self.runtime else { return Ok(None) };
        let mut command = Command::new("ctr");
        command.arg("--address").arg(socket).args(["--namespace", "k8s.io", "tasks", "ls"]);
        let output = command.stdin(Stdio::null()).output().await.context("cannot run ctr")?;
        ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let running = text.lines().filter(|line| line.ends_with("RUNNING"));
        Ok(Some(running.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()))
    }
}
