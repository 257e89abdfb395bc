//! `GET /metrics/cadvisor`: usage under the names that cAdvisor gives it.
//!
//! Source: cAdvisor, `docs/storage/prometheus.md`. Not there: what the kernel counts for devices of disks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use jiff::Timestamp;

use super::exposition::{Metric, TEXT};
use super::usage::{Row, of_classes, of_pod};
use super::{Failure, Shared};
use crate::cgroups::reading::{Interface, Reading, traffic};
use crate::node::{machine, usage};

type Value = fn(&Reading) -> Option<f64>;

fn seconds(nanoseconds: Option<u64>) -> Option<f64> {
    nanoseconds.map(|value| value as f64 / 1e9)
}

fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

const COUNTERS: [(&str, &str, &str, Value); 21] = [
    ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", |r| {
        number(r.periods)
    }),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", |r| {
        number(r.throttled)
    }),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        |r| seconds(r.throttled_nanoseconds),
    ),
    (
        "container_cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed in seconds.",
        |r| seconds(r.cpu_system),
    ),
    ("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.", |r| {
        seconds(r.cpu_user)
    }),
    ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", |r| {
        r.memory.map(|_| r.cache as f64)
    }),
    ("container_memory_failcnt", "counter", "Number of memory usage hits limits", |r| number(r.failures)),
    ("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", |r| {
        r.memory.map(|_| r.mapped_file as f64)
    }),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", |r| r.memory.map(|_| r.rss as f64)),
    ("container_memory_swap", "gauge", "Container swap usage in bytes.", |r| number(r.swap)),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |r| number(r.memory),
    ),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |r| {
        number(r.working_set())
    }),
    (
        "container_oom_events_total",
        "counter",
        "Count of out of memory events observed for the container",
        |r| number(r.oom_kills),
    ),
    ("container_processes", "gauge", "Number of processes running inside the container.", |r| {
        Some(r.processes as f64)
    }),
    ("container_spec_cpu_period", "gauge", "CPU period of the container.", |r| number(r.period)),
    ("container_spec_cpu_quota", "gauge", "CPU quota of the container.", |r| number(r.quota)),
    ("container_spec_cpu_shares", "gauge", "CPU share of the container.", |r| number(r.shares)),
    ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", |r| {
        r.memory.map(|_| r.memory_limit.unwrap_or_default() as f64)
    }),
    (
        "container_spec_memory_reservation_limit_bytes",
        "gauge",
        "Memory reservation limit for the container.",
        |r| r.memory.map(|_| 0.0),
    ),
    ("container_spec_memory_swap_limit_bytes", "gauge", "Memory swap limit for the container.", |r| {
        r.memory.map(|_| 0.0)
    }),
    ("container_threads", "gauge", "Number of threads running inside the container", |r| number(r.threads)),
];

type Counter = fn(&Interface) -> u64;

/// Name, help and the place of the counter, received and sent.
const TRAFFIC: [(&str, &str, Counter); 8] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| i.received[0]),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |i| i.received[2],
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |i| i.received[3],
    ),
    ("container_network_receive_packets_total", "Cumulative count of packets received", |i| i.received[1]),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| i.sent[0]),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |i| i.sent[2],
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |i| i.sent[3],
    ),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", |i| i.sent[1]),
];

impl Row {
    fn labels(&self) -> [(&str, &str); 6] {
        [
            ("container", &self.container),
            ("id", &self.id),
            ("image", &self.image),
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
        ]
    }
}

/// The text of all rows at a time, in milliseconds.
fn exposition(rows: &[Row], now: i64) -> String {
    let mut out = String::new();
    let name = "container_cpu_usage_seconds_total";
    let mut metric = Metric::new(name, "counter", "Cumulative cpu time consumed in seconds.");
    for row in rows {
        let [container, rest @ ..] = row.labels();
        if let Some(value) = seconds(row.reading.cpu) {
            let labels: Vec<(&str, &str)> = [container, ("cpu", "total")].into_iter().chain(rest).collect();
            metric.sample_at(name, &labels, value, now);
        }
    }
    out += &metric.0;
    for (name, kind, help, value) in COUNTERS {
        let mut metric = Metric::new(name, kind, help);
        let mut any = false;
        for row in rows {
            if let Some(value) = value(&row.reading) {
                any = true;
                metric.sample_at(name, &row.labels(), value, now);
            }
        }
        out += if any { &metric.0 } else { "" };
    }
    let name = "container_last_seen";
    let mut seen = Metric::new(name, "gauge", "Last time a container was seen by the exporter");
    let started = "container_start_time_seconds";
    let mut starts =
        Metric::new(started, "gauge", "Start time of the container since unix epoch in seconds.");
    for row in rows {
        seen.sample_at(name, &row.labels(), (now / 1000) as f64, now);
        if let Some(value) = row.started {
            starts.sample_at(started, &row.labels(), value, now);
        }
    }
    out += &(seen.0 + &starts.0);
    for (name, help, value) in TRAFFIC {
        let mut metric = Metric::new(name, "counter", help);
        for row in rows {
            for interface in &row.traffic {
                let [container, id, image, rest @ ..] = row.labels();
                let named = [container, id, image, ("interface", &interface.name)];
                let labels: Vec<(&str, &str)> = named.into_iter().chain(rest).collect();
                metric.sample_at(name, &labels, value(interface) as f64, now);
            }
        }
        out += &metric.0;
    }
    out
}

