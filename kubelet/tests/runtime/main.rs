//! One suite for every container runtime: the same behaviours through the trait, on real containers.
//! Left out, with a note, where they cannot run.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod embedded;
mod fixture;
mod suite;

use fixture::Fixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_runtime() {
    match support::obstacle(&[]) {
        Some(obstacle) => println!("skipped: {obstacle}"),
        None => suite::run(&Fixture::embedded().await).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd() {
    match support::obstacle(&["containerd", "ctr", "runc"]) {
        Some(obstacle) => println!("skipped: {obstacle}"),
        None => suite::run(&Fixture::containerd().await).await,
    }
}
