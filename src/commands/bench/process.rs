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
    kib(&text, "Pss:").map(|kib| kib / 1024.0)
}

/// Lets the peak of a process's resident memory begin anew; returns what it takes now, in MB.
pub fn forget_peak(pid: u32) -> Result<f64> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot write /proc/PID/clear_refs")?;
    peak(pid)
}

/// The most memory in MB that was resident at once (VmHWM).
pub fn peak(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    kib(&text, "VmHWM:").map(|kib| kib / 1024.0)
}

/// A line of /proc with an amount in KiB.
fn kib(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let amount = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    amount.with_context(|| format!("/proc tells no {name}"))
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
        let lowest = forget_peak(pid).unwrap();
        let filled = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak(pid).unwrap() > lowest + 32.0);
        drop(filled);
        let before = cpu(pid).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        assert!(cpu(pid).unwrap() >= before);
    }
}
