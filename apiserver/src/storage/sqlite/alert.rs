//! Waiting for a lone commit without falling asleep.
//!
//! A small transaction and its fsync take less time than a virtual machine's sleeping core needs to come back, and a
//! client that writes one object after the other pays that for each of them. So the thread that waits for a batch of
//! one stays awake for about as long as such a batch has taken lately. Batches of several writers are not waited for
//! like this: there is other work to do meanwhile.
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A disk slower than this is slept for: waking up is then a small part of the whole.
const LONGEST: Duration = Duration::from_micros(750);

/// How long lone commits take, a moving average in microseconds.
pub(super) struct Usual(AtomicU32);

impl Usual {
    /// Nothing is known yet; the first commit is slept for.
    pub fn new() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }

    /// Runs a lone commit.
    pub async fn wait<T>(&self, commit: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let until = self.patience().map(|patience| begin + patience);
        let outcome = Awake { commit: pin!(commit), until }.await;
        self.learn(begin.elapsed());
        outcome
    }

    /// How long to stay awake; none if it is not worth it.
    fn patience(&self) -> Option<Duration> {
        let usual = Duration::from_micros(self.0.load(Ordering::Relaxed).into());
        (usual <= LONGEST).then_some(usual * 2)
    }

    fn learn(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let usual = match self.0.load(Ordering::Relaxed) {
            u32::MAX => took,
            usual => usual - usual / 8 + took / 8,
        };
        self.0.store(usual, Ordering::Relaxed);
    }
}

/// Asks a future again and again until the time is over, then waits as usual.
struct Awake<F> {
    commit: F,
    until: Option<Instant>,
}

impl<F: Future + Unpin> Future for Awake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            let answer = Pin::new(&mut self.commit).poll(context);
            let awake = self.until.is_some_and(|until| Instant::now() < until);
            if answer.is_ready() || !awake {
                self.until = None;
                return answer;
            }
            // The thread of SQLite may be waiting for this very core.
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Polls once a future that is ready at the `n`th time; tells whether it was, and how often it was asked.
    fn polled(usual: u32, n: usize) -> (bool, usize) {
        let mut asked = 0;
        let commit = std::future::poll_fn(|_| {
            asked += 1;
            if asked < n { Poll::Pending } else { Poll::Ready(()) }
        });
        let usual = Usual(AtomicU32::new(usual));
        let mut waiting = Box::pin(usual.wait(commit));
        let ready = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        drop(waiting);
        (ready, asked)
    }

    #[test]
    fn only_what_is_usually_short_is_waited_for_awake() {
        assert_eq!(polled(u32::MAX, 2), (false, 1), "nothing is known");
        assert_eq!(polled(751, 2), (false, 1), "usually too long");
        assert_eq!(polled(750, 3), (true, 3));
        let (ready, asked) = polled(50, usize::MAX);
        assert!(!ready && asked > 1, "patience ends");
    }

    #[test]
    fn the_usual_follows_slowly() {
        let usual = Usual::new();
        assert_eq!(usual.patience(), None);
        usual.learn(Duration::from_micros(160));
        assert_eq!(usual.patience(), Some(Duration::from_micros(320)));
        usual.learn(Duration::from_secs(7200));
        assert_eq!(usual.patience(), None);
        for _ in 0..200 {
            usual.learn(Duration::from_micros(80));
        }
        assert!(usual.patience().is_some());
    }
}
