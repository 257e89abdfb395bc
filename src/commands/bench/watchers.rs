//! Delivery of changes to watchers: each written object carries when it was sent.
use super::client::{Call, Connection, Pool, Target};
use super::report::{Report, percentile};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem::Finder;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Watches of one connection; servers allow 200 to 250 streams.
const STREAMS: usize = 100;

/// How long the last deliveries may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An event that comes so much after its write tells of a machine that does not keep up.
const LATE: Duration = Duration::from_secs(1);

/// What precedes the time in an event.
const MARK: &[u8] = br#""sent":""#;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

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

/// What a plan came to.
struct Outcome {
    /// Of each event that came, shortest first.
    latencies: Vec<Duration>,
    /// Events that should have come.
    expected: usize,
    /// Until the last one came, or patience ended.
    span: Duration,
}

impl Outcome {
    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.span.as_secs_f64()
    }
}

/// Measures from sending a write to each watcher's receipt of its event.
pub async fn measure(target: &Target, plan: &Plan, report: &mut Report) -> Result<()> {
    let outcome = run(target, plan).await?;
    let (latencies, expected) = (&outcome.latencies, outcome.expected);
    let name = format!("watch.{}", plan.watchers);
    if latencies.len() == expected {
        report.add(format!("{name}.events_per_second"), outcome.per_second());
    }
    report.add_time(&format!("{name}.p50"), percentile(latencies, 0.5));
    report.add_time(&format!("{name}.p99"), percentile(latencies, 0.99));
    report.add(format!("{name}.lost"), (expected - latencies.len()) as f64);
    Ok(())
}

/// Doubles the rate of writes until events come late or not at all; reports the last rate that the machine kept up
/// with, and the most events a second that were seen.
pub async fn limit(
    target: &Target,
    scale: &super::Scale,
    body: fn(&str, &str) -> Bytes,
    report: &mut Report,
) -> Result<()> {
    let (mut rate, mut kept, mut most) = (20, None, 0.0_f64);
    loop {
        let namespace = format!("watch-limit-{rate}");
        super::api::namespace(&mut target.connect().await?, &namespace).await?;
        let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
        let writes = rate as usize * scale.watch_span.as_secs() as usize;
        let plan = Plan { watchers: scale.watchers, rate, writes, collection, body };
        let outcome = run(target, &plan).await?;
        most = most.max(outcome.per_second());
        let late = percentile(&outcome.latencies, 0.99);
        if outcome.latencies.len() < outcome.expected || late > LATE {
            break;
        }
        kept = Some((rate, late));
        rate *= 2;
    }
    if let Some((rate, late)) = kept {
        report.add("watch.limit.writes_per_second", f64::from(rate));
        report.add_time("watch.limit.p99", late);
    }
    report.add("watch.limit.events_per_second", most);
    Ok(())
}

async fn run(target: &Target, plan: &Plan) -> Result<Outcome> {
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
    // What has not come by then is missing from the count.
    let _ = tokio::time::timeout(PATIENCE, all).await;
    latencies.sort_unstable();
    Ok(Outcome { latencies, expected, span: begin.elapsed() })
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
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        if let Some(sent) = sent(&lines[start..end]) {
            // The receiver is gone when the measurement is over.
            let _ = deliver.send(now.saturating_sub(sent));
        }
        start = end + 1;
    }
}

/// The time an event's object carries.
fn sent(line: &[u8]) -> Option<Duration> {
    let start = FINDER.find(line)? + MARK.len();
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
