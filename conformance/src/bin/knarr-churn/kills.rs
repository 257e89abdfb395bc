//! `kill -9` of one process of the cluster after the other.
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// What is killed, the more often the more often it stands here.
const VICTIMS: [&str; 7] =
    ["controllers", "controllers", "scheduler", "scheduler", "apiserver", "apiserver", "kubelet"];

/// Kills until `end`; returns how often.
pub async fn run(knarr: &Path, name: &str, mut chance: StdRng, end: Instant) -> Result<usize> {
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(chance.random_range(1500..5000));
        if Instant::now() + pause > end {
            return Ok(kills);
        }
        tokio::time::sleep(pause).await; // the rhythm of the test
        let victim = VICTIMS.choose(&mut chance).context("nobody to kill")?;
        // One that has been killed a moment ago may not run yet.
        if let Some(pid) = process(knarr, name, victim).await?
            && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        {
            kills += 1;
        }
    }
}

/// The process of a component, while it runs.
async fn process(knarr: &Path, name: &str, component: &str) -> Result<Option<i32>> {
    let mut command = Command::new(knarr);
    command.args(["status", "--name", name, "--output", "json"]);
    let output = command.stdin(Stdio::null()).output().await.context("cannot run knarr")?;
    let status: Value = serde_json::from_slice(&output.stdout).context("knarr status printed no JSON")?;
    let components = status[0]["components"].as_array().context("a status without components")?;
    let found = components.iter().find(|one| one["name"] == component);
    let found = found.with_context(|| format!("the cluster has no {component}"))?;
    Ok(found["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()))
}
