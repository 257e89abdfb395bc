//! How long rules take with 10,000 services of five endpoints, and how much memory they take:
//! `cargo test --release -p knarr-proxy --test network -- --ignored --nocapture bench`.

use std::time::{Duration, Instant};

use knarr_proxy::nft;
use knarr_proxy::service::{Index, Rules};
use serde_json::json;

use crate::objects::*;
use crate::support::*;

const ENDPOINTS: usize = 5;
const CHANGES: usize = 50;

#[test]
#[ignore = "measures, and takes some seconds"]
fn bench_10000_services() {
    measure(10_000, &json!({}));
}

#[test]
#[ignore = "measures, and takes some seconds"]
fn bench_1000_services_with_affinity() {
    measure(1_000, &json!({ "sessionAffinity": "ClientIP" }));
}

/// Brings services with these fields into a kernel, and changes some.
fn measure(services: usize, spec: &serde_json::Value) {
    on_node("bench", |node| {
        let table = node.table();
        let (mut index, mut kept) = (Index::new(node.services.clone()), Rules::new(node.services.clone()));
        let endpoint =
            |i: usize, n: usize| format!("10.77.{}.{}:8080", i % 250 + 2, (i / 250 + 40 * n) % 250 + 2);
        let endpoints = |i: usize, first: usize, count: usize| -> Vec<_> {
            (first..first + count).map(|n| endpoint(i, n).parse().expect("address")).collect()
        };
        // One service in a hundred has its endpoints on this node.
        let slice_of = |i: usize, endpoints: &[std::net::SocketAddr]| {
            let node = format!("node-{}", i % 100);
            let fields = json!({ "nodeName": node, "conditions": { "ready": true } });
            slice_with(&format!("s{i}"), "TCP", endpoints, fields)
        };
        let free = memory("/proc/meminfo", "MemAvailable:");
        for i in 0..services {
            let mut spec = spec.clone();
            spec["clusterIP"] = json!(format!("10.96.{}.{}", i / 250 + 1, i % 250 + 2));
            index.apply_service(&service(&format!("s{i}"), spec));
            index.apply_slice(&slice_of(i, &endpoints(i, 0, ENDPOINTS)));
        }
        let known = own_memory();
        let (rules, render) = timed(|| kept.of(&index.plans()));
        let rendered = own_memory();
        let (commands, diff) = timed(|| nft::full(&table, &rules));
        let ((), apply) = timed(|| node.commands(&commands));
        println!(
            "first sync, {services} services x {ENDPOINTS} endpoints: rules {render:?}, commands {diff:?}, \
             kernel {apply:?}"
        );
        drop(commands);
        println!(
            "memory of this process: {known} kB with the objects, {} kB more for the rules, peak {} kB; the whole \
             machine {} kB",
            rendered.saturating_sub(known),
            memory("/proc/self/status", "VmHWM:"),
            free.saturating_sub(memory("/proc/meminfo", "MemAvailable:"))
        );

        let mut before = rules;
        let mut change = |what: &str, first: usize, count: usize| {
            let (mut think, mut act) = (Vec::new(), Vec::new());
            for i in 0..CHANGES {
                let start = Instant::now();
                index.apply_slice(&slice_of(i, &endpoints(i, first, count)));
                let after = kept.of(&index.plans());
                let commands = nft::diff(&table, &before, &after);
                think.push(start.elapsed());
                act.push(timed(|| node.commands(&commands)).1);
                before = after;
            }
            println!("{what}: decide {}, kernel {}", spread(think), spread(act));
        };
        change("one endpoint more", 0, ENDPOINTS + 1);
        change("one endpoint for another", 1, ENDPOINTS + 1);
    });
}

/// A number of kilobytes in a file of the kernel's.
fn memory(file: &str, line: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_default();
    found.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn own_memory() -> u64 {
    memory("/proc/self/status", "VmRSS:")
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}