/// What the machine is.
fn machine_exposition(machine: &machine::Machine) -> String {
    let labels = [
        ("boot_id", machine.boot_id.as_str()),
        ("machine_id", machine.machine_id.as_str()),
        ("system_uuid", machine.system_uuid.as_str()),
    ];
    let mut out = String::new();
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", machine.cpus),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", machine.memory),
    ] {
        let mut metric = Metric::new(name, "gauge", help);
        metric.sample(name, &labels, value as f64);
        out += &metric.0;
    }
    let name = "cadvisor_version_info";
    let help = "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.";
    let mut metric = Metric::new(name, "gauge", help);
    let labels = [
        ("cadvisorRevision", ""),
        ("cadvisorVersion", ""),
        ("dockerVersion", ""),
        ("kernelVersion", machine.kernel.as_str()),
        ("osVersion", machine.os_image.as_str()),
    ];
    metric.sample(name, &labels, 1.0);
    let name = "container_scrape_error";
    let mut errors =
        Metric::new(name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
    errors.sample(name, &[], 0.0);
    out + &metric.0 + &errors.0
}

/// All of it.
pub async fn cadvisor(State(server): Shared) -> Result<impl IntoResponse, Failure> {
    let (context, pods) = (Arc::clone(server.manager.context()), server.manager.pods());
    let read = move || {
        let node = usage::read();
        let root = Row {
            id: "/".to_owned(),
            reading: Reading {
                cpu: Some(node.cpu_nanoseconds),
                memory: Some(node.memory_total.saturating_sub(node.memory_free)),
                inactive_file: node.memory_available.saturating_sub(node.memory_free),
                ..Reading::default()
            },
            traffic: traffic("self"),
            ..Row::default()
        };
        let mut rows = vec![root];
        rows.extend(of_classes(&context));
        rows.extend(pods.iter().flat_map(|pod| of_pod(&context, pod)));
        exposition(&rows, Timestamp::now().as_millisecond()) + &machine_exposition(&machine::Machine::read())
    };
    Ok((TEXT, tokio::task::spawn_blocking(read).await.map_err(Failure::internal)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_samples() {
        let pod = Row {
            id: "/kubepods/podu".to_owned(),
            namespace: "n".to_owned(),
            pod: "p".to_owned(),
            reading: Reading { cpu: Some(1_500_000_000), ..Reading::default() },
            traffic: vec![Interface { name: "eth0".to_owned(), received: [1, 2, 3, 4], sent: [5, 6, 7, 8] }],
            ..Row::default()
        };
        let container = Row {
            id: "/kubepods/podu/x".to_owned(),
            container: "c".to_owned(),
            image: "i:1".to_owned(),
            name: "x".to_owned(),
            started: Some(5.5),
            reading: Reading {
                memory: Some(100),
                inactive_file: 30,
                rss: 20,
                quota: Some(5),
                ..Reading::default()
            },
            traffic: Vec::new(),
            ..pod.clone()
        };
        let text = exposition(&[pod, container], 7000);
        let own =
            "container=\"c\",id=\"/kubepods/podu/x\",image=\"i:1\",name=\"x\",namespace=\"n\",pod=\"p\"";
        for line in [
            "container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/kubepods/podu\",image=\"\",name=\"\",namespace=\"n\",pod=\"p\"} 1.5 7000",
            &format!("container_memory_working_set_bytes{{{own}}} 70 7000"),
            &format!("container_memory_rss{{{own}}} 20 7000"),
            &format!("container_spec_cpu_quota{{{own}}} 5 7000"),
            &format!("container_start_time_seconds{{{own}}} 5.5 7000"),
            &format!("container_last_seen{{{own}}} 7 7000"),
            "container_network_transmit_bytes_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",namespace=\"n\",pod=\"p\"} 5 7000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
