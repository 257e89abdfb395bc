//! Whole lists of many pods in every form, and in pages.
use super::Scale;
use super::api::{collection, config_map, lists, pods, prepare};
use super::client::{Call, Connection};
use super::load::{self, Until};
use super::process;
use super::report::{Report, percentile};
use super::server::Site;
use crate::progress::Progress;
use anyhow::{Context, Result};
use http::Method;
use std::time::Instant;

/// What is accepted, by the name of the form.
const FORMS: [(&str, &str); 3] = [
    ("forms.json", "application/json"),
    ("forms.protobuf", "application/vnd.kubernetes.protobuf"),
    ("forms.table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
];

/// Bytes of an object in the list of 100 MB.
const LARGE: usize = 100_000;

/// Clients that open it and read no further.
const STALLED: usize = 10;

/// Objects of a page, as clients ask for.
const PAGE: usize = 500;

/// Takes the measurements on a server of its own.
pub async fn measure(site: &Site, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    if !scale.wants("forms") {
        return Ok(());
    }
    progress.step(&format!("Making {} pods", scale.listed_pods));
    let (server, _) = site.start().await?;
    let (target, pid) = (&server.target, server.pid());
    let mut connection = target.connect().await?;
    prepare(&mut connection).await?;
    pods(&target.pool(2).await?, pid, scale.listed_pods).await?;
    for (name, accept) in FORMS.into_iter().filter(|(name, _)| scale.wants(name)) {
        progress.step(&format!("Listing {} pods: {name}", scale.listed_pods));
        let call = Call { accept, ..Call::get(collection("pods")) };
        lists(&mut connection, pid, &call, scale.lists, name, report).await?;
    }
    if scale.wants("forms.paged") {
        progress.step("Listing in pages");
        let mut times = Vec::new();
        for _ in 0..scale.lists {
            let begin = Instant::now();
            let found = pages(&mut connection).await?;
            anyhow::ensure!(found == scale.listed_pods, "the pages hold {found} pods");
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        report.add_time("forms.paged.p50", percentile(&times, 0.5));
        report.add_time("forms.paged.p99", percentile(&times, 0.99));
    }
    drop(server);
    large(site, scale, report, progress).await
}

/// What a list of 100 MB adds to the server's memory: read at once, and opened by many who do not read on.
async fn large(site: &Site, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    if !scale.wants("forms.large") {
        return Ok(());
    }
    progress.step(&format!("Listing {} config maps of {LARGE} bytes", scale.large_objects));
    let (server, _) = site.start().await?;
    let (target, pid) = (&server.target, server.pid());
    prepare(&mut target.connect().await?).await?;
    let make = |_, n| {
        Call::json(Method::POST, collection("configmaps"), config_map(&format!("large-{n}"), "0", LARGE))
    };
    load::run(&target.pool(2).await?, pid, 8, Until::Count(scale.large_objects as u64), make).await?;
    for (name, accept) in FORMS {
        let call = Call { accept, ..Call::get(collection("configmaps")) };
        process::rest(pid).await?;
        let before = process::forget_peak(pid)?;
        let bytes = target.connect().await?.send(&call).await?;
        report.add(format!("forms.large.{}.mb", &name["forms.".len()..]), bytes as f64 / 1e6);
        let growth = process::peak(pid)? - before;
        report.add(format!("forms.large.{}.growth_mb", &name["forms.".len()..]), growth);
    }
    process::rest(pid).await?;
    let before = process::forget_peak(pid)?;
    let (mut connections, mut open) = (Vec::new(), Vec::new());
    for _ in 0..STALLED {
        let mut connection = target.connect().await?;
        open.push(connection.open(&Call::get(collection("configmaps"))).await?);
        connections.push(connection);
    }
    process::rest(pid).await?;
    report.add(format!("forms.large.{STALLED}_unread.growth_mb"), process::peak(pid)? - before);
    Ok(())
}

/// Lists in pages; returns how many objects they hold.
async fn pages(connection: &mut Connection) -> Result<usize> {
    let (mut found, mut token) = (0, String::new());
    loop {
        let path = format!("{}?limit={PAGE}&continue={token}", collection("pods"));
        let page = connection.value(&Call::get(path)).await?;
        found += page["items"].as_array().context("a list without items")?.len();
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => return Ok(found),
        }
    }
}
