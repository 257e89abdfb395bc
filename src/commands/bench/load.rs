//! Closed-loop load: so many workers, each sending its next request when the last one is answered.
use super::client::{Call, Pool};
use super::process;
use super::report::{Report, percentile};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one load showed.
pub struct Outcome {
    answered: usize,
    span: Duration,
    latencies: Vec<Duration>,
    cpu: Duration,
}

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this long.
    Span(Duration),
    /// After so many requests.
    Count(u64),
}

/// Puts load on a server; `make` gives the worker's next request from the worker's and the request's number.
pub async fn run(
    pool: &Pool,
    pid: u32,
    concurrency: usize,
    until: Until,
    make: impl Fn(usize, u64) -> Call + Send + Sync + 'static,
) -> Result<Outcome> {
    let (make, next) = (Arc::new(make), Arc::new(AtomicU64::new(0)));
    let (begin, used) = (Instant::now(), process::cpu(pid)?);
    let workers: Vec<_> = (0..concurrency)
        .map(|worker| {
            let (make, next, mut connection) = (make.clone(), next.clone(), pool.pick());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let over = match until {
                        Until::Span(span) => begin.elapsed() >= span,
                        Until::Count(count) => number >= count,
                    };
                    if over {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    let call = make(worker, number);
                    let sent = Instant::now();
                    connection.send(&call).await?;
                    latencies.push(sent.elapsed());
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    let (span, cpu) = (begin.elapsed(), process::cpu(pid)?.saturating_sub(used));
    latencies.sort_unstable();
    Ok(Outcome { answered: latencies.len(), span, latencies, cpu })
}

impl Outcome {
    /// Adds the figures to the report.
    pub fn report(&self, name: &str, report: &mut Report) {
        report.add(format!("{name}.per_second"), self.answered as f64 / self.span.as_secs_f64());
        self.report_latency(name, report);
        report
            .add(format!("{name}.server_cpu_ms"), self.cpu.as_secs_f64() * 1e3 / self.answered.max(1) as f64);
    }

    /// Adds the latencies alone.
    pub fn report_latency(&self, name: &str, report: &mut Report) {
        report.add_time(&format!("{name}.p50"), percentile(&self.latencies, 0.5));
        report.add_time(&format!("{name}.p99"), percentile(&self.latencies, 0.99));
    }
}
