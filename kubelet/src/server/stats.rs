//! `GET /stats/summary`: what pods and node use.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::process;
use super::usage::{Row, of_classes, of_pod};
use super::{Failure, Shared};
use crate::cgroups::reading::{Interface, Reading, traffic};
use crate::context::Context;
use crate::eviction::measure::{processes, size, taken};
use crate::node::usage;
use crate::pod;
use crate::runtime::types::{ContainerStats, FilesystemUsage, by_pod};
use crate::volumes::disk;

/// CPU time that groups had used, and when, by which is known how much they use.
#[derive(Default)]
pub struct Samples(Mutex<HashMap<String, (u64, Timestamp)>>);

/// Time between two samples at least.
const INTERVAL_MILLISECONDS: i64 = 1000;

impl Samples {
    /// Billionths of a CPU that a group has used since it was asked about last.
    fn rate(&self, id: &str, used: u64, now: Timestamp) -> Option<u64> {
        let mut samples = self.0.lock();
        let before = samples.get(id).copied();
        let passed = before.map(|(_, then)| now.as_millisecond() - then.as_millisecond());
        if passed.is_none_or(|passed| passed >= INTERVAL_MILLISECONDS) {
            samples.insert(id.to_owned(), (used, now));
        }
        let passed = u64::try_from(passed?).ok().filter(|passed| *passed > 0)?;
        Some(used.checked_sub(before?.0)? * 1000 / passed)
    }

    /// Forgets groups that are gone.
    fn retain(&self, alive: &[Row]) {
        self.0
            .lock()
            .retain(|id, _| [NODE, KUBELET].contains(&id.as_str()) || alive.iter().any(|row| row.id == *id));
    }
}

/// Stands for the whole machine among the groups.
const NODE: &str = "/";
/// Stands for the kubelet's own process among them.
const KUBELET: &str = "kubelet";

/// What a summary is made with.
struct Making<'a> {
    context: &'a Context,
    samples: &'a Samples,
    now: Timestamp,
}

/// The object without members that are not known.
fn known(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, value| !value.is_null());
    }
    value
}

/// Space of the file system of a directory.
fn space(path: &Path, now: Timestamp) -> Value {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return Value::Null };
    let bytes = |blocks: u64| blocks * stat.fragment_size();
    json!({
        "time": now,
        "availableBytes": bytes(stat.blocks_available()),
        "capacityBytes": bytes(stat.blocks()),
        "usedBytes": bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        "inodesFree": stat.files_free(),
        "inodes": stat.files(),
        "inodesUsed": stat.files().saturating_sub(stat.files_free()),
    })
}

/// The same with what is used of it.
fn space_used(path: &Path, used: u64, inodes: Option<u64>, now: Timestamp) -> Value {
    let mut space = space(path, now);
    if let Value::Object(members) = &mut space {
        members.insert("usedBytes".to_owned(), json!(used));
        match inodes {
            Some(inodes) => members.insert("inodesUsed".to_owned(), json!(inodes)),
            None => members.remove("inodesUsed"),
        };
    }
    space
}

fn network(interfaces: &[Interface], now: Timestamp) -> Value {
    let told = |interface: &Interface| {
        json!({
            "name": interface.name, "rxBytes": interface.received[0], "rxErrors": interface.received[2],
            "txBytes": interface.sent[0], "txErrors": interface.sent[2],
        })
    };
    let Some(main) = interfaces
        .iter()
        .find(|one| one.name.starts_with("eth") || one.name.starts_with("en"))
        .or(interfaces.first())
    else {
        return Value::Null;
    };
    let mut network = told(main);
    network["time"] = json!(now);
    network["interfaces"] = interfaces.iter().map(told).collect();
    network
}

