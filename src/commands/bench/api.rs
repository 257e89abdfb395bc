//! The API server alone.
use super::client::{Call, Connection, Pool, Target};
use super::load::{self, Until};
use super::report::{Report, median, percentile};
use super::server::{Server, Site};
use super::{Scale, definitions, forms, leases, process, restart, watchers};
use crate::progress::Progress;
use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// Namespace of everything that is made.
const NAMESPACE: &str = "bench";

/// Workers at once.
const CONCURRENCY: [usize; 4] = [1, 16, 64, 256];

/// Bytes of a config map.
const SMALL: usize = 1024;

/// Connections a load uses at most.
const CONNECTIONS: usize = 4;

/// Takes all measurements.
pub async fn measure(scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let site = Site::new(scale.datastore.clone())?;
    if scale.wants("start") {
        progress.step("Starting API servers");
        let mut starts = Vec::new();
        for _ in 0..scale.starts {
            starts.push(site.start().await?.1);
        }
        report.add_time("start.ready", median(starts));
    }
    let (server, _) = site.start().await?;
    let (target, pid) = (server.target.clone(), server.pid());
    if scale.wants("memory") {
        progress.step("Waiting until the API server rests");
        process::rest(pid).await?;
        report.add("memory.idle_mb", process::memory(pid)?);
    }
    let mut connection = target.connect().await?;
    prepare(&mut connection).await?;
    throughput(scale, &server, report, progress).await?;
    for (watchers, rate, writes) in [(1, 200, 400), (16, 200, 400), (64, 100, 200), (scale.watchers, 20, 100)]
    {
        if scale.wants(&format!("watch.{watchers}")) {
            progress.step(&format!("Watching with {watchers} watchers"));
            let collection = format!("/api/v1/namespaces/watch-{watchers}/configmaps");
            namespace(&mut connection, &format!("watch-{watchers}")).await?;
            let plan = watchers::Plan { watchers, rate, writes, collection, body: watched };
            watchers::measure(&target, &plan, report).await?;
        }
    }
    if scale.wants("watch.limit") {
        progress.step(&format!("Bringing {} watchers to their limit", scale.watchers));
        watchers::limit(&target, scale, watched, report).await?;
    }
    drop(server);
    if scale.wants("list") || scale.wants("memory.loaded") {
        let (server, _) = site.start().await?;
        large(scale, &server, report, progress).await?;
    }
    forms::measure(&site, scale, report, progress).await?;
    definitions::measure(&site, scale, report, progress).await?;
    restart::measure(&site, scale, report, progress).await?;
    leases::measure(&site, scale, report, progress).await
}

/// Makes the namespace and the account its pods need.
pub async fn prepare(connection: &mut Connection) -> Result<()> {
    namespace(connection, NAMESPACE).await?;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}).to_string();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    match connection.send(&Call::json(Method::POST, path, account)).await {
        // In a whole cluster a controller makes it.
        Err(e) if !e.to_string().contains("AlreadyExists") => Err(e),
        _ => Ok(()),
    }
}

/// Makes a namespace.
pub async fn namespace(connection: &mut Connection, name: &str) -> Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string();
    connection.send(&Call::json(Method::POST, "/api/v1/namespaces", body)).await?;
    Ok(())
}

