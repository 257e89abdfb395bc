//! A component's process: a child of this supervisor, or one adopted from an earlier one.
use super::{Component, Lock};
use crate::cluster::Cluster;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A running component.
pub struct Process {
    pid: Pid,
    child: Option<tokio::process::Child>,
    exited: watch::Receiver<bool>,
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
        Ok(Self { pid, child: Some(child), exited: watch::channel(false).1 })
    }

    /// Watches a process that an earlier supervisor started.
    pub fn adopt(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self { pid, child: None, exited: exit_of(pid)? })
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
        // An error means that its watcher is gone, which ends with the process.
        let _ = self.exited.wait_for(|exited| *exited).await;
        "adopted process ended".to_owned()
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

/// Becomes true when a process that is no child ends; a thread waits on its descriptor (pidfd_open(2)).
fn exit_of(pid: Pid) -> Result<watch::Receiver<bool>> {
    let raw = rustix::process::Pid::from_raw(pid.as_raw()).context("not a process id")?;
    let descriptor = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty());
    let descriptor = descriptor.context("cannot watch the process")?;
    let (exited, receiver) = watch::channel(false);
    std::thread::Builder::new().name(format!("exit-{pid}")).spawn(move || {
        let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        while poll(&mut watched, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        exited.send_replace(true);
    })?;
    Ok(receiver)
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