impl Making<'_> {
    fn cpu(&self, id: &str, used: Option<u64>) -> Value {
        let Some(used) = used else { return Value::Null };
        let rate = self.samples.rate(id, used, self.now);
        known(json!({ "time": self.now, "usageNanoCores": rate, "usageCoreNanoSeconds": used }))
    }

    fn memory(&self, reading: &Reading) -> Value {
        let Some(working) = reading.working_set() else { return Value::Null };
        known(json!({
            "time": self.now,
            "availableBytes": reading.memory_limit.map(|limit| limit.saturating_sub(working)),
            "usageBytes": reading.memory,
            "workingSetBytes": working,
            "rssBytes": reading.rss,
            "pageFaults": reading.page_faults,
            "majorPageFaults": reading.major_page_faults,
        }))
    }

    fn swap(&self, reading: &Reading) -> Value {
        match reading.swap {
            Some(used) => json!({ "time": self.now, "swapUsageBytes": used }),
            None => Value::Null,
        }
    }

    fn container(&self, row: &Row, pod: &Pod, stats: &[ContainerStats]) -> Value {
        let own = stats.iter().find(|stats| stats.attributes.as_ref().is_some_and(|own| own.id == row.name));
        let layer = own.and_then(|stats| stats.writable_layer.clone()).unwrap_or_default();
        let logs = self.context.log_dir(pod).join(&row.container);
        let (log_bytes, log_inodes) = taken(&logs);
        let root = &self.context.facts.root_dir;
        let started =
            row.started.and_then(|seconds| Timestamp::from_millisecond((seconds * 1e3) as i64).ok());
        known(json!({
            "name": row.container,
            "startTime": started,
            "cpu": self.cpu(&row.id, row.reading.cpu),
            "memory": self.memory(&row.reading),
            "rootfs": space_used(root, bytes(&layer), layer.inodes_used.map(|value| value.value), self.now),
            "logs": space_used(&self.context.facts.pod_logs_dir, log_bytes, Some(log_inodes), self.now),
            "swap": self.swap(&row.reading),
        }))
    }

    fn volume(&self, pod: &Pod, volume: &Volume) -> Option<(Value, u64)> {
        let path = disk::find(&self.context.pod_dir(pod::uid(pod)), &volume.name)?;
        let claim = volume.persistent_volume_claim.as_ref();
        let used = size(&path);
        let mut told = match claim {
            Some(_) => space(&path, self.now),
            None => space_used(&path, used, None, self.now),
        };
        told["name"] = json!(volume.name);
        if let Some(claim) = claim {
            told["pvcRef"] = json!({ "name": claim.claim_name, "namespace": pod::namespace(pod) });
        }
        let in_memory =
            volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref() == Some("Memory"));
        Some((told, if claim.is_some() || in_memory { 0 } else { used }))
    }

    fn pod(&self, pod: &Pod, rows: &[Row], stats: &[ContainerStats]) -> Value {
        let Some((whole, containers)) = rows.split_first() else { return Value::Null };
        let volumes: Vec<(Value, u64)> =
            pod::spec(pod).volumes.iter().flatten().filter_map(|volume| self.volume(pod, volume)).collect();
        let written: u64 = stats.iter().filter_map(|stats| stats.writable_layer.as_ref()).map(bytes).sum();
        let local: u64 = volumes.iter().map(|(_, used)| used).sum();
        let local = local + written + size(&self.context.log_dir(pod));
        let containers: Vec<Value> = containers.iter().map(|row| self.container(row, pod, stats)).collect();
        let volumes: Vec<Value> = volumes.into_iter().map(|(told, _)| told).collect();
        let threads = whole.reading.threads;
        known(json!({
            "podRef": { "name": pod::name(pod), "namespace": pod::namespace(pod), "uid": pod::uid(pod) },
            "startTime": pod.status.as_ref().and_then(|status| status.start_time.as_ref()),
            "containers": containers,
            "cpu": self.cpu(&whole.id, whole.reading.cpu),
            "memory": self.memory(&whole.reading),
            "network": network(&whole.traffic, self.now),
            "volume": Some(volumes).filter(|volumes| !volumes.is_empty()),
            "ephemeral-storage": space_used(&self.context.facts.root_dir, local, None, self.now),
            "process_stats": threads.map(|count| json!({ "process_count": count })),
            "swap": self.swap(&whole.reading),
        }))
    }

    fn node(&self, classes: &[Row], images: &[FilesystemUsage]) -> Value {
        let node = usage::read();
        let (root, images_used) = (&self.context.facts.root_dir, images.iter().map(bytes).sum());
        let place = images.first().and_then(|usage| usage.fs_id.as_ref()).map(|id| id.mountpoint.clone());
        let place = place.filter(|path| Path::new(path).exists());
        let images = place.as_deref().map_or(root.as_path(), Path::new);
        let system = |name: &str, id: &str, reading: &Reading| {
            known(json!({ "name": name, "cpu": self.cpu(id, reading.cpu), "memory": self.memory(reading) }))
        };
        let mut systems = vec![system("kubelet", KUBELET, &process::reading())];
        systems.extend(classes.first().map(|row| system("pods", &row.id, &row.reading)));
        let whole = self.context.cgroups.group("/").read();
        let processes = processes().map(|level| {
            json!({ "time": self.now, "maxpid": level.capacity, "curproc": level.capacity.saturating_sub(level.available) })
        });
        let started = node.booted.and_then(|seconds| Timestamp::from_second(seconds).ok());
        known(json!({
            "nodeName": self.context.facts.name,
            "systemContainers": systems,
            "startTime": started,
            "cpu": self.cpu(NODE, Some(node.cpu_nanoseconds)),
            "memory": {
                "time": self.now,
                "availableBytes": node.memory_available,
                "usageBytes": node.memory_total.saturating_sub(node.memory_free),
                "workingSetBytes": node.memory_total.saturating_sub(node.memory_available),
                "rssBytes": whole.rss,
                "pageFaults": whole.page_faults,
                "majorPageFaults": whole.major_page_faults,
            },
            "network": network(&traffic("self"), self.now),
            "fs": space(root, self.now),
            "runtime": {
                "imageFs": space_used(images, images_used, None, self.now),
                "containerFs": space(images, self.now),
            },
            "rlimit": processes,
            "swap": {
                "time": self.now,
                "swapAvailableBytes": node.swap_free,
                "swapUsageBytes": node.swap_total.saturating_sub(node.swap_free),
            },
        }))
    }
}

