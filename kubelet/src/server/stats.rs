//! `GET /stats/summary`: what pods and node use, as metrics servers of old ask for it.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Failure, Shared};
use crate::node::usage;
use crate::pod;
use crate::runtime::types::{ContainerStats, UInt64Value, by_pod};

fn number(value: &Option<UInt64Value>) -> Option<u64> {
    value.as_ref().map(|value| value.value)
}

/// The summary.
pub async fn summary(State(server): Shared) -> Result<Json<Value>, Failure> {
    let manager = &server.manager;
    let context = manager.context();
    let stats = context.runtime.list_container_stats().await.map_err(Failure::internal)?;
    // What has ended uses nothing.
    let mut by_pod = by_pod(stats.into_iter().filter(|stat| stat.cpu.is_some()));
    let pods: Vec<Value> = manager
        .pods()
        .iter()
        .map(|pod| {
            let own = by_pod.remove(pod::uid(pod)).unwrap_or_default();
            let working: u64 =
                own.iter().filter_map(|stat| number(&stat.memory.as_ref()?.working_set_bytes)).sum();
            let cpu: u64 =
                own.iter().filter_map(|stat| number(&stat.cpu.as_ref()?.usage_core_nano_seconds)).sum();
            let now = Timestamp::now();
            json!({
                "podRef": { "name": pod::name(pod), "namespace": pod::namespace(pod), "uid": pod::uid(pod) },
                "startTime": pod.status.as_ref().and_then(|status| status.start_time.as_ref()),
                "containers": own.iter().map(container).collect::<Vec<_>>(),
                "cpu": { "time": now, "usageCoreNanoSeconds": cpu },
                "memory": { "time": now, "workingSetBytes": working },
            })
        })
        .collect();
    let node = usage::read();
    let now = Timestamp::now();
    Ok(Json(json!({
        "node": {
            "nodeName": context.facts.name,
            "cpu": { "time": now, "usageCoreNanoSeconds": node.cpu_nanoseconds },
            "memory": {
                "time": now,
                "availableBytes": node.memory_available,
                "usageBytes": node.memory_total.saturating_sub(node.memory_free),
                "workingSetBytes": node.memory_total.saturating_sub(node.memory_available),
            },
        },
        "pods": pods,
    })))
}

fn container(stat: &ContainerStats) -> Value {
    let time = |nanoseconds: i64| Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default();
    let cpu = stat.cpu.clone().unwrap_or_default();
    let memory = stat.memory.clone().unwrap_or_default();
    let disk = stat.writable_layer.clone().unwrap_or_default();
    let metadata = stat.attributes.as_ref().and_then(|attributes| attributes.metadata.clone());
    json!({
        "name": metadata.unwrap_or_default().name,
        "cpu": { "time": time(cpu.timestamp), "usageCoreNanoSeconds": number(&cpu.usage_core_nano_seconds) },
        "memory": {
            "time": time(memory.timestamp),
            "workingSetBytes": number(&memory.working_set_bytes),
            "usageBytes": number(&memory.usage_bytes),
            "rssBytes": number(&memory.rss_bytes),
            "pageFaults": number(&memory.page_faults),
            "majorPageFaults": number(&memory.major_page_faults),
        },
        "rootfs": { "time": time(disk.timestamp), "usedBytes": number(&disk.used_bytes), "inodesUsed": number(&disk.inodes_used) },
    })
}
