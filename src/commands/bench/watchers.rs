//! Delivery of changes to watchers: each written object carries when it was sent.
use super::client::{Call, Connection, Pool, Target};
use super::report::{Report, percentile};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Watches of one connection; servers allow 200 to 250 streams.
const STREAMS: usize = 100;

/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What precedes the time in an event.
const MARK: &[u8] = br#""sent":""#;

/// Digits of the time, microseconds.
const DIGITS: usize = 12;

/// What is watched, and how it is written.
pub struct Plan {
    /// Watchers at once.
    pub watchers: usize,
    /// Writes in a second.
    pub rate: u32,
    /// How many writes.
    pub writes: usize,
    /// Collection that is watched and written to.
    pub collection: String,
    /// Makes the body of an object from its name and the text of its field `sent`.
    pub body: fn(&str, &str) -> Bytes,
}

/// Measures from sending a write to each watcher's receipt of its event.
pub async fn measure(target: &Target, plan: &Plan, report: &mut Report) -> Result<()> {
    let pool = target.pool(plan.watchers.div_ceil(STREAMS)).await?;
    let mut writer = target.connect().await?;
    let names: Vec<String> = (0..20).map(|n| format!("watched-{}-{n}", plan.watchers)).collect();
    for name in &names {
        let body = (plan.body)(name, &"0".repeat(DIGITS));
        writer.send(&Call::json(Method::POST, plan.collection.clone(), body)).await?;
    }
    let version = version(&mut writer, plan).await?;
    let clock = Arc::new(Instant::now());
    let (deliver, mut delivered) = mpsc::unbounded_channel();
    open(&pool, plan, &version, &clock, &deliver).await?;
    drop(deliver);
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / plan.rate);
    for number in 0..plan.writes {
        tick.tick().await;
        let name = &names[number % names.len()];
        let sent = format!("{:0DIGITS$}", clock.elapsed().as_micros());
        let call = Call::json(Method::PUT, format!("{}/{name}", plan.collection), (plan.body)(name, &sent));
        let mut writer = writer.clone();
        tokio::spawn(async move { writer.send(&call).await });
    }
    let expected = plan.writes * plan.watchers;
    let mut latencies = Vec::with_capacity(expected);
    let all = async {
        while latencies.len() < expected {
            let Some(latency) = delivered.recv().await else { break };
            latencies.push(latency);
        }
    };
    let complete = tokio::time::timeout(PATIENCE, all).await.is_ok();
    let span = begin.elapsed();
    latencies.sort_unstable();
    let name = format!("watch.{}", plan.watchers);
    if complete {
        report.add(format!("{name}.events_per_second"), latencies.len() as f64 / span.as_secs_f64());
    }
    report.add_time(&format!("{name}.p50"), percentile(&latencies, 0.5));
    report.add_time(&format!("{name}.p99"), percentile(&latencies, 0.99));
    report.add(format!("{name}.lost"), (expected - latencies.len()) as f64);
    Ok(())
}

/// The collection's revision.
async fn version(connection: &mut Connection, plan: &Plan) -> Result<String> {
    let list = connection.value(&Call::get(format!("{}?limit=1", plan.collection))).await?;
    let version = list["metadata"]["resourceVersion"].as_str();
    Ok(version.context("a list without a revision")?.to_owned())
}

/// Opens the watches; each sends the latency of every event it gets.
async fn open(
    pool: &Pool,
    plan: &Plan,
    version: &str,
    clock: &Arc<Instant>,
    deliver: &mpsc::UnboundedSender<Duration>,
) -> Result<()> {
    let path = format!("{}?watch=1&resourceVersion={version}", plan.collection);
    let opened = (0..plan.watchers).map(|_| {
        let (mut connection, call) = (pool.pick(), Call::get(path.clone()));
        async move { connection.open(&call).await }
    });
    for body in futures::future::try_join_all(opened).await? {
        tokio::spawn(read(body, clock.clone(), deliver.clone()));
    }
    Ok(())
}

async fn read(mut body: Incoming, clock: Arc<Instant>, deliver: mpsc::UnboundedSender<Duration>) {
    let mut rest = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let now = clock.elapsed();
        if rest.is_empty() && data.ends_with(b"\n") {
            events(&data, now, &deliver);
            continue;
        }
        rest.extend_from_slice(&data);
        if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
            let whole = rest.split_to(end + 1);
            events(&whole, now, &deliver);
        }
    }
}

fn events(lines: &[u8], now: Duration, deliver: &mpsc::UnboundedSender<Duration>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if let Some(sent) = sent(line) {
            // The receiver is gone when the measurement is over.
            let _ = deliver.send(now.saturating_sub(sent));
        }
    }
}

/// The time an event's object carries.
fn sent(line: &[u8]) -> Option<Duration> {
    let start = memchr::memmem::find(line, MARK)? + MARK.len();
    let digits = std::str::from_utf8(line.get(start..start + DIGITS)?).ok()?;
    Some(Duration::from_micros(digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found() {
        let line = br#"{"type":"MODIFIED","object":{"data":{"sent":"000000001500"}}}"#;
        assert_eq!(sent(line), Some(Duration::from_micros(1500)));
        assert_eq!(sent(br#"{"type":"BOOKMARK","object":{}}"#), None);
    }
}
