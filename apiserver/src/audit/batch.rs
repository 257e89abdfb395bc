//! Events that are collected and sent together, in the background; what does not fit into the queue is lost and counted,
//! never waited for.
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// When a batch goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events that may wait.
    pub buffer: usize,
    /// Events of a batch.
    pub events: usize,
    /// Bytes of a batch.
    pub bytes: usize,
    /// Time for a batch to be full.
    pub wait: Duration,
    /// Batches a second, and at once.
    pub rate: Option<(f64, u32)>,
}

/// Sends what was collected; failures are its own matter.
pub type Send = Box<dyn Fn(Vec<Bytes>) -> BoxFuture<'static, ()> + std::marker::Send + Sync>;

/// The queue.
pub struct Queue {
    sender: Mutex<Option<Sender<Bytes>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// A queue that is emptied by a task.
    pub fn start(limits: Limits, send: Send) -> Self {
        let (sender, receiver) = mpsc::channel(limits.buffer.max(1));
        let worker = tokio::spawn(work(receiver, limits, send));
        Self { sender: Mutex::new(Some(sender)), worker: Mutex::new(Some(worker)) }
    }

    /// Adds an event; false: it is lost.
    pub fn offer(&self, event: Bytes) -> bool {
        self.sender.lock().as_ref().is_some_and(|sender| sender.try_send(event).is_ok())
    }

    /// Takes nothing more, and waits until what waits was sent.
    pub async fn close(&self) {
        drop(self.sender.lock().take());
        let worker = self.worker.lock().take();
        if let Some(worker) = worker
            && let Err(error) = worker.await
        {
            tracing::error!(%error, "the audit queue failed");
        }
    }
}

async fn work(mut receiver: Receiver<Bytes>, limits: Limits, send: Send) {
    let mut throttle = limits.rate.map(|(rate, burst)| Throttle::new(rate, burst));
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(event) => event,
            None => match receiver.recv().await {
                Some(event) => event,
                None => return,
            },
        };
        let batch;
        (batch, left) = collect(&mut receiver, first, limits).await;
        if let Some(throttle) = &mut throttle {
            throttle.turn().await;
        }
        send(batch).await;
    }
}

/// A batch that begins with an event, and the event that was too much for it.
async fn collect(
    receiver: &mut Receiver<Bytes>,
    first: Bytes,
    limits: Limits,
) -> (Vec<Bytes>, Option<Bytes>) {
    let mut size = first.len();
    let mut batch = vec![first];
    let until = Instant::now() + limits.wait;
    while batch.len() < limits.events {
        let next = if limits.wait.is_zero() {
            receiver.try_recv().ok()
        } else {
            tokio::time::timeout_at(until, receiver.recv()).await.ok().flatten()
        };
        let Some(event) = next else { break };
        if size + event.len() > limits.bytes {
            return (batch, Some(event));
        }
        size += event.len();
        batch.push(event);
    }
    (batch, None)
}

/// A bucket of tokens that fills up with time.
struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Throttle {
    fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { rate: rate.max(f64::MIN_POSITIVE), burst, tokens: burst, at: Instant::now() }
    }

    async fn turn(&mut self) {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.rate).min(self.burst);
        self.at = now;
        self.tokens -= 1.0;
        if self.tokens < 0.0
            && let Ok(pause) = Duration::try_from_secs_f64(-self.tokens / self.rate)
        {
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    const WAIT: Duration = Duration::from_millis(100);

    type Sent = Arc<Mutex<Vec<Vec<Bytes>>>>;

    fn recording(gate: Arc<Semaphore>) -> (Sent, Send) {
        let sent = Sent::default();
        let into = sent.clone();
        let send = move |batch| {
            let (into, gate) = (into.clone(), gate.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                into.lock().push(batch);
            }
            .boxed()
        };
        (sent, Box::new(send))
    }

    fn limits() -> Limits {
        Limits { buffer: 3, events: 2, bytes: 100, wait: WAIT, rate: None }
    }

    #[tokio::test]
    async fn batches() {
        let gate = Arc::new(Semaphore::new(100));
        let (sent, send) = recording(gate);
        let queue = Queue::start(limits(), send);
        let started = Instant::now();
        assert!(queue.offer(Bytes::from_static(b"a")) && queue.offer(Bytes::from_static(b"b")));
        assert!(queue.offer(Bytes::from_static(b"c")));
        while sent.lock().len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(20), "the last comes in time");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(started.elapsed() >= WAIT, "the last waits for company");
        queue.close().await;
        assert_eq!(
            *sent.lock(),
            [vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")], vec![Bytes::from_static(b"c")]]
        );
        assert!(!queue.offer(Bytes::from_static(b"d")), "closed");
    }

    #[tokio::test]
    async fn a_stuck_receiver_costs_events_and_no_time() {
        let gate = Arc::new(Semaphore::new(0));
        let (sent, send) = recording(gate.clone());
        let queue = Queue::start(Limits { wait: Duration::ZERO, events: 1, ..limits() }, send);
        let offered = (0..10).filter(|_| queue.offer(Bytes::from_static(b"x"))).count();
        assert_eq!(offered, 3);
        gate.add_permits(100);
        queue.close().await;
        assert_eq!(sent.lock().len(), 3);
    }

    #[tokio::test]
    async fn bytes_are_limited_and_so_is_the_rate() {
        let (sent, send) = recording(Arc::new(Semaphore::new(100)));
        let rate = Some((10.0, 1));
        let queue = Queue::start(Limits { bytes: 3, rate, ..limits() }, send);
        let started = Instant::now();
        queue.offer(Bytes::from_static(b"aa"));
        queue.offer(Bytes::from_static(b"bb"));
        queue.close().await;
        assert_eq!(sent.lock().len(), 2);
        assert!(started.elapsed() >= Duration::from_millis(100));
    }
}
