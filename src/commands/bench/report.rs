//! The figures, and what is aimed at.
use crate::cli::Output;
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

/// What is aimed at on two cores shared with the client: name, value, and whether it is a lower limit.
const TARGETS: [(&str, f64, bool); 29] = [
    ("start.ready_ms", 200.0, false),
    ("cluster.node_ready_ms", 2000.0, false),
    ("memory.idle_mb", 40.0, false),
    ("memory.loaded_mb", 200.0, false),
    ("cluster.memory_idle_mb", 120.0, false),
    ("create.1.per_second", 2000.0, true),
    ("create.64.per_second", 7000.0, true),
    ("create.64.server_cpu_ms", 0.15, false),
    ("get.64.per_second", 20_000.0, true),
    ("get.64.server_cpu_ms", 0.04, false),
    ("update.64.per_second", 6000.0, true),
    ("patch.64.per_second", 6000.0, true),
    ("list.config_maps.p50_ms", 30.0, false),
    ("list.pods.p50_ms", 80.0, false),
    ("watch.1000.p99_ms", 8.0, false),
    ("watch.1000.lost", 0.0, false),
    ("definitions.memory_each_mb", 1.0, false),
    ("definitions.memory_each_changed_mb", 1.0, false),
    ("restart.ready_ms", 2000.0, false),
    ("leases.database_growth", 1.2, false),
    ("scale.1000_nodes.bound_per_second", 1000.0, true),
    ("scale.1000_nodes.namespace_deletion_ms", 20_000.0, false),
    ("scale.1000_nodes.controllers_memory_mb", 120.0, false),
    ("scale.1000_nodes.controllers_idle_cpu_percent", 0.5, false),
    ("scale.5000_nodes.bound_per_second", 700.0, true),
    ("scale.deployment_plain.bound_ms", 10_000.0, false),
    ("scale.deployment_anti-affinity.bound_ms", 30_000.0, false),
    ("scale.deployment_spread.bound_ms", 30_000.0, false),
    ("errors", 0.0, false),
];

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    machine: Machine,
    figures: Vec<Figure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    memory_mb: u64,
    kernel: String,
    knarr: &'static str,
    debug_build: bool,
}

/// One figure; its name ends with its unit.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

impl Report {
    /// A report without figures yet.
    pub fn new() -> Result<Self> {
        let line = |file: &str, key: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = line("/proc/meminfo", "MemTotal");
        let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
        let machine = Machine {
            processor: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_mb: memory / 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            knarr: env!("CARGO_PKG_VERSION"),
            debug_build: cfg!(debug_assertions),
        };
        Ok(Self { machine, figures: Vec::new(), left_out: Vec::new() })
    }

    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        let target = TARGETS.iter().find(|(target, ..)| *target == name);
        let target = target.map(|(_, limit, lower)| (*limit, *lower));
        let reached = target.map(|(limit, lower)| if lower { value >= limit } else { value <= limit });
        let digits = if value.abs() < 10.0 { 10_000.0 } else { 10.0 };
        let value = (value * digits).round() / digits;
        self.figures.push(Figure { name, value, target: target.map(|(limit, _)| limit), reached });
    }

    /// Adds a duration; the name gets its unit.
    pub fn add_time(&mut self, name: &str, time: Duration) {
        self.add(format!("{name}_ms"), time.as_secs_f64() * 1e3);
    }

    /// Notes what could not be measured.
    pub fn left_out(&mut self, what: &str, why: &anyhow::Error) {
        self.left_out.push(format!("{what}: {why:#}"));
    }

    /// Prints everything.
    pub fn print(&self, output: Output) -> Result<()> {
        if output == Output::Json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let machine = &self.machine;
        println!(
            "knarr {}{}, {} cores of {}, {} MB, Linux {}",
            machine.knarr,
            if machine.debug_build { " (debug build)" } else { "" },
            machine.cores,
            machine.processor,
            machine.memory_mb,
            machine.kernel
        );
        for figure in &self.figures {
            let note = match (figure.target, figure.reached) {
                (Some(target), Some(true)) => format!("  (target {target})"),
                (Some(target), _) => format!("  (target {target} NOT reached)"),
                _ => String::new(),
            };
            println!("{:<34} {:>12}{note}", figure.name, figure.value);
        }
        self.left_out.iter().for_each(|line| println!("left out: {line}"));
        Ok(())
    }
}

/// The value below which `share` of the sorted `values` lie.
pub fn percentile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The middle one.
pub fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    percentile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (51, 100));
        assert_eq!((percentile(&[7], 0.99), percentile::<u32>(&[], 0.5)), (7, 0));
    }
}
