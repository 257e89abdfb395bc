//! What the storage layer alone achieves: `cargo bench -p knarr-apiserver --bench storage [DIRECTORY]`.
//!
//! One line a measurement. The directory (default: a temporary one) decides which disk is measured.
use bytes::Bytes;
use futures::future::join_all;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{Group, Key, Options, Resource, Scope, Start, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a throughput is measured.
const SPAN: Duration = Duration::from_secs(3);

fn body(kind: &str, namespace: &str, name: &str, size: usize) -> Bytes {
    let head = format!(
        r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{namespace}","uid":"0d5b1a43-0000-4000-8000-000000000000","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"bench","tier":"a"}}}},"spec":{{"nodeName":"node-1"}},"data":{{"x":""#
    );
    let fill = size.saturating_sub(head.len() + 3);
    format!("{head}{}\"}}}}", "x".repeat(fill)).into()
}

async fn open(directory: &Path, shutdown: &CancellationToken) -> Store {
    let backend = Sqlite::open(directory).await.expect("a database");
    let hot: Vec<Arc<str>> = vec!["spec.nodeName".into()];
    let resources =
        vec![Resource::new("core/configmaps", vec![]), Resource::new("core/pods", hot.clone()).hot(hot)];
    Store::open(Arc::new(backend), resources, Options::default(), shutdown.clone()).await.expect("a store")
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let time = |t: nix::sys::time::TimeVal| {
        Duration::from_secs(t.tv_sec() as u64) + Duration::from_micros(t.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    kib / 1024.0
}

async fn creates(store: &Store, concurrency: usize) {
    let (begin, used, next) = (Instant::now(), cpu(), Arc::new(AtomicU64::new(0)));
    let tasks = (0..concurrency).map(|_| {
        let (store, next) = (store.clone(), next.clone());
        tokio::spawn(async move {
            while begin.elapsed() < SPAN {
                let name = format!("c{concurrency}-{}", next.fetch_add(1, Ordering::Relaxed));
                let key = Key::new("core/configmaps", "bench", &name);
                let group = Group::create(key, body("ConfigMap", "bench", &name, 1024));
                store.commit(group).await.expect("a commit");
            }
        })
    });
    join_all(tasks).await;
    let (count, time) = (next.load(Ordering::Relaxed) as f64, begin.elapsed().as_secs_f64());
    let cpu = (cpu() - used).as_secs_f64() * 1e6 / count;
    println!("create 1 KiB, concurrency {concurrency}: {:.0}/s, {cpu:.0} µs CPU each", count / time);
}

async fn fill(store: &Store, resource: &str, kind: &str, count: usize, size: usize) {
    let creates = (0..count).map(|n| {
        let name = format!("{kind}-{n}");
        store.commit(Group::create(Key::new(resource, "fill", &name), body(kind, "fill", &name, size)))
    });
    for result in join_all(creates).await {
        result.expect("a commit");
    }
}

fn list(store: &Store, resource: &str) {
    let begin = Instant::now();
    let (mut out, mut count) = (Vec::new(), 0);
    for object in store.snapshot(resource).iter(Some("fill"), None) {
        object.write_item(&mut out);
        out.push(b',');
        count += 1;
    }
    let time = begin.elapsed().as_secs_f64() * 1e3;
    println!("list {count} of {resource}: {time:.1} ms, {:.1} MB", out.len() as f64 / 1e6);
}

fn gets(store: &Store) {
    let keys: Vec<_> =
        (0..10_000).map(|n| Key::new("core/configmaps", "fill", &format!("ConfigMap-{n}"))).collect();
    let begin = Instant::now();
    let bytes: usize = keys.iter().filter_map(|key| store.get(key)).map(|object| object.json().len()).sum();
    println!("get: {:.2} µs each ({bytes} bytes)", begin.elapsed().as_secs_f64() * 1e6 / keys.len() as f64);
}

async fn watchers(store: &Store, count: usize) {
    let (writes, rate) = (100, Duration::from_millis(50));
    let tasks = (0..count).map(|_| {
        let mut watcher = store.watch("core/pods", Scope::default(), Start::Now, None).expect("a watch");
        tokio::spawn(async move {
            let mut seen = Vec::with_capacity(writes);
            let mut bytes = 0;
            while seen.len() < writes {
                for delivery in watcher.next().await.expect("events") {
                    bytes += delivery.event.json_line(delivery.event_type).len();
                    seen.push((delivery.event.revision(), Instant::now()));
                }
            }
            (seen, bytes)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let (mut sent, used) = (Vec::with_capacity(writes), cpu());
    for n in 0..writes {
        let name = format!("watched-{n}");
        let group = Group::create(Key::new("core/pods", "w", &name), body("Pod", "w", &name, 4096));
        let begin = Instant::now();
        let revision = store.commit(group).await.expect("a commit")[0];
        sent.push((revision, begin));
        tokio::time::sleep(rate.saturating_sub(begin.elapsed())).await;
    }
    let mut delays = Vec::new();
    for task in join_all(tasks).await {
        let (seen, _) = task.expect("a watcher");
        delays.extend(seen.iter().zip(&sent).map(|((_, at), (_, begin))| *at - *begin));
    }
    delays.sort();
    let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    let cpu = (cpu() - used).as_secs_f64() * 1e6 / writes as f64;
    println!(
        "{count} watchers, 20 writes/s: p50 {p50:?}, p99 {p99:?} from write to event, {cpu:.0} µs CPU a write"
    );
}

#[tokio::main]
async fn main() {
    let temporary = tempfile::tempdir().expect("a directory");
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = chosen.map_or_else(|| temporary.path().to_owned(), Into::into);
    let shutdown = CancellationToken::new();
    println!("empty: {:.1} MB", resident());
    let store = open(&directory.join("fill"), &shutdown).await;
    println!("opened: {:.1} MB", resident());
    let begin = Instant::now();
    fill(&store, "core/configmaps", "ConfigMap", 10_000, 1024).await;
    fill(&store, "core/pods", "Pod", 5_000, 4096).await;
    println!("15,000 objects written in {:?}: {:.1} MB", begin.elapsed(), resident());
    list(&store, "core/configmaps");
    list(&store, "core/pods");
    list(&store, "core/pods");
    gets(&store);
    watchers(&store, 1000).await;
    shutdown.cancel();
    store.closed().await;
    drop(store);
    let (begin, shutdown) = (Instant::now(), CancellationToken::new());
    let store = open(&directory.join("fill"), &shutdown).await;
    println!("reopened in {:?}: {:.1} MB", begin.elapsed(), resident());
    drop(store);
    let store = open(&directory.join("creates"), &shutdown).await;
    for concurrency in [1, 16, 64] {
        creates(&store, concurrency).await;
    }
    shutdown.cancel();
    store.closed().await;
}