fn bytes(usage: &FilesystemUsage) -> u64 {
    usage.used_bytes.as_ref().map_or(0, |value| value.value)
}

/// The summary.
pub async fn summary(State(server): Shared) -> Result<Json<Value>, Failure> {
    let runtime = &server.manager.context().runtime;
    let stats = runtime.list_container_stats().await.map_err(Failure::internal)?;
    let images = runtime.image_fs_info().await.unwrap_or_default();
    let server = Arc::clone(&server);
    let make = move || {
        let context = server.manager.context();
        let pods: Vec<Pod> = server.manager.pods().into_iter().filter(|pod| !pod::is_terminal(pod)).collect();
        let making = Making { context, samples: &server.samples, now: Timestamp::now() };
        let by_pod: BTreeMap<String, Vec<ContainerStats>> = by_pod(stats);
        let (classes, mut alive) = (of_classes(context), Vec::new());
        let of_pods: Vec<Value> = pods
            .iter()
            .map(|pod| {
                let rows = of_pod(context, pod);
                let told = making.pod(pod, &rows, by_pod.get(pod::uid(pod)).map_or(&[], Vec::as_slice));
                alive.extend(rows);
                told
            })
            .collect();
        let node = making.node(&classes, &images);
        alive.extend(classes);
        server.samples.retain(&alive);
        json!({ "node": node, "pods": of_pods })
    };
    Ok(Json(tokio::task::spawn_blocking(make).await.map_err(Failure::internal)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_two_samples() {
        let samples = Samples::default();
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("time");
        assert_eq!(samples.rate("a", 1000, at(0)), None);
        assert_eq!(samples.rate("a", 2000, at(500)), Some(2000));
        assert_eq!(samples.rate("a", 5000, at(2000)), Some(2000));
        assert_eq!(samples.rate("a", 6000, at(3000)), Some(1000));
        assert_eq!(samples.rate("a", 5, at(5000)), None, "it was made anew");
        samples.retain(&[]);
        assert_eq!(samples.rate("a", 6, at(9000)), None);
    }

    #[test]
    fn networks_and_spaces() {
        let interface =
            |name: &str| Interface { name: name.to_owned(), received: [1, 2, 3, 4], sent: [5, 6, 7, 8] };
        let now = Timestamp::UNIX_EPOCH;
        let told = network(&[interface("veth"), interface("eth0")], now);
        assert_eq!(told["name"], "eth0");
        assert_eq!(network(&[interface("x")], now)["name"], "x");
        assert_eq!((&told["rxErrors"], &told["txBytes"]), (&json!(3), &json!(5)));
        assert_eq!(network(&[], now), Value::Null);
        let space = space_used(Path::new("/"), 5, None, now);
        assert_eq!(space["usedBytes"], 5);
        assert!(space["capacityBytes"].as_u64() > Some(0) && space.get("inodesUsed").is_none());
    }
}
