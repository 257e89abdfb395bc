//! What the kubelet's own process uses, under the names that Prometheus' clients give it.

use super::exposition::Metric;
use crate::cgroups::reading::Reading;

/// Hundredths of a second are the kernel's unit of processes' times.
const TICKS: f64 = 100.0;
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// One value of `/proc/self/status` in kilobytes, as bytes.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

/// What the process uses, as that of a control group is told.
pub fn reading() -> Reading {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    reading_of(&read("/proc/self/stat"), &read("/proc/self/status"))
}

fn reading_of(stat: &str, status: &str) -> Reading {
    let words = words(stat);
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
    let resident = memory(status, "VmRSS").map(|bytes| bytes as u64);
    Reading {
        cpu: number(11).zip(number(12)).map(|(user, system)| (user + system) * NANOSECONDS_PER_TICK),
        memory: resident,
        rss: resident.unwrap_or_default(),
        page_faults: number(7).unwrap_or_default(),
        major_page_faults: number(9).unwrap_or_default(),
        ..Reading::default()
    }
}

/// The words of `/proc/self/stat` from the state on. The name before it, in brackets, may hold anything.
fn words(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect()
}

/// The text of all metrics of the process.
pub fn exposition() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (stat, status, machine) = (read("/proc/self/stat"), read("/proc/self/status"), read("/proc/stat"));
    let files = std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    all(&stat, &status, &machine, files, &read("/proc/self/limits"))
}

fn all(stat: &str, status: &str, machine: &str, files: Option<usize>, limits: &str) -> String {
    let words = words(stat);
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<f64>().ok());
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = limit.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    let values = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            number(11).zip(number(12)).map(|(user, system)| (user + system) / TICKS),
        ),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit),
        ("process_open_fds", "gauge", "Number of open file descriptors.", files.map(|count| count as f64)),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory(status, "VmRSS")),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            booted.zip(number(19)).map(|(booted, started)| booted + started / TICKS),
        ),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", memory(status, "VmSize")),
    ];
    let mut out = String::new();
    for (name, kind, help, value) in values {
        let Some(value) = value else { continue };
        let mut metric = Metric::new(name, kind, help);
        metric.sample(name, &[], value);
        out += &metric.0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_the_process() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 300 1000 5";
        let text = all(
            stat,
            "VmSize:\t 8 kB\nVmRSS:\t 2 kB\n",
            "btime 1000\n",
            Some(4),
            "Max open files  64 128 files\n",
        );
        for line in [
            "process_cpu_seconds_total 3",
            "process_max_fds 64",
            "process_open_fds 4",
            "process_resident_memory_bytes 2048",
            "process_start_time_seconds 1003",
            "process_virtual_memory_bytes 8192",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(exposition().contains("process_open_fds "));
        let reading = reading_of(stat, "VmRSS:\t 2 kB\n");
        assert_eq!((reading.cpu, reading.memory), (Some(3_000_000_000), Some(2048)));
        assert_eq!((reading.page_faults, reading.major_page_faults), (7, 9));
    }
}