/// Creates, gets, updates, patches and small lists at each concurrency.
async fn throughput(
    scale: &Scale,
    server: &Server,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<()> {
    let (target, pid) = (&server.target, server.pid());
    let names = |worker: usize| format!("object-{worker}");
    let warm = target.pool(1).await?;
    // One for each worker of the highest concurrency.
    let count = CONCURRENCY.into_iter().max().unwrap_or_default();
    load::run(&warm, pid, 64, Until::Count(count as u64), move |_, n| create(&names(n as usize))).await?;
    for concurrency in CONCURRENCY {
        let pool = target.pool(concurrency.min(CONNECTIONS)).await?;
        let path = |worker: usize| format!("{}/object-{worker}", collection("configmaps"));
        for verb in ["create", "get", "update", "patch", "list"] {
            let name = format!("{verb}.{concurrency}");
            if !scale.wants(&name) {
                continue;
            }
            progress.step(&format!("{verb} at concurrency {concurrency}"));
            let until = Until::Span(scale.span);
            let outcome = match verb {
                "create" => {
                    let make = move |_, n| create(&format!("new-{concurrency}-{n}"));
                    load::run(&pool, pid, concurrency, until, make).await?
                }
                "get" => {
                    load::run(&pool, pid, concurrency, until, move |_, n| Call::get(path(n as usize % 64)))
                        .await?
                }
                "update" => {
                    let make = move |worker, n| {
                        Call::json(Method::PUT, path(worker), watched(&names(worker), &format!("{n:012}")))
                    };
                    load::run(&pool, pid, concurrency, until, make).await?
                }
                "patch" => {
                    let make = move |worker, n| Call {
                        content_type: Some("application/merge-patch+json"),
                        ..Call::json(Method::PATCH, path(worker), format!(r#"{{"data":{{"sent":"{n}"}}}}"#))
                    };
                    load::run(&pool, pid, concurrency, until, make).await?
                }
                _ => {
                    let path = format!("{}?limit=100", collection("configmaps"));
                    load::run(&pool, pid, concurrency, until, move |_, _| Call::get(path.clone())).await?
                }
            };
            outcome.report(&name, report);
        }
    }
    Ok(())
}

/// Memory and lists with many objects, on a fresh server.
async fn large(scale: &Scale, server: &Server, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let (target, pid) = (&server.target, server.pid());
    progress.step("Making many objects");
    prepare(&mut target.connect().await?).await?;
    fill(target, pid, scale).await?;
    process::rest(pid).await?;
    if scale.wants("memory") {
        report.add("memory.loaded_mb", process::memory(pid)?);
    }
    let mut connection = target.connect().await?;
    for (name, resource, count) in
        [("list.config_maps", "configmaps", scale.config_maps), ("list.pods", "pods", scale.pods)]
    {
        if scale.wants(name) {
            progress.step(&format!("Listing {count} {resource}"));
            lists(&mut connection, pid, &Call::get(collection(resource)), scale.lists, name, report).await?;
        }
    }
    if scale.wants("memory") {
        process::rest(pid).await?;
        report.add("memory.after_lists_mb", process::memory(pid)?);
    }
    Ok(())
}

/// Sends the same request several times and adds what it took.
pub async fn lists(
    connection: &mut Connection,
    pid: u32,
    call: &Call,
    count: usize,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    let used = process::cpu(pid)?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..count {
        let begin = Instant::now();
        bytes = connection.send(call).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    report.add_time(&format!("{name}.p50"), percentile(&times, 0.5));
    report.add_time(&format!("{name}.p99"), percentile(&times, 0.99));
    let cpu = process::cpu(pid)?.saturating_sub(used);
    report.add(format!("{name}.server_cpu_ms"), cpu.as_secs_f64() * 1e3 / times.len() as f64);
    report.add(format!("{name}.mb"), bytes as f64 / 1e6);
    Ok(())
}

/// Makes the config maps and pods that lists and memory are measured with.
pub async fn fill(target: &Target, pid: u32, scale: &Scale) -> Result<()> {
    let pool: Pool = target.pool(2).await?;
    let count = |count: usize| Until::Count(count as u64);
    load::run(&pool, pid, 32, count(scale.config_maps), |_, n| create(&format!("large-{n}"))).await?;
    pods(&pool, pid, scale.pods).await
}

/// Makes pods.
pub async fn pods(pool: &Pool, pid: u32, count: usize) -> Result<()> {
    let make = |_, n| Call::json(Method::POST, collection("pods"), pod(&format!("pod-{n}")));
    load::run(pool, pid, 32, Until::Count(count as u64), make).await?;
    Ok(())
}

/// The path of a resource in the namespace of everything that is made.
pub fn collection(resource: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{resource}")
}

/// The making of a config map of 1 KiB.
pub fn create(name: &str) -> Call {
    Call::json(Method::POST, collection("configmaps"), config_map(name, "000000000000", SMALL))
}

/// A config map as it is sent, of so many bytes.
pub fn config_map(name: &str, sent: &str, size: usize) -> Bytes {
    let head = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"sent":"{sent}","fill":""#
    );
    padded(head, size, r#""}}"#)
}

fn watched(name: &str, sent: &str) -> Bytes {
    config_map(name, sent, SMALL)
}

/// A pod of 4 KiB as it is sent, which no scheduler touches.
fn pod(name: &str) -> Bytes {
    let environment: Vec<_> = (0..20)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("the value of setting number {n}")}))
        .collect();
    let container = json!({
        "name": "main", "image": "registry.example.com/team/application:1.2.3",
        "command": ["/application", "--config=/etc/application/config.yaml"],
        "env": environment,
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/application"}],
    });
    let spec = json!({
        "schedulingGates": [{"name": "example.com/bench"}],
        "automountServiceAccountToken": false,
        "volumes": [{"name": "config", "configMap": {"name": "application"}}],
        "containers": [container],
    });
    let head = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","spec":{spec},"metadata":{{"name":"{name}","labels":{{"app":"application"}},"annotations":{{"example.com/fill":""#
    );
    padded(head, 4096, r#""}}}"#)
}

fn padded(head: String, size: usize, tail: &str) -> Bytes {
    let fill = size.saturating_sub(head.len() + tail.len());
    let mut text = head;
    text.reserve(fill + tail.len());
    text.extend(std::iter::repeat_n('x', fill));
    text.push_str(tail);
    text.into()
}

/// How long something takes to come about in a cluster.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size() {
        for (body, size) in [(watched("object-1", "000000000001"), 1024), (pod("pod-4999"), 4096)] {
            assert_eq!(body.len(), size);
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
    }
}
