//! The size of the database while Leases are renewed: it must come to a level, however long that goes on.
use super::api::namespace;
use super::client::Call;
use super::load::{self, Until};
use super::report::{Report, percentile};
use super::server::Site;
use super::{Scale, process};
use crate::progress::Progress;
use anyhow::Result;
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/bench-leases/leases";

/// How often the size is looked at.
const LOOKS: u32 = 6;

/// Renews all Leases each second for a while; history is kept for a sixth of it, so that the level is reached early.
pub async fn measure(site: &Site, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    if !scale.wants("leases") {
        return Ok(());
    }
    site.empty().await?;
    let history = scale.lease_span / LOOKS;
    let flag = format!("--etcd-compaction-interval={}ms", history.as_millis());
    let (server, _) = site.resume(&[flag]).await?;
    let pid = server.pid();
    namespace(&mut server.target.connect().await?, "bench-leases").await?;
    let pool = server.target.pool(2).await?;
    let make = |_, n: u64| Call::json(Method::POST, LEASES, lease(n));
    load::run(&pool, pid, 16, Until::Count(scale.leases as u64), make).await?;
    let (begin, used) = (Instant::now(), process::cpu(pid)?);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let (mut sizes, mut rounds, count) = (Vec::new(), 0u64, scale.leases as u64);
    while begin.elapsed() < scale.lease_span {
        tick.tick().await;
        rounds += 1;
        let round = rounds;
        let make = move |_, n: u64| renew(n, round);
        load::run(&pool, pid, 16, Until::Count(count), make).await?;
        if begin.elapsed() >= history * (sizes.len() as u32 + 1) {
            let size = site.cluster().place().size().await? as f64 / 1e6;
            progress.step(&format!("Renewing {count} Leases each second: the database has {size:.1} MB"));
            sizes.push(size);
        }
    }
    let span = begin.elapsed().as_secs_f64();
    report.add("leases.renewed_per_second", (rounds * count) as f64 / span);
    report.add(
        "leases.server_cpu_percent",
        process::cpu(pid)?.saturating_sub(used).as_secs_f64() * 100.0 / span,
    );
    let (half, end) = (percentile(&sizes, 0.5), sizes.last().copied().unwrap_or_default());
    report.add("leases.database_half_way_mb", half);
    report.add("leases.database_end_mb", end);
    report.add("leases.database_growth", if half > 0.0 { end / half } else { 0.0 });
    Ok(())
}

/// A Lease as a kubelet makes it.
fn lease(number: u64) -> String {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": format!("lease-{number}")},
        "spec": {"holderIdentity": format!("node-{number}"), "leaseDurationSeconds": 40, "renewTime": time(0)},
    })
    .to_string()
}

fn renew(number: u64, round: u64) -> Call {
    let patch = json!({"spec": {"renewTime": time(round)}}).to_string();
    let call = Call::json(Method::PATCH, format!("{LEASES}/lease-{number}"), patch);
    Call { content_type: Some("application/merge-patch+json"), ..call }
}

/// Any time that is another one in each round.
fn time(round: u64) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}.000000Z", round / 3600 % 24, round / 60 % 60, round % 60)
}
