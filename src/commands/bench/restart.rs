//! The time in which a server with a full database is ready.
use super::api::{create, prepare};
use super::load::{self, Until};
use super::report::{Report, median};
use super::server::Site;
use super::{Scale, process};
use crate::progress::Progress;
use anyhow::Result;

/// Restarts of which the median is taken.
const RESTARTS: usize = 5;

/// Takes the measurement.
pub async fn measure(site: &Site, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    if !scale.wants("restart") {
        return Ok(());
    }
    progress.step(&format!("Making {} objects", scale.restart_objects));
    let (server, _) = site.start().await?;
    prepare(&mut server.target.connect().await?).await?;
    let pool = server.target.pool(4).await?;
    let count = Until::Count(scale.restart_objects as u64);
    load::run(&pool, server.pid(), 64, count, |_, n| create(&format!("kept-{n}"))).await?;
    drop(server);
    progress.step("Restarting the API server");
    let mut times = Vec::new();
    for _ in 0..RESTARTS {
        let (server, time) = site.resume(&[]).await?;
        times.push(time);
        if times.len() == RESTARTS {
            process::rest(server.pid()).await?;
            report.add("restart.memory_mb", process::memory(server.pid())?);
        }
    }
    report.add_time("restart.ready", median(times));
    Ok(())
}
