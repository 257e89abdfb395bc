//! Whole lists of many pods in every form, and in pages.
use super::Scale;
use super::api::{collection, lists, pods, prepare};
use super::client::{Call, Connection};
use super::report::{Report, percentile};
use super::server::Site;
use crate::progress::Progress;
use anyhow::{Context, Result};
use std::time::Instant;

/// What is accepted, by the name of the form.
const FORMS: [(&str, &str); 3] = [
    ("forms.json", "application/json"),
    ("forms.protobuf", "application/vnd.kubernetes.protobuf"),
    ("forms.table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
];

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
