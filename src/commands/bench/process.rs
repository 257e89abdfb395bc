//! What a process costs, from /proc (proc(5)).
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// How long a process gets to come to rest.
const REST: Duration = Duration::from_secs(30);

/// Time between two looks: counters of the kernel announce nothing.
const LOOK: Duration = Duration::from_millis(200);

/// CPU time of a process so far, of all its threads; steps of 10 ms.
pub fn cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("cannot read /proc/PID/stat")?;
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64((ticks.0 + ticks.1) as f64 / rate as f64))
}

/// Resident memory in MB, shared pages divided by their users (PSS).
pub fn memory(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the process is gone")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("cannot read smaps_rollup")?;
    Ok(kib / 1024.0)
}

/// Waits until a process does next to nothing for a second.
pub async fn rest(pid: u32) -> Result<()> {
    let deadline = Instant::now() + REST;
    let (mut calm, mut last) = (0, cpu(pid)?);
    while calm < 5 && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        let now = cpu(pid)?;
        calm = if now - last <= Duration::from_millis(10) { calm + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_figures() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap() > 0.5);
        let before = cpu(pid).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        assert!(cpu(pid).unwrap() >= before);
    }
}
