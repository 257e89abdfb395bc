//! How long rules take with 2,000 services of three endpoints:
//! `cargo test --release -p knarr-proxy --test network -- --ignored --nocapture bench`.

use std::time::{Duration, Instant};

use knarr_proxy::nft;
use knarr_proxy::service::Index;
use serde_json::json;

use crate::objects::*;
use crate::support::*;

const SERVICES: usize = 2_000;
const CHANGES: usize = 20;

#[test]
#[ignore = "measures, and takes some seconds"]
fn bench_2000_services() {
    on_node("bench", |node| {
        let mut index = Index::new(node.services.clone());
        let endpoint = |i: usize, n: usize| format!("10.77.{}.{}:8080", i / 250 + 10 * n, i % 250 + 2);
        let endpoints = |i: usize, count: usize| -> Vec<_> {
            (0..count).map(|n| endpoint(i, n).parse().expect("address")).collect()
        };
        for i in 0..SERVICES {
            let ip = format!("10.96.{}.{}", i / 250 + 1, i % 250 + 2);
            index.apply_service(&service(&format!("s{i}"), json!({ "clusterIP": ip })));
            index.apply_slice(&slice(&format!("s{i}"), "TCP", &endpoints(i, 3)));
        }
        let (rules, render) = timed(|| index.rules());
        let (commands, diff) = timed(|| nft::full(&node.table(), &rules));
        let ((), apply) = timed(|| node.nft(&commands));
        println!(
            "full sync, {SERVICES} services x 3 endpoints: render {render:?}, diff {diff:?}, nft {apply:?}"
        );

        let mut before = rules;
        let (mut think, mut act) = (Duration::ZERO, Duration::ZERO);
        for i in 0..CHANGES {
            let start = Instant::now();
            index.apply_slice(&slice(&format!("s{i}"), "TCP", &endpoints(i, 4)));
            let after = index.rules();
            let commands = nft::diff(&node.table(), &before, &after);
            think += start.elapsed();
            act += timed(|| node.nft(&commands)).1;
            before = after;
        }
        let mean = |total: Duration| total / u32::try_from(CHANGES).expect("small");
        println!("one endpoint more: decide {:?}, nft {:?}", mean(think), mean(act));
    });
}
