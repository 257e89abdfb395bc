//! What the whole machine uses.

/// Usage at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all processes since the boot, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes that nothing uses.
    pub memory_free: u64,
    /// Bytes that could be had without swapping.
    pub memory_available: u64,
    /// Bytes of swap, and those that are free.
    pub swap_total: u64,
    pub swap_free: u64,
    /// When the machine was started, in seconds since the epoch.
    pub booted: Option<i64>,
}

/// Reads the kernel's counters.
pub fn read() -> Usage {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    parse(&text("/proc/stat"), &text("/proc/meminfo"))
}

fn parse(stat: &str, meminfo: &str) -> Usage {
    let memory = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
    };
    // Columns: user, nice, system, idle, iowait, irq, softirq, steal, in hundredths of a second.
    let columns: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|column| column.parse().unwrap_or_default())
        .collect();
    let busy: u64 =
        columns.iter().enumerate().filter(|(index, _)| ![3, 4].contains(index)).take(6).map(|(_, v)| v).sum();
    Usage {
        cpu_nanoseconds: busy * 10_000_000,
        memory_total: memory("MemTotal"),
        memory_free: memory("MemFree"),
        memory_available: memory("MemAvailable"),
        swap_total: memory("SwapTotal"),
        swap_free: memory("SwapFree"),
        booted: stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        let usage = parse(
            "cpu  100 10 50 1000 20 1 2 3 99 99\nbtime 7\n",
            "MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 40 kB",
        );
        assert_eq!(usage.booted, Some(7));
        assert_eq!(usage.cpu_nanoseconds, 166 * 10_000_000);
        assert_eq!(
            (usage.memory_total, usage.memory_free, usage.memory_available),
            (102_400, 10_240, 40_960)
        );
    }
}
