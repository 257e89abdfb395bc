//! What the kernel counts for a control group, under either version.

use std::path::PathBuf;

/// The files of one control group: one directory, or one in each hierarchy.
#[derive(Debug, Clone, Default)]
pub struct Group(pub Vec<PathBuf>);

/// Counters of a control group; what the kernel does not tell is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// CPU time in nanoseconds: in all, of programs, of the kernel.
    pub cpu: Option<u64>,
    pub cpu_user: Option<u64>,
    pub cpu_system: Option<u64>,
    /// Periods of the quota: all, those in which the group had to wait, and nanoseconds of that.
    pub periods: Option<u64>,
    pub throttled: Option<u64>,
    pub throttled_nanoseconds: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    pub inactive_file: u64,
    pub rss: u64,
    pub cache: u64,
    pub mapped_file: u64,
    pub swap: Option<u64>,
    /// How often memory was refused.
    pub failures: Option<u64>,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub oom_kills: Option<u64>,
    /// Limits; none where there are none.
    pub memory_limit: Option<u64>,
    pub shares: Option<u64>,
    pub quota: Option<u64>,
    pub period: Option<u64>,
    /// Processes and threads.
    pub processes: u64,
    pub threads: Option<u64>,
}

impl Reading {
    /// Bytes that could not be given up without loss.
    pub fn working_set(&self) -> Option<u64> {
        Some(self.memory?.saturating_sub(self.inactive_file))
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

impl Group {
    fn text(&self, file: &str) -> Option<String> {
        self.0.iter().find_map(|directory| std::fs::read_to_string(directory.join(file)).ok())
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    /// Whether there is such a group.
    pub fn exists(&self) -> bool {
        self.0.iter().any(|directory| directory.exists())
    }

    /// A process of the group or of those below it.
    pub fn some_process(&self) -> Option<u32> {
        fn look(directory: &std::path::Path) -> Option<u32> {
            let own = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            if let Some(process) = own.lines().find_map(|line| line.trim().parse().ok()) {
                return Some(process);
            }
            let below = std::fs::read_dir(directory).ok()?.flatten();
            below.filter(|entry| entry.path().is_dir()).find_map(|entry| look(&entry.path()))
        }
        self.0.iter().find_map(|directory| look(directory))
    }

    /// All counters at this moment.
    pub fn read(&self) -> Reading {
        let (cpu, memory) =
            (self.text("cpu.stat").unwrap_or_default(), self.text("memory.stat").unwrap_or_default());
        let micro = |name| field(&cpu, name).map(|value| value * 1000);
        let ticks = self.text("cpuacct.stat").unwrap_or_default();
        let ticks = |name| field(&ticks, name).map(|value| value * 10_000_000);
        let of_memory =
            |names: [&str; 2]| names.iter().find_map(|name| field(&memory, name)).unwrap_or_default();
        let quota = self.text("cpu.max").unwrap_or_default();
        let mut quota = quota.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (max, period) = (quota.next().flatten(), quota.next().flatten());
        let limit = self.number("memory.limit_in_bytes").or_else(|| self.number("memory.max"));
        let used = self.number("memory.usage_in_bytes").or_else(|| self.number("memory.current"));
        let swap = field(&memory, "total_swap").or_else(|| self.number("memory.swap.current"));
        let oom = self.text("memory.oom_control").or_else(|| self.text("memory.events")).unwrap_or_default();
        let weight = self.number("cpu.weight").map(|weight| 2 + (weight.max(1) - 1) * 262_142 / 9999);
        Reading {
            cpu: self.number("cpuacct.usage").or_else(|| micro("usage_usec")),
            cpu_user: micro("user_usec").or_else(|| ticks("user")),
            cpu_system: micro("system_usec").or_else(|| ticks("system")),
            periods: field(&cpu, "nr_periods"),
            throttled: field(&cpu, "nr_throttled"),
            throttled_nanoseconds: field(&cpu, "throttled_time").or_else(|| micro("throttled_usec")),
            memory: used,
            inactive_file: of_memory(["total_inactive_file", "inactive_file"]),
            rss: of_memory(["total_rss", "anon"]),
            cache: of_memory(["total_cache", "file"]),
            mapped_file: of_memory(["total_mapped_file", "file_mapped"]),
            swap,
            failures: self.number("memory.failcnt"),
            page_faults: of_memory(["total_pgfault", "pgfault"]),
            major_page_faults: of_memory(["total_pgmajfault", "pgmajfault"]),
            oom_kills: field(&oom, "oom_kill"),
            // Without a limit the kernel tells a number that no machine has.
            memory_limit: limit.filter(|limit| *limit < 1 << 60),
            shares: self.number("cpu.shares").or(weight),
            quota: self.number("cpu.cfs_quota_us").or(max),
            period: self.number("cpu.cfs_period_us").or(period),
            processes: self.text("cgroup.procs").unwrap_or_default().lines().count() as u64,
            threads: self.number("pids.current"),
        }
    }
}

/// Traffic of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Received and sent: bytes, packets, errors, dropped.
    pub received: [u64; 4],
    pub sent: [u64; 4],
}

/// Traffic of a process's network namespace, without the loopback.
pub fn traffic(process: &str) -> Vec<Interface> {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default();
    parse_traffic(&text)
}

fn parse_traffic(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let four = |from: usize| counters.get(from..from + 4).and_then(|four| four.try_into().ok());
        Some(Interface { name: name.trim().to_owned(), received: four(0)?, sent: four(8)? })
    };
    text.lines().filter_map(line).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("file");
        }
        let group = Group(vec![folder.path().to_owned()]);
        (folder, group)
    }

    #[test]
    fn counters_are_read_from_either_version() {
        let (_one, one) = group(&[
            ("cpuacct.usage", "5000\n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpu.stat", "nr_periods 7\nnr_throttled 3\nthrottled_time 9000\n"),
            ("cpu.shares", "1024\n"),
            ("cpu.cfs_quota_us", "-1\n"),
            ("memory.usage_in_bytes", "100\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 30\ntotal_rss 20\ntotal_cache 40\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ]);
        let (_two, two) = group(&[
            (
                "cpu.stat",
                "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 3\nthrottled_usec 9\n",
            ),
            ("cpu.weight", "39\n"),
            ("cpu.max", "50000 100000\n"),
            ("memory.current", "100\n"),
            ("memory.max", "120\n"),
            ("memory.stat", "anon 20\nfile 40\ninactive_file 30\n"),
            ("memory.events", "oom 4\noom_kill 2\n"),
        ]);
        let (one, two) = (one.read(), two.read());
        for read in [&one, &two] {
            assert_eq!((read.cpu, read.working_set(), read.rss, read.cache), (Some(5000), Some(70), 20, 40));
            assert_eq!(
                (read.periods, read.throttled, read.throttled_nanoseconds),
                (Some(7), Some(3), Some(9000))
            );
            assert_eq!(read.oom_kills, Some(2));
        }
        assert_eq!((one.cpu_user, two.cpu_user), (Some(20_000_000), Some(3000)));
        assert_eq!((one.memory_limit, two.memory_limit), (None, Some(120)));
        assert_eq!((one.quota, two.quota, two.period), (None, Some(50_000), Some(100_000)));
        assert_eq!((one.shares, two.shares), (Some(1024), Some(998)));
        assert_eq!(Group::default().read(), Reading::default());
    }

    #[test]
    fn traffic_of_interfaces() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let expected = Interface { name: "eth0".to_owned(), received: [10, 2, 3, 4], sent: [50, 6, 7, 8] };
        assert_eq!(parse_traffic(text), [expected]);
    }
}
