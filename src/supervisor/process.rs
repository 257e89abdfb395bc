//! A component's process: a child of this supervisor, or one adopted from an earlier one.
use super::{Component, Lock};
use crate::cluster::Cluster;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A running component.
pub struct Process {
    pid: Pid,
    child: Option<tokio::process::Child>,
    exited: AsyncFd<OwnedFd>,
}

impl Process {
    /// Starts the component; it inherits the lock and outlives this process.
    pub fn spawn(cluster: &Cluster, component: &Component, mut lock: Lock) -> Result<Self> {
        let log = cluster.paths.log(component.name);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = std::process::Command::new(&component.program);
        command.args(&component.args).envs(component.env.iter().map(|(k, v)| (k, v)));
        // The lock rides on standard input, the one descriptor besides the log's that a child inherits.
        command.stdin(Stdio::from(lock.share()?)).stdout(log.try_clone()?).stderr(log);
        command.current_dir(cluster.paths.root()).process_group(0);
        let child = tokio::process::Command::from(command).spawn();
        let child = child.with_context(|| format!("cannot run {}", component.program.display()))?;
        let pid = child.id().context("the process ended at once")?;
        lock.write_pid(pid)?;
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self { pid, child: Some(child), exited: pidfd(pid)? })
    }

    /// Watches a process that an earlier supervisor started.
    pub fn adopt(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self { pid, child: None, exited: pidfd(pid)? })
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits until the process has ended and says how.
    pub async fn wait(&mut self) -> String {
        if let Some(child) = &mut self.child {
            return match child.wait().await {
                Ok(status) => status.to_string(),
                Err(e) => e.to_string(),
            };
        }
        match self.exited.ready(Interest::READABLE).await {
            Ok(_) => "adopted process ended".to_owned(),
            Err(e) => e.to_string(),
        }
    }

    /// Ends the process: SIGTERM, after `timeout` SIGKILL.
    pub async fn stop(&mut self, timeout: Duration) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if kill(self.pid, signal).is_err() || tokio::time::timeout(timeout, self.wait()).await.is_ok() {
                return;
            }
        }
    }
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2)).
fn pidfd(pid: Pid) -> Result<AsyncFd<OwnedFd>> {
    let raw = rustix::process::Pid::from_raw(pid.as_raw()).context("not a process id")?;
    let fd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty());
    let fd = fd.context("cannot watch the process")?;
    AsyncFd::with_interest(fd, Interest::READABLE).context("cannot watch the process")
}

/// Growing pauses between restarts; a process that ran a while is started again at once.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(10);
    const HEALTHY_AFTER: Duration = Duration::from_secs(20);

    /// The pause before the next start.
    pub fn next(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last > Self::HEALTHY_AFTER + Self::LONGEST) {
            self.failures = 0;
        }
        self.last = Some(now);
        let pause = Self::FIRST * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        pause.min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.next()).collect();
        assert_eq!(pauses[0], Backoff::FIRST);
        assert_eq!(pauses[1], 2 * Backoff::FIRST);
        assert_eq!(pauses[9], Backoff::LONGEST);
    }
}
