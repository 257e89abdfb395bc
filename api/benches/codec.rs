//! Time of the codecs on a 1 KiB config map and a pod of 4 KiB, and of parsing the table.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use knarr_api::table::{Api, builtin};
use knarr_api::{Value, defaults, json, protobuf};
use serde_json::json;
use std::hint::black_box;

fn config_map() -> Value {
    let data: serde_json::Map<String, Value> =
        (0..8).map(|n| (format!("key-{n}"), Value::from("v".repeat(90)))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "bench", "namespace": "default", "labels": {"app": "bench"}}})
}

fn pod() -> Value {
    let container = |n: usize| {
        json!({"name": format!("c{n}"), "image": "registry.example/app:1.2", "args": ["--a", "--b=c"],
            "env": [{"name": "A", "value": "b"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "ports": [{"name": "http", "containerPort": 8080 + n}],
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}]})
    };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "default", "uid": "8b8ad5a4-0cf2-41f0-8c5c-0f55a9a66f4f",
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "web", "tier": "front"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]},
        "spec": {"containers": [container(0), container(1), container(2)],
            "volumes": [{"name": "config", "configMap": {"name": "app"}}, {"name": "tmp", "emptyDir": {}}],
            "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "a", "operator": "Exists"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}})
}

fn codecs(c: &mut Criterion) {
    let api = builtin();
    for (name, value) in [("config map", config_map()), ("pod", pod())] {
        let kind = value["kind"].as_str().unwrap_or_default();
        let Some(kind) = api.kind("", "v1", kind) else { continue };
        let (schema, ty) = (&api.schema, kind.ty);
        let bytes = json::to_vec(schema, ty, &value);
        let Ok(canonical) = json::decode(schema, ty, &bytes, &mut Vec::new()) else { continue };
        let mut message = Vec::new();
        if protobuf::encode(schema, ty, &canonical, &mut message).is_err() {
            continue;
        }
        let mut group = c.benchmark_group(format!("{name} of {} bytes", bytes.len()));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("json parse only", |b| {
            b.iter(|| serde_json::from_slice::<Value>(black_box(&bytes)));
        });
        group.bench_function("json decode", |b| {
            b.iter(|| json::decode(schema, ty, black_box(&bytes), &mut Vec::new()));
        });
        group.bench_function("json normalize (with clone)", |b| {
            b.iter(|| {
                let mut value = canonical.clone();
                let _ = json::normalize(schema, ty, black_box(&mut value), &mut Vec::new());
                value
            });
        });
        group.bench_function("json encode", |b| b.iter(|| json::to_vec(schema, ty, black_box(&canonical))));
        group.bench_function("protobuf encode", |b| {
            b.iter(|| {
                let mut out = Vec::new();
                let _ = protobuf::encode(schema, ty, black_box(&canonical), &mut out);
                out
            });
        });
        group.bench_function("protobuf decode", |b| b.iter(|| protobuf::decode(api, black_box(&message))));
        group.bench_function("defaults (with clone)", |b| {
            b.iter(|| {
                let mut value = canonical.clone();
                defaults::apply(api, kind.ty, black_box(&mut value));
                value
            });
        });
        group.finish();
    }
}

fn table(c: &mut Criterion) {
    c.bench_function("parse the table", |b| b.iter(|| Api::parse(knarr_api::table::sources())));
}

criterion_group!(benches, codecs, table);
criterion_main!(benches);
